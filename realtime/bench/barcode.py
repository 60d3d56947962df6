"""A frame counter as a bar code in the top rows of a picture, so that a frame can be recognised after it
went through a video codec, a scaler and the server's debug stamp.

Twenty cells of equal width from left to right: white, black, 12 bits of the counter (highest first, white is
1), 4 bits of check, black, white. `live.js` reads the same code in the browser.
"""

import numpy as np
import numpy.typing as npt

from realtime.stamp import ROWS

COUNTERS = 1 << 12  # the counter runs from 0 to COUNTERS - 1
CELLS = 20
MIN_CONTRAST = 60  # levels between the white and the black marks
MARGIN = 0.15  # of that contrast: a cell this close to the middle is neither white nor black

Picture = npt.NDArray[np.uint8]


def check(counter: int) -> int:
    """Four bits of check: CRC-4 (x⁴ + x + 1). It notices any one wrong bit and all pairs but one."""
    remainder = counter << 4
    for bit in range(15, 3, -1):
        if remainder >> bit & 1:
            remainder ^= 0b10011 << bit - 4
    return remainder ^ 0b1010  # so that a strip of one colour is no code


def cells(counter: int) -> list[bool]:
    """The code's cells from left to right; True is white. Raises ValueError for a counter out of range."""
    if not 0 <= counter < COUNTERS:
        raise ValueError(f"counter {counter}: must be from 0 to {COUNTERS - 1}")
    word = counter << 4 | check(counter)
    return [True, False, *(bool(word >> bit & 1) for bit in reversed(range(16))), False, True]


def draw(picture: Picture, counter: int) -> None:
    """Draw the counter over the top `ROWS` rows of `picture` (H×W×3 or H×W), in place."""
    edges = np.round(np.linspace(0, picture.shape[1], CELLS + 1)).astype(int)
    for white, left, right in zip(cells(counter), edges, edges[1:], strict=False):
        picture[:ROWS, left:right] = 255 if white else 0


def read(picture: Picture) -> int | None:
    """The counter in the top rows of `picture` (H×W×3 or H×W); None where it cannot be read for certain.

    Only the middle of each cell is looked at, and only the rows from an eighth to three eighths of the strip,
    which stay inside the code when the frame was halved before it was stamped.
    """
    width = picture.shape[1]
    strip = picture[ROWS // 8 : 3 * ROWS // 8].reshape(ROWS // 4, width, -1).mean((0, 2))
    edges = np.linspace(0, width, CELLS + 1)
    quarter = width / CELLS / 4
    levels = [
        float(strip[int(a + quarter) : int(np.ceil(b - quarter))].mean())
        for a, b in zip(edges, edges[1:], strict=False)
    ]
    return decode(levels)


def decode(levels: list[float]) -> int | None:
    """The counter from the `CELLS` mean brightnesses (0 … 255), or None."""
    white = (levels[0] + levels[-1]) / 2
    black = (levels[1] + levels[-2]) / 2
    contrast = white - black
    if contrast < MIN_CONTRAST:
        return None
    heights = [(level - black) / contrast - 0.5 for level in levels]
    if any(abs(height) < MARGIN for height in heights):
        return None
    word = 0
    for height in heights[2:-2]:
        word = word << 1 | (height > 0)
    counter = word >> 4
    return counter if cells(counter) == [height > 0 for height in heights] else None
