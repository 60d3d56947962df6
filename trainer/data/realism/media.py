"""Real faces to compare rendered ones with: a folder's portraits/ and driving/, with what the tracker sees."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.face_tracker import FaceTracker, Picture, Points, settled_points
from models.portrait_face import find_faces

PICTURES = {".jpg", ".jpeg", ".png"}
CLIPS = {".mp4", ".mov", ".webm", ".mkv"}


class Seen(NamedTuple):
    """A real picture or clip."""

    name: str
    pictures: list[Picture]  # F
    points: list[Points | None]  # F; of a portrait with several faces, the largest


def portraits(media: Path) -> Iterator[Seen]:
    """The pictures of media/portraits in which there is a face, by name."""
    for path in _files(media / "portraits", PICTURES):
        picture = read_picture(path)
        if faces := find_faces(picture):
            yield Seen(path.stem, [picture], [faces[0]])


def clips(media: Path) -> Iterator[Seen]:
    """The videos of media/driving, by name, tracked from frame to frame."""
    for path in _files(media / "driving", CLIPS):
        pictures = read_frames(path)
        with FaceTracker() as tracker:
            settled_points(pictures[0], tracker)
            points = [tracker.track(picture) for picture in pictures]
        yield Seen(path.stem, pictures, points)


def check_media(media: Path) -> None:
    """Raises ValueError where the folder isn't laid out so."""
    for name in ("portraits", "driving"):
        if not (media / name).is_dir():
            raise ValueError(f"{media} has no folder {name}: expected portraits/ with pictures, driving/ with clips")


def read_picture(path: Path) -> Picture:
    """H×W×3 RGB, upright. Raises ValueError for what is no picture."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no picture that can be read") from None


def read_frames(path: Path) -> list[Picture]:
    """All frames, H×W×3 RGB. Raises ValueError for what is no video."""
    import av

    try:
        with av.open(str(path)) as container:
            found = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except av.error.InvalidDataError:
        raise ValueError(f"{path} is no video that can be read") from None
    if not found:
        raise ValueError(f"{path} has no pictures in it")
    return found


def _files(folder: Path, kinds: set[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in kinds)
