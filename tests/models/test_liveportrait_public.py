"""The authors' weights of LivePortrait: what is read of them, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.liveportrait.public import read
from tests.models.authors import NAMES, Narrow, authored, changed, written

KEY = "G_middle_0.conv_0.weight"
NORM = "detector.norm.bias"

Files = dict[str, Any]


@pytest.fixture(scope="module")
def whole() -> tuple[Files, dict[str, Tensor]]:
    return authored()


@pytest.fixture
def files(whole: tuple[Files, dict[str, Tensor]]) -> Files:
    """Which a test may change."""
    return changed(whole[0], lambda tensor: tensor)


@pytest.fixture(scope="module")
def network() -> Narrow:
    with torch.device("meta"):
        return Narrow()


def test_what_the_authors_wrote_is_read(
    whole: tuple[Files, dict[str, Tensor]], network: Narrow, tmp_path: Path
) -> None:
    """With spectral norms and without, `module.` before keys or not, zipped or not."""
    files, expected = whole
    found = read(written(files, tmp_path), network)
    assert found.keys() == expected.keys() == network.state_dict().keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.allclose(found[key], value, rtol=1e-5, atol=0), key
    assert f"{KEY}_orig" in files["generator"]
    assert all(key.startswith("module.") for key in files["motion"])


def test_weights_of_half_the_precision_are_as_good(
    whole: tuple[Files, dict[str, Tensor]], network: Narrow, tmp_path: Path
) -> None:
    halves = changed(whole[0], lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)
    found = read(written(halves, tmp_path), network)
    key = "appearance.first.conv.weight"
    assert found[key].dtype == torch.float32
    assert torch.equal(found[key], whole[1][key].half().float())


def test_what_else_is_beside_the_three_is_left_there(
    whole: tuple[Files, dict[str, Tensor]], network: Narrow, tmp_path: Path
) -> None:
    """As is a second copy of a number."""
    files = changed(whole[0], torch.clone)
    files["stitching"] |= {"epoch": 3, "retarget_other": {"module.weight": torch.full((4,), torch.nan)}}
    files["motion"][NORM] = files["motion"][f"module.{NORM}"].clone()
    found = read(written(files, tmp_path), network)
    assert found.keys() == whole[1].keys()
    assert torch.equal(found[f"motion.{NORM}"], whole[1][f"motion.{NORM}"])


def _without(part: str, *keys: str) -> Callable[[Files], object]:
    return lambda files: [files[part].pop(key) for key in keys]


def _with(part: str, key: str, value: Any) -> Callable[[Files], object]:
    return lambda files: files[part].__setitem__(key, value)


def _without_energy(files: Files) -> None:
    files["generator"][f"{KEY}_u"].zero_()


NAN = torch.full((4,), torch.nan)


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("stitching", _without("stitching", "retarget_eye"), "retarget_eye is missing; it was expected"),
        ("stitching", _with("stitching", "retarget_eye", 3), "retarget_eye holds no table of names"),
        ("stitching", _without("stitching", "retarget_eye", "retarget_mouth"), "retarget_mouth is missing"),
        ("motion", _without("motion", f"module.{NORM}"), f"{NORM} is missing; MODULE expects 8 f"),
        ("motion", _with("motion", NORM, NAN), f"{NORM} is there twice"),
        ("motion", _with("motion", f"module.{NORM}", NAN), f"{NORM} is 4 float32; MODULE expects 8 f"),
        ("appearance", _with("appearance", "third.bias", NAN), "third.bias is unexpected: MODULE expects"),
        ("appearance", _with("appearance", "first.conv.bias", NAN[:2]), "first.conv.bias holds NaN"),
        ("appearance", _with("appearance", "first.conv.bias", "text"), "first.conv.bias is no plain tensor"),
        ("generator", _without("generator", f"{KEY}_orig"), f"{KEY} is missing; MODULE expects 16×16×3×3"),
        ("generator", _without("generator", f"{KEY}_u"), f"{KEY}_u is missing; MODULE expects 16 f"),
        ("generator", _with("generator", f"{KEY}_v", torch.zeros(7)), f"{KEY}_v is 7 float32; MODULE"),
        ("generator", _without_energy, f"{KEY} holds NaN or infinite numbers"),
        ("warping", lambda files: files.update(warping=files["generator"]), "missing; MODULE expects"),
        ("warping", lambda files: files.update(warping=[1, 2]), "the file holds no table of names"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    whole: tuple[Files, dict[str, Tensor]],
    network: Narrow,
    tmp_path: Path,
    part: str,
    change: Callable[[Files], object],
    reason: str,
) -> None:
    files = changed(whole[0], torch.clone)
    change(files)
    with pytest.raises(ValueError, match="expect") as caught:
        read(written(files, tmp_path), network)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{tmp_path / NAMES[part]}: ")
    assert reason.replace("MODULE", f"LivePortrait's module {part}") in said


class Victim:
    """A file's wish to have a folder made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("part", ["appearance", "stitching"])
def test_nothing_of_a_file_is_run(files: Files, network: Narrow, tmp_path: Path, part: str) -> None:
    made = tmp_path / "made"
    files[part] = {**files[part], "extra": Victim(made)}
    with pytest.raises(ValueError, match="mkdir, which weights never need; nothing of it was run"):
        read(written(files, tmp_path), network)
    assert not made.exists()


def test_half_a_file_and_another_kind_are_refused(files: Files, network: Narrow, tmp_path: Path) -> None:
    paths = written(files, tmp_path)
    for part, data in (("warping", b"<!doctype html>"), ("motion", paths["motion"].read_bytes()[:-999])):
        kept = paths[part].read_bytes()
        paths[part].write_bytes(data)
        with pytest.raises(ValueError, match="no checkpoint of plain weights, or damaged") as caught:
            read(paths, network)
        assert str(caught.value).startswith(f"{paths[part]}: ")
        assert "\n" not in str(caught.value)
        paths[part].write_bytes(kept)
