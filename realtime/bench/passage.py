"""From what a browser noted of its frames to figures: how long a frame takes from the camera to the screen,
and what becomes of it on the way. Pure functions."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from realtime.bench import barcode


class Shown(NamedTuple):
    """One frame that the browser showed."""

    at_ms: float
    captured_ms: float | None  # when the camera took it; known of its own frames only
    presented: int  # frames shown so far, also those that nobody noted
    counter: int | None  # read off the bar code

    @classmethod
    def parse(cls, row: Sequence[float]) -> "Shown":
        """From a row that `live.js` noted."""
        at_ms, captured_ms, presented, *levels = row
        return cls(at_ms, captured_ms, int(presented), barcode.decode(levels))


class Delay(NamedTuple):
    """One frame's way from the camera to the screen."""

    at_ms: float  # when it was shown
    delay_ms: float


class Passage(NamedTuple):
    """The figures of a run."""

    seconds: float
    camera_fps: float
    fps: float  # of the avatar, on the screen
    matched: int  # frames whose delay is known
    unread: int  # frames whose bar code could not be read
    p50_ms: float
    p95_ms: float
    growth_ms: float  # median delay of the last quarter of the time − of the first
    dropped: float  # share of the camera's frames that never came back
    longest_gap_ms: float  # between two frames on the screen


def match(camera: Sequence[Shown], avatar: Sequence[Shown]) -> list[Delay]:
    """The delay of each of the avatar's frames that can be told: it is the answer to the last camera frame of
    its number before it. Frames that could not be read, or that the browser did not note when the camera took
    them, are left out."""
    taken: dict[int, list[float]] = defaultdict(list)
    for frame in camera:
        if frame.counter is not None:
            taken[frame.counter].append(frame.at_ms if frame.captured_ms is None else frame.captured_ms)
    delays = []
    for frame in avatar:
        times = taken.get(frame.counter, []) if frame.counter is not None else []
        before = bisect_right(times, frame.at_ms)
        if before:
            delays.append(Delay(frame.at_ms, frame.at_ms - times[before - 1]))
    return delays


def elapsed_frames(frames: Sequence[Shown], loop: int) -> int:
    """How many frames the camera took from the first to the last of `frames` that could be read. loop: frames
    in the camera's file, after which its numbers begin again."""
    numbers = [frame.counter for frame in frames if frame.counter is not None]
    return sum((b - a) % loop for a, b in zip(numbers, numbers[1:], strict=False))


def summarise(camera: Sequence[Shown], avatar: Sequence[Shown], loop: int) -> Passage:
    """The figures. Raises ValueError where fewer than a dozen frames came back with a readable bar code."""
    delays = match(camera, avatar)
    if len(delays) < 12:
        raise ValueError(
            f"only {len(delays)} of {len(avatar)} frames came back with a readable bar code: "
            "does the server run with --debug-stamp?"
        )
    at = np.array([delay.at_ms for delay in delays])
    ms = np.array([delay.delay_ms for delay in delays])
    quarter = (at[-1] - at[0]) / 4
    readable = [frame for frame in avatar if frame.counter is not None]
    shown = readable[-1].presented - readable[0].presented
    return Passage(
        seconds=float(at[-1] - at[0]) / 1e3,
        camera_fps=_rate(camera),
        fps=_rate(avatar),
        matched=len(delays),
        unread=sum(frame.counter is None for frame in avatar),
        p50_ms=float(np.percentile(ms, 50)),
        p95_ms=float(np.percentile(ms, 95)),
        growth_ms=float(np.median(ms[at >= at[-1] - quarter]) - np.median(ms[at <= at[0] + quarter])),
        dropped=max(0.0, 1 - shown / max(1, elapsed_frames(readable, loop))),
        longest_gap_ms=float(np.diff([frame.at_ms for frame in avatar]).max()),
    )


def _rate(frames: Sequence[Shown]) -> float:
    """Frames a second on the screen."""
    passed_ms = frames[-1].at_ms - frames[0].at_ms
    return 1e3 * (frames[-1].presented - frames[0].presented) / passed_ms
