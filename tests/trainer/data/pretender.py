"""A renderer that draws coloured waves instead of people, at once; and prepared folders of its clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.rendering import Rendering, render_clips
from trainer.data.synthetic.seeds import rng


class Pretended(NamedTuple):
    """A clip, as `Rendered` has it."""

    picture: Tensor
    points: Tensor
    labels: Tensor
    parameters: dict[str, Tensor]
    maps: dict[str, Tensor]


def render(
    seed: int,
    identity: int,
    clip: int,
    frames: int,
    size: int,
    device: torch.device,
    style: str | None,
    maps: Sequence[str],
) -> Pretended:
    """Smooth, so that JPEG hardly changes it; other numbers, another clip."""
    random = rng(seed, f"pretended {style}", identity * 1000 + clip)
    axis = torch.linspace(0, 1, size)
    time = torch.arange(frames).view(-1, 1, 1, 1) / 25
    across, down, phase = torch.from_numpy(random.uniform(0, 6, (3, 3, 1, 1))).float()
    waves = torch.sin(across * axis + down * axis[:, None] + phase + time)  # F×3×H×W
    points = torch.from_numpy(random.uniform(0, 1, (frames, 478, 3))).float()
    drawn = {
        "flow": torch.where(waves[:, 2:] > 0, 20 * waves[:, :2], torch.nan),
        "depth": torch.where(waves[:, :1] > 0, 60 + 20 * waves[:, 1:2], torch.inf),
        "normals": torch.nn.functional.normalize(waves, dim=1),
    }
    return Pretended(
        picture=(127.5 + 120 * waves).round().to(torch.uint8),
        points=points,
        labels=(waves[:, 0] > 0).to(torch.uint8) + 2 * (waves[:, 1] > 0).to(torch.uint8),
        parameters={
            "motion.expression": torch.from_numpy(random.uniform(0, 1, (frames, 44))).float(),
            "identity.shape": torch.full((1, 40), float(identity)),
        },
        maps={name: drawn[name] for name in maps},
    )


def prepare(asked: Rendering) -> None:
    """Into its folder; for processes that are started with it."""
    for _ in render_clips(asked, render):
        pass


def folder(path: Path, **asked: Any) -> Path:
    """A prepared folder of tiny clips."""
    usual: dict[str, Any] = {"identities": 6, "frames": 4, "size": 32, "workers": 1}
    prepare(Rendering(output=path, **usual | asked))
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Every file below that folder, by its name there."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def clip_points(frames: int, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.float32]]":
    return np.random.default_rng(seed).uniform(0, 1, (frames, 478, 3)).astype(np.float32)
