"""Which device the generator runs on."""

import torch


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
