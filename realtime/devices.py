"""Which device the generator runs on, and with how many threads."""

import os
from typing import Literal

import torch

Device = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(wanted: str) -> str:
    """A torch device for auto, cpu, cuda or mps. Raises ValueError where the wanted one is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, usable in there.items() if usable)
    if not there[wanted]:
        raise ValueError(
            f"device {wanted}: not there, or this build of torch cannot use it; try --device auto"
        )
    return wanted


def use_threads(wanted: int) -> None:
    """Let torch use so many threads on the CPU; 0: half of the cores, as tracking and coding run beside it.

    A generator that spreads over all cores waits for the slowest of them in every operation: with other
    work on the same two cores, two threads were several times slower than one.
    """
    torch.set_num_threads(wanted or max(1, (os.cpu_count() or 1) // 2))
