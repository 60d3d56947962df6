"""The debug stamp: a strip of the driving frame over the avatar's, so that a bar code in the one is read
back from the other and the delay between them measured. It shows the driver's own pixels, so it is drawn
only when asked for."""

import numpy as np
import numpy.typing as npt

ROWS = 16  # of the driving frame, from its top; and of the frame that goes out

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


def cut_strip(driving: Picture, width: int) -> Picture:
    """The top rows of a driving frame, scaled to `width`: 16×width×3."""
    columns = (
        (np.arange(width) * 2 + 1) * driving.shape[1] // (2 * width)
    )  # nearest: a bar code's edges stay sharp
    strip = driving[:ROWS][:, columns]
    return np.ascontiguousarray(np.resize(strip, (ROWS, width, 3)))


def draw_strip(picture: Picture, strip: Picture) -> Picture:
    """The picture with the strip over its top rows. A new array: a composite may be shared."""
    stamped = picture.copy()
    stamped[:ROWS] = strip[:, : picture.shape[1]]
    return stamped
