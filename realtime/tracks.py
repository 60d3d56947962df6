"""The two ends of a session's video: the camera's track, drained; and the avatar's track, which sends the
newest frame."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from realtime.colours import BT601, LIMITED
from realtime.mailbox import Mailbox, MailboxClosed

MAX_STEP_S = (
    10.0  # a longer step between two frames' time stamps is a jump of the sender's clock, not a pause
)


class AvatarTrack(MediaStreamTrack):
    """The video that goes back. It knows nothing of the camera: only frames that were handed to `show`
    ever leave it."""

    kind = "video"

    def __init__(self, on_sent: Callable[[float], None] = lambda arrival_s: None) -> None:
        """on_sent: called with the arrival time of the driving frame whenever a frame is handed to the
        encoder."""
        super().__init__()
        self._on_sent = on_sent
        self._frames: Mailbox[tuple[av.VideoFrame, float]] = Mailbox()
        self._last_pts: int | None = None

    def show(self, frame: av.VideoFrame, arrival_s: float) -> bool:
        """Make this the next frame to be encoded. False: a frame is dropped for it, an older one that was
        still waiting, or this one where it comes from the past, since encoders need time to move on."""
        assert frame.pts is not None
        if self._last_pts is not None and frame.pts <= self._last_pts:
            return False
        self._last_pts = frame.pts
        return self._frames.put((frame, arrival_s))

    async def recv(self) -> av.VideoFrame:
        """The newest frame, as soon as there is one. Raises MediaStreamError once the track was stopped."""
        try:
            frame, arrival_s = await self._frames.get()
        except MailboxClosed:
            raise MediaStreamError from None
        self._on_sent(arrival_s)
        return frame

    def stop(self) -> None:
        self._frames.close()
        super().stop()


async def discard(track: MediaStreamTrack) -> None:
    """Read a track to its end and keep nothing: what nobody reads would pile up."""
    try:
        while True:
            await track.recv()
    except MediaStreamError:
        return


class FrameClock:
    """Turns the time stamps of frames into seconds that never run backwards, whatever the sender's clock
    does."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self._stamp_s: float | None = None
        self._arrival_s = 0.0

    def tick(self, stamp_s: float | None, arrival_s: float) -> float:
        """The time of the next frame. stamp_s: its own stamp, where it has one; arrival_s: when it came,
        by our clock."""
        if self._stamp_s is None or stamp_s is None:
            step = arrival_s - self._arrival_s if self._arrival_s else 0.0
        else:
            step = stamp_s - self._stamp_s
            if not 0 < step < MAX_STEP_S:
                step = arrival_s - self._arrival_s
        self._stamp_s, self._arrival_s = stamp_s, arrival_s
        self.time_s += max(step, 0.0)
        return self.time_s


def video_frame(picture: npt.NDArray[np.uint8], pts: int, time_base: Any) -> av.VideoFrame:
    """A picture (even sides) as a frame, with the stamp of the frame that drove it. RGB (H×W×3) stays RGB:
    the encoders convert it in their own threads, and only where it gets that far. What `to_i420` has made
    ((3H/2)×W) they take as it is."""
    if picture.ndim == 3:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    else:
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.colorspace, frame.color_range = BT601, LIMITED
    frame.pts = pts
    frame.time_base = Fraction(time_base.numerator, time_base.denominator)
    return frame
