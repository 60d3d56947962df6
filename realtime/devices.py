"""Which device the generator runs on, with how many threads, and in which precision."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from models.contract import Spec

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "fp16", "bf16"]

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


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


def choose_half(wanted: Precision, spec: Spec, device: str) -> torch.dtype | None:
    """The type for what of a network may be less precise than float32; None for nothing. `auto`: on CUDA,
    what the network is known to bear. Raises ValueError for a network without weights, whose arithmetic is
    all points and grids.
    """
    if wanted == "auto":
        wanted = (spec.half if device == "cuda" else None) or "float32"
    if wanted == "float32":
        return None
    if not spec.needs_weights:
        raise ValueError(f"model {spec.name} runs in float32 only: leave --precision {wanted} out")
    return HALVES[wanted]


def lowered(device: str, half: torch.dtype | None) -> AbstractContextManager[object]:
    """Inside, networks run with mixed precision; points and grids stay float32, as they see to."""
    return nullcontext() if half is None else torch.autocast(device, half)


def use_threads(wanted: int) -> None:
    """Let torch use so many threads on the CPU; 0: half of the cores, as tracking and coding run beside it.

    A generator that spreads over all cores waits for the slowest of them in every operation: with other
    work on the same two cores, two threads were several times slower than one.
    """
    torch.set_num_threads(wanted or max(1, (os.cpu_count() or 1) // 2))
