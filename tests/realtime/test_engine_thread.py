"""The thread that renders for all sessions."""

import threading
import weakref
from collections.abc import Iterator, Sequence

import pytest

from models.contract import Controls, Observation
from realtime.avatar import Avatar
from realtime.batching import ACTIVE_S, Batcher
from realtime.engine import Begun, NotFinite, Request
from realtime.engine_thread import EngineThread, Late
from realtime.framing import Canvas
from tests.fakes import FakeClock
from tests.flat import Flat, FlatEngine, FlatStructure, Ill, flat_picture, seen
from tests.gpu.recorder import Recorder
from tests.live import PATIENCE_S
from tests.realtime.test_engine import places


@pytest.fixture
def thread() -> Iterator[EngineThread]:
    made = EngineThread(FlatEngine(Flat()))
    made.start()
    yield made
    made.stop()


def test_the_thread_lets_go_of_an_avatar_when_its_frame_is_made(thread: EngineThread) -> None:
    avatar = Avatar(FlatEngine(Flat()).prepare(flat_picture(100)))
    gone = threading.Event()
    weakref.finalize(avatar, gone.set)
    assert thread.submit(avatar, seen(60), 0.0).result(PATIENCE_S).face
    del avatar
    assert gone.wait(PATIENCE_S), "an ended session's avatar is held until the next frame of another"


def test_the_thread_lets_go_of_an_avatar_whose_frame_nobody_wants() -> None:
    thread = EngineThread(FlatEngine(Flat()))
    avatar = Avatar(FlatEngine(Flat()).prepare(flat_picture(100)))
    gone = threading.Event()
    weakref.finalize(avatar, gone.set)
    assert thread.submit(avatar, seen(60), 0.0).cancel()
    del avatar
    thread.start()
    try:
        assert gone.wait(PATIENCE_S)
    finally:
        thread.stop()


def test_the_newest_request_of_an_avatar_wins() -> None:
    engine = FlatEngine(Flat())
    thread = EngineThread(engine)
    avatar = Avatar(engine.prepare(flat_picture(100)))
    older, newer = thread.submit(avatar, seen(60), 0.0), thread.submit(avatar, seen(60), 1.0)
    thread.start()
    assert newer.result(PATIENCE_S).face
    assert older.cancelled()
    thread.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        thread.submit(avatar, seen(60), 2.0)


# -- several sessions together -----------------------------------------------------------------------------


def test_sessions_that_come_together_are_drawn_together() -> None:
    engine = FlatEngine(Flat())
    thread = EngineThread(engine)
    avatars = [Avatar(engine.prepare(flat_picture(level))) for level in (60, 120, 180)]
    waiting = [thread.submit(avatar, seen(100), 0.0) for avatar in avatars]
    thread.start()
    found = [one.result(PATIENCE_S) for one in waiting]
    thread.stop()
    assert [one.batch for one in found] == [3, 3, 3]
    assert [round(one.picture[..., 0].mean()) for one in found] == [60, 120, 180]


def test_a_frame_that_breaks_a_batch_costs_its_own_session_only() -> None:
    class Broken(Flat):
        def encode_structure(self, driving: Observation) -> FlatStructure:
            if float(driving.image.max()) > 0.9:
                raise RuntimeError("the device has hiccups")
            return super().encode_structure(driving)

    engine = FlatEngine(Broken())
    thread = EngineThread(engine)
    avatars = [Avatar(engine.prepare(flat_picture(level))) for level in (60, 120, 180)]
    waiting = [
        thread.submit(avatar, seen(level), 0.0)
        for avatar, level in zip(avatars, (100, 250, 100), strict=True)
    ]
    thread.start()
    with pytest.raises(RuntimeError, match="hiccups"):
        waiting[1].result(PATIENCE_S)
    assert [waiting[index].result(PATIENCE_S).batch for index in (0, 2)] == [1, 1]
    thread.stop()


def test_the_next_batch_begins_before_the_last_is_waited_for() -> None:
    cuda = Recorder()
    engine = FlatEngine(Flat(), canvas=Canvas(64, 64), slots=3, buckets=(1,), cuda=cuda)
    engine.capture(engine.prepare(flat_picture(60)))
    cuda.log.clear()
    thread = EngineThread(engine, Batcher(1))
    avatars = [Avatar(engine.prepare(flat_picture(level))) for level in (60, 120, 180)]
    waiting = [thread.submit(avatar, seen(100), 0.0) for avatar in avatars]
    thread.start()
    assert all(one.result(PATIENCE_S).face for one in waiting)
    thread.stop()
    order = [line for line in cuda.log if line in ("replay", "wait for event")]
    assert order == ["replay", "replay", "wait for event", "replay", "wait for event", "wait for event"]


def test_a_batch_under_way_is_handed_out_when_the_thread_ends() -> None:
    """It is told to end while it draws."""
    cuda = Recorder()
    engine = FlatEngine(Flat(), canvas=Canvas(64, 64), slots=2, buckets=(1,), cuda=cuda)
    engine.capture(engine.prepare(flat_picture(60)))
    thread = EngineThread(engine)
    asked = threading.Event()

    def ending() -> None:
        del cuda.faults["replay"]
        asked.set()
        while not thread._stopping:
            threading.Event().wait(0.001)

    cuda.faults["replay"] = ending
    waiting = thread.submit(Avatar(engine.prepare(flat_picture(60))), seen(100), 0.0)
    thread.start()
    assert asked.wait(PATIENCE_S)
    thread.stop()
    assert waiting.result(0).face


def test_an_engine_that_refuses_a_batch_ends_nothing() -> None:
    class Refusing(FlatEngine):
        def begin(self, requests: Sequence[Request]) -> Begun:
            if any(request.time_s < 0 for request in requests):
                raise RuntimeError("no")
            return super().begin(requests)

    engine = Refusing(Flat())
    thread = EngineThread(engine)
    thread.start()
    avatar = Avatar(engine.prepare(flat_picture(60)))
    with pytest.raises(RuntimeError, match="no"):
        thread.submit(avatar, seen(100), -1.0).result(PATIENCE_S)
    assert thread.submit(avatar, seen(100), 0.0).result(PATIENCE_S).face
    thread.stop()


def test_a_frame_that_waited_too_long_is_not_drawn() -> None:
    engine, clock = FlatEngine(Flat()), FakeClock()
    thread = EngineThread(engine, Batcher(deadline_s=0.1), clock)
    late = thread.submit(Avatar(engine.prepare(flat_picture(60))), seen(100), 0.0)
    clock.advance(ACTIVE_S + 0.1)
    other = Avatar(engine.prepare(flat_picture(120)))
    in_time = thread.submit(other, seen(100), 0.0)
    thread.start()
    assert in_time.result(PATIENCE_S).face
    with pytest.raises(Late):
        late.result(PATIENCE_S)
    thread.stop()


def test_who_leaves_gives_his_place_to_the_next() -> None:
    engine = FlatEngine(Flat(), slots=1)
    thread = EngineThread(engine)
    thread.start()
    for level in range(60, 180, 20):
        avatar = Avatar(engine.prepare(flat_picture(level)))
        shown = thread.submit(avatar, seen(100), 0.0).result(PATIENCE_S)
        assert round(shown.picture[..., 0].mean()) == level
        thread.forget(avatar)
    other = Avatar(engine.prepare(flat_picture(60)))
    thread.submit(other, seen(100), 0.0).result(PATIENCE_S)
    thread.stop()
    assert places(engine) == 1


def test_a_picture_of_no_numbers_costs_nobody_else_a_frame() -> None:
    engine = FlatEngine(Ill())
    thread = EngineThread(engine)
    avatars = [
        Avatar(engine.prepare(flat_picture(level)), Controls.default(relative=0.0)) for level in (60, 120)
    ]
    waiting = [
        thread.submit(avatar, seen(level), 0.0) for avatar, level in zip(avatars, (220, 100), strict=True)
    ]
    thread.start()
    with pytest.raises(NotFinite):
        waiting[0].result(PATIENCE_S)
    assert waiting[1].result(PATIENCE_S).face
    thread.stop()
