"""A generator that is the running mean of the one in training: steadier, and the one that is shown and kept.

ema = Ema(generator, half_life=10_000)
ema.update(generator, pictures=32)    # after every step of its optimiser
rgb = ema.module(...)
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models import weights

HALF = (torch.float16, torch.bfloat16)  # too coarse for the small steps of a mean


class Ema:
    """Exponential moving average of a module's parameters, as in StyleGAN2-ADA (Karras et al. 2020): after a
    step of n pictures it keeps 0.5^(n / h) of itself and takes the rest from the module.

    half_life: h, in pictures, of all ranks together. ramp: h is at most this many times the pictures seen
    before the step, so that the first step is a copy; None: h is the same from the start. Raises ValueError
    where they are not above 0.
    """

    module: nn.Module
    """The averaged network, to be called: in evaluation mode and without gradients; float32 where the trained
    one is in half precision."""

    pictures: int
    """That went into it."""

    def __init__(self, module: nn.Module, half_life: float, ramp: float | None = 0.05) -> None:
        for name, value in (("half-life", half_life), ("ramp", ramp)):
            if value is not None and not value > 0:
                raise ValueError(f"the average's {name} is {value:g}: expected more than 0")
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            if tensor.dtype in HALF:
                tensor.data = tensor.data.float()
        self.pictures = 0
        self._half_life, self._ramp = half_life, ramp

    @torch.no_grad()
    def update(self, module: nn.Module, pictures: int) -> None:
        """Take a step's outcome in. module: the one in training, which may be wrapped. pictures: of the step,
        on all ranks. Buffers are copied."""
        assert pictures > 0, pictures
        half_life = self._half_life
        if self._ramp is not None:
            half_life = min(half_life, self._ramp * self.pictures)
        # 1 - 0.5^(n / h), without losing digits where h is long.
        share = -math.expm1(-math.log(2) * pictures / half_life) if half_life else 1.0
        averages: list[Tensor] = list(self.module.parameters())
        trained = [new.to(old.dtype) for old, new in zip(averages, module.parameters(), strict=True)]
        if averages:
            torch._foreach_lerp_(averages, trained, share)
        for old, new in zip(self.module.buffers(), module.buffers(), strict=True):
            old.copy_(new)
        self.pictures += pictures

    def state_dict(self) -> dict[str, Any]:
        """`module` is the averaged network's state dict; its tensors change with the next `update`."""
        return {"pictures": self.pictures, "module": self.module.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Raises ValueError where that is of another network; nothing is changed then."""
        expected = self.module.state_dict()
        tensors: Mapping[str, Tensor] = state["module"]
        weights.check_keys(tensors, expected, "the average")
        weights.check_shapes(tensors, expected, "the average")
        self.module.load_state_dict(tensors)
        self.pictures = state["pictures"]
