"""The motion of a video file."""

from itertools import islice
from pathlib import Path

import numpy as np

from models.contract import LANDMARKS
from models.face_tracker import FaceTracker
from trainer.data.decoding import moments, rate_of
from trainer.data.layouts import Clip
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
    clip = Clip(path.stem, path.stem, path)
    fps = float(rate_of(clip))
    with FaceTracker() as faces:
        tracked = [faces.track(moment.picture) for moment in islice(moments(clip, None), frames)]
    if not tracked:
        raise ValueError(f"{path}: no frame of it can be read; it may be damaged or cut short")
    unseen = np.full((LANDMARKS, 3), np.nan)
    return np.array([unseen if points is None else points for points in tracked]), fps
