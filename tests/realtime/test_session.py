"""Sessions from offer to end: a real server and real peers, over real sockets, with fake slow parts."""

import asyncio
import threading
from collections.abc import Sequence

import av
import numpy as np
import pytest
from aiortc import RTCPeerConnection

from realtime.channel import FLUSH_S
from realtime.engine import Begun, Engine, NotFinite, Request
from realtime.session import CLOSING_TEXTS, SILENCE_S, TICK_S, Session, State
from tests.fakes import CLOCK_RATE
from tests.flat import DARK, Flat, FlatEngine, flat_picture
from tests.live import PATIENCE_S, PORTRAIT, Peer, Server, connected, peer_of, running_server, until

pytestmark = pytest.mark.usefixtures("loopback_ice")

TOLERANCE = 10  # levels; a flat picture survives two video codecs and colour conversions with less
BLUE = (0, 0, 180)  # the driver wears blue, and the avatar never shows any
NOTHING_SEEN = (0, 0, 3 * DARK - 6)  # too dark for a face, but blue all the same


def colour(frame: av.VideoFrame) -> np.ndarray:
    """The mean colour of a frame."""
    return frame.to_ndarray(format="rgb24").mean((0, 1))


class GatedEngine(FlatEngine):
    """Renders one frame for each release of its gate, and keeps the times of those it rendered."""

    def __init__(self, canvas: object) -> None:
        super().__init__(Flat(), canvas=canvas)  # type: ignore[arg-type]
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.open = False
        self.times_s: list[float] = []

    def begin(self, requests: Sequence[Request]) -> Begun:
        self.times_s += [request.time_s for request in requests]
        self.entered.release()
        if not self.open:
            assert self.gate.acquire(timeout=20)
        return super().begin(requests)


async def absolute(peer: Peer, server: Server) -> None:
    """Let the avatar's green be the driver's mean level as it stands, with the easing of the first moment
    over."""
    server.session(peer).set_controls({"relative": 0})
    await peer.drive(flat_picture(120))
    peer.camera.next_pts += CLOCK_RATE


async def test_the_avatar_comes_back_with_the_portrait_and_the_drivers_motion() -> None:
    async with running_server() as server, connected(server) as peer:
        await absolute(peer, server)
        for level in (60, 120, 180):
            red, green, _ = colour(await peer.drive(flat_picture(level)))
            assert red == pytest.approx(PORTRAIT[0], abs=TOLERANCE)
            assert green == pytest.approx(level, abs=TOLERANCE)


async def test_the_session_greets_and_becomes_live() -> None:
    async with running_server() as server, connected(server) as peer:
        session = server.session(peer)
        hello = await peer.message("hello")
        assert hello["session"] == session.id
        assert hello["controls"] == {"relative": 1, "gain_expression": 1, "mouth_pixels": 1, "shading": 1}
        await until(lambda: session.state is State.LIVE)


async def test_every_output_frame_carries_the_stamp_of_its_input() -> None:
    async with running_server() as server, connected(server) as peer:
        await absolute(peer, server)
        pushed, got = [], []
        for level in range(60, 220, 20):
            peer.camera.next_pts += 777 * level  # nothing regular that could be guessed
            pushed.append(peer.camera.next_pts)
            frame = await peer.drive(flat_picture(level))
            assert colour(frame)[1] == pytest.approx(level, abs=TOLERANCE)
            got.append(frame.pts)
    for sent, came in zip(pushed, got, strict=True):
        assert abs((came - got[0]) - (sent - pushed[0])) <= 90, "more than 1 ms off"


async def test_newest_wins_when_the_engine_is_slow() -> None:
    engine = GatedEngine(None)
    async with running_server(engine) as server, connected(server) as peer:
        session = server.session(peer)
        await until(lambda: session.state is State.LIVE)
        for count in range(1, 11):
            peer.camera.push(flat_picture(100 + count))
            await until(lambda n=count: session.figures.counts["received"] == n)
            await until(lambda: idle(session, server))
        assert session.figures.counts["dropped"] == 8  # the first is in the engine's hands, the tenth waits
        engine.open = True
        engine.gate.release()
        await until(lambda: len(engine.times_s) == 2)
        assert engine.times_s[1] - engine.times_s[0] == pytest.approx(9 / 30, abs=1e-3)


async def test_delay_does_not_grow_when_frames_come_faster_than_the_engine() -> None:
    engine = GatedEngine(None)
    async with running_server(engine) as server, connected(server) as peer:
        session = server.session(peer)
        await until(lambda: session.state is State.LIVE)
        behind = []
        for step in range(30):  # three frames come for each that the engine renders
            for frame in range(3):
                peer.camera.push(flat_picture(100))
                await until(lambda n=3 * step + frame + 1: session.figures.counts["received"] == n)
                await until(lambda: idle(session, server))
            behind.append(server.trackers[0].times_s[-1] - engine.times_s[-1])
            engine.gate.release()
            await until(lambda n=step + 2: len(engine.times_s) == n)
        engine.open = True
        engine.gate.release()
    assert max(behind) <= 3 / 30 + 1e-3
    assert behind[-1] <= behind[1] + 1e-3


def idle(session: Session, server: Server) -> bool:
    """Has the tracker looked at, or let go of, all that came?"""
    looked = server.counted("stage_seconds_count", stage="track")
    return looked + session.pipeline._camera.dropped == session.figures.counts["received"]


async def test_a_bad_frame_is_skipped_and_the_session_lives() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.drive(flat_picture(120))
        session = server.session(peer)
        peer.camera.push(flat_picture(255))
        await until(lambda: session.figures.counts["skipped"] == 1)
        await peer.drive(flat_picture(120))
        assert session.state is State.LIVE


async def test_a_frame_that_breaks_the_engine_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.drive(flat_picture(120))
        session = server.session(peer)
        render = server.engine.begin

        def broken_once(*arguments: object) -> Begun:
            monkeypatch.setattr(server.engine, "begin", render)
            raise RuntimeError("the device has hiccups")

        monkeypatch.setattr(server.engine, "begin", broken_once)
        peer.camera.push(flat_picture(120))
        await until(lambda: session.figures.counts["skipped"] == 1)
        await peer.drive(flat_picture(120))
        assert session.state is State.LIVE


async def test_the_peer_hears_once_that_frames_cannot_be_drawn_and_once_that_they_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.drive(flat_picture(120))
        session = server.session(peer)

        def broken(*arguments: object) -> Begun:
            raise NotFinite("what is no number")

        with monkeypatch.context() as patch:
            patch.setattr(server.engine, "begin", broken)
            for count in (1, 2, 3):
                peer.camera.push(flat_picture(120))
                await until(lambda n=count: session.figures.counts["skipped"] == n)
        assert peer.frames.empty()
        assert session.state is State.LIVE
        await peer.drive(flat_picture(120))
        session.tick()  # the last word, so that all others have come before it
        told = []
        async with asyncio.timeout(PATIENCE_S):
            while (message := await peer.messages.get())["type"] != "stats" or message["skipped"] < 3:
                told.append(message)
        assert [message for message in told if message["type"] == "picture"] == [
            {"type": "picture", "drawn": False},
            {"type": "picture", "drawn": True},
        ]
        assert server.counted("frames_total", fate="skipped") == 3


async def test_a_channel_that_opens_late_hears_that_frames_cannot_be_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_server() as server, connected(server, channel=False, prepare=other_channel) as peer:
        session = server.session(peer)
        with monkeypatch.context() as patch:
            patch.setattr(server.engine, "begin", lambda requests: 1 / 0)
            peer.camera.push(flat_picture(120))
            await until(lambda: session.figures.counts["skipped"] == 1)
        peer.listen(peer.pc.createDataChannel("control"))
        assert (await peer.message("picture"))["drawn"] is False
        await peer.drive(flat_picture(120))
        assert (await peer.message("picture"))["drawn"] is True


def other_channel(pc: RTCPeerConnection) -> None:
    """Have data channels agreed on before the one that is asked about is there."""
    pc.createDataChannel("other")


async def test_a_decode_error_costs_a_frame_and_not_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.drive(flat_picture(120))
        session = server.session(peer)
        sender = peer.pc.getSenders()[0]
        encode = vars(sender)["_RTCRtpSender__encoder"].encode
        keyframes = []

        def garbage_once(frame: av.VideoFrame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
            payloads, timestamp = encode(frame, force_keyframe)
            keyframes.append(force_keyframe)
            if len(keyframes) == 1:
                payloads = [payload[:4] + b"\xff" * (len(payload) - 4) for payload in payloads]
            return payloads, timestamp

        monkeypatch.setattr(vars(sender)["_RTCRtpSender__encoder"], "encode", garbage_once)
        received = session.figures.counts["received"]
        peer.camera.push(flat_picture(120))
        await until(lambda: len(keyframes) == 1)

        def asked_for_keyframe() -> bool:
            peer.camera.push(flat_picture(120))
            return any(keyframes)

        await until(asked_for_keyframe)
        await until(lambda: session.figures.counts["received"] > received)
        assert session.state is State.LIVE


async def test_the_drivers_own_picture_is_never_sent() -> None:
    shown = []
    async with running_server() as server, connected(server) as peer:
        await peer.drive(flat_picture(NOTHING_SEEN))  # no face before any avatar was drawn
        for picture in (BLUE, NOTHING_SEEN, (250, 250, 255), BLUE, NOTHING_SEEN) * 3:
            peer.camera.push(flat_picture(picture))
            session = server.session(peer)
            counts = session.figures.counts
            pushed = counts["received"] + 1
            await until(lambda n=pushed, c=counts: c["received"] >= n)
        await peer.frame()
        await until(lambda: session.figures.counts["skipped"] > 0)
        while not peer.frames.empty():
            shown.append(colour(peer.frames.get_nowait()))
    assert shown
    assert max(float(frame[2]) for frame in shown) < TOLERANCE


async def test_nothing_is_sent_before_the_first_avatar_frame() -> None:
    engine = GatedEngine(None)
    async with running_server(engine) as server, connected(server) as peer:
        session = server.session(peer)
        for count in range(1, 6):
            peer.camera.push(flat_picture(BLUE))
            await until(lambda n=count: session.figures.counts["received"] >= n)
        assert session.figures.counts["sent"] == 0
        assert peer.frames.empty()
        engine.open = True
        engine.gate.release()


async def test_a_lost_face_is_told_and_the_avatar_goes_on() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.drive(flat_picture(120))
        assert (await peer.message("face"))["found"] is True
        await peer.drive(flat_picture(0))
        assert (await peer.message("face"))["found"] is False
        await peer.drive(flat_picture(120))
        assert (await peer.message("face"))["found"] is True


async def test_a_publisher_gets_no_picture_back_but_is_rendered() -> None:
    engine = GatedEngine(None)
    engine.open = True
    async with running_server(engine) as server, connected(server, direction="sendonly") as peer:
        session = server.session(peer)
        assert "a=recvonly" in peer.answer
        assert "a=sendrecv" not in peer.answer.partition("m=application")[0]
        await until(lambda: session.state is State.LIVE)
        peer.camera.push(flat_picture(120))
        await until(lambda: len(engine.times_s) == 1)
        assert session.figures.counts["sent"] == 0
        assert not any(sender.track for sender in peer.pc.getReceivers() if sender.track)


async def test_sound_is_read_and_thrown_away() -> None:
    async with running_server() as server, connected(server, sound=True) as peer:
        session = server.session(peer)
        sound = next(t.receiver for t in session.pc.getTransceivers() if t.kind == "audio")

        async def packets() -> int:
            reports = (await sound.getStats()).values()
            return sum(report.packetsReceived for report in reports if report.type == "inbound-rtp")

        await until(lambda: session.state is State.LIVE)
        while await packets() < 20:
            await peer.drive(flat_picture(120))
        assert sound.track._queue.qsize() <= 2
    assert len(server.roster) == 0


async def test_a_second_camera_is_turned_down() -> None:
    from tests.fakes import Camera

    def add(pc: object) -> None:
        pc.addTransceiver(Camera(), direction="sendrecv")  # type: ignore[attr-defined]

    async with running_server() as server, connected(server, prepare=add) as peer:
        await peer.drive(flat_picture(120))
        assert peer.answer.count("a=inactive") == 1


async def test_a_peer_that_vanishes_is_freed_within_fifteen_seconds() -> None:
    async with running_server(max_sessions=1) as server, connected(server) as peer:
        await peer.drive(flat_picture(120))
        session = server.session(peer)
        peer.answers_pings = False
        silence = peer.pc.getTransceivers()[0].receiver.transport.transport
        await until(lambda: session.channel is not None and peer.camera._frames.empty())

        async def nothing(data: bytes) -> None:
            return None

        silence._send = nothing
        server.clock.advance(0.0)
        since = max(session.channel.last_message_s, session.pipeline.last_frame_s)
        server.clock.now_s = since + SILENCE_S - 0.1
        session.tick()
        assert len(server.roster) == 1
        server.clock.now_s = since + SILENCE_S
        session.tick()
        await until(lambda: len(server.roster) == 0)
        assert session.state is State.CLOSED
        assert all(tracker.closed for tracker in server.trackers)


def test_silence_leaves_time_to_notice_it_and_to_close() -> None:
    assert SILENCE_S + TICK_S + FLUSH_S < 15
    assert f"{SILENCE_S:g} seconds" in CLOSING_TEXTS["timeout"]


async def test_a_peer_that_never_connects_is_freed() -> None:
    async with running_server(max_sessions=1) as server, peer_of(server.url) as peer:
        await peer.pc.setLocalDescription(await peer.pc.createOffer())
        offer = peer.pc.localDescription.sdp
        answer = await peer.http.post("/whip", data=offer, headers={"Content-Type": "application/sdp"})
        peer.location = answer.headers["Location"]
        session = server.session(peer)
        server.clock.advance(SILENCE_S)
        session.tick()
        await until(lambda: len(server.roster) == 0)


async def test_a_peer_without_frames_lives_as_long_as_it_answers_pings() -> None:
    async with running_server() as server, connected(server) as peer:
        session = server.session(peer)
        await peer.message("hello")
        for _ in range(4):
            server.clock.advance(SILENCE_S - 1)
            before = session.channel.last_message_s
            session.channel.ping()
            await until(lambda then=before: session.channel.last_message_s > then)
            session.tick()
        assert len(server.roster) == 1


async def test_a_peer_that_closes_frees_its_slot_at_once() -> None:
    async with running_server(max_sessions=1) as server:
        async with connected(server) as peer:
            await peer.drive(flat_picture(120))
        await until(lambda: len(server.roster) == 0)
        async with connected(server) as peer:
            await peer.drive(flat_picture(120))


async def test_no_slot_free_is_told_and_disturbs_nobody() -> None:
    async with running_server(max_sessions=1) as server, connected(server) as peer:
        await peer.drive(flat_picture(120))
        async with peer_of(server.url) as late:
            refused = await late.publish()
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.content_type == "application/problem+json"
            assert (await late.http.get("/readyz")).status == 503
        await peer.drive(flat_picture(120))


async def test_sessions_get_their_own_avatars() -> None:
    async with running_server() as server, connected(server) as one, connected(server) as other:
        for peer, level in ((one, 60), (other, 180)):
            await absolute(peer, server)
            await peer.drive(flat_picture(level))
        for _ in range(5):
            for peer, level in ((one, 60), (other, 180)):
                frame = await peer.drive(flat_picture(level))
                assert float(colour(frame)[1]) == pytest.approx(level, abs=TOLERANCE)


async def test_shutting_down_tells_the_sessions_and_takes_no_more() -> None:
    async with running_server() as server, connected(server) as peer, peer_of(server.url) as late:
        await peer.message("hello")
        await server.roster.close()
        closing = await peer.message("closing")
        assert closing["reason"] == "shutdown"
        assert (await late.http.get("/readyz")).status == 503
        assert (await late.publish()).status == 503
        assert len(server.roster) == 0


async def test_figures_that_nobody_reads_do_not_pile_up() -> None:
    async with running_server() as server, connected(server, channel=False) as peer:
        session = server.session(peer)
        for _ in range(3):
            await peer.drive(flat_picture(120))
        session.tick()
        assert session.figures.report(server.clock())["stagesMs"] == {}


async def test_a_session_whose_connection_breaks_while_closing_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server(max_sessions=1) as server, connected(server) as peer:
        session = server.session(peer)
        close = session.pc.close

        async def broken() -> None:
            await close()
            raise AttributeError("a transport that is none")

        monkeypatch.setattr(session.pc, "close", broken)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(session.close("deleted"), session.close("deleted"))
        assert session.state is State.CLOSED
        await server.roster.end(session, "deleted")
        assert len(server.roster) == 0
        assert "a transport that is none" in caplog.text


async def test_a_session_that_cannot_be_closed_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server() as server, connected(server) as one, connected(server) as other:
        await other.message("hello")
        broken = server.session(one)

        async def never() -> None:
            raise RuntimeError("the pipeline is stuck")

        close = broken.pipeline.close
        monkeypatch.setattr(broken.pipeline, "close", never)
        await server.roster.close()
        assert (await other.message("closing"))["reason"] == "shutdown"
        assert len(server.roster) == 0
        assert broken.state is State.CLOSED
        assert "the pipeline is stuck" in caplog.text
        await close()
        await broken.pc.close()


async def test_a_session_whose_ticks_break_down_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server() as server, connected(server) as peer:
        session = server.session(peer)
        monkeypatch.setattr("realtime.session.TICK_S", 0.0)
        monkeypatch.setattr(session, "tick", lambda: 1 / 0)
        assert (await peer.message("closing"))["reason"] == "error"
        await until(lambda: len(server.roster) == 0)


async def test_memory_of_a_session_is_let_go() -> None:
    import gc
    import weakref

    async with running_server() as server:
        async with connected(server) as peer:
            await peer.drive(flat_picture(120))
            session = weakref.ref(server.session(peer))
            await peer.http.delete(peer.location)
        await until(lambda: len(server.roster) == 0)
        await until(lambda: not gc.collect() or session() is None)
        gc.collect()
        assert session() is None


async def test_a_jump_between_states_that_do_not_follow_is_a_bug() -> None:
    async with running_server() as server, connected(server) as peer:
        session = server.session(peer)
        with pytest.raises(AssertionError, match="can't go"):
            session._move(State.NEW)


def test_the_engine_of_these_tests_is_the_real_one() -> None:
    assert issubclass(FlatEngine, Engine)
    assert FlatEngine.begin is Engine.begin


async def test_sessions_leave_no_task_thread_or_slot_behind() -> None:
    async with running_server() as server:
        async with connected(server) as peer:  # the first starts threads that stay: those of the pools
            await peer.drive(flat_picture(120))
        await until(lambda: len(server.roster) == 0)
        await until(lambda: len(asyncio.all_tasks()) <= 3)
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        for end in ("delete", "leave") * 3:
            async with connected(server, sound=True) as peer:
                await peer.drive(flat_picture(120))
                if end == "delete":
                    await peer.http.delete(peer.location)
            await until(lambda: len(server.roster) == 0)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert threading.active_count() <= threads + server.roster.services.pool._max_workers  # type: ignore[attr-defined]
        assert all(tracker.closed for tracker in server.trackers)
