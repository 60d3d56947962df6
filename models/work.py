"""What a frame of a network takes at least: multiply-adds, and numbers that have to pass through memory.

Nothing is computed, as in `models/describe.py`. Only what multiplies is counted: convolutions, matrix
products and attention, each of which reads its inputs and weights and writes its results. All else, norms,
sampling and activations, is taken as done on the way, as the best of compilers would; but what a frame is
made from has to be read, and its picture to be written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from models import registry
from models.contract import Controls, T, map_code
from models.describe import blank, example, put_on
from models.meter import ATTENTION, tensors_of


@dataclass(frozen=True)
class Work:
    """Of one frame of each of a batch."""

    macs: int
    numbers: int  # read and written; the weights once, however large the batch


def work(model: str, batch: int) -> Work:
    """Of `encode_structure`, `transfer` and `decode` of `NAME` or `NAME:SIZE`. Raises ValueError for unknown
    ones."""
    device = "cpu" if registry.parse(model)[0].spec.appearance == "host" else "meta"
    network = blank(model, device)
    source, driving = (put_on(device, example(rule)) for rule in (network.spec.source, network.spec.driving))
    counter, traffic = FlopCounterMode(display=False, custom_mapping=ATTENTION), Traffic()
    with torch.no_grad():
        appearance = _repeated(network.encode_appearance([source]), batch)
        driving, controls = _repeated(driving, batch), Controls.default(batch, device)
        with counter, traffic, WholeAttention(traffic):
            structure = network.encode_structure(driving)
            moved = network.transfer(structure, appearance.structure, appearance, controls)
            pictures = network.decode(appearance, moved)
    read = [getattr(driving, name) for name in sorted(network.spec.reads)]
    ends = sum(_numbers(tensor) for tensor in tensors_of((read, tuple(appearance), pictures)))
    return Work(counter.get_total_flops() // 2, max(traffic.numbers, ends))


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers that operations which multiply read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0
        self.counts = True  # False: not now

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if self.counts and (packet in flop_registry or packet in ATTENTION):
            self.add(args, found)
        return found

    def add(self, *given: Any) -> None:
        """Those of all tensors in it."""
        self.numbers += sum(_numbers(tensor) for tensor in tensors_of(given))


class WholeAttention(TorchFunctionMode):
    """Attention as one operation, which on the device `meta` it is not: nobody needs to write its scores."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self._traffic.counts = False
        found = func(*args, **(kwargs or {}))
        self._traffic.counts = True
        self._traffic.add(args, found)
        return found


def _repeated(code: T, batch: int) -> T:
    """As many rows like its only one, in memory of their own."""
    return map_code(lambda tensor: tensor.expand(batch, *tensor.shape[1:]).contiguous(), code)


def _numbers(tensor: Tensor) -> int:
    """In memory: what is only repeated counts once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
    return count
