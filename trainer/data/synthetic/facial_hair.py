"""Brows and what grows of a beard, painted as strokes along the hairs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.skin import Skin
from trainer.data.synthetic.skin_maps import CHEST, FACE, NECK, Maps


def paint_brows(skin: Skin, at: Maps, hair_colour: Tensor, colour: Tensor) -> Tensor:
    """Brows where landmark detectors expect them. hair_colour: B×3; colour: B×3×S×S, returned with brows."""
    thick, arch, length, gap, density, dark = (value[:, None, None] for value in skin.brow.unbind(1))
    along = (at.brow_along - gap) / (1 + length - gap)
    up = at.brow_up - arch * torch.exp(-(((along - 0.65) / 0.25) ** 2))
    # Widest in the inner third, then tapered to the tail.
    half = (
        thick
        / 2
        * (0.65 + 0.35 * (along / 0.18).clamp(0, 1))
        * (1 - 0.72 * ((along - 0.45) / 0.55).clamp(0, 1))
    )
    # Inner hairs stand up, outer ones lie down along the brow.
    lean = 1.1 - 1.3 * along.clamp(0, 1)
    hairs = _strokes(skin.grain[:, 0], along * 16 - up * lean * 3.2, up * 0.9 + along, at.right)
    ragged = 0.05 * hairs
    body = torch.sigmoid((half + ragged - up.abs()) / 0.045)
    ends = torch.sigmoid((along + 0.03 * hairs) / 0.035) * torch.sigmoid((1 - along + 0.05 * hairs) / 0.06)
    cover = body * ends * (density * (0.92 + 0.24 * hairs)).clamp(0, 1) * (at.part == FACE)
    cover = cover * (0.65 + 0.35 * (along / 0.2).clamp(0, 1))  # thinner where they begin
    tint = hair_colour * (1 - 0.75 * skin.brow[:, 5:])
    return _over(colour, tint, 0.95 * cover)


def paint_beard(skin: Skin, at: Maps, hair_colour: Tensor, colour: Tensor) -> Tensor:
    """Shadow, stubble or a short beard. hair_colour: B×3; colour: B×3×S×S, returned with it."""
    if not bool((skin.beard > 0).any()):
        return colour
    x, y, z = at.place
    face = at.part == FACE
    clear = torch.sigmoid((at.lip_edge - 0.22) / 0.06) * (at.lip == 0) * face
    noise = _strokes(skin.grain[:, 1], x * 2.0, y * 2.0, at.right) * 0.25
    lip = clear * _within(y, 1.75, 3.75, 0.2) * torch.sigmoid((2.9 + noise + (y - 3.2) * 0.3 + x) / 0.2)
    chin = clear * _within(y, 3.5, 9.5, 0.25) * torch.sigmoid((2.7 + noise + x) / 0.3)
    edge = 1.9 + 0.55 * (x + 3.5).clamp(min=0) - 0.75 * (-x - 4.6).clamp(min=0)
    cheek = clear * torch.sigmoid((y - edge + noise) / 0.22) * torch.sigmoid((-x - 2.3) / 0.3)
    cheek = cheek * torch.sigmoid((0.9 - z) / 0.25) * _within(y, -3.0, 9.2, 0.3)
    sideburn = face * _within(z, -2.6 + 0 * z, 0.3 + 0 * z, 0.25) * _within(y, -4.5, 1.5, 0.5) * (x < -5.2)
    throat = face * torch.sigmoid((y - 7.5) / 0.3) * torch.sigmoid((3.0 - z) / 0.5)
    throat = throat * torch.sigmoid((-z + 3.0) / 0.5) + (at.part == NECK) * torch.sigmoid(
        (10.0 - y + noise) / 0.4
    )
    throat = throat * (at.part != CHEST)
    zones = (lip, chin, cheek, sideburn, throat)
    amount = torch.zeros_like(colour[:, 0])
    for zone, value in zip(zones, skin.beard.unbind(1), strict=True):
        amount = torch.maximum(amount, zone * value[:, None, None])
    # Hairs hang down and outwards; short ones are dots.
    hairs = _strokes(skin.grain[:, 2], x * 14 + y * 1.5, y * 5 - x * 1.2, at.right)
    shadow = 0.45 * (amount / 0.25).clamp(0, 1) * (1 + 0.15 * hairs)
    grown = ((amount - 0.25) / 0.75).clamp(0, 1)
    cover = shadow + (0.95 - shadow) * (grown * (1.15 + 0.5 * hairs)).clamp(0, 1)
    # Hair beneath the skin looks greyer and bluer than hair.
    light = colour * colour.new_tensor((0.50, 0.56, 0.62))[:, None, None]
    tint = hair_colour[..., None, None] * (0.75 + 0.3 * hairs[:, None]).clamp(0.4, 1.2)
    tint = light + (tint - light) * (0.35 + 0.65 * grown[:, None])
    return _over(colour, tint, cover * (amount > 0.01))


def _strokes(grain: Tensor, across: Tensor, along: Tensor, right: Tensor) -> Tensor:
    """Noise about 0 that is read `across` and `along` hairs, in steps of a table B×n×n, other on the face's
    two sides: B×S×S."""
    size = grain.shape[-1]
    across = torch.remainder(across + 61.0 * right, size - 1)
    along = torch.remainder(along + 17.0 * right + 31.0, size - 1)
    where = torch.stack((along.expand_as(across), across), -1) / (size - 1) * 2 - 1
    where = where.expand(len(grain), *where.shape[-3:])
    return F.grid_sample(grain[:, None], where, align_corners=True)[:, 0]


def _within(value: Tensor, low: float | Tensor, high: float | Tensor, soft: float) -> Tensor:
    return torch.sigmoid((value - low) / soft) * torch.sigmoid((high - value) / soft)


def _over(below: Tensor, above: Tensor, cover: Tensor) -> Tensor:
    if above.ndim == 2:
        above = above[..., None, None]
    return below + (above - below) * cover[:, None]
