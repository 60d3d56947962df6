"""One person's session: a peer connection, the pipeline behind it, and its life from the offer to the end."""

import asyncio
import enum
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from aiortc import RTCConfiguration, RTCDataChannel, RTCIceCandidate, RTCIceServer, RTCPeerConnection

from realtime.avatar import Avatar, Portrait
from realtime.channel import LABEL, ControlChannel
from realtime.controls import ControlPanel
from realtime.engine import Engine
from realtime.engine_thread import EngineThread
from realtime.negotiation import answer, check_candidates
from realtime.pictures import load_picture
from realtime.pipeline import Pipeline, Tracker
from realtime.problems import Problem
from realtime.stats import Figures, Metrics
from realtime.tracks import AvatarTrack, discard

log = logging.getLogger(__name__)

# A peer that gives no sign of life for so long is gone. To notice that and to close takes a while too: its
# slot shall be free within 15 s.
SILENCE_S = 12.0
TICK_S = 1.0
CLOSE_S = 5.0  # how long the peer connection may take to close


class State(enum.Enum):
    """Where a session is in its life."""

    NEW = "new"  # the offer is being answered
    CONNECTING = "connecting"  # answered; the peers are looking for a path
    LIVE = "live"
    CLOSING = "closing"
    CLOSED = "closed"


NEXT = {
    State.NEW: {State.CONNECTING, State.CLOSING},
    State.CONNECTING: {State.LIVE, State.CLOSING},
    State.LIVE: {State.CLOSING},
    State.CLOSING: {State.CLOSED},
    State.CLOSED: set(),
}

CLOSING_TEXTS = {
    "shutdown": "the server is shutting down",
    "deleted": "the session was ended on request",
    "timeout": f"no sign of life for {SILENCE_S:g} seconds",
    "error": "the server could not go on with this session",
    "gone": "the peer has left",
}


@dataclass(frozen=True)
class Services:
    """What all sessions of a server share."""

    engine: Engine
    engine_thread: EngineThread
    panel: ControlPanel
    portrait: Portrait  # the one that a session starts with
    metrics: Metrics
    make_tracker: Callable[[], Tracker]
    pool: Executor  # tracking
    portrait_pool: Executor  # uploads, apart so that they hold up nobody's frames
    ice_servers: list[RTCIceServer]
    max_upload: int  # bytes
    clock: Callable[[], float]  # seconds
    debug_stamp: bool = False


class Session:
    """A session. `on_end` is called once, when it should be closed, with the session and a key of
    `CLOSING_TEXTS`."""

    def __init__(self, services: Services, on_end: Callable[["Session", str], object]) -> None:
        self.id = secrets.token_hex(16)
        self.etag = f'"{secrets.token_hex(8)}"'
        self.state = State.NEW
        self.controls = services.panel.defaults
        self.avatar = Avatar(services.portrait, services.panel.tensors(self.controls, services.engine.device))
        self.figures = Figures(services.metrics, services.clock())
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=services.ice_servers))
        self.channel: ControlChannel | None = None
        self.pipeline: Pipeline | None = None
        self.output = AvatarTrack(self._sent)
        self._services = services
        self._on_end = on_end
        self._created_s = services.clock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._candidates = 0  # how many the peer has sent
        self._preparing = False
        self._closed = asyncio.Event()
        self.pc.on("connectionstatechange", self._on_connection)
        self.pc.on("datachannel", self._on_datachannel)

    async def open(self, offer: str) -> str:
        """Answer an SDP offer and start the pipeline. Raises Problem for an offer that cannot be served."""
        agreed = await answer(self.pc, offer, self.output)
        if self.state is not State.NEW:
            raise Problem(503, "the session was ended while its offer was being answered")
        services = self._services
        canvas = services.engine.canvas
        self.pipeline = Pipeline(
            make_tracker=services.make_tracker,
            engine=services.engine_thread,
            avatar=self.avatar,
            output=self.output if agreed.sends_back else None,
            pool=services.pool,
            figures=self.figures,
            clock=services.clock,
            stamp_width=canvas.width if services.debug_stamp and canvas is not None else None,
            on_face=self._on_face,
            on_drawn=lambda drawn: self.tell("picture", drawn=drawn),
            on_calibrated=lambda: self.tell("calibrated"),
            on_end=self.end,
        )
        self.pipeline.start(agreed.video)
        for track in agreed.unused:
            self._keep(discard(track))
        self._candidates = agreed.candidates
        self._add_candidates(agreed.hidden)
        self._keep(self._tick_forever())
        self._move(State.CONNECTING)
        self._on_connection()
        return agreed.sdp

    def end(self, reason: str) -> None:
        """Ask for this session to be closed."""
        if self.state not in (State.CLOSING, State.CLOSED):
            self._on_end(self, reason)

    async def close(self, reason: str) -> None:
        """Tell the peer, stop everything and let go of it. Calling it again waits for the first call."""
        if self.state in (State.CLOSING, State.CLOSED):
            await self._closed.wait()
            return
        self._move(State.CLOSING)
        try:
            await self._wind_up(reason)
        finally:  # whatever has gone wrong: others wait for the end
            self._move(State.CLOSED)
            self._closed.set()

    async def _wind_up(self, reason: str) -> None:
        if self.channel is not None and reason != "gone":
            self.channel.send("closing", reason=reason, detail=CLOSING_TEXTS[reason])
            await self.channel.flush()
        if self.channel is not None:
            await self.channel.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self.output.stop()
        if self.pipeline is not None:
            await self.pipeline.close()
        self._services.engine_thread.forget(self.avatar)
        try:
            await asyncio.wait_for(self.pc.close(), CLOSE_S)
        except TimeoutError:
            log.warning("a peer connection did not close within %g s", CLOSE_S)
        except Exception:  # what is left of it goes with the session
            log.exception("a peer connection broke down while it was closed")
        await asyncio.gather(*tasks, return_exceptions=True)

    def tick(self) -> None:
        """Once a second: look for a sign of life, ask for one, and report."""
        now_s = self._services.clock()
        signs = [self._created_s]
        if self.pipeline is not None and self.pipeline.last_frame_s is not None:
            signs.append(self.pipeline.last_frame_s)
        if self.channel is not None:
            signs.append(self.channel.last_message_s)
        figures = self.figures.report(now_s)
        if now_s - max(signs) >= SILENCE_S:
            self.end("timeout")
        elif self.channel is not None:
            self.channel.ping()
            face = self.pipeline.face if self.pipeline is not None else None
            self.channel.send("stats", **figures, face=face, rttMs=self.channel.rtt_ms)

    def trickle(self, candidates: Sequence[RTCIceCandidate]) -> None:
        """Take in candidates of the peer. Raises Problem where they become too many."""
        check_candidates(self._candidates + len(candidates))
        self._candidates += len(candidates)
        self._add_candidates(candidates)

    def _add_candidates(self, candidates: Sequence[RTCIceCandidate]) -> None:
        """Nobody waits: those behind mDNS names take up to a second to resolve."""
        for candidate in candidates:
            self._keep(self.pc.addIceCandidate(candidate))

    def calibrate(self) -> None:
        """Take the driver's next half second for the neutral pose."""
        self.avatar.calibrate()

    def set_controls(self, wishes: object) -> dict[str, float]:
        """Change settings; returns all of them. Raises Problem for what cannot be set."""
        try:
            checked = self._services.panel.check(wishes)
        except ValueError as error:
            raise Problem(422, str(error)) from None
        self.controls = {**self.controls, **checked}
        self.avatar.controls = self._services.panel.tensors(self.controls, self._services.engine.device)
        self.tell("controls", controls=self.controls)
        return self.controls

    async def set_source(self, data: bytes) -> list[str]:
        """Drive another portrait, from a picture file's contents. Returns warnings; raises Problem for
        what is no portrait."""
        if self._preparing:
            raise Problem(409, "another portrait is still being prepared")
        self._preparing = True
        try:
            loop = asyncio.get_running_loop()
            portrait = await loop.run_in_executor(self._services.portrait_pool, self._prepare, data)
        except ValueError as error:
            raise Problem(422, str(error)) from None
        finally:
            self._preparing = False
        self.avatar.portrait = portrait
        self.tell("source")
        return list(portrait.warnings)

    def tell(self, kind: str, **fields: Any) -> None:
        """Send an event, where there is a channel."""
        if self.channel is not None:
            self.channel.send(kind, **fields)

    def _prepare(self, data: bytes) -> Portrait:
        return self._services.engine.prepare(load_picture(data))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the session, for no longer than it lives."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._work_over)

    def _work_over(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("beside a session: %r", error)

    async def _tick_forever(self) -> None:
        try:
            while True:
                await asyncio.sleep(TICK_S)
                self.tick()
        finally:  # without ticks nobody would notice a peer that vanishes; while closing, this does nothing
            self.end("error")

    def _move(self, state: State) -> None:
        assert state in NEXT[self.state], f"a session can't go from {self.state} to {state}"
        self.state = state

    def _sent(self, arrival_s: float) -> None:
        self.figures.count("sent")
        self.figures.delay(1e3 * (self._services.clock() - arrival_s))

    def _on_face(self, found: bool) -> None:
        if not found:
            self._services.metrics.faces_lost.inc()
        self.tell("face", found=found)

    def _on_connection(self) -> None:
        if self.pc.connectionState == "connected" and self.state is State.CONNECTING:
            self._move(State.LIVE)
        elif self.pc.connectionState in ("failed", "closed"):
            self.end("gone")

    def _on_datachannel(self, channel: RTCDataChannel) -> None:
        if channel.label != LABEL or self.channel is not None:
            channel.close()
            return
        self.channel = ControlChannel(
            channel,
            {"calibrate": self._command_calibrate, "controls": self._command_controls},
            self._command_source,
            self._services.max_upload,
            self._services.clock,
        )
        self.channel.send("hello", session=self.id, controls=self.controls)
        if self.pipeline is not None and self.pipeline.face is not None:
            self.channel.send("face", found=self.pipeline.face)
        if self.pipeline is not None and not self.pipeline.drawn:
            self.channel.send("picture", drawn=False)

    async def _command_calibrate(self, message: dict[str, Any]) -> dict[str, Any]:
        self.calibrate()
        return {}

    async def _command_controls(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"controls": self.set_controls(message.get("controls"))}

    async def _command_source(self, data: bytes) -> dict[str, Any]:
        return {"warnings": await self.set_source(data)}
