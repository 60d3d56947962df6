"""What a shot must be like to be of use: figures, limits, and the reason why one is left out."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

import models
from models.face_geometry import RIGID, rigid_fit
from trainer.data.settings import Settings
from trainer.data.shots import Seen, Square

RIVAL = 0.15  # of the face's area: smaller faces besides don't count
EDGE = 0.02  # × the face: how far it may reach beyond the frame without being cut
TURN_SHARE = 0.95  # of the frames, of which the furthest turned one counts


class Limits(Settings):
    """What is left out. A figure below a `min_…` or above a `max_…` is the reason."""

    min_frames: int = Field(default=32, ge=1)
    """Of a shot; series of single shots are taken from one on."""
    min_side: int = Field(default=128, ge=1)
    """Pixels of the square that is cut out, in the original."""
    max_cut: float = Field(default=0.1, ge=0, le=1)
    """Share of the frames in which the picture's edge cuts the face."""
    max_second_face: float = Field(default=0.1, ge=0, le=1)
    """Share of the looks in which another face is in the square."""
    max_yaw: float = Field(default=60.0, ge=0, le=180)
    """Degrees that the head is turned, at most in 95 of 100 frames."""
    min_light: float = Field(default=0.1, ge=0, le=1)
    """Mean level of the face, of 1."""
    max_light: float = Field(default=0.9, ge=0, le=1)
    """Mean level of the face, of 1."""
    min_sharpness: float = Field(default=20.0, ge=0)
    """Variance of the Laplacian of the face at 128×128 pixels, levels of 255."""
    min_motion: float = Field(default=0.0, ge=0)
    """Standard deviation of the landmarks in time, × the face's size; 0 keeps still shots too."""


REASONS = {
    "min_frames": "too short",
    "min_side": "too small",
    "max_cut": "cut by the picture's edge",
    "max_second_face": "two faces",
    "max_yaw": "too turned",
    "min_light": "too dark",
    "max_light": "too bright",
    "min_sharpness": "blurred",
    "min_motion": "too still",
}
"""Limit → what a shot that is beyond it is called, in the order in which they are looked at."""


def figures_of(shot: Sequence[Seen], squares: Sequence[Square]) -> dict[str, float]:
    """What is compared with each limit, by the limit's name. All frames of the shot have a face. squares:
    what is cut out of each."""
    points = np.stack([one.points for one in shot if one.points is not None])
    assert len(points) == len(shot)
    sizes = np.ptp(points[..., :2], axis=1).max(1)
    light = float(np.median([one.light for one in shot]))
    spread = float(points[..., :2].std(0).mean() / np.median(sizes)) if len(shot) > 1 else 0.0
    return {
        "min_frames": len(shot),
        "min_side": min(square.side for square in squares),
        "max_cut": float(np.mean([_is_cut_off(one, size) for one, size in zip(shot, sizes, strict=True)])),
        "max_second_face": _second_faces(shot, squares),
        "max_yaw": float(np.quantile(np.abs(yaw_of(points)), TURN_SHARE)),
        "min_light": light,
        "max_light": light,
        "min_sharpness": float(np.median([one.sharpness for one in shot])),
        "min_motion": spread,
    }


def fault_of(figures: dict[str, float], limits: Limits, series: bool = False) -> str | None:
    """The name of the first limit that is broken; None where all are kept."""
    for name in REASONS:
        limit = float(getattr(limits, name))
        if series and name in ("min_frames", "min_motion"):
            continue
        if figures[name] < limit if name.startswith("min_") else figures[name] > limit:
            return name
    return None


def yaw_of(points: np.ndarray[Any, np.dtype[np.floating[Any]]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """By how many degrees each head is turned: B, positive towards the picture's right. points: B×478×3."""
    faces = torch.from_numpy(np.asarray(points, np.float32))[:, list(RIGID)]
    mean = _mean_face()[list(RIGID)].expand(len(faces), -1, -1)
    _, rotation, _ = rigid_fit(mean, faces)
    ahead = -rotation[:, :, 2]  # where the nose points: the mean face looks against z
    return torch.rad2deg(torch.atan2(ahead[:, 0], -ahead[:, 2])).numpy()


@cache
def _mean_face() -> Tensor:
    with np.load(Path(models.__path__[0]) / "mean_face.npz") as file:
        return torch.from_numpy(file["points"]).float()


def _is_cut_off(seen: Seen, size: float) -> bool:
    assert seen.points is not None
    xy = seen.points[:, :2]
    return bool((xy.min(0) < -EDGE * size).any() or (xy.max(0) > np.array(seen.size) + EDGE * size).any())


def _second_faces(shot: Sequence[Seen], squares: Sequence[Square]) -> float:
    """In which share of the looks there was another face in the square."""
    looks = [pair for pair in zip(shot, squares, strict=True) if pair[0].others is not None]
    return float(np.mean([_has_rival(one, square) for one, square in looks])) if looks else 0.0


def _has_rival(seen: Seen, square: Square) -> bool:
    assert seen.points is not None
    assert seen.others is not None
    area = float(np.prod(np.ptp(seen.points[:, :2], axis=0)))
    for box in seen.others:
        x, y = box.x + box.width / 2 - square.x, box.y + box.height / 2 - square.y
        if box.area >= RIVAL * area and 0 <= x < square.side and 0 <= y < square.side:
            return True
    return False
