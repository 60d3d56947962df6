"""A generator from a folder that `python -m trainer.export` wrote: graphs in ONNX Runtime, and no code of the
network, but for portraits of one that prepares them on the host.

    network = load(Path("exported/imf"))

Codes are named tuples after the names of their tensors: `structure.exp` is the field `exp` of a structure
code. What one graph gives, another takes by the same name.
"""

import importlib.util
import logging
from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import registry, weights
from models.contract import Controls, Observation, Reenactor, cat_codes, map_code
from models.describe import named
from realtime import export_page
from realtime.export_page import GIVES, Page
from realtime.onnx_graph import CUDA, Graph

log = logging.getLogger(__name__)

OTHER = "prepares portraits otherwise than the one that was exported"
EVERY_FRAME = ("structure", "transfer", "blend", "decode")  # of the graphs

Network = Reenactor[Any, Any]


class ExportedNetwork(Reenactor[Any, Any]):
    """Each of the six calls runs its graph. Codes are in memory of their own; the pictures of `decode` are
    not.

    device: where the codes are, cpu or cuda.
    """

    def __init__(self, page: Page, graphs: Mapping[str, Graph], device: str) -> None:
        super().__init__()
        self.spec, self.untrained, self.device = page.spec, page.untrained, device
        self._graphs = dict(graphs)
        self._host = None if "appearance" in graphs else _host(page)
        self._codes = {
            name: _code([one.name for one in graph.gives]) for name, graph in graphs.items() if GIVES[name]
        }

    def encode_appearance(self, sources: Sequence[Observation]) -> Any:
        if self._host is not None:
            return self._prepared(self._host.encode_appearance(sources))
        most = self.spec.max_sources
        if not 1 <= len(sources) <= most:
            takes = "one source picture" if most == 1 else f"1 to {most} source pictures"
            raise ValueError(f"{self.spec.name} takes {takes}, not {len(sources)}")
        wanted = [one.name.removeprefix("source.") for one in self._graphs["appearance"].takes]
        if "points" in wanted and not all(
            one.points is not None and bool(one.valid.all()) for one in sources
        ):
            raise ValueError(f"{self.spec.name} needs a source picture with a face in it")
        known = {f"source.{field}": torch.cat([getattr(one, field) for one in sources]) for field in wanted}
        return self._coded("appearance", known)

    def encode_structure(self, driving: Observation) -> Any:
        return self._coded("structure", dict(named("driving", driving)))

    def neutral(self, codes: Sequence[Any]) -> Any:
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        return self._coded("neutral", dict(named("codes", cat_codes(codes))))

    def blend(self, a: Any, b: Any, t: Tensor) -> Any:
        return self._coded("blend", {**dict(named("a", a)), **dict(named("b", b)), "t": t})

    def transfer(self, structure: Any, neutral: Any, appearance: Any, controls: Controls) -> Any:
        known = dict(named("structure", structure)) | dict(named("neutral", neutral))
        known |= dict(named("appearance", appearance)) | dict(named("controls", controls))
        return self._coded("transfer", known)

    def decode(self, appearance: Any, structure: Any) -> tuple[Tensor, Tensor]:
        """As in the contract. The pictures are in the same memory each time: the next call with as many rows
        draws over them."""
        known = dict(named("appearance", appearance)) | dict(named("moved", structure))
        found = self._graphs["decode"].shown(known)
        return found["rgb"], found["alpha"]

    def _prepared(self, appearance: Any) -> Any:
        """What the host has made of a portrait. Raises ValueError where the graphs take another code."""
        there = {name: tuple(tensor.shape[1:]) for name, tensor in named("appearance", appearance)}
        for graph in self._graphs.values():
            for one in graph.takes:
                if one.name.startswith("appearance.") and there.get(one.name) != one.shape[1:]:
                    raise ValueError(f"this program's {self.spec.name} {OTHER}, {one.name}: export it anew")
        return appearance

    def _coded(self, graph: str, known: Mapping[str, Tensor]) -> Any:
        found = self._graphs[graph](known)
        return map_code(found.__getitem__, self._codes[graph])


def load(folder: Path, device: str = "cpu", cuda: Any = torch.cuda) -> ExportedNetwork:
    """The generator of that folder, on that device or, with a warning, on the CPU where ONNX Runtime can't
    use it. cuda: what makes streams. Raises ValueError, one line, for anything but a whole folder, and
    without onnxruntime."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise ValueError(f"{folder}: onnxruntime is not installed: pip install onnxruntime")
    page = export_page.read(folder)
    device = _usable(device)
    stream = cuda.Stream() if device == "cuda" else None
    graphs = {}
    for name, told in page.graphs.items():
        graphs[name] = Graph(told.file, told.takes, told.gives, stream, name in EVERY_FRAME, cuda)
        if stream is not None and not graphs[name].on_cuda:
            log.warning(
                "onnxruntime could not start its CUDA provider, and the CPU is used: "
                "pip install 'onnxruntime-gpu[cuda,cudnn]' gets the libraries that it was built for"
            )
            return load(folder, "cpu")
    with weights.naming(folder):
        return ExportedNetwork(page, graphs, device)


def _usable(device: str) -> str:
    """The device, or the CPU where ONNX Runtime has nothing for it, of which the log is told."""
    import onnxruntime

    if device == "cpu" or (device == "cuda" and CUDA in onnxruntime.get_available_providers()):
        return device
    advice = ": pip install onnxruntime-gpu instead of onnxruntime" if device == "cuda" else ""
    log.warning("onnxruntime has no provider for %s here, and the CPU is used%s", device, advice)
    return "cpu"


def _host(page: Page) -> Network:
    """The generator whose own code prepares the portraits. Raises ValueError where it is not known here, or
    wants other crops."""
    spec = page.spec
    network = registry.make(f"{spec.name}:{spec.size}" if spec.size else spec.name)
    if network.spec.source != spec.source:
        raise ValueError(f"this program's {spec.name} {OTHER}: it wants another crop; export it anew")
    return network


def _code(names: Sequence[str], depth: int = 1) -> Any:
    """A code with the names of its tensors in their places. depth: of how many of their parts, which are
    parted by dots, it is the code."""
    fields: dict[str, list[str]] = {}
    for name in names:
        fields.setdefault(name.split(".")[depth], []).append(name)
    parts = (
        below[0] if below[0].count(".") == depth else _code(below, depth + 1) for below in fields.values()
    )
    return _named_tuple(tuple(fields))(*parts)


@cache
def _named_tuple(fields: tuple[str, ...]) -> type[Any]:
    return namedtuple("Code", fields)
