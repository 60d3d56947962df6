"""Real faces to compare rendered ones with: a folder's portraits/ and driving/, as the tracker sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from models.face_tracker import FaceTracker, Picture, Points, settled_points
from models.portrait_face import find_faces
from trainer.data.decoding import moments, read_picture
from trainer.data.layouts import Clip

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
        pictures = [moment.picture for moment in moments(Clip(path.stem, path.stem, path), None)]
        if not pictures:
            raise ValueError(f"{path} has no pictures that can be read")
        with FaceTracker() as tracker:
            settled_points(pictures[0], tracker)
            points = [tracker.track(picture) for picture in pictures]
        yield Seen(path.stem, pictures, points)


def check_media(media: Path) -> None:
    """Raises ValueError where the folder isn't laid out so."""
    for name in ("portraits", "driving"):
        if not (media / name).is_dir():
            raise ValueError(
                f"{media} has no folder {name}: expected portraits/ with pictures, driving/ with clips"
            )


def _files(folder: Path, kinds: set[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in kinds)
