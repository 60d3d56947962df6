"""What a run writes about itself is whole, goes on after a kill, and tells no more than it should."""

import json
import math
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import trainer.journal
from trainer.data.pictures import decode_picture
from trainer.journal import Journal, describe_run, read_log


@pytest.fixture(autouse=True)
def _without_board(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """TensorBoard takes seconds to import: only tests that are called for it do."""
    if "board" not in request.node.name:
        monkeypatch.setattr(trainer.journal, "_open_board", lambda folder, resumed: None)


def ticking(*times: float) -> Any:
    """A clock that says these, one after the other."""
    return iter(times).__next__


def written(folder: Path) -> list[dict[str, Any]]:
    """The log's lines, each of which must be JSON as everybody reads it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = (folder / "log.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def ran(folder: Path, steps: Iterator[int] | range, seconds: float = 0.0) -> None:
    """A run that wrote a line at each step."""
    with Journal(folder, clock=lambda: 5.0, stopwatch=ticking(0.0, *(seconds for _ in steps))) as journal:
        for step in steps:
            journal.scalars(step, 8 * step, {"loss": 1.0 / (1 + step)})


def test_a_line_holds_what_was_given(tmp_path: Path):
    with Journal(tmp_path / "run", clock=ticking(1e9), stopwatch=ticking(50.0, 52.5)) as journal:
        journal.scalars(10, 80, {"loss/pixel": 0.25, "psnr": 30.0})
        line = {"step": 10, "pictures": 80, "time": 1e9, "seconds": 2.5, "loss/pixel": 0.25, "psnr": 30.0}
        assert written(tmp_path / "run") == [line]  # there before the journal is closed


def test_what_is_not_finite_is_null(tmp_path: Path):
    with Journal(tmp_path) as journal:
        journal.scalars(0, 0, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0})
    (line,) = written(tmp_path)
    assert [line[name] for name in "abcd"] == [None, None, None, 1.0]


def test_other_ranks_write_nothing(tmp_path: Path):
    with Journal(tmp_path / "run", enabled=False) as journal:
        journal.describe({})
        journal.resume(3)
        journal.scalars(4, 8, {"loss": 1.0})
        journal.picture(4, "sheet", torch.zeros(3, 4, 4))
    assert list(tmp_path.iterdir()) == []


def test_a_log_is_not_written_over(tmp_path: Path):
    ran(tmp_path, range(3))
    before = (tmp_path / "log.jsonl").read_bytes()
    with Journal(tmp_path) as journal, pytest.raises(ValueError, match="another run: resume it"):
        journal.scalars(0, 0, {"loss": 1.0})
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_resuming_cuts_off_what_comes_again(tmp_path: Path):
    """As if the run had never been broken off."""
    ran(tmp_path / "cut", range(6))
    with Journal(tmp_path / "cut", clock=lambda: 5.0, stopwatch=lambda: 0.0) as journal:
        journal.resume(3)
        for step in range(4, 8):
            journal.scalars(step, 8 * step, {"loss": 1.0 / (1 + step)})
    ran(tmp_path / "whole", range(8))
    assert (tmp_path / "cut" / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_a_last_line_that_was_broken_off_goes(tmp_path: Path, kept: int):
    """Wherever it broke, also where it was to be kept."""
    ran(tmp_path, range(3))
    path = tmp_path / "log.jsonl"
    *whole, last = path.read_bytes().splitlines(keepends=True)
    assert kept < len(last)
    path.write_bytes(b"".join(whole) + last[:kept])
    assert [line["step"] for line in read_log(path)] == [0, 1]
    with Journal(tmp_path) as journal:
        journal.resume(2)
        journal.scalars(3, 24, {"loss": 0.5})
    assert [line["step"] for line in written(tmp_path)] == [0, 1, 3]


def test_a_last_line_of_zeros_goes(tmp_path: Path):
    """What some file systems leave of a line when the machine goes down."""
    ran(tmp_path, range(2))
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(bytes(30) + b"\n")
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [0, 1]


@pytest.mark.parametrize("line", ["{", "7", '{"loss": 1}'])
def test_a_log_broken_in_its_middle_is_told(tmp_path: Path, line: str):
    ran(tmp_path, range(3))
    path = tmp_path / "log.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[2], ""]))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2: .*take the line out"):
        Journal(tmp_path).resume(2)
    assert path.read_bytes() == before


def test_resuming_what_wrote_nothing_yet(tmp_path: Path):
    with Journal(tmp_path / "run") as journal:
        journal.resume(5)
        journal.scalars(6, 48, {"loss": 1.0})
    assert [line["step"] for line in written(tmp_path / "run")] == [6]


def test_a_clock_that_goes_backwards_is_only_written_down(tmp_path: Path):
    """Order and durations don't come from it, within a part of a run and from one to the next."""
    with Journal(tmp_path, clock=ticking(900.0, 100.0), stopwatch=ticking(7.0, 8.0, 10.0)) as journal:
        journal.scalars(1, 8, {"loss": 3.0})
        journal.scalars(2, 16, {"loss": 2.0})
    with Journal(tmp_path, clock=ticking(-50.0), stopwatch=ticking(0.0, 1.0, 1.5)) as journal:
        journal.resume(2)
        journal.scalars(3, 24, {"loss": 1.0})
    lines = written(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [line["time"] for line in lines] == [900.0, 100.0, -50.0]
    assert [line["seconds"] for line in lines] == [1.0, 3.0, 3.5]


def test_time_that_was_lost_does_not_count(tmp_path: Path):
    """What came after the resumed step is spent again."""
    with Journal(tmp_path, stopwatch=ticking(0.0, 10.0, 99.0)) as journal:
        journal.scalars(1, 8, {})
        journal.scalars(2, 16, {})
    with Journal(tmp_path, stopwatch=ticking(0.0, 0.0, 10.0)) as journal:
        journal.resume(1)
        journal.scalars(2, 16, {})
    assert [line["seconds"] for line in written(tmp_path)] == [10.0, 20.0]


def test_pictures_are_kept_to_a_level(tmp_path: Path):
    picture = torch.arange(3 * 4 * 5).reshape(3, 4, 5) / 255
    picture[:, 0, 0] = torch.tensor([-1.0, 2.0, 0.5])
    picture[1, 0, 1] = math.nan
    with Journal(tmp_path) as journal:
        journal.picture(1234, "sheet", picture)
    (path,) = (tmp_path / "samples").iterdir()
    assert path.name == "sheet-00001234.png"
    found = torch.from_numpy(decode_picture(path.read_bytes()))
    assert found[:, 0, 0].tolist() == [0, 255, 128]
    assert found[:, 0, 1].tolist() == [255, 0, 255]
    assert torch.equal(found[:, 1:], torch.arange(60).reshape(3, 4, 5).byte()[:, 1:])


def test_without_tensorboard_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The board is missing, the log is not."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with Journal(tmp_path) as journal:
        for step in range(3):
            journal.scalars(step, step, {"loss": 1.0})
            journal.picture(step, "sheet", torch.zeros(3, 4, 4))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "only log.jsonl" in said
    assert "pip install tensorboard" in said
    assert len(written(tmp_path)) == 3
    assert len(list((tmp_path / "samples").iterdir())) == 3


def test_tensorboard_shows_the_same_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Also where steps were cut off and came again."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Journal(tmp_path, clock=lambda: 5.0) as journal:
        for step in range(4):
            journal.scalars(step, step, {"loss": 10.0 + step})
    with Journal(tmp_path, clock=lambda: 4.0) as journal:
        journal.resume(1)
        journal.scalars(2, 2, {"loss": 20.0})
        journal.picture(2, "sheet", torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0)))
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curve = [(one.step, one.value) for one in shown.Scalars("loss")]
    assert curve == [(0, 10.0), (1, 11.0), (2, 20.0)]
    assert curve == [(line["step"], line["loss"]) for line in written(tmp_path)]
    (image,) = shown.Images("sheet")
    kept = (tmp_path / "samples" / "sheet-00000002.png").read_bytes()
    assert (decode_picture(image.encoded_image_string) == decode_picture(kept)).all()
    assert capsys.readouterr().err == ""


def test_settings_say_what_runs(tmp_path: Path):
    with Journal(tmp_path) as journal:
        journal.describe({"recipe": "imf", "rate": 1e-4, "data": "data/vfhq"})
    found = json.loads((tmp_path / "settings.json").read_text())
    assert found["settings"] == {"recipe": "imf", "rate": 1e-4, "data": "data/vfhq"}
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"] == sys.version.split()[0]
    assert found["machine"]["cores"] >= 1
    assert len(found["machine"]["gpus"]) == torch.cuda.device_count()


def test_settings_name_nobody():
    said = json.dumps(describe_run({}))
    for secret in (platform.node(), str(Path.home()), str(Path.cwd()), sys.prefix):
        assert secret not in said


def git(folder: Path, *words: str) -> str:
    """Of somebody, whatever this machine's own settings are."""
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    result = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_the_commit_is_the_checkouts_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "checkout" / "trainer"
    package.mkdir(parents=True)
    monkeypatch.setattr(trainer.journal, "PACKAGE", package)
    git(tmp_path / "checkout", "init")
    (package / "file.py").write_text("1\n")
    git(tmp_path / "checkout", "add", ".")
    git(tmp_path / "checkout", "commit", "-m", "One")
    git(tmp_path / "checkout", "tag", "-m", "v1", "v1")
    commit = git(tmp_path / "checkout", "rev-parse", "HEAD")
    assert len(commit) == 40
    assert describe_run({})["commit"] == commit
    (package / "new.py").write_text("1\n")
    assert describe_run({})["commit"] == commit  # runs may lie in the checkout
    (package / "file.py").write_text("2\n")
    assert describe_run({})["commit"] == f"{commit}-dirty"

    within = tmp_path / "checkout" / "site-packages" / "trainer"
    within.mkdir(parents=True)
    monkeypatch.setattr(trainer.journal, "PACKAGE", within)
    assert describe_run({})["commit"] is None  # somebody else's


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_run({})["commit"] is None
