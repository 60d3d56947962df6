"""`spec.json`, and all that can be wrong with it and with the files that it tells of."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realtime.export_page import NAME
from realtime.exported import load
from realtime.generators import make_generator


@pytest.fixture
def copy(exported: Callable[..., Path], tmp_path: Path) -> Path:
    return shutil.copytree(exported("tiny"), tmp_path / "model")


def changed(folder: Path, change: Callable[[Any], object]) -> None:
    page = json.loads((folder / NAME).read_text())
    change(page)
    (folder / NAME).write_text(json.dumps(page))


def test_no_folder_and_no_page(copy: Path) -> None:
    with pytest.raises(ValueError, match=r"gone: there is no such folder; expected .* trainer\.export NAME"):
        load(copy.parent / "gone")
    (copy / NAME).unlink()
    with pytest.raises(ValueError, match=r"model: there is no spec\.json in it; .* trainer\.export NAME"):
        load(copy)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"])
def test_a_page_that_is_not_json(copy: Path, text: str) -> None:
    (copy / NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"spec\.json: not JSON; expected"):
        load(copy)


def drop(page: Any, *keys: str) -> None:
    for key in keys[:-1]:
        page = page[key]
    del page[keys[-1]]


def put(page: Any, value: Any, *keys: Any) -> None:
    for key in keys[:-1]:
        page = page[key]
    page[keys[-1]] = value


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "newer": (
        lambda page: put(page, 2, "format"),
        r"spec\.json: its format is 2; expected 1: export .* anew",
    ),
    "unsaid": (lambda page: drop(page, "format"), "its format is None; expected 1"),
    "no spec": (lambda page: drop(page, "spec"), r"not a whole page \(KeyError\('spec'\)\); expected"),
    "no crop": (lambda page: drop(page, "spec", "source", "shift"), "not a whole page"),
    "other crop": (lambda page: put(page, 1, "spec", "source", "sharp"), r"not a whole page \(TypeError"),
    "graphs": (lambda page: put(page, [], "graphs"), r"not a whole page \(AttributeError"),
    "no decode": (lambda page: drop(page, "graphs", "decode"), "it tells of no graph 'decode'"),
    "no portraits": (lambda page: drop(page, "graphs", "appearance"), "it tells of no graph 'appearance'"),
    "stranger": (
        lambda page: put(page, "moved.x", "graphs", "decode", "inputs", 0, "name"),
        r"decode\.onnx takes 'moved\.x', which no graph gives",
    ),
    "type": (
        lambda page: put(page, "bfloat16", "graphs", "decode", "inputs", 0, "dtype"),
        r"decode\.onnx takes nothing, or of types other than float32, float16, int64, bool",
    ),
    "other code": (
        lambda page: put(page, "moved.x", "graphs", "transfer", "outputs", 0, "name"),
        r"transfer\.onnx gives another code than structure\.onnx",
    ),
    "pictures": (
        lambda page: put(page, "depth", "graphs", "decode", "outputs", 1, "name"),
        r"decode\.onnx gives other than rgb and alpha",
    ),
    "shape": (
        lambda page: put(page, ["batch", 5], "graphs", "structure", "outputs", 0, "shape"),
        r"structure\.onnx: its outputs include structure\.token \(batch×4 .* tells of .* \(batch×5 float32\)",
    ),
    "sha": (
        lambda page: put(page, "0" * 64, "graphs", "blend", "sha256"),
        r"blend\.onnx: damaged, or another export's: its SHA-256 is .*…, expected 0{12}…, as spec\.json",
    ),
    "no file": (
        lambda page: put(page, "gone.onnx", "graphs", "blend", "file"),
        r"gone\.onnx: can't be read: No such file or directory; export the generator anew",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_told(copy: Path, change: str) -> None:
    apply, reason = CHANGES[change]
    changed(copy, apply)
    with pytest.raises(ValueError, match=reason) as told:
        load(copy)
    assert "\n" not in str(told.value)
    assert str(copy) in str(told.value)


def test_a_damaged_graph(copy: Path) -> None:
    with open(copy / "decode.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=r"decode\.onnx: damaged"):
        load(copy)


def test_untrained_weights_are_told(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_generator(str(copy))
    assert not caplog.messages
    changed(copy, lambda page: put(page, True, "untrained"))
    make_generator(str(copy))
    assert caplog.messages == [
        "model tiny:narrow has random weights: its picture is noise, good only to see it run"
    ]
