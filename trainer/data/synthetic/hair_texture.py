"""Hair painted: the strands that the shells carry, and the roots and the hairline on the scalp.

The hair's numbers are where the atlas is.
"""

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.grain import curls, grain_at
from trainer.data.synthetic.hair import Hair
from trainer.data.synthetic.hair_shell import CROWN, parting_end
from trainer.data.synthetic.parts import HAIR, HEAD, column, smooth, texels, window
from trainer.data.synthetic.scalp import DEGREE, RADIUS, Hairline, direction, hairy


def paint_hair(hair: Hair, atlas: Tensor) -> None:
    """Write strands, roots above and tips below, into the rectangle HAIR of B×4×A×A: on its left half
    the dense layer's, on its right the loose one's. Linear reflectance, and how much of a texel is hair."""
    target = window(atlas, HAIR)
    height, width = target.shape[2], target.shape[3] // 2
    v, u = texels(height, width, atlas.device)
    for layer in range(2):
        colour, cover = _strands(hair, v, u, loose=bool(layer))
        half = target[..., layer * width : (layer + 1) * width]
        half[:, :3] = colour
        half[:, 3] = cover


def _strands(hair: Hair, v: Tensor, u: Tensor, *, loose: bool) -> tuple[Tensor, Tensor]:
    """Colour B×3×h×w and cover B×h×w. v: h×1, u: 1×w."""
    shape, grain = hair.shape, hair.grain.to(v.device)
    count = len(grain)
    v, u = v.expand(count, -1, u.shape[1]), u.expand(count, v.shape[0], -1)
    offset = 0.37 if loose else 0.0
    curl, wave = column(shape.curl), column(shape.wave)
    # Waves shift neighbours alike, curls each lock its own way.
    lock = grain_at(grain[:, 0], v * 3, u * 9 + 7)
    bend = torch.sin(2 * np.pi * (v * 5 + 1.2 * lock))
    coarse = grain_at(grain[:, 4], v * 3, (u + offset) * 7)
    coil, inside = _coils(shape.curl, grain[:, 1], v * 23 + 2 * lock, u * 7 + offset * 20 + 2 * coarse)
    slide = wave * (0.045 * bend) + 0.03 * (lock - 0.5)
    along = u + slide + offset
    fine = grain_at(grain[:, 2], v * 2.2, along * 61)
    middle = grain_at(grain[:, 3], v * 1.6 + 9, along * 25)
    light = 0.9 * (fine - 0.5) + 0.7 * (middle - 0.5) + 0.45 * (coarse - 0.5)
    light = light * (1 - 0.6 * curl) + 0.3 * wave * bend + curl * (0.4 * coil + 1.1 * inside - 0.7)
    # Roots lie in the shade of their neighbours; a soft sheen where the head turns towards the light.
    sheen = torch.exp(-(((v - 0.28 - 0.1 * (coarse - 0.5)) / 0.12) ** 2))
    light = light + 0.22 * sheen - 0.5 * torch.exp(-v / 0.06)
    light = torch.exp(column(hair.contrast) * light) * (1.0 if loose else 0.9)
    ends = smooth(0.25, 1.0, v + 0.3 * (middle - 0.5))[:, None]
    base = hair.colour[..., None, None] * (1 - ends) + hair.tips[..., None, None] * ends
    colour = (base * light[:, None]).clamp(0.002, 0.95)

    rank = grain_at(grain[:, 5], v * 0.6, along * 47)
    thick = 0.5 * rank + 0.5 * fine
    if loose:
        cover = smooth(
            0.42, 0.6, thick + curl * (0.1 * coil + 0.35 * inside - 0.15) - 0.25 * smooth(0.55, 1, v)
        )
        cover = cover * smooth(0.02, 0.12, v - 0.1 * rank) * smooth(0.0, 0.03, 0.97 - 0.5 * rank**2 - v)
    else:
        bare = column(smooth(0, 0.1, shape.ring))
        begin = smooth(0.0, 0.02 + 0.1 * bare, v - (0.012 + 0.3 * bare) * (0.6 * fine + 0.4 * rank))
        ragged = column(shape.ragged)
        end = 0.995 - ragged * (0.16 * thick**1.5 + 0.07 * middle) - v
        cover = begin * smooth(torch.zeros_like(ragged), 0.012 + 0.04 * ragged, end)
    return colour, cover.clamp(0, 1)


def _coils(curl: Tensor, table: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """`curls` for those whose hair has any: they take longer to paint than all the rest."""
    curly = curl > 0.3
    coil, inside = torch.zeros_like(v), torch.full_like(v, 0.5)
    if curly.any():
        coil[curly], inside[curly] = curls(table[curly], v[curly], u[curly])
    return coil, inside


def paint_scalp(hair: Hair, atlas: Tensor) -> None:
    """Blend roots and short hair into the rectangle HEAD of B×4×A×A, over the skin that is there.

    Its fourth channel, how much the skin shines, becomes less under hair.
    """
    target = window(atlas, HEAD)
    down, right, azimuth, elevation = (one.to(atlas.device) for one in hairy(target.shape[-1]))
    shape, grain = hair.shape, hair.grain.to(atlas.device)
    count = len(grain)
    line = Hairline(shape.height, shape.recede, shape.peak).elevation(azimuth[None], painted=True)
    depth = (elevation - line) * DEGREE  # cm inside the hairline, B×1×N
    # Strands point to the crown: their noise is drawn out along the elevation.
    v, u = elevation.expand(count, -1, -1), azimuth.expand(count, -1, -1)
    long = grain_at(grain[:, 0], v * 0.16, u * 1.7)
    dots = grain_at(grain[:, 1], v * 1.9, u * 1.9)
    patch = grain_at(grain[:, 2], v * 0.2, u * 0.2)
    cover = smooth(-0.7, 1.3, depth + 0.9 * (long - 0.5) + 0.5 * (dots - 0.5) + 0.5 * (patch - 0.5))
    cover = cover * column(shape.roots)
    ray = direction(azimuth, elevation)
    back = direction(torch.tensor(180.0 - CROWN[0]), torch.tensor(CROWN[1])).to(atlas.device)
    top = torch.rad2deg(torch.acos((ray * back).sum(-1).clamp(-1, 1)))  # degrees from the crown
    bare = column(smooth(0.0, 0.05, shape.ring))
    edge = 95 * column(shape.ring) + 14 * (long - 0.5) + 10 * (patch - 0.5)
    cover = cover * (1 - 0.93 * bare * (1 - smooth(-12, 12, top - edge)))
    cover = cover * (1 - _parting(hair, ray, back, long))
    cover = cover * (0.8 + 0.4 * dots)
    cover = cover.clamp(0, 1)
    shade = (hair.colour[..., None] * torch.exp(0.8 * (long - 0.6))).clamp(0, 0.9)
    skin = target[:, :, down, right]  # B×4×N
    painted = skin[:, :3] + (shade - skin[:, :3]) * 0.94 * cover
    target[:, :, down, right] = torch.cat((painted, skin[:, 3:] * (1 - 0.7 * cover)), 1)


def _parting(hair: Hair, ray: Tensor, back: Tensor, noise: Tensor) -> Tensor:
    """How much of the parting's bare line a texel shows: B×1×N. ray: 1×N×3; noise: B×1×N."""
    shape = hair.shape
    front = parting_end(shape)
    across = torch.nn.functional.normalize(torch.linalg.cross(back.expand_as(front), front), dim=1)
    away = torch.einsum("hwc,bc->bhw", ray, across).abs() * RADIUS
    ahead = torch.nn.functional.normalize(front - back * (front @ back)[:, None], dim=1)
    along = torch.einsum("hwc,bc->bhw", ray, ahead)
    line = torch.exp(-(((away + 0.25 * (noise - 0.5)) / 0.22) ** 2)) * smooth(0.0, 0.1, along)
    return column(smooth(0.25, 0.6, shape.dip) * 0.75) * line
