"""From RGB to the YUV that encoders take, on whatever device the picture is, so that a picture that a GPU has
drawn leaves it as 12 bits a pixel, ready to be encoded.

Only arithmetic with Python's numbers: no tensor is made of them, no shape depends on a value. That is what a
CUDA graph can hold.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BT601, BT709, LIMITED = 6, 1, 1  # in the numbering of H.264's annex E: matrix and primaries; range

# How much red and blue add to what the eye takes for brightness; green has the rest (ITU-R BT.601, BT.709).
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


def planes(rgb: Tensor, matrix: str = "bt601", full: bool = False) -> Tensor:
    """Y, U and V of every pixel, before anything is rounded or left out.

    rgb: B×3×H×W, clamped to [0, 1]. matrix: bt601 or bt709. full: Y, U and V take all of [0, 255]; else Y
    takes [16, 235], U and V [16, 240]. Returns B×3×H×W float32, levels of 8 bits. Raises ValueError for
    another matrix.
    """
    if matrix not in WEIGHTS:
        raise ValueError(f"unknown colour matrix {matrix!r}; known: {', '.join(WEIGHTS)}")
    from_red, from_blue = WEIGHTS[matrix]
    black, luma, chroma = (0.0, 255.0, 255.0) if full else (16.0, 219.0, 224.0)
    red, green, blue = rgb.float().clamp(0, 1).unbind(1)
    y = from_red * red + (1 - from_red - from_blue) * green + from_blue * blue
    u = (blue - y) * (chroma / (2 * (1 - from_blue))) + 128
    v = (red - y) * (chroma / (2 * (1 - from_red))) + 128
    return torch.stack((y * luma + black, u, v), 1)


def to_i420(rgb: Tensor, matrix: str = "bt601", full: bool = False) -> Tensor:
    """A picture as planar YUV 4:2:0: the planes Y, U and V, one after another, as PyAV's `yuv420p` arrays
    have them.

    rgb, matrix, full: as for `planes`; H and W even. Returns B×(3H/2)×W uint8: H rows of Y, then all of U,
    then all of V, each H/2 rows that are half as wide, two of them beside each other. Raises ValueError for
    odd sides.

    What a session sends is BT.601 in the limited range: VP8 knows no other (RFC 6386, section 9.2), and our
    H.264 says so (`realtime/_aiortc_compat.py`).
    """
    count, _, height, width = rgb.shape
    if height % 2 or width % 2:
        raise ValueError(f"a picture of {width}×{height} can't be YUV 4:2:0: both sides must be even")
    yuv = planes(rgb, matrix, full)
    # The mean of four pixels sits in their middle. So it does in what libswscale makes of RGB unless told
    # otherwise, and colours are then the same whoever has converted them. Receivers that repeat U and V for
    # each of the four, as libyuv does, take them for that, too. H.264 and MPEG-2 mean them to sit half a
    # pixel further left, which nobody sees.
    halved = F.avg_pool2d(yuv[:, 1:], 2)
    levels = torch.cat((yuv[:, 0].flatten(1), halved.flatten(1)), 1)
    # In the full range, pure blue's U would be 255.5.
    return (levels + 0.5).clamp(0, 255).to(torch.uint8).view(count, 3 * height // 2, width)
