"""The calls of the contract as ONNX graphs.

Tensors are named by their places in the codes (`structure.exp`). The first dimension of each is free: it
counts sessions (`batch`), pictures of one person where a network takes several (`sources`), or codes of one
driver (`codes`).
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.contract import Reenactor, map_code
from models.describe import named
from models.meter import tensors_of
from trainer.borders import hold_inside

OPSET = 20
LEAST, MOST = 3, 1024  # rows, for torch, to which one and two are special; the graphs take any number

Network = Reenactor[Any, Any]


@dataclass(frozen=True)
class Graph:
    """What one takes and gives: codes, pictures and settings, by name."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    plain: bool = False  # arithmetic on codes, in which no weights take part


GRAPHS = {
    "appearance": Graph(("source",), ("appearance",)),
    "structure": Graph(("driving",), ("structure",)),
    "neutral": Graph(("codes",), ("neutral",), plain=True),
    "transfer": Graph(("structure", "neutral", "appearance", "controls"), ("moved",)),
    "blend": Graph(("a", "b", "t"), ("blended",), plain=True),
    "decode": Graph(("appearance", "moved"), ("rgb", "alpha")),
}
"""In an order in which they can be run. What a network doesn't look at is no input in the end."""


def graphs_of(network: Network) -> dict[str, Graph]:
    """Those that can be made of it: portraits that are prepared on the host have none."""
    host = network.spec.appearance == "host"
    return {name: graph for name, graph in GRAPHS.items() if not (host and name == "appearance")}


class Call(nn.Module):
    """One call, from tensors to tensors. like: what it takes, as codes."""

    def __init__(self, network: Network, graph: str, like: Sequence[Any]) -> None:
        super().__init__()
        self.network, self.graph, self.like = network, graph, like

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        left = iter(tensors)
        given = [
            next(left) if isinstance(one, Tensor) else map_code(lambda _: next(left), one)
            for one in self.like
        ]
        return tuple(tensors_of(self._called(*given)))

    def _called(self, *given: Any) -> Any:
        network = self.network
        match self.graph:
            case "appearance":
                parts = [slice(None)]
                if network.spec.max_sources > 1:
                    parts = [
                        slice(1),
                        slice(1, None),
                    ]  # the first has a part of its own; the rest may be none
                return network.encode_appearance(
                    [map_code(lambda tensor, part=part: tensor[part], given[0]) for part in parts]
                )
            case "structure":
                return network.encode_structure(*given)
            case "neutral":
                return network.neutral(given)
            case "transfer":
                return network.transfer(*given)
            case "blend":
                return network.blend(*given)
            case _:
                return network.decode(*given)


def traced(
    network: Network, graph: str, example: Mapping[str, Any], dtypes: Mapping[str, torch.dtype]
) -> torch.onnx.ONNXProgram:
    """One of `GRAPHS`, for any number of rows.

    example: all that it takes and gives, by the names in `GRAPHS`, with at least three rows: of what torch
    sees once, it thinks that it is always so. dtypes: of the tensors that are other than in the example, by
    name.
    """
    one = GRAPHS[graph]
    inputs = dict(_all_named(example, one.takes))
    free = {"neutral": "codes", "appearance": "sources" if network.spec.max_sources > 1 else "batch"}
    rows = torch.export.Dim(free.get(graph, "batch"), min=LEAST, max=MOST)
    call = Call(network, graph, [example[name] for name in one.takes])
    tensors = tuple(tensor.to(dtypes.get(name, tensor.dtype)) for name, tensor in inputs.items())
    with torch.no_grad():
        program = torch.export.export(call, tensors, dynamic_shapes={"tensors": ({0: rows},) * len(tensors)})
    with _quiet():
        found = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=[name for name, _ in _all_named(example, one.gives)],
            opset_version=OPSET,
            verbose=False,
        )
        assert found is not None, "without a file the program is returned"
    body = found.model.graph
    shape = body.inputs[0].shape
    assert shape is not None, "what was traced has shapes"
    found.rename_axes({str(shape[0]): rows.__name__})
    read = [value for value in body.inputs if value.uses() or value.is_graph_output()]
    body.inputs.clear()
    body.inputs.extend(read)
    hold_inside(body)
    # Where in our files it all comes from, which is nobody's business.
    parts: list[Any] = [body, *body.all_nodes(), *body.initializers.values()]
    for part in parts:
        part.metadata_props.clear()
    return found


def _all_named(example: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        yield from named(name, example[name])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of itself: deprecations in torch 2.13, and operators of torchvision
    that it does without. No code of ours is run meanwhile."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
