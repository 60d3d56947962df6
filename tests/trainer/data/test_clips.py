"""What lies on the disk: whole, or not at all."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.trainer.data.pretender import clip_points, contents
from trainer.data import clips
from trainer.data.clips import ClipWriter, Entry, make_index, read_index
from trainer.data.dataset import ClipDataset
from trainer.data.workers import fresh_processes

SETTINGS = {"size": 16, "maps": ("flow",), "style": None}


def pictures(frames: int = 3, size: int = 16) -> list[npt.NDArray[np.uint8]]:
    return list(np.random.default_rng(frames).integers(0, 256, (frames, size, size, 3), dtype=np.uint8))


def write(writer: ClipWriter, clip: str, **changed: Any) -> None:
    usual: dict[str, Any] = {
        "pictures": pictures(),
        "points": clip_points(3),
        "valid": np.array([True, False, True]),
        "identity": "anna",
        "fps": 25,
    }
    writer.write(clip, **usual | changed)


def begun(folder: Path) -> ClipWriter:
    return ClipWriter(folder, "videos", SETTINGS, "png")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    assert not writer.has("b")
    labels = np.arange(3 * 16 * 16, dtype=np.uint8).reshape(3, 16, 16)
    flow = np.full((3, 2, 16, 16), 1.5, np.float32)
    extra = {"box": np.arange(4)}
    write(writer, "b", labels=labels, maps={"flow": flow}, extra=extra, split="test")
    write(writer, "a", points=None, fps=29.97)
    assert writer.has("b")
    index = writer.finish()
    assert index == read_index(tmp_path)
    assert (index.kind, index.picture, index.settings["maps"]) == ("videos", "png", ["flow"])
    assert index.clips == (
        Entry("a", "anna", 3, 29.97, 16),
        Entry("b", "anna", 3, 25.0, 16, "test", True, True, ("flow",)),
    )
    sample = ClipDataset(tmp_path)[1].read([2, 0], maps=["flow"])
    assert (sample.picture.numpy() == np.stack(pictures())[[2, 0]].transpose(0, 3, 1, 2)).all()
    assert (sample.points.numpy() == clip_points(3)[[2, 0]]).all()
    assert (sample.labels.numpy() == labels[[2, 0]]).all()
    assert (sample.maps["flow"] == 1.5).all()
    assert ClipDataset(tmp_path)[1].truth()["box"].tolist() == [0, 1, 2, 3]


def test_any_name_will_do(tmp_path: Path) -> None:
    names = ["id00017/5r0dWxy17C8/00001", ".", "..", "a clip.mp4", "Ærø#3", "../outside"]
    writer = begun(tmp_path / "set")
    for name in names:
        write(writer, name)
    assert sorted(one.id for one in writer.finish().clips) == sorted(names)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    for clip in map(ClipDataset(tmp_path / "set").__getitem__, range(len(names))):
        assert clip.read([1]).picture.shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"pictures": pictures(2)}, r"valid: found \(3,\), expected \(2,\)"),
        ({"pictures": []}, "frames: found 0"),
        ({"pictures": [*pictures(2), pictures(1, 8)[0]]}, r"frame 2 is \(8, 8, 3\)"),
        ({"points": clip_points(2)}, r"points: found \(2, 478, 3\)"),
        ({"labels": np.zeros((3, 8, 8), np.uint8)}, "labels: found"),
        ({"maps": {"depth": np.ones((2, 1, 16, 16), np.float32)}}, "depth: found"),
        ({"maps": {"depth": np.zeros((3, 1, 16, 16), np.float32)}}, "depth outside"),
        ({"extra": {"points": np.zeros(3)}}, "points is no name for an extra array"),
    ],
)
def test_of_what_does_not_fit_nothing_is_left(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    writer = begun(tmp_path)
    with pytest.raises(ValueError, match=reason):
        write(writer, "a", **changed)
    assert list(contents(tmp_path)) == ["settings.json"]


def test_of_what_breaks_off_nothing_is_left(tmp_path: Path) -> None:
    def broken() -> Iterator[npt.NDArray[np.uint8]]:
        yield pictures()[0]
        raise OSError("the film tore")

    with pytest.raises(OSError, match="tore"):
        write(begun(tmp_path), "a", pictures=broken())
    assert list(contents(tmp_path)) == ["settings.json"]


def fill(folder: Path) -> None:
    """With no room for files as large as the landmarks."""
    writer = begun(folder)
    write(writer, "a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    with pytest.raises(OSError, match="too large"):
        write(writer, "b")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = fresh_processes().Process(target=fill, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert not list(tmp_path.rglob("*.part"))
    assert [one.id for one in make_index(tmp_path).clips] == ["a"]


def test_other_settings_are_refused(tmp_path: Path) -> None:
    begun(tmp_path)
    begun(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} was begun with size 16, not 32"):
        ClipWriter(tmp_path, "videos", SETTINGS | {"size": 32}, "png")
    with pytest.raises(ValueError, match="was begun with picture png, not jpg"):
        ClipWriter(tmp_path, "videos", SETTINGS)
    with pytest.raises(ValueError, match="was begun with kind videos, not stills"):
        ClipWriter(tmp_path, "stills", SETTINGS, "png")


def test_another_s_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds something else"):
        begun(tmp_path)
    with pytest.raises(ValueError, match="holds something else"):
        begun(tmp_path / "thesis.tex")


def test_of_two_who_write_a_clip_one_is_kept(tmp_path: Path) -> None:
    """As after a worker that outlived its run."""
    first, second = begun(tmp_path), begun(tmp_path)

    def overtaken() -> Iterator[npt.NDArray[np.uint8]]:
        write(second, "a")
        yield from pictures()

    write(first, "a", pictures=overtaken())
    assert len(first.finish().clips) == 1
    assert not list(tmp_path.rglob("*.part"))


def test_the_index_is_made_of_what_is_there(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    for clip in "abc":
        write(writer, clip)
    with pytest.raises(ValueError, match="unfinished"):
        read_index(tmp_path)
    whole = writer.finish()
    left = tmp_path / clips.place_of("d")
    left.with_name(".d.01234567.part").mkdir(parents=True)
    (tmp_path / "index.json").unlink()
    assert make_index(tmp_path) == whole
    assert writer.finish() == whole
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "is no prepared data set: it has no index.json"),
        ("{", r"index\.json: "),
        ("[]", "expected an object"),
        (json.dumps({"format": 7}), "is of format 7; expected 1"),
    ],
)
def test_what_is_no_data_set_is_refused(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "index.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        ClipDataset(tmp_path)
