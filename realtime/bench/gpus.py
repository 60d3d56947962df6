"""The peaks of some GPUs, and the least that a frame can take on them: whichever is more, the time for its
arithmetic or that for its numbers through the memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from models import registry
from models.work import Work, work
from realtime.bench.costs import HALF, Mode

Arithmetic = Literal["fp16", "tf32", "float32"]
BYTES: Mapping[Arithmetic, int] = {"fp16": 2, "tf32": 4, "float32": 4}  # of a number in memory


@dataclass(frozen=True)
class Gpu:
    """The makers' peaks, without sparsity."""

    device: str  # as torch calls it
    tflops: Mapping[Arithmetic, float]  # 10¹² operations a second; bf16 is no faster than fp16
    tb_s: float  # 10¹² bytes a second, of its memory


def _gpu(device: str, fp16: float, tf32: float, float32: float, tb_s: float) -> Gpu:
    return Gpu(device, {"fp16": fp16, "tf32": tf32, "float32": float32}, tb_s)


GPUS: Mapping[str, Gpu] = {
    "H200": _gpu("NVIDIA H200", 989, 495, 67, 4.8),
    "H100": _gpu("NVIDIA H100 80GB HBM3", 989, 495, 67, 3.35),
    "A100": _gpu("NVIDIA A100-SXM4-80GB", 312, 156, 19.5, 2.04),
    "L40": _gpu("NVIDIA L40", 181, 90.5, 90.5, 0.864),
    "T4": _gpu("Tesla T4", 65, 8.1, 8.1, 0.32),  # it has no TF32
    "RTX4090": _gpu("NVIDIA GeForce RTX 4090", 165, 82.6, 82.6, 1.008),
}
"""By short name. Others of a similar name, as with PCI Express or for laptops, have other peaks."""


def floor_ms(least: Work, gpu: Gpu, kind: Arithmetic) -> float:
    """Of a batch."""
    return max(_ms(least, gpu, kind))


def limit(least: Work, gpu: Gpu, kind: Arithmetic) -> str:
    """Which of the two it is."""
    arithmetic, memory = _ms(least, gpu, kind)
    return "arithmetic" if arithmetic > memory else "memory"


def _ms(least: Work, gpu: Gpu, kind: Arithmetic) -> tuple[float, float]:
    """For the arithmetic, and for the memory."""
    # 10¹² a second are 10⁹ a millisecond.
    return 2 * least.macs / gpu.tflops[kind] / 1e9, BYTES[kind] * least.numbers / gpu.tb_s / 1e9


def floor_of(model: str, batch: int, mode: Mode, device: str) -> float | None:
    """ms of a batch, run so, on the device that torch calls that; None for one whose peaks are not known."""
    gpu = next((gpu for gpu in GPUS.values() if gpu.device == device), None)
    if gpu is None:
        return None
    # In float32 torch lets convolutions use TF32, unless it is forbidden.
    half = mode in HALF and lowers(model)
    return floor_ms(_work(model, batch), gpu, "fp16" if half else "tf32")


def lowers(model: str) -> bool:
    """Is there anything in it that may be less precise than float32?"""
    return registry.parse(model)[0].spec.needs_weights


@cache
def _work(model: str, batch: int) -> Work:
    return work(model, batch)
