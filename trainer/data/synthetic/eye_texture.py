"""The eyeball as seen along its axis, and a row of lashes, painted into the atlas."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.skin import Skin, monk_reflectance

REACH = 100.0  # degrees from the pupil's axis at half a side of the rectangle
IRIS = 29.0  # degrees: 11.7 mm across on a ball of 24 mm
WHITE = (0.44, 0.42, 0.40)
YELLOWED = (0.41, 0.34, 0.25)
PIGMENTED = 0.45  # share of the white's light that the conjunctiva of the darkest people takes
VEIN = (0.45, 0.09, 0.07)
HAIRS = 34  # in a row of lashes


@cache
def _polar(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Degrees from the pupil's axis, and the angle about it in [-1, 1]: side×side each."""
    line = ((torch.arange(side, device=device) + 0.5) / side * 2 - 1) * REACH
    y, x = torch.meshgrid(line, line, indexing="ij")
    return (x * x + y * y).sqrt(), torch.atan2(y, x) / math.pi


def paint_eyes(skin: Skin, atlas: Tensor) -> None:
    """Rectangle EYE, in place: azimuthal equidistant about the pupil, alpha 1. atlas: B×4×A×A."""
    size = atlas.shape[-1]
    side = size // 4
    far, turn = _polar(side, atlas.device)
    pupil, ring, veins, yellow = (value[:, None, None] for value in skin.eye.unbind(1))
    soft = max(1.2, 1.1 * REACH / side)  # degrees

    # Fibres run out from the pupil; crypts are dark gaps among them; the collarette is where they meet.
    share = ((far - pupil) / (IRIS - pupil)).clamp(0, 1)
    fibres = _radial(skin.grain[:, 0], turn, share * 5, 60)
    crypts = (_radial(skin.grain[:, 1], turn, share * 9, 16) - 0.7).clamp(min=0)
    collarette = torch.exp(-(((share - 0.32) / 0.10) ** 2))
    inner = torch.sigmoid((0.36 + 0.08 * fibres - share) / 0.09)[:, None]
    rim, middle = skin.iris[:, :3, None, None], skin.iris[:, 3:, None, None]
    light = 1 + 0.28 * fibres - 0.45 * crypts + 0.25 * collarette
    light = light * (1 - (0.45 + 0.45 * ring) * torch.sigmoid((far - (IRIS - 3.2)) / 1.4))
    light = light * (1 - 0.35 * torch.exp(-(((far - pupil) / 2.5) ** 2)))
    iris = (rim + (middle - rim) * inner) * light.clamp(0.15, 1.8)[:, None]

    outwards = ((far - IRIS) / (REACH - IRIS)).clamp(0, 1)
    vessels = _radial(skin.grain[:, 2], turn + 0.05 * torch.sin(far / 6), outwards * 4, 40)
    vessels = torch.exp(-((vessels / 0.14) ** 2)) * (outwards * 2.2).clamp(0, 1)
    white = far.new_tensor(WHITE)[:, None, None]
    white = white + (far.new_tensor(YELLOWED)[:, None, None] - white) * (yellow * (0.4 + outwards))[
        :, None
    ].clamp(0, 1)
    white = white * (1 - PIGMENTED * (skin.tone[:, None, None, None] - 1) / 9)
    red = far.new_tensor(VEIN)[:, None, None]
    white = white + (red - white) * (veins * 0.35 * vessels + 0.30 * outwards**1.5)[:, None]

    edge = torch.sigmoid((far - IRIS) / (0.8 * soft))
    colour = iris + (white - iris) * edge
    hole = torch.sigmoid((pupil - far) / (0.6 * soft))[:, None]
    colour = colour * (1 - hole) + 0.003 * hole
    atlas[:, :3, size - side :, :side] = colour.clamp(0.002, 1)
    atlas[:, 3, size - side :, :side] = 1.0


def paint_lashes(skin: Skin, hair_colour: Tensor, atlas: Tensor) -> None:
    """Rectangle LASHES, in place: a row of hairs, roots at the bottom; alpha is how much they cover.

    hair_colour: B×3, linear reflectance; lashes are darker, and darker than the skin, whatever the hair is.
    """
    size = atlas.shape[-1]
    width, height = size // 4, size // 8
    length, density = (value[:, None] for value in skin.lashes.unbind(1))
    numbers = skin.grain[:, 2, :3, :HAIRS].clamp(-2, 2)
    at = torch.arange(HAIRS, device=atlas.device)
    root = (at + 0.5 + 0.3 * numbers[:, 0]) / HAIRS  # B×N
    lean = 0.9 * (root - 0.45) + 0.16 * numbers[:, 1]  # hairs fan out to both ends
    reach = length * (0.86 + 0.10 * numbers[:, 2]) * (0.75 + 0.25 * torch.sin(root.clamp(0, 1) * math.pi))
    there = (torch.remainder(at * 0.618, 1.0)[None] < density).float()
    v = 1 - (torch.arange(height, device=atlas.device) + 0.5) / height  # up from the root
    u = (torch.arange(width, device=atlas.device) + 0.5) / width
    rise = v[None, None] / reach.clamp(min=0.05)[..., None]  # B×N×h, 1 at the tip
    centre = root[..., None] + 0.16 * lean[..., None] * (0.4 * rise + 0.6 * rise * rise)
    half = 0.30 / HAIRS * (1 - 0.85 * rise).clamp(min=0)
    soft = 0.5 / width
    far = (u - centre[..., None]).abs()  # B×N×h×w
    cover = ((half[..., None] - far) / (2 * soft) + 0.5).clamp(0, 1)
    cover = cover * ((rise < 1) * there[..., None])[..., None]
    # Where they grow they stand so dense that lids end in a dark line; it is what tells a closed eye.
    line = ((0.60 - v) / 0.35).clamp(0, 1)[None, :, None] * (0.85 + 0.15 * density[..., None])
    alpha = torch.maximum(1 - (1 - cover).prod(1), line.expand(-1, -1, width))
    top, left = size * 3 // 4, size // 2
    rectangle = atlas[:, :, top : top + height, left : left + width]
    colour = torch.minimum(0.25 * hair_colour, 0.2 * monk_reflectance(skin.tone)).clamp(0.003, 0.06)
    rectangle[:, :3] = colour[..., None, None]
    rectangle[:, 3] = alpha


def _radial(grain: Tensor, turn: Tensor, out: Tensor, count: int) -> Tensor:
    """Noise about 0, `count` steps of a table B×n×n around, and `out` of its rows from the middle: B×h×w."""
    table = torch.cat((grain[:, :16, :count], grain[:, :16, :1]), 2)[:, None]
    turn = torch.remainder(turn + 1, 2) - 1
    out = out.expand(len(grain), *out.shape[-2:])
    where = torch.stack((turn.expand_as(out), out / 15 * 2 - 1), -1)
    return F.grid_sample(table, where, padding_mode="border", align_corners=True)[:, 0]
