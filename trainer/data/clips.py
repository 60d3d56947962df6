"""What a prepared data set looks like on the disk:

    DIR/settings.json                     what it was asked for: kind, format of the pictures, settings
    DIR/index.json                        that, and the list of its clips
    DIR/clips/3f/ID/clip.json             one clip's entry in that list
                    000000.jpg …          its pictures
                    000000.labels.png …   masks, where there are any
                    000000.flow.png …     maps (flow, depth, normals), where there are any
                    truth.npz             points F×478×3 (crop units; absent without landmarks), valid F, more

`3f` is of the name's checksum, so that no folder holds a hundred thousand. A clip is written under another
name beside its place, flushed to the disk and renamed: it is there whole or not at all. The index is made
from the clips that are there.
"""

import errno
import json
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from zlib import crc32

import numpy as np
import numpy.typing as npt

from models.contract import LANDMARKS
from trainer.data.files import as_json, flush, read_json, write_json
from trainer.data.pictures import MAPS, Format, MapName, Picture, Planes, encode_labels, encode_picture

FORMAT = 1  # of index.json
Kind = Literal["synthetic", "stills", "videos"]
Split = Literal["train", "test"]
Arrays = Mapping[str, npt.NDArray[Any]]

INDEX, SETTINGS, CLIPS, CLIP, TRUTH = "index.json", "settings.json", "clips", "clip.json", "truth.npz"
MOTIONS = "motions"  # folder of recorded motions, which may be there before anything else


@dataclass(frozen=True)
class Entry:
    """A clip in the index."""

    id: str
    identity: str  # who is seen: clips of one person share it
    frames: int
    fps: float
    size: int  # pictures are size × size
    split: Split | None = None  # where its source says so
    landmarks: bool = False  # has points
    labels: bool = False  # has masks
    maps: tuple[MapName, ...] = ()


@dataclass(frozen=True)
class Index:
    """What a prepared folder says of itself."""

    kind: Kind
    picture: Format
    settings: dict[str, Any]  # as JSON has them
    clips: tuple[Entry, ...]  # by id


def place_of(clip_id: str) -> str:
    """Its folder, below the data set's. Whatever a name holds is escaped, and dots too: in an archive what
    follows a name's first dot says what kind of file it is."""
    name = quote(clip_id, safe="").replace(".", "%2E")
    return f"{CLIPS}/{crc32(name.encode()) & 0xFF:02x}/{name}"


def picture_name(frame: int, form: Format) -> str:
    return f"{frame:06d}.{form}"


def labels_name(frame: int) -> str:
    return f"{frame:06d}.labels.png"


def map_name(frame: int, name: MapName) -> str:
    return f"{frame:06d}.{name}.png"


class ClipWriter:
    """Writes clips into a folder, or goes on with one that an interrupted run left.

    Several processes and threads may write into one folder at once; of two that write the same clip, one is
    kept. Raises ValueError for a folder that was begun with other settings or holds something else, OSError
    where nothing can be written.
    """

    def __init__(
        self, folder: Path, kind: Kind, settings: Mapping[str, Any], picture: Format = "jpg"
    ) -> None:
        self.folder = folder
        self.picture = picture
        self.head = as_json({"format": FORMAT, "kind": kind, "picture": picture, "settings": dict(settings)})
        path = folder / SETTINGS
        check_free(folder)
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(path, self.head)
        self._agree(path)

    def has(self, clip_id: str) -> bool:
        """Is that clip there, whole?"""
        return (self.folder / place_of(clip_id)).is_dir()

    def write(
        self,
        clip_id: str,
        pictures: Iterable[Picture],
        points: npt.NDArray[np.floating[Any]] | None,
        valid: npt.NDArray[np.bool_],
        identity: str,
        fps: float,
        extra: Arrays | None = None,
        labels: npt.NDArray[np.uint8] | None = None,
        maps: Mapping[MapName, Planes] | None = None,
        split: Split | None = None,
    ) -> None:
        """Write a clip of F ≥ 1 frames.

        pictures: F of H×W×3 RGB, square and all of one size. points: F×478×3 in crop units, or None without
        landmarks. valid: F, where they are right. extra: more arrays of truth.npz, by name; those of length F
        along the first dimension, or of length 1, can be asked for with samples. labels: F×H×W. maps: each
        F×C×H×W. Raises ValueError where these don't fit together, OSError where it can't be written; nothing
        of the clip is then there.
        """
        final = self.folder / place_of(clip_id)
        part = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
        maps, extra = maps or {}, extra or {}
        try:
            part.mkdir(parents=True)
            frames = size = 0
            for frame, picture in enumerate(pictures):
                size = size or picture.shape[0]
                if picture.shape != (size, size, 3):
                    raise ValueError(
                        f"clip {clip_id}: frame {frame} is {picture.shape}; expected {(size, size, 3)}"
                    )
                (part / picture_name(frame, self.picture)).write_bytes(encode_picture(picture, self.picture))
                frames = frame + 1
            truth = _truth(clip_id, frames, points, valid, extra)
            if labels is not None:
                _check(clip_id, "labels", labels.shape, (frames, size, size))
            for name, planes in maps.items():
                _check(clip_id, name, (len(planes), *planes.shape[2:]), (frames, size, size))
            for frame in range(frames):
                if labels is not None:
                    (part / labels_name(frame)).write_bytes(encode_labels(labels[frame]))
                for name, planes in maps.items():
                    (part / map_name(frame, name)).write_bytes(MAPS[name].encode(planes[frame]))
            np.savez(part / TRUTH, **truth)
            entry = Entry(
                id=clip_id,
                identity=identity,
                frames=frames,
                fps=float(fps),
                size=size,
                split=split,
                landmarks=points is not None,
                labels=labels is not None,
                maps=tuple(name for name in MAPS if name in maps),
            )
            (part / CLIP).write_text(json.dumps(asdict(entry)), encoding="utf-8")
            _settle(part, final)
        finally:
            shutil.rmtree(part, ignore_errors=True)  # what can't be deleted is in nobody's way

    def finish(self) -> Index:
        """Make the index, and delete what interrupted runs left. For when nobody writes any more."""
        for part in self.folder.glob(f"{CLIPS}/*/.*.part"):
            shutil.rmtree(part, ignore_errors=True)  # another rank may do the same
        return make_index(self.folder)

    def _agree(self, path: Path) -> None:
        found = read_json(path)
        theirs, ours = _flat(found), _flat(self.head)
        for name in (*ours, *theirs):
            if theirs.get(name) != ours.get(name):
                raise ValueError(
                    f"{self.folder} was begun with {name} {theirs.get(name)}, not {ours.get(name)}: "
                    "name another folder, or delete this one"
                )


def check_free(folder: Path) -> None:
    """Raises ValueError where a folder is neither new nor empty, nor a data set that was begun."""
    other = folder.exists() and (
        not folder.is_dir() or any(path.name != MOTIONS for path in _visible(folder))
    )
    if other and not (folder / SETTINGS).exists():  # asked last: somebody else may have just begun it
        raise ValueError(f"{folder} holds something else; expected a new or an empty folder")


def make_index(folder: Path) -> Index:
    """Write the index of the clips that are there. Raises ValueError for a folder that is no data set."""
    head = read_json(folder / SETTINGS)
    told = [
        read_json(path / CLIP)
        for group in sorted((folder / CLIPS).iterdir() if (folder / CLIPS).is_dir() else [])
        for path in _visible(group)
    ]
    write_json(folder / INDEX, head | {"clips": sorted(told, key=lambda one: str(one["id"]))})
    return read_index(folder)


def read_index(folder: Path) -> Index:
    """Raises ValueError for a folder that is no data set, or is unfinished."""
    if (folder / SETTINGS).exists() and not (folder / INDEX).exists():
        raise ValueError(f"{folder} is unfinished: run its preparation again, which goes on where it stopped")
    found = read_json(folder / INDEX)
    if found.get("format") != FORMAT:
        raise ValueError(f"{folder / INDEX} is of format {found.get('format')}; expected {FORMAT}")
    return index_of(found)


def index_of(found: Mapping[str, Any]) -> Index:
    """An index as its file has it."""
    return Index(
        kind=found["kind"],
        picture=found["picture"],
        settings=found["settings"],
        clips=tuple(Entry(**one | {"maps": tuple(one["maps"])}) for one in found["clips"]),
    )


def _settle(part: Path, final: Path) -> None:
    """Give a clip that is written its name."""
    for path in part.iterdir():  # when all is written: then the disk takes much at once
        flush(path)
    flush(part)
    try:
        part.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return  # somebody else has just written it
    flush(final.parent)


def _truth(
    clip_id: str,
    frames: int,
    points: npt.NDArray[np.floating[Any]] | None,
    valid: npt.NDArray[np.bool_],
    extra: Arrays,
) -> dict[str, npt.NDArray[Any]]:
    _check(clip_id, "frames", min(frames, 1), 1)
    _check(clip_id, "valid", valid.shape, (frames,))
    truth = {"valid": np.asarray(valid, np.bool_)}
    if points is not None:
        _check(clip_id, "points", points.shape, (frames, LANDMARKS, 3))
        truth["points"] = np.asarray(points, np.float32)
    if taken := {"points", "valid"} & extra.keys():
        raise ValueError(f"clip {clip_id}: {sorted(taken)[0]} is no name for an extra array")
    return truth | dict(extra)


def _check(clip_id: str, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"clip {clip_id}: {what}: found {found}, expected {expected}")


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _flat(head: Mapping[str, Any]) -> dict[str, Any]:
    return {**head, **head["settings"], "settings": None}
