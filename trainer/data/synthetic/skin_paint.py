"""Skin as a texture: tone, blood, spots, lines, stubble, brows, lips and make-up in the rectangle HEAD.

What is melanin or blood takes light off by its own colours: reflectance · exp(−amount · absorption).
"""

import torch
from torch import Tensor

from trainer.data.synthetic.eye_texture import paint_eyes
from trainer.data.synthetic.grain import grain_at
from trainer.data.synthetic.mouth_texture import paint_lashes, paint_mouth
from trainer.data.synthetic.parts import HEAD, column, smooth, window
from trainer.data.synthetic.skin import Skin
from trainer.data.synthetic.skin_maps import Brow, Maps, maps

# Absorption of R, G and B, relative: after the spectra of S. Prahl and S. Jacques (omlc.org), by eye.
BLOOD = (0.10, 0.62, 0.52)
MELANIN = (0.35, 0.62, 0.90)


def paint(skin: Skin, hair_colour: Tensor, atlas: Tensor) -> None:
    """Write HEAD, EYE, MOUTH and LASHES of B×4×A×A: linear reflectance; alpha is 1, in HEAD how oily the skin is
    (0.5 is usual). hair_colour: B×3, for brows and stubble."""
    paint_head(skin, hair_colour, atlas)
    eyes = skin.eyes
    paint_eyes(eyes.iris, eyes.ring, eyes.pupil, eyes.red, eyes.white, skin.grain[:, 0], atlas)
    paint_mouth(skin.teeth, skin.gum, skin.uneven, skin.grain[:, 5], atlas)
    lash = (hair_colour * 0.35).clamp(max=0.05)
    paint_lashes(lash, eyes.lashes, skin.grain[:, 1], atlas)


def paint_head(skin: Skin, hair_colour: Tensor, atlas: Tensor) -> None:
    """Write the rectangle HEAD alone."""
    target = window(atlas, HEAD)
    at = maps(target.shape[-1], atlas.device)
    count = len(skin.colour)
    amount = _Amounts(skin, at, count)
    colour = skin.colour[..., None, None] * torch.exp(
        -amount.blood()[:, None] * _ink(BLOOD, atlas) - amount.melanin()[:, None] * _ink(MELANIN, atlas)
    )
    colour = colour * amount.relief()[:, None]
    colour = _lips(colour, skin, at, amount)
    colour = _made_up(colour, skin, at)
    colour = _haired(colour, skin, at, hair_colour, amount)
    dark = 0.92 * at.nostrils
    colour = colour * (1 - dark)
    target[:, :3] = colour.clamp(0.002, 0.95)
    gloss = 0.5 * column(skin.shine) * (0.35 + 1.1 * at.shine) * (0.75 + 0.5 * amount.noise(2, 2.2))
    gloss = gloss * (1 - at.nostrils)
    target[:, 3] = gloss.clamp(0, 1)


def _ink(absorption: tuple[float, float, float], like: Tensor) -> Tensor:
    return like.new_tensor(absorption)[None, :, None, None]


class _Amounts:
    """How much of what there is at each texel: B×h×w."""

    def __init__(self, skin: Skin, at: Maps, count: int) -> None:
        self.skin, self.at, self.count = skin, at, count
        size = at.x.shape[-1]
        # Noise runs over the surface, not over the texture: by height, and by the way around the head.
        around = torch.atan2(at.x, -at.z - 1.5) * 7.5
        self.v = (at.y + 20).expand(count, size, size)
        self.u = (around + 40).expand(count, size, size)

    def noise(self, kind: int, finest: float) -> Tensor:
        """B×h×w about 0.5. finest: steps of the table to a centimetre; further octaves are coarser."""
        table = self.skin.grain[:, kind]
        return 0.5 * grain_at(table, self.v * finest, self.u * finest) + 0.5 * grain_at(
            table, self.v * finest * 0.43 + 11, self.u * finest * 0.43 + 23
        )

    def blood(self) -> Tensor:
        skin, at = self.skin, self.at
        red = 0.30 * column(skin.blood) * at.blush * (0.6 + 0.8 * self.noise(4, 0.7)) + 0.5 * column(skin.makeup.rouge) * at.cheeks
        red = red + 0.16 * column(skin.mottling) * (self.noise(0, 0.9) - 0.5)
        red = red + 0.12 * column(skin.circles) * at.under_eye
        red = red + 0.25 * torch.exp(-0.5 * (at.lids / 0.10) ** 2)  # moist edges of the lids
        return red - 0.06 * at.brow_light

    def melanin(self) -> Tensor:
        skin, at = self.skin, self.at
        spots = smooth(0.72, 0.86, self.noise(1, 3.3)) * smooth(0.35, 0.6, self.noise(3, 0.5))
        brown = 0.5 * column(skin.freckles) * spots * (0.25 + 0.75 * (at.cheeks + at.shine).clamp(max=1))
        brown = brown + 0.10 * column(skin.mottling) * (self.noise(4, 0.6) - 0.5)
        brown = brown + 0.06 * column(skin.pores) * (self.noise(5, 6.0) - 0.5)
        brown = brown + 0.30 * column(skin.circles) * at.under_eye + 0.10 * at.lid_skin
        face = at.z < -3
        for x, y, size in (mole.unbind(1) for mole in skin.moles.unbind(1)):
            far = torch.hypot(at.x - column(x), at.y - column(y))
            brown = brown + 1.3 * face * smooth(1.0, 0.5, far / column(size).clamp(min=1e-3)) * (
                column(size) > 0
            )
        return brown

    def relief(self) -> Tensor:
        """What hollows and lines take off the light, as a factor."""
        skin, at = self.skin, self.at
        lines = skin.lines.T[..., None, None]  # 5×B×1×1
        wave = at.y + 0.16 * torch.sin(at.x * 0.9) + 0.10 * (self.noise(3, 0.35) - 0.5)
        forehead = torch.exp(-0.5 * (((wave * 1.05) % 1.0 - 0.5) / 0.10) ** 2)
        forehead = forehead * _band(at.y, -8.4, -5.7) * smooth(5.2, 3.2, at.x.abs()) * (at.z < -4)
        frown = torch.exp(-0.5 * ((at.x.abs() - 0.55 + 0.08 * (at.y + 5)) / 0.07) ** 2) * _band(
            at.y, -5.9, -4.1
        )
        eye_x, eye_y = at.x.abs() - 4.55, at.y + 3.1
        turn = torch.atan2(eye_y, eye_x.clamp(min=1e-3)) * 4.2
        crow = torch.exp(-0.5 * ((turn % 1.0 - 0.5) / 0.17) ** 2)
        crow = (
            crow * smooth(0.1, 0.5, eye_x) * smooth(1.9, 1.0, torch.hypot(eye_x, eye_y)) * (eye_y.abs() < 1.1)
        )
        bags = torch.exp(-0.5 * ((at.bags - 0.75) / 0.09) ** 2) + 0.5 * torch.exp(
            -0.5 * ((at.bags - 0.45) / 0.07) ** 2
        )
        folds = torch.exp(-0.5 * (at.folds / 0.10) ** 2)
        worn = torch.stack([part.expand_as(self.v) for part in (forehead, frown, crow, bags, folds)])
        strength = lines.new_tensor((0.30, 0.34, 0.30, 0.25, 0.34))[:, None, None, None]
        dark = (worn * lines * strength).sum(0)
        dark = dark + 0.30 * torch.exp(-0.5 * (at.wings / 0.14) ** 2) * smooth(0.25, -0.2, at.nostrils - 0.2)
        dark = dark + (0.12 + 0.18 * column(skin.age)) * torch.exp(-0.5 * (at.folds / 0.28) ** 2) * (
            at.y > 1.2
        )
        dark = dark + 0.22 * torch.exp(-0.5 * (at.crease / 0.085) ** 2) * smooth(-3.0, -3.4, at.y)
        lashes = 0.7 + 0.9 * column(skin.eyes.lashes)  # the roots of lashes make a line
        dark = dark + lashes * torch.exp(-0.5 * (at.upper_lids / 0.085) ** 2)
        dark = dark + 0.22 * torch.exp(-0.5 * (((at.y - 5.55) / 0.35) ** 2 + (at.x / 1.3) ** 2)) * (at.z < -6)
        dark = dark + 0.16 * torch.exp(-0.5 * ((at.x / 0.28) ** 2 + ((at.y - 2.6) / 0.5) ** 2)) * (at.z < -6)
        inner = torch.hypot(at.x.abs() - 1.75, at.y + 2.95)
        dark = dark + 0.22 * torch.exp(-0.5 * (inner / 0.35) ** 2) * (at.z < -5)
        return torch.exp(-dark) * (1 + 0.05 * column(skin.pores) * (self.noise(2, 9.0) - 0.5))


def _band(value: Tensor, low: float, high: float) -> Tensor:
    """1 between, 0 outside, soft at the ends."""
    soft = 0.25 * (high - low)
    return smooth(low, low + soft, value) * smooth(high, high - soft, value)


def _lips(colour: Tensor, skin: Skin, at: Maps, amount: _Amounts) -> Tensor:
    inside = smooth(-0.07, 0.10, at.lips)
    creases = torch.exp(-0.5 * (((at.x * 3.4 + 0.8 * amount.noise(3, 2.0)) % 1.0 - 0.5) / 0.16) ** 2)
    red = column(skin.lip_blood) * (0.85 + 0.3 * amount.noise(4, 2.5))
    lip = colour * torch.exp(-red[:, None] * colour.new_tensor((0.24, 0.95, 0.80))[None, :, None, None])
    lip = lip * (1 - 0.14 * creases[:, None]) * (1 - 0.42 * torch.exp(-at.mouth / 0.10))
    stick = column(skin.makeup.lips)[:, None]
    lip = (
        lip
        + (skin.makeup.lipstick[..., None, None] * (0.8 + 0.4 * amount.noise(4, 2.5))[:, None] - lip) * stick
    )
    return colour + (lip - colour) * inside


def _made_up(colour: Tensor, skin: Skin, at: Maps) -> Tensor:
    shadow = column(skin.makeup.lids) * at.lid_skin
    colour = colour + (skin.makeup.shadow[..., None, None] - colour) * shadow[:, None]
    line = 0.85 * column(skin.makeup.liner) * torch.exp(-0.5 * (at.upper_lids / 0.09) ** 2)
    line = line + 0.45 * column(skin.makeup.liner) * torch.exp(-0.5 * (at.lids / 0.06) ** 2)
    return colour * (1 - line.clamp(max=0.92))[:, None]


def _haired(colour: Tensor, skin: Skin, at: Maps, hair_colour: Tensor, amount: _Amounts) -> Tensor:
    """Stubble and brows."""
    hairs = grain_at(skin.grain[:, 5], amount.v * 19.0, amount.u * 17.0)
    uneven = 0.7 + 0.6 * amount.noise(3, 0.8)
    stubble = column(skin.stubble) * at.stubble * uneven * (0.25 + 0.4 * smooth(0.35, 0.8, hairs))
    grey = (hair_colour * 0.8 + 0.004)[..., None, None]
    colour = colour + (grey - colour) * (0.85 * stubble)[:, None]
    shade = torch.exp(-1.1 * skin.brows.darkness)[:, None] * hair_colour.clamp(max=0.28)
    for side, brow in enumerate(at.brows):
        cover = _brow(skin, brow, amount, side)
        colour = colour + (shade[..., None, None] - colour) * cover[:, None]
    return colour


def _brow(skin: Skin, brow: Brow, amount: _Amounts, side: int) -> Tensor:
    """How much of the skin hairs cover: B×h×w."""
    own = skin.brows
    s = (brow.along - column(own.begin)) / column(own.end - own.begin)
    arch = column(own.arch) * (1 - ((s - 0.62) / 0.62) ** 2)
    across = brow.across - arch
    profile = smooth(-0.10, 0.16, s) * smooth(1.08, 0.55, s) ** column(0.35 + own.thinning)
    half = 0.5 * column(own.thickness) * profile.clamp(min=1e-3)
    body = smooth(1.25, 0.55, across.abs() / half) * (profile > 0.02)
    # Hairs rise steeply near the nose and lie down towards the temple.
    slant = s * 9 + across * (2.4 - 2.4 * s.clamp(0, 1))
    table = amount.skin.grain[:, 2 + side]
    strokes = grain_at(table, slant * 4.3, (across + 3 - 0.3 * s) * 0.9)
    fine = grain_at(table, slant * 7.7 + 5, (across + 3) * 1.3)
    hair = smooth(0.75, 0.30, 0.55 * strokes + 0.45 * fine - 0.3 * (column(own.density) - 0.5))
    return (body * (0.45 + 0.55 * hair) * (0.45 + 0.52 * column(own.density))).clamp(0, 0.97)
