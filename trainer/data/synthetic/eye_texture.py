"""The eyeball as one looks into it: sclera, iris, pupil. Azimuthal about the pupil, as eyes.py has it."""

import math
from functools import cache

import torch
from torch import Tensor

from trainer.data.synthetic.eyes import EYE_CORNER, EYE_SIDE, IRIS, SEEN
from trainer.data.synthetic.grain import grain_at
from trainer.data.synthetic.parts import column, smooth, texels, window

RECTANGLE = (*EYE_CORNER, EYE_CORNER[0] + EYE_SIDE, EYE_CORNER[1] + EYE_SIDE)
USED = 0.98  # of the rectangle's half side


@cache
def _polar(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Radius in iris radii, and the direction, radians."""
    v, u = texels(size, size, device)
    x, y = (u - 0.5) * 2, (v - 0.5) * 2
    return torch.hypot(x, y) / USED * (SEEN / float(IRIS)), torch.atan2(y, x)


def paint_eyes(
    iris: Tensor, ring: Tensor, pupil: Tensor, red: Tensor, white: Tensor, grain: Tensor, atlas: Tensor
) -> None:
    """Write the rectangle EYE of B×4×A×A.

    iris: B×2×3, linear reflectance near the pupil and outside; ring: B in [0, 1], the dark line around it; pupil: B,
    its radius in iris radii; red: B in [0, 1], veins; white: B×3, of the sclera; grain: B×R×C in [0, 1].
    """
    target = window(atlas, RECTANGLE)
    size = target.shape[-1]
    radius, turn = (part[None].expand(len(iris), -1, -1) for part in _polar(size, atlas.device))
    rows, columns = grain.shape[1:]
    spokes = grain_at(grain, radius * 3.0, turn / (2 * math.pi) * columns)
    fine = grain_at(grain, radius * 5.0 + 7, turn / (2 * math.pi) * 2 * columns)
    fibres = 0.55 + 0.9 * (0.6 * spokes + 0.4 * fine)
    share = smooth(0.35, 0.85, radius + 0.25 * (spokes - 0.5))[:, None]
    inner, outer = iris[:, 0, :, None, None], iris[:, 1, :, None, None]
    colour = (inner + (outer - inner) * share) * fibres[:, None]
    limbus = smooth(0.78, 0.98, radius)[:, None] * column(ring, 3)
    colour = colour * (1 - 0.85 * limbus)
    colour = colour * (1 - smooth(0.03, -0.03, radius - column(pupil))[:, None] * 0.97)
    cloud = grain_at(grain, radius * 1.3 + 3, turn / (2 * math.pi) * columns / 4)
    twist = turn + 0.25 * (cloud - 0.5)
    thread = grain_at(grain, radius * 1.1, twist / (2 * math.pi) * columns)
    veins = smooth(0.80, 0.97, thread) * smooth(1.3, 2.6, radius) * column(red)
    flush = (smooth(1.4, 3.2, radius) * (0.25 + 0.5 * column(red)))[:, None]
    sclera = white[..., None, None] * (1 - 0.1 * (cloud - 0.5))[:, None]
    tint = sclera.new_tensor((0.02, 0.28, 0.26))[None, :, None, None]
    sclera = sclera * torch.exp(-tint * flush - 2.2 * tint * veins[:, None])
    edge = smooth(0.96, 1.06, radius)[:, None]
    target[:, :3] = (colour + (sclera - colour) * edge).clamp(0.002, 0.95)
    target[:, 3] = 1.0
