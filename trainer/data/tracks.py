"""Recorded motions: landmarks of people who were filmed, without the pictures."""

import secrets
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.contract import LANDMARKS
from trainer.data.decoding import moments, rate_of
from trainer.data.files import flush
from trainer.data.layouts import Clip, find_clips, located
from trainer.data.quality import REASONS, Limits, fault_of, figures_of
from trainer.data.shots import look, split, square_of

FPS = 25.0  # at most
LIMITS = Limits(min_side=64, min_sharpness=0, min_light=0.05, max_light=1)  # only the landmarks count


class Track(NamedTuple):
    """One motion."""

    points: npt.NDArray[np.float32]  # F×478×3 landmarks, in any unit that is the same for x, y and z; y down
    fps: float
    name: str

    def at(self, fps: float) -> npt.NDArray[np.float32]:
        """The landmarks at another pace, between frames in a straight line."""
        if fps == self.fps:
            return self.points
        last = len(self.points) - 1
        times = np.arange(int(last * fps / self.fps + 1e-6) + 1) * (self.fps / fps)  # in frames
        before = np.minimum(times.astype(np.int64), last)
        share = (times - before).astype(np.float32)[:, None, None]
        after = np.minimum(before + 1, last)
        between: npt.NDArray[np.float32] = self.points[before] * (1 - share) + self.points[after] * share
        return between


class Tracks(Protocol):
    """Where motions come from."""

    remarks: list[str]  # what of them is of no use, a sentence each; after `tracks`

    def tracks(self) -> list[Track]:
        """All of them. Raises ValueError, in one line, where there is none."""


class FilmedTracks:
    """The motions of a folder of videos, or of another known layout: tracked once, and kept in `cache`.

    A motion is a shot that is long enough and shows one face, whole. Several processes may track into one
    cache: each of `world` begins with another part of the folder, and leaves out what others have done.
    """

    def __init__(self, folder: Path, cache: Path, rank: int = 0, world: int = 1) -> None:
        self._folder, self._cache, self._begin = folder, cache, rank / world
        self.remarks: list[str] = []  # what was left out, after `tracks`

    def tracks(self) -> list[Track]:
        """Raises ValueError, in one line, where there is not one motion."""
        self._cache.mkdir(parents=True, exist_ok=True)
        self.remarks = []
        tracks: list[Track] = []
        clips = [clip for clip in find_clips(self._folder).clips if not clip.series]
        places = [self._place(clip) for clip in clips]
        first = int(self._begin * len(clips))
        for number in (*range(first, len(clips)), *range(first)):
            if not places[number].exists():
                _keep(places[number], *_shots(clips[number]))
        for clip, path in zip(clips, places, strict=True):
            found, lost = _kept(path, clip.id)
            tracks += found
            self.remarks += [f"motion of {clip.path} left out: {reason}" for reason in lost]
        if not tracks:
            raise ValueError(f"no motion in {self._folder}: expected videos of one person's face")
        return tracks

    def _place(self, clip: Clip) -> Path:
        """Another file of that name is another motion."""
        stamp = clip.path.stat().st_mtime_ns if clip.path.exists() else 0
        return self._cache / f"{clip.id}-{stamp}.npz"


def _shots(clip: Clip) -> tuple[list[npt.NDArray[np.float32]], float, list[str]]:
    """The landmarks of each shot of use, frames a second, and why others are of none."""
    try:
        clip = located(clip)
        rate = min(FPS, float(rate_of(clip)))
        seen = list(look(moments(clip, FPS, clip.start_s, clip.end_s), clip.region))
    except ValueError as error:
        return [], FPS, [" ".join(str(error).split())]
    shots, lost = [], []
    for run in split(seen, len(seen)):
        shot = seen[run]
        broke = fault_of(figures_of(shot, [square_of(shot)] * len(shot)), LIMITS)
        if broke is None:
            shots.append(np.stack([one.points for one in shot if one.points is not None]))
        else:
            lost.append(f"{REASONS[broke]} (frames {shot[0].number} to {shot[-1].number})")
    return shots, rate, lost if seen and (shots or lost) else ["no face"]


def _keep(path: Path, shots: list[npt.NDArray[np.float32]], fps: float, lost: list[str]) -> None:
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    lengths = np.array([len(shot) for shot in shots], np.int64)
    points = np.concatenate([np.zeros((0, LANDMARKS, 3), np.float32), *shots])
    with part.open("wb") as file:
        np.savez(file, points=points, lengths=lengths, fps=fps, lost=np.array(lost, np.str_))
    flush(part)
    if path.exists():  # somebody else was faster, and may have read it already
        part.unlink()
    else:
        part.replace(path)


def _kept(path: Path, name: str) -> tuple[list[Track], list[str]]:
    with np.load(path) as file:
        ends = np.cumsum(file["lengths"])
        shots = np.split(file["points"], ends[:-1]) if len(ends) else []
        fps = float(file["fps"])
        return [Track(shot, fps, f"{name}+{number:03}") for number, shot in enumerate(shots)], list(
            map(str, file["lost"])
        )
