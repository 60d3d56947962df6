"""The motion of a video file."""

from pathlib import Path

import numpy as np

from models.contract import LANDMARKS
from models.face_tracker import FaceTracker
from trainer.data.synthetic.anatomy import Array
from trainer.data.synthetic.replay import Basis, Replay, replay


def replay_clip(path: Path, basis: Basis, frames: int | None = None) -> Replay:
    """The motion of the largest face of a clip, or of its first `frames` pictures.

    Raises ValueError, in words for a user, where the file can't be read or shows no face.
    """
    points, fps = track_clip(path, frames)
    try:
        return replay(points, fps, basis)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def track_clip(path: Path, frames: int | None = None) -> tuple[Array, float]:
    """Landmarks of a clip (F×478×3 pixels, NaN where no face was seen) and its frames a second.

    Raises ValueError for anything that is not a video, or has not one frame that can be read.
    """
    import av

    found: list[Array] = []
    try:
        with av.open(str(path)) as container, FaceTracker() as faces:
            if not container.streams.video:
                raise ValueError(f"{path} has no video in it: use a clip that shows a face")
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 25)
            for image in container.decode(stream):
                picture = np.asarray(image.to_ndarray(format="rgb24"), np.uint8)
                quarters = round(image.rotation / 90) % 4  # counterclockwise: phones film sideways
                points = faces.track(np.ascontiguousarray(np.rot90(picture, quarters)))
                found.append(np.full((LANDMARKS, 3), np.nan) if points is None else points)
                if len(found) == frames:
                    break
    except OSError as error:  # FFmpeg's errors are of this kind too, or of the next
        raise ValueError(f"{path} can't be read: {error.strerror or error}") from None
    except av.FFmpegError as error:
        raise ValueError(f"{path} can't be read as a video: {error.strerror}") from None
    if not found:
        raise ValueError(f"{path}: no frame of it can be read; it may be damaged or cut short")
    return np.array(found), fps
