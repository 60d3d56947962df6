import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from models import registry
from models.contract import Observation
from realtime.bench import players, sessions
from realtime.bench.__main__ import main
from realtime.bench.costs import Failure
from realtime.bench.load import Frame, Load, Submit
from realtime.bench.report import WIDTH
from realtime.bench.sessions import TURNS, SessionsBench, Trial, attempt, in_turns, show, together, told
from realtime.engine import Begun, Engine, Request
from tests.gpu.recorder import Recorder
from tests.live import PATIENCE_S
from tests.models.tiny import Tiny

LOAD = Load(1, 30.0, 30.0, (10.0, 19.9, 25.0), 0.5, 300, 0, {1: 300}, 123.4)
SHORT = SessionsBench(("tiny",), sessions="1,3", seconds=0.2, fps=50.0, device="cpu", threads=1)


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "WARM_UP_S", 0.1)


def test_the_command_measures_the_real_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sessions.json"
    chosen = ["--model", "warp", "--device", "cpu", "--threads", "1", "--canvas", "128x128"]
    paced = ["--sessions", "2,1", "--seconds", "0.5", "--fps", "8"]
    main(["sessions", *chosen, *paced, "--json", str(out)])
    figures = json.loads(out.read_text())
    assert (figures["device"], figures["threads"], figures["fps"]) == ("cpu", 1, 8)
    (one,) = figures["models"]
    assert (one["model"], one["left_out"], one["failure"]) == ("warp", [], None)
    assert [load["sessions"] for load in one["loads"]] == [1, 2]
    for load in one["loads"]:
        assert load["frames"] == 4 * load["sessions"]
        assert load["frames"] - load["dropped"] == sum(load["batches"].values())
        assert 0 < load["delay_ms"][0] <= load["delay_ms"][1] <= load["delay_ms"][2]
        assert load["peak_mb"] > 1
    said = capsys.readouterr().out
    assert said.count("warp") == 3
    assert max(map(len, said.splitlines())) <= WIDTH


def test_each_session_plays_its_own_part_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, list[float]] = {}
    submit = sessions.EngineThread.submit

    def note(thread: Any, avatar: Any, observation: Observation, time_s: float) -> Any:
        assert observation.points is not None
        seen.setdefault(id(avatar), []).append(float(observation.points.sum()))
        if len(kept) < 4:
            kept.append(avatar)
        return submit(thread, avatar, observation, time_s)

    kept: list[Any] = []  # so that no two of them have the same id
    monkeypatch.setattr(sessions.EngineThread, "submit", note)
    found, failure = attempt(Trial(SHORT, "tiny", "cpu"))
    assert failure is None
    assert [load.sessions for load in found] == [1, 3]
    assert {load.frames for load in found} == {10, 30}
    parts = list(seen.values())
    assert len(parts) == 1 + 3
    assert all(len(set(part)) > 10 for part in parts)
    assert len({part[5] for part in parts[1:]}) == 3


def test_sessions_that_come_together_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a frame may wait for longer than it takes until all are there."""
    monkeypatch.setattr(players, "play", lambda submit, count, fps, *_: together_played(submit, count))
    patient = replace(SHORT, sessions="3", batch_wait_ms=60_000)
    ((load,), failure) = attempt(Trial(patient, "tiny", "cpu"))
    assert failure is None
    assert load.batches == {3: 3}
    alone, _ = attempt(Trial(replace(patient, max_batch=1), "tiny", "cpu"))
    assert alone[0].batches == {1: 3}


def together_played(submit: Submit, count: int) -> list[Frame]:
    done = [submit(session, 1) for session in range(count)]
    return [Frame(session, 0.0, 0.01, future.result(PATIENCE_S).batch) for session, future in enumerate(done)]


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            torch.OutOfMemoryError("CUDA out of\n memory."),
            ("no memory", "OutOfMemoryError: CUDA out of memory."),
        ),
        (RuntimeError("no kernel"), ("failed", "RuntimeError: no kernel")),
    ],
)
@pytest.mark.parametrize("call", ["encode_appearance", "decode"])
def test_what_torch_cannot_do_is_told(
    call: str, error: Exception, failure: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tiny, call, failing(error))
    assert attempt(Trial(SHORT, "tiny", "cpu")) == ([], Failure(*failure))


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the processor OpenCV puts the picture together."""
    monkeypatch.setitem(sys.modules, "cv2", None)
    found, failure = attempt(Trial(SHORT, "tiny", "cpu"))
    assert found == []
    assert failure is not None
    assert failure.word == "no cv2"


def test_what_only_we_can_get_wrong_is_no_failure_of_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tiny, "decode", failing(TypeError("ours")))
    with pytest.raises(TypeError, match="ours"):
        attempt(Trial(SHORT, "tiny", "cpu"))


def test_an_engine_that_breaks_down_later_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Frame(0, 0.0, error=RuntimeError("it fell off"))
    monkeypatch.setattr(players, "play", lambda *_: [Frame(0, 0.0, 0.01, 1), broken])
    assert attempt(Trial(SHORT, "tiny", "cpu")) == ([], Failure("failed", "RuntimeError: it fell off"))


@pytest.mark.parametrize("frames", [0, 4])
def test_an_engine_that_dies_is_not_waited_for(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its first frame, or later."""
    render = Engine.begin
    drawn = []

    def die(*given: Any) -> Any:
        if len(drawn) == frames:
            raise SystemExit
        drawn.append(given)
        return render(*given)

    monkeypatch.setattr(Engine, "begin", die)
    why = Failure("failed", "RuntimeError: the engine's thread has died")
    assert attempt(Trial(SHORT, "tiny", "cpu")) == ([], why)


def test_larger_counts_are_left_out_once_most_frames_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(trial: Trial) -> Iterator[Load]:
        for count in trial.settings.counts:
            yield replace(LOAD, sessions=count, frames=300 * count, dropped={2: 300, 4: 601}.get(count, 0))

    monkeypatch.setattr(sessions, "measure", measure)
    trial = Trial(replace(SHORT, sessions="1,2,4,8"), "tiny", "cpu")
    found, failure = attempt(trial)
    assert [load.sessions for load in found] == [1, 2, 4], "of two, just half"
    assert failure == Failure("left out", "with 4 at once more than half of the frames were dropped")
    row = told("tiny", trial.settings, (found, failure))
    assert (row["carried"], row["left_out"]) == (1, [8])
    assert row["failure"] == asdict(failure)
    most = attempt(replace(trial, settings=replace(SHORT, sessions="1,2,4")))
    assert most == (found, None), "nothing was left out"


class Player:
    """Notes when it plays, and how long."""

    def __init__(self, name: str, log: list[tuple[str, int, int]]) -> None:
        self.name, self.log = name, log

    def play(self, warm_up: int, frames: int) -> list[Frame]:
        self.log.append((self.name, warm_up, frames))
        return [Frame(0, 0.0)] * frames


def test_who_was_last_in_a_turn_is_first_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "AGAIN_S", 0.04)
    log: list[tuple[str, int, int]] = []
    settings = replace(SHORT, seconds=0.38)  # 19 frames
    one, other = Player("one", log), Player("other", log)
    played = in_turns([one, other], settings)
    assert log == [
        *[("one", 5, 5), ("other", 5, 5), ("other", 2, 5), ("one", 2, 5)],
        *[("one", 2, 5), ("other", 2, 5), ("other", 2, 5), ("one", 2, 5)],
    ]
    assert [len(part) for part in played] == [20, 20]
    log.clear()
    assert [len(part) for part in in_turns([one], settings)] == [19]
    assert log == [("one", 5, 19)]


class Recorded(Engine):
    """With graphs on the CPU, too. Every engine that is made is kept."""

    made: ClassVar[list["Recorded"]]
    drew: ClassVar[list["Recorded"]]  # who did, in order, each time that it is another

    def __init__(self, *settings: Any, **others: Any) -> None:
        super().__init__(*settings, **others, cuda=Recorder())
        self.made.append(self)

    def begin(self, requests: Sequence[Request]) -> Begun:
        if not self.drew or self.drew[-1] is not self:
            self.drew.append(self)
        return super().begin(requests)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    Recorded.made, Recorded.drew = [], []
    monkeypatch.setattr(sessions, "Engine", Recorded)
    monkeypatch.setattr(sessions, "GRAPHS", ("cpu", "cuda"))
    monkeypatch.setattr(sessions, "AGAIN_S", 0.04)
    return Recorded


def test_two_engines_of_one_network_take_turns(graphs: type[Recorded]) -> None:
    settings = replace(SHORT, sessions="1,2", seconds=0.4, against="eager", max_batch=4)
    found, failure = attempt(Trial(settings, "tiny", "cpu"))
    assert failure is None
    captured, eager = graphs.made
    assert captured.generator is eager.generator, "of the same weights, in the same memory"
    assert (captured.captured, eager.captured) == ((1, 2, 4), ())
    assert len(graphs.drew) > 2 * TURNS, "they changed places all the time"
    for load, count in zip(found, (1, 2), strict=True):
        assert load.against is not None
        assert (load.sessions, load.against.sessions) == (count, count)
        assert (load.frames, load.against.frames) == (20 * count, 20 * count)
        assert (load.captured, load.against.captured) == ((1, 2, 4), ())


def test_without_another_there_is_one_engine_and_it_has_graphs(graphs: type[Recorded]) -> None:
    ((load, *_), failure) = attempt(Trial(SHORT, "tiny", "cpu"))
    assert (load.against, load.captured, failure) == (None, (1, 2, 4, 8, 16), None)
    assert len(graphs.made) == 1


def figures(*models: dict[str, Any]) -> dict[str, Any]:
    machine = {"device": "NVIDIA H200", "cores": 16, "threads": 8, "torch": "2.11.0+cu130"}
    played = {"fps": 30.0, "seconds": 10.0, "canvas": "512x512", "precision": "auto", "against": None}
    return {**machine, **played, "models": list(models)}


def test_the_table_fits_and_says_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    longest = "landmark_gan:256"
    settings = replace(SHORT, sessions="1,2,4,8,16,32", fps=30.0)
    slow = replace(
        LOAD,
        sessions=4,
        fps_mean=29.91,
        fps_least=0.04,
        delay_ms=(16733.0, 18455.4, 60859.1),
        late_ms=1312.5,
        dropped=4799,
        frames=4800,
        batches={16: 3000, 8: 1000, 12: 500, 1: 1},
        peak_mb=123456.7,
    )
    dark = replace(LOAD, sessions=2, delay_ms=None, dropped=300, batches={}, peak_mb=None)
    none = Failure("ended", "the process was ended " * 9)
    show(
        figures(
            told(longest, settings, ([LOAD, dark, slow], Failure("left out", "with 4 at once …"))),
            told("warp", settings, none),
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    rows = [" ".join(line.split()) for line in lines if line.startswith(f"{longest} ")]
    assert rows == [
        f"{longest} 1 30.0 30.0 10.0 19.9 25.0 0/300 0.50 1: 100 % 123",
        f"{longest} 2 30.0 30.0 – – – 300/300 0.50 – –",
        f"{longest} 4 29.9 0.0 16733 18455 60859 4799/4800 1312 16: 67 % 8: 22 % … 123457",
        f"{longest} 8–32 left out",
        f"{longest} 1",
    ]
    assert f"{longest}, 8–32 sessions: with 4 at once …" in lines
    assert any(line.startswith("warp, 1–32 sessions: the process was ended") for line in lines)
    assert lines[-1].split() == ["warp", "0"]
    assert "p95 under 33.3 ms" in lines[-5]


def test_a_second_table_compares_and_the_json_has_both(capsys: pytest.CaptureFixture[str]) -> None:
    settings = replace(SHORT, sessions="1,2,4", fps=30.0)
    eager = replace(LOAD, delay_ms=(25.0, 30.0, 35.0), fps_mean=20.0, peak_mb=None)
    blind = replace(LOAD, sessions=2, delay_ms=None, fps_mean=0.0, dropped=300)
    loads = [replace(LOAD, against=eager), replace(blind, against=eager), replace(LOAD, against=blind)]
    found = told("landmark_gan:256", settings, (loads, None))
    assert [load["ratios"] for load in found["loads"]] == [(2.5, 1.5), (None, 0.0), (None, None)]
    assert found["loads"][0]["against"]["delay_ms"] == (25.0, 30.0, 35.0)
    show(figures(found) | {"against": "eager"})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    (at,) = [index for index, line in enumerate(lines) if "eager" in line and "ratio" in line.split()]
    assert [line.split() for line in lines[at + 2 : at + 5]] == [
        ["landmark_gan:256", "1", "10.0", "25.0", "2.50", "30.0", "20.0", "1.50"],
        ["landmark_gan:256", "2", "–", "25.0", "–", "0.0", "20.0", "0.00"],
        ["landmark_gan:256", "1", "10.0", "–", "–", "30.0", "0.0", "–"],
    ]
    show(figures(told("tiny", settings, ([LOAD], None))))
    assert "eager" not in capsys.readouterr().out


def test_how_many_were_drawn_together() -> None:
    assert together({}) == "–"
    assert together({1: 1, 4: 3}) == "4: 75 % 1: 25 %"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model", "nonesuch"], "unknown model 'nonesuch'"),
        (["--sessions", "1,0"], "sessions '1,0': write counts from 1 up"),
        (["--sessions", ""], "sessions '': write counts"),
        (["--fps", "0"], "fps 0.0: must be above 0"),
        (["--seconds", "0"], "seconds 0.0: must be long enough"),
        (["--seconds", "inf"], "seconds inf: must be long enough"),
        (["--threads", "-1"], "threads -1"),
        (["--max-batch", "0"], "a batch of 0 frames"),
        (["--batch-wait-ms", "-1"], "patience and deadline must not be negative"),
        (["--canvas", "3"], "canvas '3'"),
        (["--against", "eager"], "--against eager: both would be eager: there are no CUDA graphs on cpu"),
        (["--model", "warp", "--precision", "fp16"], "model warp runs in float32 only"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["sessions", "--device", "cpu", *arguments])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_counts_are_ascending_and_all_networks_are_measured_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert SessionsBench(sessions="4,1,2,4").counts == [1, 2, 4]
    monkeypatch.setattr(sessions, "in_own_process", lambda function, trial: ([LOAD], None))
    models = SessionsBench(sessions="1", device="cpu").measure()["models"]
    assert {one["model"].partition(":")[0] for one in models} >= registry.MODULES.keys()
