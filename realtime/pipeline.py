"""One session's way from camera frames to avatar frames, in three stages that overlap: reader, tracker,
renderer. A one-slot mailbox lies between any two of them, so that a slow stage costs frames and never
delay."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, Protocol, cast

import av
import numpy as np
import numpy.typing as npt
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from models.contract import Observation
from realtime.avatar import Avatar
from realtime.engine_thread import EngineThread, Late
from realtime.mailbox import Mailbox, MailboxClosed
from realtime.stamp import cut_strip, draw_strip
from realtime.stats import Figures
from realtime.tracks import AvatarTrack, FrameClock, video_frame

log = logging.getLogger(__name__)

MAX_PIXELS = 4096 * 2304  # of a driving frame; the largest that a 4K camera sends, as RGB 28 MB
CLOSE_S = 5.0  # how long the work in hand may take when a session ends

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


class Tracker(Protocol):
    """What follows a driver's face. Used by one frame at a time, from any thread."""

    def observe(self, picture: Picture, time_s: float) -> Observation:
        """The next frame as the generator wants to see it."""

    def close(self) -> None:
        """Let go of the detector."""


class Camera(NamedTuple):
    """A decoded driving frame."""

    frame: av.VideoFrame
    arrival_s: float


class Seen(NamedTuple):
    """A driving frame after the tracker has looked at it. Its picture is gone: only the observation goes
    on."""

    observation: Observation
    time_s: float
    pts: int
    time_base: Any
    arrival_s: float
    strip: Picture | None  # the debug stamp


class Pipeline:
    """Runs the stages for one session.

    make_tracker: builds the session's tracker; slow, run in `pool`. output: where avatar frames go; None for
    a session that only publishes. stamp_width: of the debug stamp; None draws none. clock: seconds. on_face:
    called when the driver's face is found or lost. on_drawn: called with False when a frame can't be drawn,
    with True when one can be again; in between the last picture stays. on_calibrated: called when a new
    neutral pose is complete. on_end: called with `gone` when the camera's track is over, with `error` when a
    stage broke down.
    """

    def __init__(
        self,
        *,
        make_tracker: Callable[[], Tracker],
        engine: EngineThread,
        avatar: Avatar,
        output: AvatarTrack | None,
        pool: Executor,
        figures: Figures,
        clock: Callable[[], float],
        stamp_width: int | None,
        on_face: Callable[[bool], None],
        on_drawn: Callable[[bool], None],
        on_calibrated: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.face: bool | None = None
        self.drawn = True  # False from a frame that could not be drawn to the next that can
        self.last_frame_s: float | None = None
        self._make_tracker = make_tracker
        self._engine = engine
        self._avatar = avatar
        self._output = output
        self._pool = pool
        self._figures = figures
        self._clock = clock
        self._stamp_width = stamp_width
        self._on_face, self._on_drawn = on_face, on_drawn
        self._on_calibrated, self._on_end = on_calibrated, on_end
        self._camera: Mailbox[Camera] = Mailbox()
        self._seen: Mailbox[Seen] = Mailbox()
        self._frame_clock = FrameClock()
        self._reader: asyncio.Task[None] | None = None
        self._stages: list[asyncio.Task[None]] = []

    def start(self, track: MediaStreamTrack) -> None:
        """Read that track until it ends."""
        self._reader = asyncio.create_task(self._read(track))
        self._stages = [asyncio.create_task(self._track()), asyncio.create_task(self._render())]
        for task in (self._reader, *self._stages):
            task.add_done_callback(self._over)

    async def close(self) -> None:
        """Finish the work in hand, and stop."""
        self._camera.close()
        self._seen.close()
        if self._reader is None:
            return
        self._reader.cancel()
        _, late = await asyncio.wait(self._stages, timeout=CLOSE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(self._reader, *self._stages, return_exceptions=True)

    def _over(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session's stage broke down", exc_info=error)
            self._on_end("error")

    async def _read(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.VideoFrame)
                self.last_frame_s = self._clock()
                self._figures.count("received")
                if frame.width * frame.height > MAX_PIXELS:
                    self._skip("reading", ValueError(f"{frame.width}×{frame.height} pixels are too many"))
                    continue
                if not self._camera.put(Camera(frame, self.last_frame_s)):
                    self._figures.count("dropped")
        except MediaStreamError:
            self._on_end("gone")

    async def _track(self) -> None:
        making = self._pool.submit(self._make_tracker)
        looking: Future[Any] = making  # the last work in the pool that has the tracker
        try:
            tracker = await asyncio.wrap_future(making)
            while True:
                camera = await self._camera.get()
                started_s = self._clock()
                time_s = self._frame_clock.tick(camera.frame.time, camera.arrival_s)
                try:
                    work = looking = self._pool.submit(self._look, tracker, camera.frame, time_s)
                    observation, strip = await asyncio.wrap_future(work)
                except Exception as error:  # whatever is wrong with one frame, the next is another
                    self._skip("tracking", error)
                    continue
                tracked_s = self._clock()
                self._figures.stages(
                    {"wait": 1e3 * (started_s - camera.arrival_s), "track": 1e3 * (tracked_s - started_s)}
                )
                pts, time_base = camera.frame.pts or 0, camera.frame.time_base
                if not self._seen.put(Seen(observation, time_s, pts, time_base, camera.arrival_s, strip)):
                    self._figures.count("dropped")
        except MailboxClosed:
            return
        finally:
            await self._let_go(making, looking)

    async def _let_go(self, making: "Future[Tracker]", looking: "Future[Any]") -> None:
        """Close the tracker, once nothing in the pool uses it any more. Where that lasts, nobody waits."""

        def close(_: object) -> None:
            if not making.cancelled() and making.exception() is None:
                making.result().close()

        if looking.done():
            await asyncio.wrap_future(self._pool.submit(close, None))
        else:
            looking.add_done_callback(close)

    def _look(
        self, tracker: Tracker, frame: av.VideoFrame, time_s: float
    ) -> tuple[Observation, Picture | None]:
        """In the pool: what the generator gets to see of a frame, and the debug stamp where one is asked
        for."""
        picture = cast(Picture, frame.to_ndarray(format="rgb24"))
        strip = None if self._stamp_width is None else cut_strip(picture, self._stamp_width)
        return tracker.observe(picture, time_s), strip

    async def _render(self) -> None:
        try:
            while True:
                seen = await self._seen.get()
                calibrating = self._avatar.calibrating
                try:
                    rendered = await asyncio.wrap_future(
                        self._engine.submit(self._avatar, seen.observation, seen.time_s)
                    )
                    self._figures.stages(rendered.stages_ms)
                    if self._output is not None:
                        self._show(self._output, rendered.picture, seen)
                except Late:
                    self._figures.count("dropped")
                    continue
                except Exception as error:  # as above: one bad frame must not end the session
                    self._skip("rendering", error)
                    self._tell_drawn(False)
                    continue
                self._tell_drawn(True)
                if rendered.face is not self.face:
                    self.face = rendered.face
                    self._on_face(rendered.face)
                if calibrating and not self._avatar.calibrating:
                    self._on_calibrated()
        except MailboxClosed:
            return

    def _tell_drawn(self, drawn: bool) -> None:
        if drawn is not self.drawn:
            self.drawn = drawn
            self._on_drawn(drawn)

    def _show(self, output: AvatarTrack, picture: npt.NDArray[np.uint8], seen: Seen) -> None:
        """Hand the avatar's picture to the encoder, with the stamp of the frame that drove it."""
        if seen.strip is not None:
            picture = draw_strip(picture, seen.strip)
        if not output.show(video_frame(picture, seen.pts, seen.time_base), seen.arrival_s):
            self._figures.count("dropped")

    def _skip(self, stage: str, error: Exception) -> None:
        first = self._figures.counts["skipped"] == 0
        self._figures.count("skipped")
        log.log(logging.WARNING if first else logging.DEBUG, "frame skipped in %s: %r", stage, error)
