"""A prepared folder, read clip by clip."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.data.pretender import clip_points, folder, render
from trainer.data.clips import ClipWriter, Entry, place_of
from trainer.data.dataset import ClipDataset, is_held_out, split_of
from trainer.data.samples import UNKNOWN


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rendered")
    return folder(path, picture="png", maps=("flow", "depth", "normals"), clips_per_identity=2)


def test_a_clip_is_what_was_rendered(rendered: Path) -> None:
    dataset = ClipDataset(rendered)
    assert len(dataset) == 12
    maps, parameters = ["flow", "depth", "normals"], ["motion.expression", "identity.shape"]
    for number in (0, 7):
        identity, clip = divmod(number, 2)
        truth = render(0, identity, clip, 4, 32, torch.device("cpu"), None, maps)
        found = dataset[number].read([3, 1], maps=["flow", "depth", "normals"], parameters=parameters)
        assert (found.clip, found.identity) == (f"rendered-0-{identity:06d}-{clip:03d}", found.clip[:-4])
        assert (found.picture == truth.picture[[3, 1]]).all()
        assert (found.points == truth.points[[3, 1]]).all()
        assert (found.labels == truth.labels[[3, 1]]).all()
        assert found.valid.all()
        assert found.frames.tolist() == [3, 1]
        motion = truth.parameters["motion.expression"]
        assert (found.parameters["motion.expression"] == motion[[3, 1]]).all()
        assert (found.parameters["identity.shape"] == identity).all()
        assert found.parameters["identity.shape"].shape == (2, 40)
        for name in ("flow", "depth"):
            assert torch.allclose(found.maps[name], truth.maps[name][[3, 1]], atol=0.008, equal_nan=True)
        assert (found.maps["normals"] * truth.maps["normals"][[3, 1]]).sum(1).min() > 0.9999


def test_frames_are_drawn_once_each_where_there_are_enough(rendered: Path) -> None:
    clip, rng = ClipDataset(rendered)[0], np.random.default_rng(0)
    drawn = [tuple(clip.sample(rng, 3).frames.tolist()) for _ in range(60)]
    assert all(len(set(frames)) == 3 for frames in drawn)
    assert {frame for frames in drawn for frame in frames} == {0, 1, 2, 3}
    assert len(set(drawn)) > 15  # of 24
    assert set(clip.sample(rng, 9).frames.tolist()) <= {0, 1, 2, 3}


def test_a_clip_without_landmarks_or_masks_says_so(tmp_path: Path) -> None:
    writer = ClipWriter(tmp_path, "videos", {})
    writer.write("a", np.zeros((2, 16, 16, 3), np.uint8), None, np.ones(2, bool), "a", 25)
    points = clip_points(2)
    points[1] = np.nan
    writer.write("b", np.zeros((2, 16, 16, 3), np.uint8), points, np.array([True, False]), "b", 25)
    writer.finish()
    without, partly = (ClipDataset(tmp_path)[number].read([0, 1]) for number in (0, 1))
    assert not without.valid.any()
    assert (without.points == 0).all()
    assert (without.labels == UNKNOWN).all()
    assert partly.valid.tolist() == [True, False]
    assert (partly.points[0] == torch.from_numpy(points[0])).all()
    assert (partly.points[1] == 0).all()


def test_masks_are_read_only_where_they_are_wanted(rendered: Path) -> None:
    assert (ClipDataset(rendered)[0].read([0], labels=False).labels == UNKNOWN).all()


@pytest.mark.parametrize("how", ["changed", "cut", "empty"])
def test_a_broken_truth_is_named(tmp_path: Path, how: str) -> None:
    clip = ClipDataset(folder(tmp_path))[0]
    path = tmp_path / place_of(clip.entry.id) / "truth.npz"
    data = bytearray(path.read_bytes())
    data[data.index(b"points.npy") + 2000] ^= 255
    path.write_bytes({"changed": data, "cut": data[: len(data) // 2], "empty": b""}[how])
    for read in (lambda: clip.read([0]), clip.truth):
        with pytest.raises(ValueError, match=r"clip rendered-0-000000-000: truth\.npz is broken"):
            read()


def test_held_out_identities_stay_so() -> None:
    names = [f"person {number}" for number in range(5000)]
    tenth = {name for name in names if is_held_out(name, 0.1)}
    assert 420 < len(tenth) < 580
    assert {name for name in names if is_held_out(name, 0.05)} < tenth
    assert not any(is_held_out(name, 0.0) for name in names)
    assert all(is_held_out(name, 1.0) for name in names)
    # Whoever has trained with that share counts on these.
    assert [name for name in names[:30] if is_held_out(name, 0.1)] == ["person 3"]


def test_what_a_clip_s_source_says_of_its_split_counts() -> None:
    entry = Entry("a", "person 3", 1, 25, 16)
    assert split_of(entry) == "test"
    assert split_of(replace(entry, split="train")) == "train"
    assert split_of(replace(entry, identity="person 0")) == "train"


def test_splits_share_no_identity_and_leave_nobody_out(rendered: Path) -> None:
    train, test = (ClipDataset(rendered, split, held_out=0.4) for split in ("train", "test"))
    people = [{entry.identity for entry in split.clips} for split in (train, test)]
    assert not people[0] & people[1]
    assert len(people[0] | people[1]) == 6
    assert len(train) + len(test) == 12
    with pytest.raises(ValueError, match="has no clips to test"):
        ClipDataset(rendered, "test", held_out=0)


def test_what_is_not_there_is_named(rendered: Path, tmp_path: Path) -> None:
    clip = ClipDataset(rendered)[0]
    with pytest.raises(ValueError, match="has no motion.gaze; it has: identity.shape, motion.expression"):
        clip.read([0], parameters=["motion.gaze"])
    plain = ClipDataset(folder(tmp_path / "plain", identities=1))[0]
    with pytest.raises(ValueError, match="has no map depth"):
        plain.read([0], maps=["depth"])
    broken = tmp_path / "plain" / place_of(plain.entry.id) / "000002.jpg"
    broken.write_bytes(b"")
    with pytest.raises(ValueError, match=f"clip {plain.entry.id}: no picture"):
        plain.read([2])
    for name, empty in (("index.json", "plain"), ("shards.json", "other")):
        (tmp_path / empty).mkdir(exist_ok=True)
        (tmp_path / empty / name).write_text("{}")
        with pytest.raises(ValueError, match=rf"{name} is of format None; expected 1"):
            ClipDataset(tmp_path / empty)
    truth = broken.with_name("truth.npz")
    for data in (b"", truth.read_bytes()[:5000], b"no archive"):
        truth.write_bytes(data)
        with pytest.raises(ValueError, match=f"clip {plain.entry.id}: truth.npz is broken"):
            plain.read([0])
