"""A person's skin painted into the atlas: colour as light that is absorbed by blood, melanin and in folds.

Absorptions add, so the colour is the exponential of their sum; what lies on the skin (hair, make-up) is laid
over it after. Channels are linear light RGB; alpha of HEAD says how the skin shines: 0.5 is the mean.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.eye_texture import paint_eyes, paint_lashes
from trainer.data.synthetic.facial_hair import paint_beard, paint_brows
from trainer.data.synthetic.head import HEAD_SIDE, NECK_BASE, NECK_TOP
from trainer.data.synthetic.mouth_texture import paint_mouth
from trainer.data.synthetic.skin import GRAIN, Skin, monk_reflectance
from trainer.data.synthetic.skin_maps import EAR, FACE, Maps, maps

# Absorption of a unit of each, in red, green and blue: green and blue light is what blood takes, and melanin
# the more the shorter the wave (S. Jacques, Optical properties of biological tissues: a review, 2013).
BLOOD = (0.07, 0.50, 0.38)
MELANIN = (0.50, 0.78, 1.00)
SHADE = (0.75, 1.00, 1.10)  # light that falls into a fold comes out warmer
WARMTH = (0.00, 0.02, -0.09)  # of the undertone: yellower … redder
LIP_COLOUR = (0.25, 0.12, 0.11)  # towards which lips of all tones lie
LEAST = (0, 0, 0, 0.05, 0.1, 0)  # of the lines, at any age
FLUSH = 0.12  # amount of blood that the head has in all places beyond the chest, whose colour is the tone's
FLESH = (0.42, 0.14, 0.12)  # the corner of the eye, the lids' margins


def paint(skin: Skin, hair_colour: Tensor, atlas: Tensor) -> None:
    """Paint HEAD, EYE, MOUTH and LASHES, in place.

    hair_colour: B×3, linear reflectance; atlas: B×4×A×A, linear light and alpha, A a multiple of 16.
    """
    side = int(atlas.shape[-1] * HEAD_SIDE)
    at = maps(side, atlas.device)
    colour, shine = _bare(skin, at)
    colour = _lips(skin, at, colour)
    colour = paint_brows(skin, at, hair_colour, colour)
    colour = paint_beard(skin, at, hair_colour, colour)
    colour = _make_up(skin, at, colour)
    atlas[:, :3, :side, :side] = colour.clamp(0.002, 1)
    atlas[:, 3, :side, :side] = shine.clamp(0, 1)
    paint_eyes(skin, atlas)
    paint_mouth(skin, atlas)
    paint_lashes(skin, hair_colour, atlas)


def noise(grain: Tensor, cells: int, side: int) -> Tensor:
    """Smooth noise about 0 of standard deviation about 0.7: B×side×side, `cells` to a side. grain: B×n×n."""
    count = min(cells, grain.shape[-1])
    table = grain[:, None, :count, :count]
    if cells > count:
        table = table.repeat(1, 1, -(-cells // count), -(-cells // count))[..., :cells, :cells]
    return F.interpolate(table, (side, side), mode="bicubic", align_corners=False)[:, 0]


def _bare(skin: Skin, at: Maps) -> tuple[Tensor, Tensor]:
    """The skin's colour B×3×S×S, and how it shines B×S×S."""
    side = at.lip.shape[-1]
    coarse = noise(skin.grain[:, 0], 14, side)
    middle = noise(skin.grain[:, 1], 48, side)
    fine = noise(skin.grain[:, 2], GRAIN, side) if side > GRAIN else middle
    if side > 3 * GRAIN // 2:
        fine = fine + 0.7 * noise(skin.grain[:, 1], 3 * GRAIN, side)
    fair = ((8.5 - skin.tone) / 5).clamp(0.15, 1)

    blush, mottle, pores, circles = map(_of, (skin.blush, skin.mottle, skin.pores, skin.circles))
    blood = 0.75 * blush * _blushing(at) + mottle * (0.09 * coarse + 0.06 * middle)
    blood = blood + 0.35 * at.hollow + 0.10 * (at.part == EAR) + 0.15 * _bell(at.wing, 0.35)
    head = ((NECK_BASE - at.place[1]) / (NECK_BASE - NECK_TOP)).clamp(0, 1)
    blood = _of(fair) * (FLUSH * head + blood + 0.5 * _bell(at.lid_lower, 0.12))
    melanin = 0.045 * mottle * (middle + coarse) + 0.025 * pores * fine
    melanin = melanin + circles * _of(0.12 + 0.03 * skin.tone) * _circles(at)
    melanin = melanin + _freckles(skin, at, middle, fine) + _moles(skin, side, middle)
    zone = _zone(at)
    shade = 0.05 * pores * (fine - 0.6).clamp(min=0) * zone + _hollows(at) + _lines(skin, at, coarse)

    base = monk_reflectance(skin.tone).log()
    pigment = -base[:, 2:].clamp(min=-1)  # the palest have hardly any, of whatever colour
    base = base + skin.undertone[:, None] * pigment * _row(WARMTH, skin.tone)
    absorbed = torch.stack((blood, melanin, shade), -1) @ base.new_tensor((BLOOD, MELANIN, SHADE))  # B×S×S×3
    colour = (base[..., None, None] - absorbed.movedim(-1, 1)).exp()
    # As brown as the skin: dark eyes have no bright line about them.
    flesh = (0.3 * _row(FLESH, base).log() + 0.7 * base).exp()
    colour = _over(colour, flesh, 0.8 * _corner(at))
    shine = 0.5 + (0.12 + 0.25 * zone) * _of(2 * skin.shine - 1) + 0.10 * zone - 0.05 * fine
    shine = shine + 0.25 * at.lip.clamp(0, 0.3) / 0.3 - 0.6 * _bell(at.nostril, 0.25)
    shine = shine * (1 - 0.65 * _bell(torch.minimum(at.lid_upper, at.lid_lower), 0.8))  # lids have little oil
    return colour, shine


def _lips(skin: Skin, at: Maps, colour: Tensor) -> Tensor:
    side = at.lip.shape[-1]
    blood, seam, lined = skin.lips.unbind(1)
    target = 0.6 * monk_reflectance(skin.tone).log() + 0.4 * _row(LIP_COLOUR, skin.tone).log()
    target = target - (0.15 + 0.9 * blood[:, None]) * _row(BLOOD, skin.tone)
    # Fine lines run from the outer edge to the inner, in both lips.
    x = at.place[0] * torch.where(at.right, -1.0, 1.0)
    rows = torch.stack((x / 5, (at.lip - 0.5) * 0.08), -1)[None].expand(len(blood), -1, -1, -1)
    lines = F.grid_sample(skin.grain[:, :1, :48], rows, padding_mode="reflection", align_corners=False)[:, 0]
    inner = ((at.lip - 0.55) / 0.45).clamp(0, 1) ** 2
    dark = _of(0.06 + 0.16 * lined) * lines * (at.lip > 0) + (0.25 + 0.9 * _of(seam)) * inner
    dark = dark + 0.05 * noise(skin.grain[:, 0], 64, side)
    painted = (target[..., None, None] - dark[:, None] * _row(SHADE, dark)[..., None, None]).exp()
    inside = _within_lips(at)
    colour = _over(colour, painted, inside)
    tint, amount = skin.lipstick[:, :3], skin.lipstick[:, 3]
    tint = tint[..., None, None] * (-0.6 * dark[:, None]).exp()
    return _over(colour, tint, 0.85 * _of(amount) * inside)


@cache  # as maps() is: a Maps is itself the key
def _within_lips(at: Maps) -> Tensor:
    """1 within the lips, 0 without, over a soft border of a millimetre, or of what a texel spans: the upper
    lip's edge runs aslant through the atlas, and texels would show as teeth of a saw."""
    inwards = torch.where(at.lip > 0, at.lip_edge, -at.lip_edge)
    down, right = torch.gradient(inwards)
    border = (1.5 * torch.hypot(down, right)).clamp(0.10, 0.30)
    return (0.5 + inwards / border).clamp(0, 1)


def _make_up(skin: Skin, at: Maps, colour: Tensor) -> Tensor:
    liner, foundation, rouge = skin.make_up.unbind(1)
    face, cheek, lid, edge = _made_up(at)
    if bool((foundation > 0).any()):
        even = monk_reflectance(skin.tone)[..., None, None]
        lit = (colour.mean(1) / even.mean(1)).clamp(0.75, 1)  # folds stay
        colour = _over(colour, even * lit[:, None], 0.5 * _of(foundation) * face)
    if bool((rouge > 0).any()):
        red = colour * colour.new_tensor((1.0, 0.55, 0.6))[:, None, None]
        colour = _over(colour, red, 0.5 * _of(rouge) * cheek)
    if bool((skin.shadow[:, 3] > 0).any()):
        colour = _over(colour, skin.shadow[:, :3], 0.75 * _of(skin.shadow[:, 3]) * lid)
    if bool((liner > 0).any()):
        colour = _over(colour, colour.new_full((1, 3), 0.012), 0.9 * _of(liner) * edge)
    return colour


@cache
def _made_up(at: Maps) -> tuple[Tensor, ...]:
    """Where foundation, rouge, shadow and liner go: S×S each."""
    x, y, _ = at.place
    face = (at.part == FACE) * (1 - _within_lips(at)) * torch.sigmoid((at.brow_up.abs() - 0.6) / 0.1)
    cheek = torch.exp(-(((x + 5.0) / 1.4) ** 2) - ((y + 0.6) / 1.1) ** 2) * (at.part == FACE)
    lid = (at.above_lid > 0) * _bell(at.lid_upper, 0.75) * _rise(at.along_lid, 0.0, 0.2)
    edge = _bell(at.lid_upper, 0.06) + 0.35 * _bell(at.lid_lower, 0.07)
    return face, cheek, lid, edge.clamp(0, 1)


@cache  # as maps() is: a Maps is itself the key
def _blushing(at: Maps) -> Tensor:
    x, y, _ = at.place
    cheek = torch.exp(-(((x + 4.4) / 1.9) ** 2) - ((y - 0.3) / 1.8) ** 2)
    nose = torch.exp(-((x / 1.3) ** 2) - ((y - 0.4) / 1.1) ** 2)
    chin = torch.exp(-((x / 1.8) ** 2) - ((y - 7.0) / 1.0) ** 2)
    ears = (at.part == EAR) * 0.8
    return (at.part == FACE) * (cheek + nose + 0.5 * chin) + ears


@cache  # as maps() is: a Maps is itself the key
def _zone(at: Maps) -> Tensor:
    """Forehead, nose and chin: where skin is oily and has pores."""
    x, y, _ = at.place
    forehead = torch.exp(-((x / 3.2) ** 2) - ((y + 6.5) / 1.6) ** 2)
    nose = torch.exp(-((x / 1.2) ** 2) - ((y + 0.8) / 2.6) ** 2)
    chin = torch.exp(-((x / 1.6) ** 2) - ((y - 7.0) / 1.0) ** 2)
    cheek = torch.exp(-(((x + 3.6) / 1.2) ** 2) - ((y + 0.2) / 1.2) ** 2)
    return (at.part == FACE) * (forehead + nose + 0.6 * chin + 0.5 * cheek).clamp(0, 1)


@cache  # as maps() is: a Maps is itself the key
def _corner(at: Maps) -> Tensor:
    """The inner corner of the eye, and the wet margin of the lower lid."""
    inner = _bell(at.lid_upper, 0.14) * _bell(at.lid_lower, 0.14) * (at.along_lid < 0.15)
    return (inner + 0.35 * _bell(at.lid_lower, 0.06)).clamp(0, 1)


@cache  # as maps() is: a Maps is itself the key
def _hollows(at: Maps) -> Tensor:
    """What little light reaches: nostrils, the wings' creases, the lids' folds, the ears."""
    x, y, _ = at.place
    nostril = 3.2 * torch.exp(-((at.nostril / 0.20) ** 4)) + 0.25 * _bell(at.nostril, 0.4)
    wing = 0.42 * _bell(at.wing, 0.14) + 0.12 * _bell(at.wing, 0.4)
    above = (at.above_lid > -0.1).float()
    lid = (0.75 * _bell(at.crease, 0.11) + 0.14 * _bell(at.crease, 0.35)) * above
    margin = 3.0 * _bell(at.lid_upper, 0.12) * _rise(at.along_lid, -0.1, 0.25)
    margin = margin + 0.7 * _bell(at.lid_lower, 0.08) * _rise(at.along_lid, 0.0, 0.5)
    corners = 0.5 * torch.exp(-(((x + 2.45) / 0.28) ** 2) - ((y - 3.78) / 0.16) ** 2) * (at.part == FACE)
    philtrum = 0.10 * torch.exp(-((x / 0.22) ** 2)) * _rise(y, 1.5, 1.9) * (1 - _rise(y, 2.9, 3.2))
    under_lip = 0.22 * _bell(at.chin_crease, 0.35)
    socket = 0.16 * torch.exp(-(((x + 1.75) / 0.5) ** 2) - ((y + 3.6) / 0.6) ** 2) * (at.part == FACE)
    return (
        nostril
        + wing
        + lid
        + margin
        + corners
        + philtrum * (at.part == FACE)
        + under_lip
        + socket
        + at.hollow
    )


@cache  # as maps() is: a Maps is itself the key
def _circles(at: Maps) -> Tensor:
    below = (at.above_lid < 0) * (at.lid_lower < 2.5)
    return below * (_bell(at.trough, 0.35) + 0.8 * torch.exp(-((at.lid_lower / 0.8) ** 2)))


def _freckles(skin: Skin, at: Maps, middle: Tensor, fine: Tensor) -> Tensor:
    x, y, _ = at.place
    if not bool((skin.freckles > 0).any()):
        return torch.zeros_like(middle)
    where = torch.exp(-((x / 5.5) ** 4) - ((y + 0.8) / 2.6) ** 2) * (at.part == FACE) + 0.15
    spots = ((0.7 * fine + 0.6 * middle - 0.75) / 0.35).clamp(0, 1)
    # Where texels are too coarse for spots, they melt into one another and pale.
    return (0.55 if middle.shape[-1] > 2 * GRAIN else 0.35) * _of(skin.freckles) * where * spots


def _moles(skin: Skin, side: int, middle: Tensor) -> Tensor:
    """Spots at their places; larger ones have an uneven edge."""
    line = (torch.arange(side, device=middle.device) + 0.5) / side
    total = torch.zeros_like(middle)
    for u, v, radius, dark in skin.moles.permute(1, 2, 0):
        if bool((radius > 0).any()):
            wide = torch.maximum(radius, radius.new_tensor(0.45 / side))
            far = (line[None] - v[:, None])[:, :, None] ** 2 + (line[None] - u[:, None])[:, None, :] ** 2
            far = far.sqrt() / _of(wide) * (1 + 0.25 * middle)
            total = total + _of(dark * (radius > 0) * (radius / wide) ** 2) * torch.sigmoid((1 - far) * 5)
    return 1.1 * total


def _lines(skin: Skin, at: Maps, coarse: Tensor) -> Tensor:
    """Folds of age, deeper here and there."""
    return torch.einsum("bl,lyx->byx", skin.lines + skin.lines.new_tensor(LEAST), _folds(at)) * (
        1 + 0.3 * coarse
    )


@cache
def _folds(at: Maps) -> Tensor:
    """Of each kind of line a dark thin one with a wider soft shade: 6×S×S."""
    x, y, _ = at.place
    face = at.part == FACE
    bent = y - 0.03 * x * x + 0.05 * torch.sin(2.6 * x + 0.6 * at.right + 1.7 * y)
    forehead = _bell(torch.remainder(bent + 7.6, 0.8) - 0.4, 0.09)
    forehead = 0.32 * forehead * torch.exp(-((x / 3.6) ** 4) - ((y + 6.7) / 1.1) ** 4)
    frown = 0.36 * _bell(x + 0.65 - 0.05 * y, 0.10) * _bell(y + 4.8, 0.7)
    dx, dy = x + 4.5, y + 3.1
    angle = torch.atan2(dy, -dx) + 0.05 * torch.sin(6 * dx)
    fan = _bell(torch.remainder(angle, 0.32) - 0.16, 0.06) * (angle.abs() < 0.75) * (dx < 0)
    crow = 0.34 * fan * _bell((dx * dx + dy * dy).sqrt() - 1.0, 0.5)
    under = 0.28 * _bell(at.bag, 0.08) + 0.22 * _bell(at.trough, 0.14)
    nasolabial = 0.26 * _bell(at.nasolabial, 0.10) + 0.14 * _bell(at.nasolabial, 0.4)
    marionette = 0.14 * _bell(at.marionette, 0.12) + 0.10 * _bell(at.marionette, 0.35)
    return torch.stack([forehead, frown, crow, under, nasolabial, marionette]) * face


def _bell(distance: Tensor, width: float) -> Tensor:
    return torch.exp(-((distance / width) ** 2))


def _rise(value: Tensor, low: float, high: float) -> Tensor:
    return ((value - low) / (high - low)).clamp(0, 1)


def _of(value: Tensor) -> Tensor:
    """B → B×1×1."""
    return value[:, None, None]


def _row(values: tuple[float, ...], like: Tensor) -> Tensor:
    """1×3."""
    return like.new_tensor(values)[None]


def _over(below: Tensor, above: Tensor, cover: Tensor) -> Tensor:
    """above: B×3×…, or B×3 or 1×3; cover: …×S×S."""
    if above.ndim == 2:
        above = above[..., None, None]
    cover = cover[:, None] if cover.ndim == 3 else cover
    return below + (above - below) * cover
