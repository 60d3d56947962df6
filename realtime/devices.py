"""Which device the generator runs on, with how many threads, and in which precision."""

import logging
import os
import shutil
import warnings
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from models.contract import Spec

log = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "fp16", "bf16"]
Backend = Literal["auto", "torch", "onnx"]

DRIVER = Path("/proc/driver/nvidia")  # where Linux shows that an NVIDIA driver is loaded
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(wanted: str) -> str:
    """A torch device for auto, cpu, cuda or mps. Where there is an NVIDIA GPU that torch can't use, `auto`
    says why in a warning. Raises ValueError where the wanted one is not there."""
    usable, why_not = _cuda()
    there = {"cuda": usable, "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        found = next(name for name, usable in there.items() if usable)
        if why_not:
            log.warning("%s; until then everything runs on %s", why_not, found)
        return found
    if not there[wanted]:
        reason = "not there, or this build of torch cannot use it; try --device auto"
        raise ValueError(f"device {wanted}: {(why_not if wanted == 'cuda' else '') or reason}")
    return wanted


def _cuda() -> tuple[bool, str]:
    """Can torch use CUDA? If not although there is an NVIDIA GPU: why, and what to do."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if not usable and caught:
        said = " ".join(str(caught[0].message).split()).removeprefix("CUDA initialization: ").rstrip(".")
        if "driver" in said and "too old" in said:
            return False, (
                "the NVIDIA driver is too old for this build of torch, "
                f"which is for CUDA {torch.version.cuda}: update the driver"
            )
        return False, f"torch cannot use the NVIDIA GPU ({said}): update its driver, or mend what it says"
    for warning in caught:  # of a device that can be used none the less
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if not usable and torch.version.cuda is None and _nvidia():
        return False, (
            "there is an NVIDIA GPU, but this build of torch is without CUDA: install one with it "
            "(see https://pytorch.org/get-started/locally)"
        )
    return usable, ""


def _nvidia() -> bool:
    """Is there an NVIDIA driver, whether or not torch can use it?"""
    return shutil.which("nvidia-smi") is not None or DRIVER.exists()


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


def put_channels_last(network: nn.Module) -> None:
    """The order in which tensor cores read pictures, for all weights that have it: `Module.to` would refuse
    those of 3-D convolutions. Pictures follow the weights that they meet."""
    for tensor in chain(network.parameters(), network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def use_threads(wanted: int) -> None:
    """Let torch use so many threads on the CPU; 0: half of the cores, as tracking and coding run beside it.

    A generator that spreads over all cores waits for the slowest of them in every operation: with other
    work on the same two cores, two threads were several times slower than one.
    """
    torch.set_num_threads(wanted or max(1, (os.cpu_count() or 1) // 2))
