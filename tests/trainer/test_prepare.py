"""The command line that prepares data."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.data.pretender import contents, render
from trainer import prepare
from trainer.data import rendering
from trainer.data.clips import read_index
from trainer.data.progress import Progress, shown

SMALL = ["--identities", "4", "--frames", "2", "--size", "32", "--workers", "1"]


@pytest.fixture
def _pretending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "renderer", lambda: render)


def line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.usefixtures("_pretending")
def test_rendered_clips_become_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loose, packed = str(tmp_path / "loose"), str(tmp_path / "packed")
    more = ["--clips-per-identity", "2", "--maps", "flow", "depth", "--style", "talking", "--seed", "3"]
    assert prepare.main(["synthetic", *SMALL, *more, "--output", loose]) == 0
    said = capsys.readouterr()
    assert said.out == f"{loose}: 8 clips, 8 of them new.\n"
    assert said.err.splitlines()[0] == "0 of 8"
    assert said.err.splitlines()[-1] == "8 of 8"
    index = read_index(tmp_path / "loose")
    assert len(index.clips) == 8
    assert index.clips[0].id == "rendered-3-000000-000"
    assert index.clips[0].maps == ("flow", "depth")
    assert index.settings["style"] == "talking"
    assert prepare.main(["synthetic", *SMALL, *more, "--output", loose]) == 0
    assert capsys.readouterr().out == f"{loose}: 8 clips, 0 of them new.\n"
    assert prepare.main(["shards", loose, "--output", packed, "--size-mb", "1"]) == 0
    assert re.fullmatch(rf"{packed}/000000.tar: 0\.\d MB\n", capsys.readouterr().out)


@pytest.mark.usefixtures("_pretending")
def test_ranks_leave_the_index_to_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    command = ["synthetic", *SMALL, "--output", str(tmp_path)]
    assert prepare.main(command) == 0
    assert "the last rank makes the index" in capsys.readouterr().out
    assert prepare.main([*command, "--index-only"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 2 clips of 4.\n"
    monkeypatch.setenv("RANK", "0")
    assert prepare.main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 4 clips, 2 of them new.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["sythetic"],
            "python -m trainer.prepare: command 'sythetic' is unknown; known: synthetic, videos, stills, .*",
        ),
        (["synthetic"], "synthetic: .*--output.*"),
        (["synthetic", "--output", "x", "--size", "9"], "synthetic: .*size 9: expected 16 to 4096 pixels.*"),
        (["synthetic", "--output", "x", "--maps", "heat"], "synthetic: .*heat.*"),
        (["synthetic", "--output", __file__], "synthetic: .*test_prepare.py holds something else.*"),
        (["shards", "nowhere", "--output", "x"], "shards: nowhere is no prepared data set.*"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = prepare.main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert re.search(said, line(capsys))
    assert not Path("x").exists()


def test_a_full_disk_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*numbers: Any) -> Any:
        raise OSError(28, "No space left on device", "/data/000000.jpg")

    monkeypatch.setattr(rendering, "renderer", lambda: full)
    assert prepare.main(["synthetic", *SMALL, "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "0 of 4",
        "python -m trainer.prepare synthetic: /data/000000.jpg: No space left on device",
    ]
    assert list(contents(tmp_path)) == ["settings.json"]


def test_ctrl_c_is_no_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*numbers: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "renderer", lambda: stopped)
    assert prepare.main(["synthetic", *SMALL, "--output", str(tmp_path)]) == 130
    assert "run it again to go on from here" in capsys.readouterr().err


def test_help_lists_the_commands_and_their_options() -> None:
    """In a process of its own, as it is called."""
    for arguments, expected in (([], "synthetic .*shards "), (["shards", "--help"], "--size-mb")):
        command = [sys.executable, "-W", "error", "-m", "trainer.prepare", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, result.stderr
        assert re.search(expected, result.stdout, re.DOTALL)


def test_progress_is_told_by_tenths_where_there_is_no_terminal() -> None:
    said, now = io.StringIO(), iter(range(1000))

    def steps() -> Iterator[Progress]:
        for done in range(40, 201):
            yield Progress(done, 200, done - 40)

    assert list(shown(steps(), 64, "pictures", said, lambda: float(next(now)))) == list(steps())
    lines = said.getvalue().splitlines()
    assert lines[0] == "40 of 200"
    assert lines[1] == "60 of 200, 61 pictures/s, 2 min left"  # 20 clips of 64 in 21 s; 140 remain
    assert lines[-1] == "200 of 200"
    assert len(lines) == 9
