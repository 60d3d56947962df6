"""A real server with fake slow parts, and a peer that talks to it as a browser would: both in this
process, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import av
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, MediaStreamTrack

from realtime import _aiortc_compat
from realtime.app import make_app
from realtime.avatar import Picture
from realtime.config import Settings
from realtime.roster import Roster
from realtime.serve import make_services
from realtime.session import Session, State
from tests.fakes import Camera, FakeClock, FlatTracker
from tests.flat import Flat, FlatEngine, flat_picture

PATIENCE_S = 20.0  # nothing is measured by it: it only ends a test that would hang

PORTRAIT = (200, 100, 50)


@dataclass
class Server:
    """A running server."""

    url: str
    roster: Roster
    engine: FlatEngine
    clock: FakeClock
    trackers: list[FlatTracker]

    def session(self, peer: "Peer") -> Session:
        return self.roster[peer.location.rpartition("/")[2]]

    def counted(self, sample: str, **labels: str) -> float:
        """A counter of the server's metrics."""
        return self.roster.services.metrics.registry.get_sample_value(f"reenact_{sample}", labels) or 0.0


@asynccontextmanager
async def running_server(engine: FlatEngine | None = None, **wishes: Any) -> AsyncIterator[Server]:
    """A server on a free port of 127.0.0.1. wishes: fields of Settings."""
    settings = Settings(
        **{"source": (Path("portrait.png"),), "model": "flat", "canvas": "64x64", "port": 0, **wishes}
    )
    _aiortc_compat.apply(settings.size.width, settings.size.height)  # for both ends: they share this process
    clock = FakeClock()
    engine = engine or FlatEngine(Flat(), canvas=settings.size, clock=clock)
    trackers: list[FlatTracker] = []

    def make_tracker() -> FlatTracker:
        trackers.append(FlatTracker())
        return trackers[-1]

    services = make_services(settings, engine, engine.prepare(flat_picture(PORTRAIT)), make_tracker, clock)
    roster = Roster(services, settings.max_sessions)
    services.engine_thread.start()
    runner = web.AppRunner(make_app(settings, roster), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield Server(f"http://{host}:{port}", roster, engine, clock, trackers)
    finally:
        await roster.close()
        await runner.cleanup()
        services.engine_thread.stop()
        services.pool.shutdown()
        services.portrait_pool.shutdown()


@dataclass
class Peer:
    """The other end of a session."""

    http: aiohttp.ClientSession
    pc: RTCPeerConnection
    camera: Camera
    location: str = ""
    etag: str = ""
    answer: str = ""
    messages: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    frames: asyncio.Queue[av.VideoFrame] = field(default_factory=asyncio.Queue)
    channel: Any = None
    answers_pings: bool = True
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def publish(self) -> aiohttp.ClientResponse:
        """Send the offer; where it is taken, take the answer."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        headers = {"Content-Type": "application/sdp"}
        response = await self.http.post("/whip", data=self.pc.localDescription.sdp, headers=headers)
        self.answer = await response.text()
        if response.status == 201:
            self.location, self.etag = response.headers["Location"], response.headers["ETag"]
            await self.pc.setRemoteDescription(RTCSessionDescription(sdp=self.answer, type="answer"))
        return response

    async def message(self, kind: str) -> dict[str, Any]:
        """The next message of that type; others before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.messages.get()
                if message["type"] == kind:
                    return message

    async def frame(self) -> av.VideoFrame:
        """The next frame of the avatar."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.frames.get()

    async def drive(self, picture: Picture) -> av.VideoFrame:
        """Push a frame and wait for the avatar's answer to it. All earlier answers must have been taken."""
        self.camera.push(picture)
        return await self.frame()

    def listen(self, channel: Any) -> None:
        self.channel = channel

        @channel.on("message")
        def on_message(text: str) -> None:
            message = json.loads(text)
            if message["type"] == "ping" and self.answers_pings:
                channel.send(json.dumps({"type": "pong", "n": message["n"]}))
            self.messages.put_nowait(message)

    def watch(self, track: MediaStreamTrack) -> None:
        async def read() -> None:
            try:
                while True:
                    self.frames.put_nowait(await track.recv())
            except MediaStreamError:
                return

        self._tasks.append(asyncio.create_task(read()))

    async def close(self) -> None:
        self.camera.stop()
        await self.pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def peer_of(
    server_url: str,
    direction: str = "sendrecv",
    sound: bool = False,
    channel: bool = True,
    headers: dict[str, str] | None = None,
    prepare: Callable[[RTCPeerConnection], None] | None = None,
) -> AsyncIterator[Peer]:
    """A peer that has not sent its offer yet."""
    async with aiohttp.ClientSession(server_url, headers=headers) as http:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        camera = Camera()
        peer = Peer(http, pc, camera)
        pc.addTransceiver(camera, direction=direction)
        if sound:
            pc.addTransceiver(AudioStreamTrack(), direction="sendonly")
        if channel:
            peer.listen(pc.createDataChannel("control"))
        if prepare is not None:
            prepare(pc)
        pc.on("track", peer.watch)
        try:
            yield peer
        finally:
            await peer.close()


@asynccontextmanager
async def connected(server: Server, **how: Any) -> AsyncIterator[Peer]:
    """A peer whose offer was taken. how: as for `peer_of`."""
    async with peer_of(server.url, **how) as peer:
        response = await peer.publish()
        assert response.status == 201, peer.answer
        session = server.session(peer)
        receiver = session.pc.getTransceivers()[0].receiver
        # What is sent before the other side listens is lost; a test's frames shall not be.
        await until(lambda: bool(vars(receiver)["_RTCRtpReceiver__started"]) and session.state is State.LIVE)
        await until(lambda: peer.pc.connectionState == "connected")
        yield peer


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other tasks bring about."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
