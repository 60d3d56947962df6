"""The traces that JPEG leaves, on any device: nothing is coded, only what the coder throws away is.

Tables and transform are those of ITU-T T.81 (1992), Annexes A and K; the colours JFIF's (ITU-T T.871); the
scale by quality is the Independent JPEG Group's, as in libjpeg.

    B pictures, H×W pixels
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99, 99, 99, 99, 99, 99, 99, 99)] * 4,
)


def compressed(pictures: Tensor, quality: Tensor, halved: Tensor) -> Tensor:
    """Pictures (B×3×H×W in [0, 1]) after JPEG.

    quality: B, 1 to 100, or 0 for those that stay as they are.
    halved: B bool, those whose colour has half the resolution (4:2:0).
    """
    height, width = pictures.shape[2:]
    padded = F.pad(pictures * 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    red, green, blue = padded[:, :1], padded[:, 1:2], padded[:, 2:]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.cat(((blue - luma) / 1.772, (red - luma) / 1.402), 1)

    scale = torch.where(quality < 50, 5000 / quality.clamp(min=1), 200 - 2 * quality)
    luma = _coarser(luma - 128, _table(LUMA_TABLE, scale)) + 128
    coarse = _table(CHROMA_TABLE, scale)
    small, whole = halved.nonzero().squeeze(1), (~halved).nonzero().squeeze(1)
    half = _coarser(F.avg_pool2d(chroma[small], 2), coarse[small])
    half = F.interpolate(half, scale_factor=2.0, mode="bilinear", align_corners=False)
    chroma = chroma.index_copy(0, whole, _coarser(chroma[whole], coarse[whole])).index_copy(0, small, half)

    cb, cr = chroma[:, :1], chroma[:, 1:]
    red, blue = luma + 1.402 * cr, luma + 1.772 * cb
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    result = (torch.cat((red, green, blue), 1)[:, :, :height, :width] / 255).clamp(0, 1)
    return torch.where(quality[:, None, None, None] > 0, result, pictures)


def _table(table: tuple[tuple[int, ...], ...], scale: Tensor) -> Tensor:
    """B×1×64×1×1."""
    steps = torch.tensor(table, device=scale.device).flatten() * scale[:, None]
    return ((steps + 50) / 100).floor().clamp(1, 255)[:, None, :, None, None]


def _coarser(plane: Tensor, table: Tensor) -> Tensor:
    """B×C×H×W, whose blocks of 8×8 keep whole steps of their cosine transform only."""
    batch, channels, height, width = plane.shape
    if not batch:
        return plane
    at = torch.arange(8, device=plane.device)
    cosines = torch.cos((2 * at + 1) * at[:, None] * (math.pi / 16)) / 2  # frequency by place
    cosines = torch.cat((cosines[:1] / math.sqrt(2), cosines[1:]))
    waves = (cosines[:, None, :, None] * cosines[None, :, None, :]).view(64, 1, 8, 8)
    frequencies = F.conv2d(plane.flatten(0, 1)[:, None], waves, stride=8)  # BC×64×H/8×W/8
    frequencies = frequencies.view(batch, channels, 64, height // 8, width // 8)
    kept = ((frequencies / table).round() * table).flatten(0, 1)
    back = F.conv2d(kept, waves.view(64, 64).t()[:, :, None, None])
    return F.pixel_shuffle(back, 8).view(batch, channels, height, width)
