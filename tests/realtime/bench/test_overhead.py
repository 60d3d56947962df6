import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from models.contract import Controls
from realtime.avatar import Avatar
from realtime.batching import Batcher
from realtime.bench import overhead
from realtime.bench.__main__ import main
from realtime.bench.growth import census
from realtime.bench.idle import SIDE, Idle
from realtime.bench.overhead import FRAME, PROCESSOR, OverheadBench, Timed, measure
from realtime.bench.recording import FRAMES, portrait, recording
from realtime.bench.report import WIDTH
from realtime.engine import Begun, Engine, Rendered, Request
from realtime.engine_thread import EngineThread
from realtime.framing import Canvas
from tests.fakes import FakeClock
from tests.live import PATIENCE_S

SMALL = Canvas(64, 64)
SESSIONS = 16
TURNS = 25  # frames of a session: 400 of all


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "WARM_UP_S", 0.1)


def test_the_command_measures_the_real_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "overhead.json"
    chosen = ["--device", "cpu", "--threads", "1", "--canvas", "64x64", "--json", str(out)]
    main(["overhead", *chosen, "--sessions", "3", "--fps", "40", "--frames", "60"])
    figures = json.loads(out.read_text())
    assert 60 <= figures["drawn"] <= figures["asked"]
    assert sum(figures["batches"].values()) == figures["drawn"]
    stages_ms = figures["stages_ms"]
    assert all(0 < p50 <= p95 <= p99 for p50, p95, p99 in stages_ms.values())
    assert stages_ms[FRAME][0] > stages_ms["composite"][0]
    assert PROCESSOR in stages_ms
    assert figures["cpu_ms"] > 0
    shares = [(one["share"], one["frames"]) for one in figures["memory"]]
    assert [share for share, _ in shares] == [0.0, 0.1, 0.5, 1.0]
    assert all(frames >= share * 60 for share, frames in shares)
    assert shares[-1][1] == figures["drawn"]
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[-1] == f"level after the first tenth: {'yes' if figures['level'] else 'no'}"


def test_an_engine_that_breaks_down_is_not_played_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Engine.begin

    def fail_later(engine: Timed, requests: Sequence[Request]) -> Begun:
        if engine.drawn >= 10:
            raise RuntimeError("it fell off")
        return begin(engine, requests)

    monkeypatch.setattr(Engine, "begin", fail_later)
    with pytest.raises(RuntimeError, match="it fell off"):
        measure(OverheadBench(2, frames=40, fps=50.0, canvas="64x64", device="cpu", threads=1))


def test_a_batch_is_shared_among_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, busy = FakeClock(), FakeClock()
    monkeypatch.setattr(overhead, "time", SimpleNamespace(perf_counter=clock, thread_time=busy))

    def draw(engine: Engine, begun: list[None]) -> list[Rendered]:
        clock.advance(0.012)
        busy.advance(0.003)
        return [Rendered(None, True, {"decode": 6.0}, len(begun))] * len(begun)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "begin", lambda engine, requests: requests)
    monkeypatch.setattr(Engine, "finish", draw)
    engine = Timed(Idle(4))
    for rows in (3, 1):
        engine.finish(engine.begin([None] * rows))  # type: ignore[list-item]
    assert list(engine.stages_ms[FRAME]) == pytest.approx([4, 4, 4, 12])
    assert list(engine.stages_ms[PROCESSOR]) == pytest.approx([1, 1, 1, 3])
    assert list(engine.stages_ms["decode"]) == [2, 2, 2, 6]
    assert (engine.drawn, engine.batches) == (4, {3: 3, 1: 1})
    engine.forget()
    assert (engine.drawn, engine.batches, dict(engine.stages_ms)) == (0, {}, {})


def test_the_generator_hands_on_what_it_has() -> None:
    idle = Idle(4)
    (seen,) = recording(Idle.spec.driving)[:1]
    three = seen._replace(image=seen.image.expand(3, -1, -1, -1))
    appearance, structure = idle.encode_appearance([seen]), idle.encode_structure(three)
    assert idle.transfer(structure, structure, appearance, Controls.default(3)) is structure
    assert idle.blend(structure, structure, torch.zeros(3)) is structure
    assert idle.neutral([structure]) is structure
    rgb, alpha = idle.decode(appearance, structure)
    assert (rgb.shape, alpha.shape) == ((3, 3, SIDE, SIDE), (3, 1, SIDE, SIDE))
    assert rgb.data_ptr() == idle.rgb.data_ptr(), "nothing is copied"
    assert rgb[1].data_ptr() != rgb[0].data_ptr()


def grown(engine: Engine) -> tuple[int, int]:
    """By how many objects, and blocks of Python's memory, a process grows while the engine's thread draws
    TURNS frames of each of SESSIONS sessions, after as many others, in which the drivers' rest is over. Who
    asks waits for each turn, so that nothing is dropped."""
    source, frames = portrait(engine), recording(Idle.spec.driving)
    avatars = [Avatar(source) for _ in range(SESSIONS)]
    thread = EngineThread(engine, Batcher(SESSIONS, patience_s=PATIENCE_S, deadline_s=PATIENCE_S))
    counts = []
    thread.start()
    for number in range(2 * TURNS):
        seen = frames[number % FRAMES]
        asked = [thread.submit(avatar, seen, number / 30) for avatar in avatars]
        for future in asked:
            future.result(PATIENCE_S)
        del asked, future
        if (number + 1) % TURNS == 0:
            counts.append(census(0.0, 0))
    thread.stop()
    first, last = counts
    return last.objects - first.objects, last.blocks - first.blocks


def test_no_frame_leaves_anything_behind() -> None:
    objects, blocks = grown(Engine(Idle(SESSIONS), "cpu", SMALL, slots=SESSIONS))
    assert objects <= 20
    assert blocks <= 200


class Hoarder(Engine):
    """Keeps its pictures."""

    def __init__(self, *settings: Any, **others: Any) -> None:
        super().__init__(*settings, **others)
        self.kept: list[Any] = []

    def finish(self, begun: Begun) -> list[Rendered | Exception]:
        drawn = super().finish(begun)
        self.kept += [one.picture for one in drawn if isinstance(one, Rendered)]
        return drawn


def test_pictures_that_are_kept_are_noticed() -> None:
    """The collector does not watch them: they are seen among the blocks."""
    _, blocks = grown(Hoarder(Idle(SESSIONS), "cpu", SMALL, slots=SESSIONS))
    assert blocks >= SESSIONS * TURNS


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--sessions", "0"], "sessions 0: must be at least 1"),
        (["--frames", "0"], "frames 0: must be at least 1"),
        (["--fps", "0"], "fps 0.0: must be above 0"),
        (["--threads", "-1"], "threads -1"),
        (["--max-batch", "0"], "a batch of 0 frames"),
        (["--canvas", "3"], "canvas '3'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["overhead", "--device", "cpu", *arguments])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
