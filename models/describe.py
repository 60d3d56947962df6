"""What a generator is made of and what a frame of it costs, measured on one real call of each kind:

    python -m models.describe imf:light
    python -m models.describe dae_gan --depth 1

Multiply-adds (MACs) are those of convolutions, matrix products and attention, for one picture; norms,
sampling and activations are left out, as is usual. A layer's own are those that none of its parts did.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models import weights
from models.contract import CropRule, Observation
from models.face_geometry import crop_to_frame, to_crop_units

CALLS = ("appearance", "structure", "decode")  # encode_appearance, encode_structure, decode
FRAME = 512  # side of the example's frame, pixels
FACE = 160  # width of the face in it, pixels

Shape = tuple[int, ...]


@dataclass
class Layer:
    """One module: what it holds and does itself, without its parts."""

    name: str  # as in the state dict; "" for the network
    kind: str
    parameters: int = 0
    macs: dict[str, int] = field(default_factory=dict)  # by call, of those that it takes part in
    outputs: dict[str, list[Shape]] = field(default_factory=dict)  # likewise: the shapes of the last output

    @property
    def counts(self) -> bool:
        """Does it hold or do anything itself?"""
        return bool(self.parameters) or any(self.macs.values())


@dataclass(frozen=True)
class Description:
    """The layers in the order of their definition, and the sums."""

    model: str  # NAME or NAME:SIZE
    layers: tuple[Layer, ...]
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
        merged: dict[str, Layer] = {}
        for layer in self.layers:
            name = ".".join(layer.name.split(".")[:depth])
            # A part comes before what it is made of.
            into = merged.setdefault(name, Layer(name, layer.kind, outputs=layer.outputs))
            into.parameters += layer.parameters
            for call, macs in layer.macs.items():
                into.macs[call] = into.macs.get(call, 0) + macs
        layers = tuple(merged.values())
        return Description(self.model, layers, self.appearance_bytes, self.structure_bytes)


def describe(model: str) -> Description:
    """Build `NAME` or `NAME:SIZE` with random weights and measure it. Raises ValueError for unknown ones."""
    network = weights.seeded(model).eval().requires_grad_(False)  # or the counter wants to follow gradients
    meter = Meter(network)
    spec = network.spec
    with torch.no_grad():  # not inference mode, in which attention and linear layers are not taken apart
        with meter.measuring("appearance"):
            appearance = network.encode_appearance([example(spec.source)])
        with meter.measuring("structure"):
            structure = network.encode_structure(example(spec.driving))
        with meter.measuring("decode"):
            network.decode(appearance, appearance.structure)
    return Description(model, meter.layers(), _bytes(appearance), _bytes(structure))


class Meter:
    """Counts what a network's layers do."""

    def __init__(self, network: nn.Module) -> None:
        seen: set[int] = set()
        self._layers: dict[nn.Module, Layer] = {}
        for name, module in network.named_modules():
            own = [one for one in module.parameters(recurse=False) if id(one) not in seen]
            seen |= {id(one) for one in own}
            self._layers[module] = Layer(name, type(module).__name__, sum(one.numel() for one in own))
        self._network = network

    def layers(self) -> tuple[Layer, ...]:
        """Of the network itself and of all its modules."""
        return tuple(self._layers.values())

    @contextmanager
    def measuring(self, call: str) -> Iterator[None]:
        """Count what is done meanwhile as that call's."""
        counter = FlopCounterMode(display=False, custom_mapping=_ATTENTION)
        started: list[int] = []  # of each module under way, the count at its begin
        inside = [0]  # of each, and of the network before them, what its parts did

        def begin(module: nn.Module, _: Any) -> None:
            started.append(counter.get_total_flops())
            inside.append(0)

        def end(module: nn.Module, _: Any, output: Any) -> None:
            whole = counter.get_total_flops() - started.pop()
            layer = self._layers[module]
            layer.macs[call] = layer.macs.get(call, 0) + (whole - inside.pop()) // 2
            layer.outputs[call] = [tuple(tensor.shape) for tensor in _tensors(output)]
            inside[-1] += whole

        parts = [module for module in self._layers if module is not self._network]
        hooks = [module.register_forward_pre_hook(begin) for module in parts]
        hooks += [module.register_forward_hook(end) for module in parts]
        try:
            with counter:
                yield
        finally:
            for hook in hooks:
                hook.remove()
        self._layers[self._network].macs[call] = (counter.get_total_flops() - inside[0]) // 2


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Twice the multiply-adds of B×heads×N×width queries, keys and values."""
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[2] * (width + value[3])


# What the counter of torch leaves out on a CPU.
_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def example(rule: CropRule) -> Observation:
    """The mean face in a smooth picture, cropped by the rule."""
    with np.load(Path(__file__).with_name("mean_face.npz")) as file:
        points = file["points"].astype(np.float64) * FACE + [FRAME / 2, FRAME / 2, 0]
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
        shapes = next((layer.outputs[call] for call in reversed(CALLS) if call in layer.outputs), [])
        output = " ".join("×".join(map(str, shape)) or "1" for shape in shapes[:2])
        counts = (f"{layer.macs[call]:,}" if call in layer.macs else "–" for call in CALLS)
        lines.append((layer.name or "(itself)", layer.kind, output or "–", f"{layer.parameters:,}", *counts))
    sums = (f"{found.macs(call):,}" for call in CALLS)
    lines.append((found.model, "", "", f"{found.parameters:,}", *sums))
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rows = [
        "  ".join(
            cell.ljust(width) if index < 3 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in lines
    ]
    rule = "-" * max(map(len, rows))
    codes = [
        f"appearance code: {found.appearance_bytes:,} bytes, once a portrait",
        f"structure code: {found.structure_bytes:,} bytes, every frame",
    ]
    return "\n".join([rows[0], rule, *rows[1:-1], rule, rows[-1], "", *codes])


def _tensors(code: Any) -> Iterator[Tensor]:
    if isinstance(code, Tensor):
        yield code
    elif isinstance(code, tuple | list):
        for part in code:
            yield from _tensors(part)


def _bytes(code: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(code))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for a network that there isn't."""
    parser = argparse.ArgumentParser(
        prog="python -m models.describe", description="What a generator is made of."
    )
    parser.add_argument("model", metavar="NAME[:SIZE]", help="the generator")
    parser.add_argument("--depth", type=int, default=0, help="show layers up to this deep; otherwise all")
    asked = parser.parse_args(arguments)
    try:
        found = describe(asked.model)
    except ValueError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(table(found.merged(asked.depth) if asked.depth > 0 else found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
