import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from realtime.bench import backends
from realtime.bench.__main__ import main
from realtime.bench.backends import CALLS, FRAME, show
from realtime.bench.report import WIDTH
from realtime.export_page import NAME
from realtime.exported import ExportedNetwork

Exports = Callable[..., Path]


def test_each_folder_has_both_backends_calls(
    exported: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = exported("tiny"), tmp_path / "backends.json"
    main(
        ["backends", "--exported", str(folder), "--exported", str(folder), "--threads", "1"]
        + ["--seconds", "0", "--json", str(out)]
    )
    figures = json.loads(out.read_text())
    assert figures["threads"] == 1
    assert len(figures["rows"]) == 2
    for row in figures["rows"]:
        assert (row["folder"], row["model"], row["frames"]) == (str(folder), "tiny:narrow", 3)
        assert row["ratio"] == row["ms"]["torch"][FRAME][0] / row["ms"]["onnx"][FRAME][0]
        for ms in row["ms"].values():
            assert list(ms) == [*CALLS, FRAME]
            assert all(0 < low <= median <= high for median, low, high in ms.values())
            assert ms[FRAME][2] > max(ms[call][0] for call in CALLS)
    head, _, _, *lines, _ = capsys.readouterr().out.splitlines()
    assert "ONNX Runtime" in head
    assert [line.split()[:4] for line in lines] == 2 * [
        ["tiny:narrow", folder.name, "3", "torch"],
        ["tiny:narrow", folder.name, "3", "onnx"],
    ]
    assert [line.split()[-1] for line in lines[1::2]] == [f"{row['ratio']:.2f}" for row in figures["rows"]]


def test_the_backends_take_turns_in_going_first(exported: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the first frame of each is not counted."""
    drawn: list[str] = []

    def timed(steps: Any, driving: Any, device: str) -> list[float]:
        code = driving
        for step in steps:
            code = step(code)
        assert code[0].shape == driving.image.shape
        drawn.append("onnx" if isinstance(steps[0].__self__, ExportedNetwork) else "torch")
        return [2.0 ** len(drawn)] * len(CALLS)  # ms, the more, the later

    monkeypatch.setattr(backends, "timed", timed)
    row = backends.compare(exported("tiny"), 0)
    assert drawn == ["torch", "onnx", "torch", "onnx", "onnx", "torch", "torch", "onnx"]
    medians = {backend: ms["decode"][0] for backend, ms in row["ms"].items()}
    assert medians == {"torch": 2.0**6, "onnx": 2.0**5}
    assert row["ratio"] == 2.0


def test_a_long_table_fits(capsys: pytest.CaptureFixture[str]) -> None:
    ms = dict.fromkeys((*CALLS, FRAME), (12345.6, 11345.6, 14345.6))
    row = {"folder": "exported/landmark_gan-256", "model": "landmark_gan:256", "frames": 3, "ratio": 12.3}
    on = {"device": "cpu", "cores": 16, "threads": 8, "torch": torch.__version__, "onnxruntime": "1.31.1"}
    show({**on, "rows": [row | {"ms": {"torch": ms, "onnx": ms}}]})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[-2].split() == (
        ["landmark_gan:256", "landmark_gan-256", "3", "onnx"]
        + ["12346", "12346", "12346", "12346", "11346–14346", "12.30"]
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name at least one folder: --exported DIR"),
        (["--exported", "nonesuch"], "nonesuch: there is no such folder; expected a folder that python -m "),
        (["--exported", "."], "there is no spec.json in it"),
        (["--threads", "-1", "--exported", "."], "threads -1: must not be negative"),
        (["--seconds", "inf", "--exported", "."], "seconds inf: must not be negative, nor endless"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(arguments, reason, capsys)


def test_a_generator_that_is_unknown_here_is_refused_before_any_is_measured(
    exported: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def compare(*_: object) -> None:
        raise AssertionError("nothing is measured")

    monkeypatch.setattr(backends, "compare", compare)
    folder = shutil.copytree(exported("tiny"), tmp_path / "strange")
    page = json.loads((folder / NAME).read_text())
    page["spec"]["name"] = "strange"
    (folder / NAME).write_text(json.dumps(page))
    refused(
        ["--exported", str(exported("tiny")), "--exported", str(folder)],
        f"{folder}: unknown model 'strange'; known: ",
        capsys,
    )


def refused(arguments: list[str], reason: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        main(["backends", *arguments])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
