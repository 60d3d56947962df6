"""A session's stages: what they refuse, and how they end while there is work in hand."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from models.contract import Observation
from realtime.avatar import Avatar, Picture
from realtime.batching import Batcher
from realtime.engine import Begun, Request
from realtime.engine_thread import EngineThread
from realtime.pipeline import MAX_PIXELS, Pipeline
from realtime.stats import Figures, Metrics
from realtime.tracks import AvatarTrack
from tests.fakes import Camera, FakeClock, FlatTracker
from tests.flat import Flat, FlatEngine, flat_picture
from tests.live import PATIENCE_S, until


class SlowTracker(FlatTracker):
    """Looks at a frame for as long as its gate is shut."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.gate = gate
        self.looking = False
        self.closed_while_looking = False

    def observe(self, picture: Picture, time_s: float) -> Observation:
        self.looking = True
        assert self.gate.wait(PATIENCE_S)
        seen = super().observe(picture, time_s)
        self.looking = False
        return seen

    def close(self) -> None:
        self.closed_while_looking |= self.looking
        super().close()


class FaultyEngine(FlatEngine):
    """Can't draw while it is told to be broken."""

    def __init__(self) -> None:
        super().__init__(Flat())
        self.broken = False

    def begin(self, requests: Sequence[Request]) -> Begun:
        if self.broken:
            raise RuntimeError("the device has hiccups")
        return super().begin(requests)


@asynccontextmanager
async def running(
    make_tracker: Callable[[], FlatTracker],
    thread: EngineThread | None = None,
    *,
    output: AvatarTrack | None = None,
    on_drawn: Callable[[bool], None] = lambda drawn: None,
) -> AsyncIterator[tuple[Pipeline, Camera, Figures]]:
    """A pipeline that reads a camera, and only publishes unless there is an output. thread: whoever gives
    one starts it."""
    engine = FlatEngine(Flat())
    if thread is None:
        thread = EngineThread(engine)
        thread.start()
    figures, camera, pool = Figures(Metrics(), 0.0), Camera(), ThreadPoolExecutor(2)
    pipeline = Pipeline(
        make_tracker=make_tracker,
        engine=thread,
        avatar=Avatar(engine.prepare(flat_picture(100))),
        output=output,
        pool=pool,
        figures=figures,
        clock=FakeClock(),
        stamp_width=None,
        on_face=lambda found: None,
        on_drawn=on_drawn,
        on_calibrated=lambda: None,
        on_end=lambda reason: None,
    )
    pipeline.start(camera)
    try:
        yield pipeline, camera, figures
    finally:
        await pipeline.close()
        thread.stop()
        pool.shutdown()


async def test_frames_too_large_are_skipped_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    tracker = FlatTracker()
    async with running(lambda: tracker) as (pipeline, camera, figures):
        for _ in range(2):
            camera.push(flat_picture(120, 4096, MAX_PIXELS // 4096 + 2))
        await until(lambda: figures.counts["skipped"] == 2)
        assert figures.counts["received"] == 2
        assert pipeline.last_frame_s is not None
        camera.push(flat_picture(120))
        await until(lambda: pipeline.face is True)
        assert len(tracker.times_s) == 1
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.name for record in warnings] == ["realtime.pipeline"]
    assert "pixels" in warnings[0].getMessage()


async def test_a_tracker_is_not_closed_while_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.pipeline.CLOSE_S", 0.0)
    gate = threading.Event()
    tracker = SlowTracker(gate)
    async with running(lambda: tracker) as (pipeline, camera, _):
        camera.push(flat_picture(120))
        await until(lambda: tracker.looking)
        async with asyncio.timeout(PATIENCE_S):
            await pipeline.close()
        assert not tracker.closed
        gate.set()
        await until(lambda: tracker.closed)
    assert not tracker.closed_while_looking


async def test_a_tracker_that_is_made_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.pipeline.CLOSE_S", 0.0)
    begun, gate = threading.Event(), threading.Event()
    trackers: list[FlatTracker] = []

    def make() -> FlatTracker:
        begun.set()
        assert gate.wait(PATIENCE_S)
        trackers.append(FlatTracker())
        return trackers[-1]

    async with running(make) as (pipeline, _, _):
        await until(begun.is_set)
        await pipeline.close()
        assert not trackers
        gate.set()
        await until(lambda: bool(trackers) and trackers[0].closed)


async def test_a_tracker_is_closed_when_its_pipeline_is() -> None:
    tracker = FlatTracker()
    async with running(lambda: tracker) as (pipeline, camera, _):
        camera.push(flat_picture(120))
        await until(lambda: pipeline.face is True)
        await pipeline.close()
        assert tracker.closed


async def test_a_frame_that_waits_too_long_for_the_engine_is_dropped() -> None:
    clock = FakeClock()
    thread = EngineThread(FlatEngine(Flat()), Batcher(deadline_s=0.1), clock)
    async with running(FlatTracker, thread) as (pipeline, camera, figures):
        camera.push(flat_picture(120))
        await until(lambda: len(thread._batcher) == 1)
        clock.advance(0.2)
        thread.start()
        await until(lambda: figures.counts["dropped"] == 1)
        assert pipeline.face is None
        camera.push(flat_picture(120))
        await until(lambda: pipeline.face is True)
        assert figures.counts["skipped"] == 0


async def test_that_frames_cannot_be_drawn_is_told_when_it_begins_and_when_it_is_over() -> None:
    engine, told, output = FaultyEngine(), [], AvatarTrack()
    thread = EngineThread(engine)
    thread.start()
    async with running(FlatTracker, thread, output=output, on_drawn=told.append) as (
        pipeline,
        camera,
        figures,
    ):
        pts = camera.push(flat_picture(120))
        assert (await output.recv()).pts == pts
        assert told == []
        for spell in (1, 2):
            engine.broken = True
            for count in (1, 2, 3):
                camera.push(flat_picture(120))
                await until(lambda n=3 * spell - 3 + count: figures.counts["skipped"] == n)
            assert told == [False, True, False][: 2 * spell - 1]
            assert pipeline.drawn is False
            engine.broken = False
            pts = camera.push(flat_picture(120))
            assert (await output.recv()).pts == pts, "in between nothing is sent"
            await until(lambda n=2 * spell: len(told) == n)
        assert told == [False, True] * 2
        assert pipeline.drawn is True


async def test_of_frames_that_are_late_or_bad_it_is_not_told_that_they_were_not_drawn() -> None:
    clock, told = FakeClock(), []
    thread = EngineThread(FlatEngine(Flat()), Batcher(deadline_s=0.1), clock)
    async with running(FlatTracker, thread, on_drawn=told.append) as (pipeline, camera, figures):
        camera.push(flat_picture(120))
        await until(lambda: len(thread._batcher) == 1)
        clock.advance(0.2)
        thread.start()
        await until(lambda: figures.counts["dropped"] == 1)
        camera.push(flat_picture(255))
        await until(lambda: figures.counts["skipped"] == 1)
        camera.push(flat_picture(120))
        await until(lambda: pipeline.face is True)
        assert told == []
