"""Made-up training runs."""

from pathlib import Path
from typing import Any

import torch

from models import weights

TINY = (
    "imf:tiny",
    "dae_gan:tiny",
    "landmark_gan:tiny",
    "latent:tiny",
)
"""The recipes' generators, in the size that runs on processors."""


def state_of(model: str, step: int = 12, **other: Any) -> dict[str, Any]:
    """A checkpoint's, with random weights. other: entries that are otherwise, or further ones."""
    return {
        "format": 1,
        "recipe": model.partition(":")[0],
        "model": model,
        "step": step,
        "pictures": 16 * step,
        "ema": weights.seeded(model, seed=step).state_dict(),
        "optimizers": {"generator": {"state": {}}},
    } | other


def run_of(model: str, folder: Path, steps: tuple[int, ...] = (12,)) -> Path:
    """The folder of a run, with its checkpoints."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    for step in steps:
        torch.save(state_of(model, step), checkpoints / f"step-{step:08d}.pt")
    return folder
