"""A prepared data set, as a list of its clips:

    clips = ClipDataset(folder, split="train")
    sample = clips[7].sample(rng, frames=2)  # two of its frames, by chance

It is all the same whether the clips lie in folders (`clips.py`) or in archives (`shards.py`).
"""

import hashlib
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch

from models.contract import LANDMARKS
from trainer.data import clips, shards
from trainer.data.clips import Entry, Split
from trainer.data.pictures import MAPS, Format, MapName, decode_labels, decode_picture
from trainer.data.samples import UNKNOWN, Sample

HELD_OUT = 0.1  # of the identities

Files = Callable[[str], bytes]  # a clip's files, by name


@dataclass(frozen=True)
class Clip:
    """One clip, of which nothing has been read yet."""

    entry: Entry
    picture: Format
    open: Callable[[], Files]

    def sample(
        self,
        rng: np.random.Generator,
        frames: int = 2,
        labels: bool = True,
        maps: Sequence[MapName] = (),
        parameters: Sequence[str] = (),
        seen: bool = False,
    ) -> Sample:
        """That many frames by chance, none of them twice unless there are fewer. seen: only such whose
        landmarks are right; of a clip that has none, any."""
        choice = np.arange(self.entry.frames)
        if seen and self.entry.landmarks:
            valid = self._truth(self.open(), ["valid"])["valid"]
            choice = choice[valid] if valid.any() else choice
        chosen = rng.choice(choice, frames, replace=frames > len(choice))
        return self.read(chosen.tolist(), labels, maps, parameters)

    def read(
        self,
        frames: Sequence[int],
        labels: bool = True,
        maps: Sequence[MapName] = (),
        parameters: Sequence[str] = (),
    ) -> Sample:
        """Those frames (0 ≤ number < entry.frames), decoded. labels: masks too, where there are any. maps,
        parameters: what else is wanted, by its name. Raises ValueError for what the clip doesn't have or what
        is broken, OSError for what is gone."""
        if lacking := set(maps) - set(self.entry.maps):
            raise ValueError(f"clip {self.entry.id} has no map {sorted(lacking)[0]}")
        files = self.open()
        chosen, size = list(frames), self.entry.size
        landmarks = ["points", "valid"] if self.entry.landmarks else []
        truth = self._truth(files, [*landmarks, *parameters])
        if self.entry.landmarks:
            points = truth["points"][chosen]
            valid = truth["valid"][chosen]
            points = np.where(valid[:, None, None], points, np.float32(0))
        else:
            points, valid = np.zeros((len(chosen), LANDMARKS, 3), np.float32), np.zeros(len(chosen), bool)
        try:
            pictures = [decode_picture(files(clips.picture_name(frame, self.picture))) for frame in chosen]
            masks = [np.full((size, size), UNKNOWN, np.uint8)] * len(chosen)
            if labels and self.entry.labels:
                masks = [decode_labels(files(clips.labels_name(frame))) for frame in chosen]
            planes = {
                name: [MAPS[name].decode(files(clips.map_name(frame, name))) for frame in chosen]
                for name in maps
            }
        except ValueError as error:
            raise ValueError(f"clip {self.entry.id}: {error}") from None
        return Sample(
            picture=torch.from_numpy(np.stack(pictures)),
            points=torch.from_numpy(points),
            valid=torch.from_numpy(valid),
            labels=torch.from_numpy(np.stack(masks)),
            frames=torch.tensor(chosen),
            maps={name: torch.from_numpy(np.stack(kept)) for name, kept in planes.items()},
            parameters={name: self._parameter(truth, name, chosen) for name in parameters},
            clip=self.entry.id,
            identity=self.entry.identity,
        )

    def truth(self) -> dict[str, npt.NDArray[Any]]:
        """Everything in truth.npz."""
        return self._truth(self.open())

    def _truth(self, files: Files, names: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """The arrays of those names; without any named, all."""
        try:
            with np.load(io.BytesIO(files(clips.TRUTH))) as file:
                there = file.files
                found = {name: file[name] for name in (there if names is None else names) if name in there}
        except (EOFError, BadZipFile, ValueError, zlib.error):  # empty, cut off, changed, or no such thing
            raise ValueError(f"clip {self.entry.id}: {clips.TRUTH} is broken") from None
        if lacking := [name for name in names or () if name not in found]:
            raise ValueError(f"clip {self.entry.id} has no {lacking[0]}; it has: {', '.join(sorted(there))}")
        return found

    def _parameter(self, truth: Mapping[str, npt.NDArray[Any]], name: str, frames: list[int]) -> torch.Tensor:
        array = truth[name]
        if array.shape[:1] == (self.entry.frames,):
            return torch.from_numpy(array[frames])
        if array.shape[:1] == (1,):  # the whole clip's
            return torch.from_numpy(np.repeat(array, len(frames), 0))
        raise ValueError(f"clip {self.entry.id}: {name} is neither each frame's nor the clip's")


class ClipDataset(torch.utils.data.Dataset[Clip]):
    """The clips of a prepared folder, or of those of one split, by their ids.

    split: "test" are those whose source says so and, where it says nothing, those of the held-out identities.
    A hash of the name decides whose turn that is: more data leaves everybody where he was. held_out: their
    share. Raises ValueError for a folder that is no data set, is unfinished, or has no such clips.
    """

    def __init__(self, folder: Path, split: Split | None = None, held_out: float = HELD_OUT) -> None:
        self.folder = folder
        self.places: dict[str, shards.Place] = {}  # of clips that lie in archives
        if (folder / shards.SHARDS).exists():
            self.index, self.places = shards.read_shards(folder)
        else:
            self.index = clips.read_index(folder)
        self.clips = [
            entry for entry in self.index.clips if split is None or split == split_of(entry, held_out)
        ]
        if not self.clips:
            what = "clips" if split is None else f"clips to {split}"
            raise ValueError(f"{folder} has no {what}")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> Clip:
        entry = self.clips[number]
        return Clip(entry, self.index.picture, lambda: self._files(entry))

    def _files(self, entry: Entry) -> Files:
        if self.places:
            return shards.files(self.folder, self.places[entry.id])
        folder = self.folder / clips.place_of(entry.id)
        return lambda name: (folder / name).read_bytes()


def split_of(entry: Entry, held_out: float = HELD_OUT) -> Split:
    """Of which split a clip is."""
    return entry.split or ("test" if is_held_out(entry.identity, held_out) else "train")


def is_held_out(identity: str, share: float) -> bool:
    """Is that one of the `share` [0, 1] of identities that training must not see?"""
    number = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big")
    return number < share * 2**64
