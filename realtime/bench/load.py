"""Sessions' frames, given to an engine when they are due, and what became of them.

A camera does not wait: a frame is submitted at its time, whatever became of those before. What an engine
does not take until the next one of the same session comes is dropped, and never makes a queue.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np

from realtime.engine import Rendered
from realtime.engine_thread import Late

Submit = Callable[[int, int], "Future[Rendered]"]  # of a session, a frame: both count from nought


@dataclass
class Frame:
    """One frame of a session, and what became of it."""

    session: int
    late_s: float  # after it was due, it was submitted
    delay_s: float | None = None  # from there to the picture; None: dropped
    batch: int = 0  # how many sessions were drawn together; 0: dropped
    error: BaseException | None = None  # why there is no picture, where the engine could not draw it


@dataclass(frozen=True)
class Load:
    """What so many sessions at once came to."""

    sessions: int
    fps_least: float  # pictures a second, of the session that got the fewest
    fps_mean: float  # of all sessions
    delay_ms: tuple[float, float, float] | None
    """From a frame's submission to its picture: the median, the 95th and the 99th percentile. None: there was
    no picture."""
    late_ms: float  # after they were due, frames were submitted: the 95th percentile
    frames: int  # of all sessions
    dropped: int  # of them
    batches: Mapping[int, int]  # how many sessions were drawn together → how many frames were drawn so
    peak_mb: float | None  # the most memory until then; None: unknown
    captured: tuple[int, ...] = ()  # batches of these sizes were drawn by CUDA graphs
    against: "Load | None" = None  # of an engine without them, which was played in turns with this one


def play(
    submit: Submit,
    sessions: int,
    fps: float,
    warm_up: int,
    frames: int,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[float], None] = time.sleep,
) -> list[Frame]:
    """Play so many frames of each session after `warm_up` others, which are not in what is returned. The
    sessions take turns at equal distances in time.

    One more of each follows: now those before it are drawn, dropped, or in the engine's hand. So the fate of
    all is known when the engine has finished what it is at. clock: seconds. wait: for so many of them.
    """
    played = []
    started_s = clock()
    for turn in range((warm_up + frames + 1) * sessions):
        number, session = divmod(turn, sessions)
        due_s = started_s + turn / (fps * sessions)
        if (early_s := due_s - clock()) > 0:
            wait(early_s)
        submitted_s = clock()
        frame = Frame(session, submitted_s - due_s)
        if warm_up <= number < warm_up + frames:
            played.append(frame)
        # The frame shall not hold its future, in which the picture is.
        submit(session, number).add_done_callback(partial(_note, frame, submitted_s, clock))
    return played


def _note(frame: Frame, submitted_s: float, clock: Callable[[], float], future: "Future[Rendered]") -> None:
    """What became of it. Called by whoever drew or dropped the frame."""
    now_s = clock()
    frame.error = error_of(future)
    if not future.cancelled() and future.exception() is None:
        frame.delay_s, frame.batch = now_s - submitted_s, future.result().batch


def error_of(future: "Future[Rendered]") -> BaseException | None:
    """Why the engine could not draw a frame; None where it could, or had no time for it."""
    error = None if future.cancelled() else future.exception()
    return None if isinstance(error, Late) else error


def summed_up(frames: Sequence[Frame], sessions: int, seconds: float, peak_mb: float | None) -> Load:
    """frames: of all sessions, in any order. seconds: how long they were played."""
    drawn = Counter(frame.session for frame in frames if frame.delay_s is not None)
    delays = [1e3 * frame.delay_s for frame in frames if frame.delay_s is not None]
    p50, p95, p99 = (float(ms) for ms in np.percentile(delays or [0.0], (50, 95, 99)))
    return Load(
        sessions=sessions,
        fps_least=min(drawn[session] for session in range(sessions)) / seconds,
        fps_mean=len(delays) / sessions / seconds,
        delay_ms=(p50, p95, p99) if delays else None,
        late_ms=float(np.percentile([1e3 * frame.late_s for frame in frames], 95)),
        frames=len(frames),
        dropped=len(frames) - len(delays),
        batches=dict(sorted(Counter(frame.batch for frame in frames if frame.batch).items())),
        peak_mb=peak_mb,
    )


def ratios(load: Load) -> tuple[float | None, float | None] | None:
    """How many times as fast as what it was played against: of the median delay, and of the frames a second.
    None for what can't be told, and where it was played alone."""
    if load.against is None:
        return None
    ours, theirs = load.delay_ms, load.against.delay_ms
    faster = theirs[0] / ours[0] if ours and theirs else None
    return faster, load.fps_mean / load.against.fps_mean if load.against.fps_mean else None


def carried(loads: Sequence[Load], fps: float) -> int:
    """The most sessions of which no frame was dropped and 95 of 100 were drawn before the session's next one
    came; 0 for none. A count whose frames came later than that themselves says nothing, and is left out."""
    limit_ms = 1e3 / fps
    fit = (
        load.sessions
        for load in loads
        if load.delay_ms and load.delay_ms[1] < limit_ms and load.late_ms < limit_ms and not load.dropped
    )
    return max(fit, default=0)
