"""The debug stamp: a strip of the driving frame over the avatar's, so that a bar code in the one is read
back from the other and the delay between them measured. It shows the driver's own pixels, so it is drawn
only when asked for."""

import numpy as np
import numpy.typing as npt
import torch

from realtime.colours import to_i420

ROWS = 16  # of the driving frame, from its top; and of the frame that goes out

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


def cut_strip(driving: Picture, width: int) -> Picture:
    """The top rows of a driving frame, scaled to `width`: 16×width×3."""
    columns = (
        (np.arange(width) * 2 + 1) * driving.shape[1] // (2 * width)
    )  # nearest: a bar code's edges stay sharp
    strip = driving[:ROWS][:, columns]
    return np.ascontiguousarray(np.resize(strip, (ROWS, width, 3)))


def draw_strip(picture: npt.NDArray[np.uint8], strip: Picture) -> npt.NDArray[np.uint8]:
    """The picture, RGB (H×W×3) or YUV 4:2:0 ((3H/2)×W), with the strip over its top rows. A new array: a
    composite may be shared."""
    stamped = picture.copy()
    strip = strip[:, : picture.shape[1]]
    if picture.ndim == 3:
        stamped[:ROWS] = strip
        return stamped
    rgb = torch.from_numpy(strip.transpose(2, 0, 1)[None] / np.float32(255))
    for plane, top in zip(_planes(stamped), _planes(to_i420(rgb)[0].numpy()), strict=True):
        plane[: len(top)] = top
    return stamped


def _planes(picture: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Y, U and V of a YUV 4:2:0 picture, each as one row of levels that lie in the picture."""
    levels = picture.reshape(-1)
    pixels = 2 * len(levels) // 3
    return np.split(levels, (pixels, pixels + pixels // 4))
