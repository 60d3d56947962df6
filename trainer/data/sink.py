"""Where prepared clips go: what is asked of a writer, whatever it makes on the disk."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trainer.data.clips import ClipWriter, Kind, Split


class Sink(Protocol):
    """Writes clips into a folder. Several may be open on one folder, in processes of their own: no two write
    the same clip, and only the first one's `finish` is called, when all are done."""

    def has(self, clip_id: str) -> bool:
        """Is that clip there, whole?"""

    def write(
        self,
        clip_id: str,
        pictures: Iterable[npt.NDArray[np.uint8]],
        points: npt.NDArray[np.float32],
        valid: npt.NDArray[np.bool_],
        identity: str,
        fps: float,
        extra: dict[str, npt.NDArray[Any]],
        *,
        split: Split | None = None,
    ) -> None:
        """One clip, whole or not at all. pictures: H×W×3 RGB. points: F×478×3, crop units. valid: F, was a
        face seen. fps: 0 for series of single shots. extra: further arrays by name. split: where its
        source says so."""

    def finish(self) -> object:
        """Write what says which clips are there."""


OpenSink = Callable[[Path, Kind, Mapping[str, Any]], Sink]
"""Opens a sink: the folder, the kind of clips (videos, stills), and the settings that they are made with."""


def on_disk() -> OpenSink:
    """The writer of the format that training reads."""
    return ClipWriter
