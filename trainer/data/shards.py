"""Clips in archives, for machines that don't share a disk, and for file systems that dread small files:

    DIR/shards.json       the index of the clips, and where in which archive each of them begins and ends
    DIR/unfinished.json   in place of that while archives are being written
    DIR/000000.tar …      WebDataset archives: each clip's files, one after the other

A sample of WebDataset is a clip: `NAME.clip.json`, `NAME.truth.npz`, `NAME.000000.jpg` … What is known of
the archives' insides lets them be read in any order, as `ClipDataset` does.
"""

import io
import math
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from trainer.data import clips
from trainer.data.clips import Entry, Index
from trainer.data.files import as_json, flush, read_json, write_json
from trainer.data.synthetic.seeds import rng

FORMAT = 1  # of shards.json
SHARDS, UNFINISHED = "shards.json", "unfinished.json"
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Sharding:
    """What to put into archives."""

    folder: tyro.conf.Positional[Path]
    """A prepared data set."""
    output: Path
    """Folder to write, or to go on with."""
    size_mb: float = 256.0
    """About how large an archive becomes, in megabytes."""

    def __post_init__(self) -> None:
        if not self.size_mb > 0:
            raise ValueError(f"size-mb {self.size_mb:g}: expected a size above 0")


class Place(NamedTuple):
    """Where a clip lies."""

    shard: str
    begin: int  # bytes from the archive's beginning
    end: int


def write_shards(sharding: Sharding) -> Iterator[Path]:
    """Write the archives, telling of each, and at last their index. Archives that are there from an
    interrupted run stay. The clips are shuffled, so that an archive read in its order is a mixture.

    Raises ValueError for a folder that is no data set and for an output that holds something else, OSError
    where nothing can be written.
    """
    index, output = clips.read_index(sharding.folder), sharding.output
    head = as_json(
        {
            "format": FORMAT,
            "kind": index.kind,
            "picture": index.picture,
            "settings": index.settings,
            "size_mb": sharding.size_mb,
            "clips": [asdict(entry) for entry in index.clips],
        }
    )
    _begin(output, head)
    places: dict[str, Place] = {}
    for number, group in enumerate(_groups(sharding, index)):
        shard = output / f"{number:06d}.tar"
        if not shard.exists():
            _write(shard, sharding.folder, group)
        yield shard
        places |= _places(shard, group)
    write_json(output / SHARDS, head | {"places": {one: list(place) for one, place in places.items()}})
    (output / UNFINISHED).unlink(missing_ok=True)


def read_shards(folder: Path) -> tuple[Index, dict[str, Place]]:
    """Raises ValueError for a folder without archives, or whose index is of another format."""
    found = read_json(folder / SHARDS)
    if found.get("format") != FORMAT:
        raise ValueError(f"{folder / SHARDS} is of format {found.get('format')}; expected {FORMAT}")
    return clips.index_of(found), {one: Place(*place) for one, place in found["places"].items()}


def files(folder: Path, place: Place) -> Callable[[str], bytes]:
    """A clip's files, by name: all are read at once. Raises ValueError where the archive is broken."""
    path = folder / place.shard
    with path.open("rb") as file:
        file.seek(place.begin)
        data = file.read(place.end - place.begin)
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                found[member.name.partition(".")[2]] = data[
                    member.offset_data : member.offset_data + member.size
                ]
    except tarfile.TarError as error:
        raise ValueError(f"{path}: {error}") from None

    def read(name: str) -> bytes:
        if name not in found:
            raise ValueError(f"{path} has no {name} where index has this clip: the archive is broken")
        return found[name]

    return read


def _begin(output: Path, head: dict[str, Any]) -> None:
    for path in (output / SHARDS, output / UNFINISHED):
        if path.exists():
            if {name: value for name, value in read_json(path).items() if name != "places"} != head:
                raise ValueError(f"{output} was begun with other clips or another size: name another folder")
            return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} holds something else; expected a new or an empty folder")
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / UNFINISHED, head)


def _groups(sharding: Sharding, index: Index) -> Iterator[list[Entry]]:
    """The clips of each archive."""
    group: list[Entry] = []
    size = 0
    for number in rng(0, "shards", 0).permutation(len(index.clips)):
        entry = index.clips[number]
        group.append(entry)
        size += sum(_padded(path.stat().st_size) for path in _files(sharding.folder, entry))
        if size >= sharding.size_mb * MEGABYTE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write(shard: Path, folder: Path, group: list[Entry]) -> None:
    """The archive is there whole or not at all, and the same whoever writes it, and when."""
    part = shard.with_name(f".{shard.name}.part")
    try:
        with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as archive:
            for entry in group:
                for path in _files(folder, entry):
                    member = tarfile.TarInfo(f"{path.parent.name}.{path.name}")
                    member.size = path.stat().st_size
                    with path.open("rb") as file:
                        archive.addfile(member, file)
        flush(part)
        part.replace(shard)
    finally:
        part.unlink(missing_ok=True)
    flush(shard.parent)


def _places(shard: Path, group: list[Entry]) -> dict[str, Place]:
    """Where each clip of the group lies. Raises ValueError for an archive of others."""
    names = {Path(clips.place_of(entry.id)).name: entry.id for entry in group}
    found: dict[str, Place] = {}
    with tarfile.open(shard) as archive:
        for member in archive:
            one = names.get(member.name.partition(".")[0], "")
            begin = found[one].begin if one in found else member.offset
            found[one] = Place(shard.name, begin, member.offset_data + _padded(member.size, 0))
    if found.keys() != set(names.values()):
        raise ValueError(f"{shard} holds other clips than it would now: delete it, and run this again")
    return found


def _files(folder: Path, entry: Entry) -> list[Path]:
    return sorted((folder / clips.place_of(entry.id)).iterdir())


def _padded(size: int, header: int = tarfile.BLOCKSIZE) -> int:
    return header + math.ceil(size / tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
