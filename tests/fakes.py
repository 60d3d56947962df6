"""Stand-ins for the slow parts, whose output tells which input it was made from."""

import asyncio
from fractions import Fraction

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from models.contract import Observation
from realtime.avatar import Picture
from tests.flat import DARK, flat_observation

CLOCK_RATE = 90000  # of RTP video


class FlatTracker:
    """Sees a face in every picture that is not dark, and breaks on every picture that is very bright."""

    BROKEN = 250  # mean level

    def __init__(self) -> None:
        self.closed = False
        self.times_s: list[float] = []

    def observe(self, picture: Picture, time_s: float) -> Observation:
        if picture.mean() > self.BROKEN:
            raise RuntimeError("this frame is broken")
        self.times_s.append(time_s)
        return flat_observation(picture, valid=bool(picture.mean() >= DARK))

    def close(self) -> None:
        self.closed = True


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class Camera(MediaStreamTrack):
    """A camera whose frames a test pushes one by one, 30 to the second by their stamps."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.next_pts = 0
        self._frames: asyncio.Queue[av.VideoFrame | None] = asyncio.Queue()

    def push(self, picture: Picture) -> int:
        """Send a picture as the next frame; returns its time stamp in units of 1/90000 s."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self.next_pts, Fraction(1, CLOCK_RATE)
        self.next_pts += CLOCK_RATE // 30
        self._frames.put_nowait(frame)
        return frame.pts

    async def recv(self) -> av.VideoFrame:
        frame = await self._frames.get()
        if frame is None:
            raise MediaStreamError
        return frame

    def stop(self) -> None:
        self._frames.put_nowait(None)
        super().stop()
