"""Clips as arrays, for measuring: a few seconds read whole, and written with hardly any loss."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.containers import open_container

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB

CRF = 8  # of what is written: 41 dB and more
WINDOW = 512  # side of the window that `around_first_face` cuts, pixels


class Clip(NamedTuple):
    name: str
    frames: list[Picture]  # all of one size
    fps: Fraction


def read_clip(path: Path, most: int) -> Clip:
    """At most `most` frames, evenly strided; the frame rate is divided by the stride.

    Raises ValueError where there is no such file, or no video in it.
    """
    with open_container(path) as container:
        if not container.streams.video:
            raise ValueError(f"{path.name} holds no video")
        stream = container.streams.video[0]
        fps = stream.average_rate or stream.guessed_rate
        frames = [
            np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(stream)
        ]
    if not frames or not fps:
        raise ValueError(f"{path.name} holds no video")
    stride = max(1, len(frames) // most)
    return Clip(path.stem, frames[::stride][:most], Fraction(fps) / stride)


def write_clip(path: Path, frames: Sequence[Picture], fps: Fraction) -> None:
    """Write frames of one even size as H.264 in whatever container the path's suffix names."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(CRF), "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def around_first_face(frames: Sequence[Picture], points: npt.NDArray[np.float64]) -> list[Picture]:
    """The clip through a fixed square window around its first face: 512 pixels, of which the face takes 1 /
    2.2, a little below the middle. points: K×≥2, landmarks of the first frame, pixels. The border is repeated
    outside."""
    import cv2

    low, high = points[:, :2].min(0), points[:, :2].max(0)
    half = 1.1 * float((high - low).max())
    centre = (low + high) / 2 - (0.0, 0.1 * half)
    scale = WINDOW / 2 / half
    matrix = np.column_stack([np.eye(2) * scale, WINDOW / 2 - scale * centre])
    cut = []
    for frame in frames:
        window = cv2.warpAffine(
            frame, matrix, (WINDOW, WINDOW), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        cut.append(np.asarray(window, np.uint8))
    return cut
