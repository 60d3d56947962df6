"""The inside of the mouth, painted into the atlas: teeth and gums, tongue, and the dark behind.

Rows of the rectangle from the top: [0, .35] upper gum and teeth, [.35, .65] lower teeth and gum, [.65, .8]
tongue, [.8, 1] cavity. Columns of the first two go along the arch, from the picture's left to its right.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.skin import Skin

# Widths in mm from the middle outwards: incisors, canine, premolars, molars (S. Nelson, Wheeler's Dental
# Anatomy).
UPPER = (8.5, 6.5, 7.5, 7.0, 7.0, 10.0, 10.0)
LOWER = (5.3, 5.8, 6.9, 7.0, 7.1, 10.5, 10.5)
LENGTHS = (1.0, 0.88, 0.98, 0.84, 0.8, 0.72, 0.7)  # of the crowns, in that of the first
ENAMEL = (0.74, 0.70, 0.62)
STAINED = (0.62, 0.50, 0.30)
GUM = (0.42, 0.13, 0.12)
DARK_GUM = (0.20, 0.07, 0.07)
TONGUE = (0.40, 0.14, 0.13)
CAVITY = (0.16, 0.035, 0.035)
SEAM = (0.06, 0.025, 0.02)


@cache
def _teeth(height: int, width: int, upper: bool, device: torch.device) -> tuple[Tensor, ...]:
    """Of each texel of a row of teeth (h×w): how far up from the crowns' edges it lies ([0, 1] of the
    rectangle), the tooth's place across ([-1, 1]), its length, its number from the middle, and the width of a
    texel in teeth."""
    widths = torch.tensor(UPPER if upper else LOWER, device=device)
    u = ((torch.arange(width, device=device) + 0.5) / width * 2 - 1).abs() * widths.sum()
    ends = widths.cumsum(0)
    number = (u[:, None] >= ends).sum(1).clamp(max=len(widths) - 1)
    across = (u - (ends - widths)[number]) / widths[number] * 2 - 1
    length = torch.tensor(LENGTHS, device=device)[number] * (1.0 if upper else 0.88)
    v = (torch.arange(height, device=device) + 0.5) / height
    up = (1 - v if upper else v)[:, None].expand(height, width)
    step = 2 * 2 * widths.sum() / width / widths[number]
    return up, across.expand(height, width), length.expand(height, width), number, step.expand(height, width)


def paint_mouth(skin: Skin, atlas: Tensor) -> None:
    """Rectangle MOUTH, in place, alpha 1. atlas: B×4×A×A."""
    size = atlas.shape[-1]
    side = size // 4
    rectangle = atlas[:, :, size - side :, side : 2 * side]
    rows = [round(share * side) for share in (0, 0.35, 0.65, 0.8, 1)]
    rectangle[:, 3] = 1.0
    for upper, (top, bottom) in ((True, rows[:2]), (False, rows[1:3])):
        rectangle[:, :3, top:bottom] = _arch(skin, bottom - top, side, upper)
    rectangle[:, :3, rows[2] : rows[3]] = _tongue(skin, rows[3] - rows[2], side)
    v = torch.linspace(0, 1, rows[4] - rows[3], device=atlas.device)[:, None]
    cavity = atlas.new_tensor(CAVITY)[:, None, None] * (1 - 0.93 * v)
    rectangle[:, :3, rows[3] :] = cavity.clamp(min=0.004)


def _arch(skin: Skin, height: int, width: int, upper: bool) -> Tensor:
    """B×3×height×width."""
    up, across, length, number, step = _teeth(height, width, upper, skin.teeth.device)
    yellow, gaps, dark = (value[:, None, None] for value in skin.teeth.unbind(1))
    each = skin.grain[:, 1, int(upper), : len(UPPER)].clamp(-2, 2)[:, None, :][..., number]  # B×1×w
    # Crowns end rounded at the edge, gums in scallops: highest in the middle of a tooth, papillae between.
    line = 0.66 * length * (1 - 0.08 * across * across)
    line = line * (1.0 + 0.04 * each) - 0.14 * across.abs() ** 3
    gum = torch.sigmoid((up - line) * height / 0.8)[:, None]
    colour = skin.teeth.new_tensor(ENAMEL)[:, None, None]
    stain = (0.15 + 0.75 * yellow + 0.10 * each + 0.08 * (number == 2)).clamp(0, 1)
    stain = (stain * (0.5 + up / 0.6)).clamp(0, 1)[:, None]  # yellower at the neck
    colour = colour + (skin.teeth.new_tensor(STAINED)[:, None, None] - colour) * stain
    light = (1 - 0.22 * across.abs() ** 4) * (1 - 0.05 * number) * (1 + 0.03 * each)
    light = light * (1 - 0.25 * torch.exp(-up * 9))  # thin and clear at the edge
    colour = colour * light[:, None]
    # Dark lines between teeth, no thinner than a texel shows.
    wide = 0.07 + 0.07 * gaps + 0.3 * step
    open_below = 0.10 * torch.exp(-up * 12)  # embrasures
    seam = torch.sigmoid((across.abs() - 1 + wide + open_below) / (0.35 * wide)) * (0.65 + 0.3 * gaps)
    colour = colour + (skin.teeth.new_tensor(SEAM)[:, None, None] - colour) * seam[:, None]
    pink = skin.teeth.new_tensor(GUM)[:, None, None]
    pink = pink + (skin.teeth.new_tensor(DARK_GUM)[:, None, None] - pink) * (0.8 * dark)[:, None]
    pink = pink * (1 - 0.35 * torch.exp(-(((up - line) / 0.06) ** 2)) - 0.2 * up)[:, None]
    return (colour + (pink - colour) * gum).clamp(0.004, 1)


def _tongue(skin: Skin, height: int, width: int) -> Tensor:
    bumps = F.interpolate(
        skin.grain[:, None, 2, :24, :72], (height, width), mode="bicubic", align_corners=False
    )
    u = torch.linspace(-1, 1, width, device=bumps.device)
    groove = 1 - 0.35 * torch.exp(-((u / 0.06) ** 2)) - 0.25 * u**4
    v = torch.linspace(0, 1, height, device=bumps.device)[:, None]
    colour = skin.teeth.new_tensor(TONGUE)[:, None, None] * (1 + 0.10 * bumps) * groove * (1 - 0.3 * v)
    return colour.clamp(0.004, 1)
