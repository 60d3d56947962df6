"""A sink that keeps clips as plain arrays, for tests of what goes into it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class FolderSink:
    """One `.npz` a clip; `written.txt` has a line for each that was written, twice for one written twice."""

    def __init__(self, folder: Path, kind: str, settings: Mapping[str, Any]) -> None:
        assert not folder.exists() or (folder / "clips").exists()  # none but a new folder, or its own
        self.folder = folder
        (folder / "clips").mkdir(parents=True, exist_ok=True)

    def has(self, clip_id: str) -> bool:
        return (self.folder / "clips" / f"{clip_id}.npz").exists()

    def write(
        self,
        clip_id: str,
        pictures: Iterable[np.ndarray],
        points: np.ndarray,
        valid: np.ndarray,
        identity: str,
        fps: float,
        extra: dict[str, np.ndarray],
        *,
        split: str | None = None,
    ) -> None:
        shown = np.stack(list(pictures))
        assert len(shown) == len(points) == len(valid)
        assert points.dtype == np.float32
        path = self.folder / "clips" / f"{clip_id}.npz"
        own = {
            "pictures": shown,
            "points": points,
            "valid": valid,
            "identity": identity,
            "fps": fps,
            "split": str(split),
        }
        np.savez(path, **own, **extra)
        with (self.folder / "written.txt").open("a") as file:
            file.write(clip_id + "\n")

    def finish(self) -> None:
        names = sorted(path.stem for path in (self.folder / "clips").glob("*.npz"))
        (self.folder / "index.txt").write_text("\n".join(names))


def clips(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """What was written, by the clips' names."""
    found = {}
    for path in sorted((folder / "clips").glob("*.npz")):
        with np.load(path) as file:
            found[path.stem] = dict(file)
    return found
