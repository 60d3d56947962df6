"""A camera made of a clip: a file that Chromium plays, in a loop, where it would open a real camera."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from realtime.bench import barcode

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


def there_and_back(frames: Sequence[Picture]) -> list[Picture]:
    """The frames forwards, then backwards, so that a loop of them never jumps."""
    return [*frames, *reversed(frames[1:-1])]


def fit(frame: Picture, width: int, height: int) -> Picture:
    """The largest middle part of a frame that has the camera's shape, scaled to its size."""
    import cv2

    scale = max(width / frame.shape[1], height / frame.shape[0])
    matrix = np.array(
        [
            [scale, 0, (width - scale * frame.shape[1]) / 2],
            [0, scale, (height - scale * frame.shape[0]) / 2],
        ]
    )
    scaled = cv2.warpAffine(
        frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(scaled, np.uint8)


def write_camera(
    path: Path, frames: Sequence[Picture], size: tuple[int, int], fps: int, count: int, stamped: bool = True
) -> None:
    """Write a Y4M file of `count` frames: the given ones over and over, fitted to `size` (width, height, both
    even), each with its number as a bar code if `stamped`.

    Raw video, because decoding anything else would cost Chromium time. Raises ValueError for no frames, and
    for more than the bar code can count.
    """
    import av

    if not frames:
        raise ValueError("a camera needs at least one frame")
    if stamped and count > barcode.COUNTERS:
        raise ValueError(f"{count} frames: the bar code counts only to {barcode.COUNTERS}")
    width, height = size
    fitted = [fit(frame, width, height) for frame in frames]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(count):
            picture = fitted[number % len(fitted)].copy()
            if stamped:
                barcode.draw(picture, number)
            planes = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p").to_ndarray()
            file.write(b"FRAME\n" + planes.tobytes())
