"""Recorded motions: landmarks of people who were filmed, without the pictures."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from trainer.data.decoding import moments, rate_of
from trainer.data.layouts import clip_id, find_clips
from trainer.data.quality import Limits, fault_of, figures_of
from trainer.data.shots import look, split, square_of

FPS = 25.0  # at most
LIMITS = Limits(min_side=64, min_sharpness=0, min_light=0.05, max_light=1)  # only the landmarks count


class Track(NamedTuple):
    """One motion."""

    points: npt.NDArray[np.float32]  # F×478×3 landmarks, in any unit that is the same for x, y and z; y down
    fps: float
    name: str


class Tracks(Protocol):
    """Where motions come from."""

    def tracks(self) -> list[Track]: ...


class FilmedTracks:
    """The motions of a folder of videos, or another known layout: tracked once, and kept in `cache`.

    A motion is a shot that is long enough and shows one face, whole.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder, self._cache = folder, cache

    def tracks(self) -> list[Track]:
        """Raises ValueError, in one line, where there is not one motion."""
        found = find_clips(self._folder)
        self._cache.mkdir(parents=True, exist_ok=True)
        tracks: list[Track] = []
        for clip in found.clips:
            if clip.series:
                continue
            stamp = clip.path.stat().st_mtime_ns if clip.path.exists() else 0
            path = self._cache / f"{clip_id(clip.id, str(stamp))}.npz"
            if not path.exists():
                keep(path, _shots(clip.id, clip))
            tracks += kept(path)
        if not tracks:
            raise ValueError(f"no motion in {self._folder}: expected videos of one person's face")
        return tracks
