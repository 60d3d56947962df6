"""Which sessions' frames are drawn together, and when. No thread and no clock of its own: whoever asks says
what time it is.
"""

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

ACTIVE_S = 0.5  # after its last frame, a session is not waited for any more

F = TypeVar("F")


class Batch(NamedTuple, Generic[F]):
    """What was taken out."""

    frames: list[F]  # to be drawn together; none where it is better to wait
    late: list[F]  # waited beyond their deadline: to be dropped


class Batcher(Generic[F]):
    """The newest frame of each session that waits to be drawn.

    A batch is ready when every session that is active has a frame in it, when it is full, or when the oldest
    of its frames has waited long enough. Where more frames wait than fit, those go first whose sessions were
    drawn the longest time ago.

    most: frames a batch. patience_s: how long a frame waits for company. deadline_s: after which a frame is
    no longer worth drawing. Raises ValueError for a batch of no frames, and times below nought.
    """

    def __init__(self, most: int = 16, patience_s: float = 0.004, deadline_s: float = 0.25) -> None:
        if most < 1:
            raise ValueError(f"a batch of {most} frames: must be at least 1")
        if patience_s < 0 or deadline_s < 0:
            raise ValueError("patience and deadline must not be negative")
        self._most, self._patience_s, self._deadline_s = most, patience_s, deadline_s
        self._waiting: dict[Hashable, tuple[F, float]] = {}  # by session, in order of arrival; since when
        self._heard_s: dict[Hashable, float] = {}  # when each session's last frame came
        self._drawn: dict[Hashable, int] = {}  # how many frames had been drawn when a session's last one was
        self._count = 0

    def __len__(self) -> int:
        """How many frames wait."""
        return len(self._waiting)

    def put(self, session: Hashable, frame: F, now_s: float) -> F | None:
        """A session's newest frame. Gives the one that it replaces, if that was still waiting."""
        before, _ = self._waiting.pop(session, (None, 0.0))
        self._waiting[session] = (frame, now_s)
        self._heard_s[session] = now_s
        return before

    def forget(self, session: Hashable) -> F | None:
        """The session is over. Gives the frame of it that was still waiting."""
        self._heard_s.pop(session, None)
        self._drawn.pop(session, None)
        return self._waiting.pop(session, (None, 0.0))[0]

    def clear(self) -> list[F]:
        """Forget everything. Gives the frames that were still waiting."""
        frames = [frame for frame, _ in self._waiting.values()]
        self._waiting.clear()
        self._heard_s.clear()
        self._drawn.clear()
        return frames

    def wait_s(self, now_s: float) -> float | None:
        """How long until there is something to take; None as long as nothing comes."""
        if not self._waiting:
            return None
        active = sum(now_s - heard_s <= ACTIVE_S for heard_s in self._heard_s.values())
        if len(self._waiting) >= min(self._most, active):
            return 0.0
        oldest_s = min(since_s for _, since_s in self._waiting.values())
        return max(0.0, oldest_s + self._patience_s - now_s)

    def take(self, now_s: float) -> Batch[F]:
        """What is ready, and what came too late."""
        late = [
            session for session, (_, since_s) in self._waiting.items() if now_s - since_s > self._deadline_s
        ]
        dropped = [self._waiting.pop(session)[0] for session in late]
        if self.wait_s(now_s) != 0:
            return Batch([], dropped)
        # Also of those who were in one batch: or the first of them would be in every one.
        first = sorted(self._waiting, key=lambda session: self._drawn.get(session, -1))[: self._most]
        for session in first:
            self._drawn[session] = self._count
            self._count += 1
        return Batch([self._waiting.pop(session)[0] for session in first], dropped)
