"""Counts what the layers of a network hold and do, in each call that the contract has of it.

Multiply-adds (MACs) are those of convolutions, matrix products and attention, for one picture; norms,
sampling and activations are left out, as is usual. A layer's own are those that none of its parts did.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

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
        """Of the network itself and of all its modules, each before its parts."""
        return tuple(self._layers.values())

    @contextmanager
    def measuring(self, call: str) -> Iterator[None]:
        """Count what is done meanwhile as that call's."""
        counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
        started: list[int] = []  # of each module under way, the count at its begin
        inside = [0]  # of each, and of the network before them, what its parts did

        def begin(module: nn.Module, _: Any) -> None:
            started.append(counter.get_total_flops())
            inside.append(0)

        def end(module: nn.Module, _: Any, output: Any) -> None:
            whole = counter.get_total_flops() - started.pop()
            layer = self._layers[module]
            layer.macs[call] = layer.macs.get(call, 0) + (whole - inside.pop()) // 2
            layer.outputs[call] = [tuple(tensor.shape) for tensor in tensors_of(output)]
            inside[-1] += whole

        hooked = [module for module in self._layers if module is not self._network]
        hooks = [module.register_forward_pre_hook(begin) for module in hooked]
        hooks += [module.register_forward_hook(end) for module in hooked]
        try:
            with counter:
                yield
        finally:
            for hook in hooks:
                hook.remove()
        self._layers[self._network].macs[call] = (counter.get_total_flops() - inside[0]) // 2
        for module, layer in reversed(self._layers.items()):
            # Of a list whose members are called, and not itself, comes what comes out of them.
            if isinstance(module, nn.ModuleList | nn.Sequential) and call not in layer.outputs:
                parts = [self._layers[part] for part in module if call in self._layers[part].outputs]
                if parts:
                    layer.outputs[call] = [shape for part in parts for shape in part.outputs[call]]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Twice the multiply-adds of B×heads×N×width queries, keys and values."""
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[2] * (width + value[3])


# What the counter of torch leaves out on a CPU.
ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def tensors_of(code: Any) -> Iterator[Tensor]:
    """Of whatever a module or a call gives, in order."""
    if isinstance(code, Tensor):
        yield code
    elif isinstance(code, tuple | list):
        for part in code:
            yield from tensors_of(part)
