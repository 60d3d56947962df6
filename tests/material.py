"""The faces that tests look at: some of the project's own, and more where a folder of them is present."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

MEDIA = Path(__file__).parent / "media"
MONA_LISA = MEDIA / "mona_lisa.jpg"
ASTRONAUT = MEDIA / "astronaut.jpg"
GRID_CLIP = MEDIA / "grid_brbk7n.mp4"  # 360×288, 75 frames at 25 a second, with sound; speaks and blinks
TRACKS = sorted(path.stem for path in (MEDIA / "tracks").glob("*.npz"))


class Track(NamedTuple):
    """Landmarks of a clip."""

    points: npt.NDArray[np.float64]  # frames × 478 × 3, pixels
    fps: float
    size: tuple[int, int]  # width, height of its frames


def track(name: str) -> Track:
    """One of `TRACKS`."""
    with np.load(MEDIA / "tracks" / f"{name}.npz") as data:
        width, height = data["size"]
        return Track(data["points"] / 64.0, float(data["fps"]), (int(width), int(height)))


def picture(path: Path) -> npt.NDArray[np.uint8]:
    """H×W×3 RGB."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def frames(path: Path, most: int | None = None) -> list[npt.NDArray[np.uint8]]:
    """A clip's pictures, H×W×3 RGB, or the first `most` of them."""
    import av  # not on machines that only run the generators

    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            found.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
            if len(found) == most:
                break
    return found


def shared(name: str) -> Path:
    """A file of the wider collection, `media/` under $REENACT_SHARED or ../shared; skips without."""
    root = Path(os.environ.get("REENACT_SHARED", Path(__file__).parents[2] / "shared"))
    path = root / "media" / name
    if not path.exists():
        pytest.skip(
            f"needs {name} of the wider collection; set REENACT_SHARED to the folder that holds media/"
        )
    return path


def shared_folder(name: str) -> Path:
    """A folder under $REENACT_SHARED or ../shared; skips without."""
    path = Path(os.environ.get("REENACT_SHARED", Path(__file__).parents[2] / "shared")) / name
    if not path.is_dir():
        pytest.skip(f"needs the folder {name}; set REENACT_SHARED to the folder that holds it")
    return path
