"""Little videos, made for tests."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def film(path: Path, pictures: Sequence[np.ndarray], fps: int = 25) -> Path:
    """Write pictures (H×W×3 RGB, even sides) as H.264 with hardly any loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "8", "preset": "veryfast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def levels(count: int, size: int = 64) -> list[np.ndarray]:
    """Flat pictures, each three levels brighter than the one before, from 20."""
    return [np.full((size, size, 3), 20 + 3 * index, np.uint8) for index in range(count)]
