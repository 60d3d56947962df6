"""What a generator is made of and what a frame of it costs, counted in one call of each kind:

    python -m models.describe imf:light
    python -m models.describe dae_gan --depth 1
    python -m models.describe --page docs/networks.md      # write the tables of that page anew

Nothing is computed: the calls are made on torch's device `meta`, where tensors have shapes and no numbers.
Only a generator that prepares portraits on the host is really run. `models/meter.py` says what is counted.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import registry
from models.contract import CropRule, Observation, Reenactor, map_code
from models.face_geometry import Array, crop_to_frame, to_crop_units
from models.meter import Layer, Meter, Shape, tensors_of

CALLS = ("appearance", "structure", "decode")  # encode_appearance, encode_structure, decode
FRAME = 512  # side of the example's frame, pixels
FACE = 160  # width of the face in it, pixels
BLOCK = re.compile(r"(<!-- models\.describe (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)  # of a page: a table
ROW = re.compile(r"^\| (.+?) \| `([\w.]+)` \|", re.MULTILINE)  # of a table: a part's name, and its module


@dataclass(frozen=True)
class Description:
    """The layers in the order of their definition, the tensors that go in and out, and the sums."""

    model: str  # NAME or NAME:SIZE
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Shape]  # source.image, driving.points, appearance.structure.…, structure.…, rgb, …
    appearance_bytes: int
    structure_bytes: int

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    def macs(self, call: str) -> int:
        """Of one of `CALLS`."""
        return sum(layer.macs.get(call, 0) for layer in self.layers)

    def merged(self, depth: int) -> "Description":
        """With what lies deeper than `depth` names counted to the layer that it is part of."""
        return self._grouped(lambda name: ".".join(name.split(".")[:depth]))

    def parts(self, modules: Sequence[str]) -> "Description":
        """Those modules, in that order, each with all that is in it but for others of them; and first, as "",
        what is in none. Raises ValueError for a module that there isn't."""
        known = {layer.name for layer in self.layers}
        for module in modules:
            if module not in known:
                raise ValueError(f"{self.model} has no module {module!r}")

        def part(name: str) -> str:
            return max((one for one in modules if f"{name}.".startswith(f"{one}.")), key=len, default="")

        found = {layer.name: layer for layer in self._grouped(part).layers}
        return replace(self, layers=tuple(found[name] for name in ("", *modules)))

    def _grouped(self, group: Callable[[str], str]) -> "Description":
        """With each layer counted to the one that `group` names."""
        found: dict[str, Layer] = {}
        for layer in self.layers:
            # A part comes before what it is made of.
            into = found.setdefault(group(layer.name), replace(layer, parameters=0, macs={}))
            into.parameters += layer.parameters
            for call, macs in layer.macs.items():
                into.macs[call] = into.macs.get(call, 0) + macs
        return replace(self, layers=tuple(found.values()))


def describe(model: str) -> Description:
    """Build `NAME` or `NAME:SIZE` and measure it. Raises ValueError for unknown ones."""
    device = "cpu" if registry.parse(model)[0].spec.appearance == "host" else "meta"
    network = blank(model, device)
    meter = Meter(network)
    source, driving = (put_on(device, example(rule)) for rule in (network.spec.source, network.spec.driving))
    with torch.no_grad():  # not inference mode, in which attention and linear layers are not taken apart
        with meter.measuring("appearance"):
            appearance = network.encode_appearance([source])
        with meter.measuring("structure"):
            structure = network.encode_structure(driving)
        with meter.measuring("decode"):
            rgb, alpha = network.decode(appearance, appearance.structure)
    seen = {"source": source, "driving": driving, "appearance": appearance, "structure": structure}
    tensors = {
        name: tuple(tensor.shape)
        for key, value in {**seen, "rgb": rgb, "alpha": alpha}.items()
        for name, tensor in named(key, value)
    }
    return Description(model, meter.layers(), tensors, _bytes(appearance), _bytes(structure))


def blank(model: str, device: str) -> Reenactor[Any, Any]:
    """The network, its parameters being whatever; torch's random numbers go on as if nothing had been."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        # Gradients are switched off or the counter wants to follow them.
        return registry.make(model).eval().requires_grad_(False)


def put_on(device: str, seen: Observation) -> Observation:
    """Moved there, but for what a network may look at on the host: whether there was a face."""
    return map_code(lambda tensor: tensor.to(device), seen)._replace(valid=seen.valid)


def mean_face(gap: float = 0.0) -> Array:
    """Its landmarks in the middle of a picture of FRAME × FRAME: 478×3, pixels. gap: by how much wider the
    lips are apart than in the mean, in widths of the face."""
    with np.load(Path(__file__).with_name("mean_face.npz")) as file:
        points = (file["points"] + gap * file["jaw"]).astype(np.float64)
    return np.asarray(points * FACE + [FRAME / 2, FRAME / 2, 0])


def example(rule: CropRule, points: Array | None = None) -> Observation:
    """A face in a smooth picture, cropped by the rule. points: its landmarks, 478×3 in pixels of a picture of
    FRAME × FRAME; the mean face's, unless others are named."""
    if points is None:
        points = mean_face()
    to_frame = crop_to_frame(points, rule, FRAME, FRAME)
    axis = torch.linspace(0, 3, rule.size)
    waves = torch.stack([torch.outer(torch.sin(axis + phase), torch.cos(2 * axis)) for phase in range(3)])
    return Observation(
        image=(0.5 + 0.4 * waves)[None],
        points=torch.from_numpy(to_crop_units(points, to_frame)).float()[None],
        to_frame=torch.from_numpy(to_frame).float()[None],
        valid=torch.tensor([True]),
    )


def table(found: Description) -> str:
    """The description as text: a line a layer, the sums, and the codes."""
    lines = [("layer", "kind", "output", "parameters", *(f"MACs {call}" for call in CALLS))]
    for layer in filter(lambda layer: layer.counts, found.layers):
        output = " ".join("×".join(map(str, shape)) for shape in _outputs(layer)[:2])
        counts = (f"{layer.macs[call]:,}" if call in layer.macs else "–" for call in CALLS)
        lines.append((layer.name or "(itself)", layer.kind, output or "–", f"{layer.parameters:,}", *counts))
    sums = (f"{found.macs(call):,}" for call in CALLS)
    lines.append((found.model, "", "", f"{found.parameters:,}", *sums))
    rows = aligned(lines, 3)
    rule = "-" * max(map(len, rows))
    codes = [
        f"appearance code: {found.appearance_bytes:,} bytes, once a portrait",
        f"structure code: {found.structure_bytes:,} bytes, every frame",
    ]
    return "\n".join([rows[0], rule, *rows[1:-1], rule, rows[-1], "", *codes])


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Cells as lines of text, one below the other: the first `left` of each row begin together, the others
    end so."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in rows
    ]


def renewed(page: str, measure: Callable[[str], Description] = describe) -> str:
    """A page in Markdown with its tables as the networks are now.

    A table stands between `<!-- models.describe MODEL -->` and `<!-- end -->`. Which parts it has, and what
    they are called, is read from its own first two columns. Several models make a table of a line each.
    Raises ValueError for models and modules that there aren't.
    """

    def block(found: re.Match[str]) -> str:
        models = [measure(model) for model in found[2].split()]
        if len(models) > 1:
            lines = _overview(models)
        else:
            lines = _parts(models[0], {module: name for name, module in ROW.findall(found[0])})
        return "\n".join([found[1], *lines, "", found[3]])

    return BLOCK.sub(block, page)


def _overview(found: Sequence[Description]) -> list[str]:
    """A line a model."""
    lines = [
        "| model | picture | parameters | GMAC once a portrait | GMAC every frame "
        "| appearance code, bytes | structure code, bytes |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        once, often = _billions({call: one.macs(call) for call in CALLS})
        lines.append(
            f"| `{one.model}` | {shape_of(one.tensors['rgb'])} | {one.parameters:,} | {once} | {often} "
            f"| {one.appearance_bytes:,} | {one.structure_bytes:,} |"
        )
    return lines


def _parts(found: Description, names: Mapping[str, str]) -> list[str]:
    """A line a part, the sums, and the codes. names: module → what the part is called."""
    lines = [
        "| part | module | output | parameters | GMAC once a portrait | GMAC every frame |",
        "|---|---|---|---:|---:|---:|",
    ]
    rest, *parts = found.parts(list(names)).layers
    for layer in parts:
        shapes = [shape_of(shape) for shape in _outputs(layer)]
        told = ", ".join(shapes if len(shapes) <= 4 else [shapes[0], "…", shapes[-1]]) or "–"
        once, often = _billions(layer.macs)
        lines.append(
            f"| {names[layer.name]} | `{layer.name}` | {told} | {layer.parameters:,} | {once} | {often} |"
        )
    if rest.counts:
        once, often = _billions(rest.macs)
        lines.append(f"| the rest | | – | {rest.parameters:,} | {once} | {often} |")
    once, often = _billions({call: found.macs(call) for call in CALLS})
    lines.append(f"| **{found.model}** | | | **{found.parameters:,}** | **{once}** | **{often}** |")
    for code, size in (("appearance", found.appearance_bytes), ("structure", found.structure_bytes)):
        fields = [
            f"`{name.removeprefix(f'{code}.')}` {shape_of(shape)}"
            for name, shape in found.tensors.items()
            if name.startswith(f"{code}.")
        ]
        lines += ["", f"{code.capitalize()} code, {size:,} bytes: {', '.join(fields)}."]
    return lines


def shape_of(batch: Shape) -> str:
    """One picture's share of it: 3×256×256."""
    return "×".join(map(str, batch[1:])) or "1"


def _outputs(layer: Layer) -> list[Shape]:
    """In the last of the calls that it takes part in, without those that are empty."""
    last = next((layer.outputs[call] for call in reversed(CALLS) if call in layer.outputs), [])
    return [shape for shape in last if 0 not in shape]


def _billions(macs: Mapping[str, int]) -> tuple[str, str]:
    """Once a portrait, and every frame."""

    def told(*calls: str) -> str:
        counted = [macs[call] for call in calls if call in macs]
        return (f"{sum(counted) / 1e9:,.3f}" if any(counted) else "0") if counted else "–"

    return told("appearance"), told("structure", "decode")


def named(name: str, code: Any) -> Iterator[tuple[str, Tensor]]:
    """Its tensors by the names of their fields."""
    if isinstance(code, Tensor):
        yield name, code
    elif code is not None:
        for field, part in zip(code._fields, code, strict=True):
            yield from named(f"{name}.{field}", part)


def _bytes(code: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(code))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for a network, part or page that there isn't."""
    parser = argparse.ArgumentParser(
        prog="python -m models.describe", description="What a generator is made of."
    )
    asked_for = parser.add_mutually_exclusive_group(required=True)
    asked_for.add_argument("model", metavar="NAME[:SIZE]", nargs="?", help="the generator")
    asked_for.add_argument("--page", type=Path, help="write the tables of this page anew")
    parser.add_argument("--depth", type=int, default=0, help="show layers up to this deep; otherwise all")
    asked = parser.parse_args(arguments)
    try:
        if asked.page is not None:
            asked.page.write_text(renewed(asked.page.read_text(encoding="utf-8")), encoding="utf-8")
            return 0
        found = describe(asked.model)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(table(found.merged(asked.depth) if asked.depth > 0 else found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
