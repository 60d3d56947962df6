"""Clips in archives."""

import gc
import importlib.util
import io
import tarfile
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.trainer.data.pretender import clip_points, contents, folder
from trainer.data.clips import ClipWriter
from trainer.data.dataset import ClipDataset
from trainer.data.loader import Loader
from trainer.data.shards import Sharding, write_shards

MB = 0.06  # about two clips an archive


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("set"), identities=7, maps=("depth",))


@pytest.fixture(scope="module")
def archives(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("archives")
    paths = list(write_shards(Sharding(prepared, output, MB)))
    assert [path.name for path in paths] == [f"{number:06d}.tar" for number in range(len(paths))]
    assert 2 < len(paths) < 7
    return output


def test_archives_give_the_samples_of_the_folder(prepared: Path, archives: Path) -> None:
    for split in (None, "train"):
        loose, packed = (ClipDataset(path, split, held_out=0.3) for path in (prepared, archives))
        assert loose.clips == packed.clips
        assert loose.index == packed.index
        batches = [
            list(islice(Loader(one, 3, maps=["depth"], parameters=["motion.expression"]), 4))
            for one in (loose, packed)
        ]
        for one, other in zip(*batches, strict=True):
            assert one.clip == other.clip
            for field in ("picture", "points", "valid", "labels", "frames"):
                assert torch.equal(getattr(one, field), getattr(other, field))
            assert torch.equal(one.maps["depth"], other.maps["depth"])
            name = "motion.expression"
            assert torch.equal(one.parameters[name], other.parameters[name])


def streamed(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read as WebDataset reads: forwards, names up to their first dot being a sample's."""
    key, files = "", dict[str, bytes]()
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r|") as archive:
        for member in archive:
            name, _, extension = member.name.partition(".")
            if name != key and files:
                yield key, files
                files = {}
            key = name
            found = archive.extractfile(member)
            assert found is not None
            files[extension] = found.read()
    yield key, files


def test_archives_are_read_forwards(prepared: Path, archives: Path) -> None:
    samples = [sample for path in sorted(archives.glob("*.tar")) for sample in streamed(path)]
    loose = {clip.name: contents(clip) for clip in prepared.glob("clips/*/*")}
    assert dict(samples) == loose
    assert len(samples) == 7
    assert [name for name, _ in samples] != sorted(loose)  # a mixture


@pytest.mark.skipif(importlib.util.find_spec("webdataset") is None, reason="needs webdataset, of extra train")
def test_webdataset_reads_them(prepared: Path, archives: Path) -> None:
    import webdataset

    urls = [str(path) for path in sorted(archives.glob("*.tar"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the closing of files to the collector
        samples = {one["__key__"]: one for one in webdataset.WebDataset(urls, shardshuffle=False)}
        gc.collect()
    assert len(samples) == 7
    for clip in prepared.glob("clips/*/*"):
        files = {name: data for name, data in samples[clip.name].items() if not name.startswith("__")}
        assert files == contents(clip)
        picture = cv2.imdecode(np.frombuffer(files["000003.jpg"], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (32, 32, 3)


def test_an_interrupted_run_goes_on(prepared: Path, archives: Path, tmp_path: Path) -> None:
    writing = write_shards(Sharding(prepared, tmp_path, MB))
    first = next(writing)
    written = first.stat().st_mtime_ns
    writing.close()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no index.json"):
        ClipDataset(tmp_path)
    (tmp_path / ".000001.tar.part").write_bytes(b"half an arch")
    again = list(write_shards(Sharding(prepared, tmp_path, MB)))
    assert again[0] == first
    assert first.stat().st_mtime_ns == written
    assert contents(tmp_path) == contents(archives)
    assert list(write_shards(Sharding(prepared, tmp_path, MB))) == again
    assert contents(tmp_path) == contents(archives)


def test_an_archive_of_other_clips_is_named(prepared: Path, tmp_path: Path) -> None:
    """As where the data set was made anew, its files are larger, and other clips fill an archive."""
    list(write_shards(Sharding(prepared, tmp_path, MB)))
    (tmp_path / "000001.tar").replace(tmp_path / "000000.tar")
    with pytest.raises(ValueError, match=r"000000\.tar holds other clips than it would now: delete it"):
        list(write_shards(Sharding(prepared, tmp_path, MB)))


def test_other_archives_are_not_gone_on_with(prepared: Path, tmp_path: Path) -> None:
    next(write_shards(Sharding(prepared, tmp_path / "begun", MB)))
    with pytest.raises(ValueError, match="was begun with other clips or another size"):
        next(write_shards(Sharding(prepared, tmp_path / "begun", 1)))
    with pytest.raises(ValueError, match="holds something else"):
        next(write_shards(Sharding(prepared, prepared)))
    with pytest.raises(ValueError, match="is no prepared data set"):
        next(write_shards(Sharding(tmp_path, tmp_path / "new")))
    with pytest.raises(ValueError, match="size-mb 0: expected a size above 0"):
        Sharding(prepared, tmp_path, 0)


def test_any_name_will_do(tmp_path: Path) -> None:
    """Dots and slashes, and more of them than an archive's plain header holds."""
    names = ["a/b.mp4", "a/b.mp4#2", "very/" * 30 + "long.mp4"]
    writer = ClipWriter(tmp_path / "set", "videos", {})
    for number, name in enumerate(names):
        grey = np.full((1, 16, 16, 3), 60 * number, np.uint8)
        writer.write(name, grey, clip_points(1), np.ones(1, bool), name, 25)
    writer.finish()
    list(write_shards(Sharding(tmp_path / "set", tmp_path / "archives")))
    packed = ClipDataset(tmp_path / "archives")
    assert [entry.id for entry in packed.clips] == names
    levels = [packed[number].read([0]).picture.float().mean().item() for number in range(3)]
    assert levels == pytest.approx([0, 60, 120], abs=1)


def test_a_broken_archive_is_named(archives: Path, tmp_path: Path) -> None:
    for path in archives.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    broken = tmp_path / "000000.tar"
    dataset = ClipDataset(tmp_path)
    lost = next(n for n, entry in enumerate(dataset.clips) if dataset.places[entry.id].shard == broken.name)
    for data in (b"", broken.read_bytes()[:700]):
        broken.write_bytes(data)
        with pytest.raises(ValueError, match="000000.tar"):
            dataset[lost].read([0])
