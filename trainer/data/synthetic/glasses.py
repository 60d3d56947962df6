"""Glasses: rims around lenses before the eyes, a bridge over the nose, temples to the ears."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.mesh import Array, Indices, Mesh, grid
from trainer.data.synthetic.parts import GLASSES, Part, column, part, placed, smooth, texels, window
from trainer.data.synthetic.seeds import rng

WORN = 0.3  # share of people
STYLES = ("round", "square", "aviator", "cat-eye", "rimless", "half")
# Of each style: lens width and height (cm, ranges), the superellipse's exponent, how far its upper outer
# corner is raised and its lower outer corner drawn down (shares of the height).
FORMS = {
    "round": ((4.3, 4.9), (4.0, 4.7), (2.0, 2.2), 0.0, 0.0),
    "square": ((4.7, 5.5), (3.4, 4.3), (3.0, 6.0), 0.0, 0.0),
    "aviator": ((5.2, 5.8), (4.4, 5.0), (2.2, 2.6), 0.0, 0.16),
    "cat-eye": ((4.8, 5.5), (3.5, 4.2), (2.3, 2.8), 0.24, 0.0),
    "rimless": ((4.7, 5.3), (3.1, 3.8), (2.4, 4.0), 0.0, 0.0),
    "half": ((4.7, 5.4), (3.2, 3.8), (2.6, 4.0), 0.0, 0.0),
}
SPOKES, AROUND = 24, 4  # of a rim: along it, about its wire
BRIDGE, TEMPLE = 6, 7  # points along
PLANE = -9.95  # z of the lenses' middle
HEIGHT = -2.95  # y of the lenses' middle
APART = 3.15  # x of the lenses' middle
FRAME, LENS = 0.25, 0.7  # of the rectangle's height: above the frame, below it the lens


class Glasses(NamedTuple):
    """B each, but for the colours."""

    worn: Tensor  # bool
    style: Tensor  # int64, of STYLES
    width: Tensor  # cm, of a lens
    height: Tensor  # cm
    exponent: Tensor  # of the superellipse that a lens is
    raised: Tensor  # upper outer corner, share of the height
    dropped: Tensor  # lower outer corner
    wire: Tensor  # cm, half the rim's breadth
    upper: Tensor  # how much thicker the rim is above, [0, 1]; 1: it is there only above
    colour: Tensor  # B×3, linear reflectance of the frame
    pattern: Tensor  # how spotted it is, as tortoise shell, [0, 1]
    tint: Tensor  # B×3 of the lenses
    dark: Tensor  # how much the lenses cover, [0, 1]
    shine: Tensor  # how strongly they reflect, [0, 1]


def draw_glasses(seed: int, indices: Tensor) -> Glasses:
    """indices: B int64, ≥ 0."""
    rows = [_draw(rng(seed, "glasses", int(index))) for index in indices.tolist()]
    worn, style, numbers, colour, tint = zip(*rows, strict=True)
    width, height, exponent, raised, dropped, wire, upper, pattern, dark, shine = torch.tensor(
        np.array(numbers), dtype=torch.float32
    ).unbind(1)
    return Glasses(
        torch.tensor(worn), torch.tensor(style), width, height, exponent, raised, dropped, wire, upper,
        torch.tensor(np.array(colour), dtype=torch.float32), pattern,
        torch.tensor(np.array(tint), dtype=torch.float32), dark, shine,
    )  # fmt: skip


def _draw(random: np.random.Generator) -> tuple[object, ...]:
    worn = bool(random.random() < WORN)
    style = int(random.choice(len(STYLES), p=(0.2, 0.32, 0.1, 0.12, 0.12, 0.14)))
    wide, high, exponent, raised, dropped = FORMS[STYLES[style]]
    thick = random.uniform(0.05, 0.09) if random.random() < 0.5 else random.uniform(0.12, 0.26)
    wire = {"rimless": 0.03, "half": 0.07, "aviator": 0.06}.get(STYLES[style], thick)
    upper = {"half": 1.0, "cat-eye": 0.5}.get(STYLES[style], random.uniform(0, 0.3))
    if random.random() < 0.5:  # black, brown, tortoise shell
        colour = random.uniform(0.008, 0.05) * np.array([1.25, 1, 0.8])
    elif random.random() < 0.5:  # metal
        colour = random.uniform(0.2, 0.55) * np.array([1, random.uniform(0.8, 1), random.uniform(0.55, 1)])
    else:
        colour = random.uniform(0.03, 0.5, 3)
    sun = random.random() < 0.1
    tint = random.uniform(0.005, 0.05, 3) if sun else random.uniform(0.4, 0.9, 3)
    dark = random.uniform(0.65, 0.97) if sun else random.uniform(0.0, 0.08)
    shine = random.uniform(0.0, 1.0) ** 2
    numbers = (
        random.uniform(*wide), random.uniform(*high), random.uniform(*exponent), raised, dropped, wire, upper,
        random.uniform(0, 1) * (random.random() < 0.3), dark, shine,
    )  # fmt: skip
    return worn, style, numbers, colour, tint


@cache
def glasses_parts() -> tuple[Part, ...]:
    """Two rims, two lenses, bridge and temples."""
    points = _points(_plain())[0].double().numpy()
    pieces: list[tuple[int, Indices, Array, bool]] = []
    tube = _uv(SPOKES + 1, AROUND + 1)
    for right in (True, False):
        pieces.append(
            (
                (SPOKES + 1) * (AROUND + 1),
                grid(SPOKES + 1, AROUND + 1)[:, :: 1 if right else -1].copy(),
                tube,
                False,
            )
        )
    turn = np.linspace(0, 2 * np.pi, SPOKES, endpoint=False)
    disc = np.stack([0.5 + 0.48 * np.sin(turn), 0.5 - 0.48 * np.cos(turn)], 1)
    lens = np.concatenate([[[0.5, 0.5]], disc]) * (1, LENS) + (0, 1 - LENS)
    rim = np.arange(1, SPOKES + 1)
    fan = np.stack([np.zeros_like(rim), rim, np.roll(rim, -1)], 1)
    for right in (True, False):
        pieces.append((SPOKES + 1, fan if right else fan[:, ::-1].copy(), lens, True))
    for count in (BRIDGE, TEMPLE, TEMPLE):
        pieces.append((count * (AROUND + 1), grid(count, AROUND + 1), _uv(count, AROUND + 1), False))
    found, at = [], 0
    for count, triangles, uv, thin in pieces:
        mesh = Mesh(points[at : at + count], triangles, placed(uv, GLASSES))
        found.append(part(mesh, 7, cutout=thin, double_sided=True))
        at += count
    return tuple(found)


def _uv(rows: int, columns: int) -> Array:
    v, u = np.meshgrid(np.linspace(0.02, FRAME, columns), np.linspace(0.02, 0.98, rows))
    return np.asarray(np.stack([u, v], -1).reshape(-1, 2))


def glasses_displacement(glasses: Glasses) -> Tensor:
    """B×V×3, cm, of the parts' points."""
    return _points(glasses) - _points(_plain()).to(glasses.width.device)


def glasses_shown(glasses: Glasses) -> Tensor:
    """B×T bool."""
    return glasses.worn[:, None].expand(-1, sum(len(piece.mesh.triangles) for piece in glasses_parts()))


@cache
def _plain() -> Glasses:
    number = {"width": 5.0, "height": 4.0, "exponent": 2.6, "raised": 0.0, "dropped": 0.0, "wire": 0.1}
    rest = {"upper": 0.0, "pattern": 0.0, "dark": 0.0, "shine": 0.0}
    values = {name: torch.tensor([value]) for name, value in (number | rest).items()}
    grey = torch.full((1, 3), 0.1)
    return Glasses(worn=torch.tensor([True]), style=torch.tensor([0]), colour=grey, tint=grey, **values)


def _points(glasses: Glasses) -> Tensor:
    device = glasses.width.device
    turn = torch.linspace(0, 2 * np.pi, SPOKES + 1, device=device)
    about = torch.linspace(0, 2 * np.pi, AROUND + 1, device=device)
    outline = _outline(glasses, turn)  # B×S×2: outwards from the nose, down
    inner = _outline(glasses, turn, shrink=0.5)
    flat = outline - inner
    flat = flat / flat.norm(dim=-1, keepdim=True)
    above = smooth(-0.2, 0.9, torch.cos(turn))
    wire = glasses.wire[:, None] * (1 + 1.2 * glasses.upper[:, None] * above)
    only = (glasses.upper > 0.99)[:, None]
    wire = torch.where(only, wire * smooth(-0.45, 0.0, torch.cos(turn)) + 0.006, wire)
    swing, lift = torch.cos(about), torch.sin(about)
    ring = outline[:, :, None] + flat[:, :, None] * (wire[:, :, None] * swing)[..., None]
    depth = lift * wire[:, :, None].clamp(min=0.05, max=0.16)
    parts = []
    for side in (1.0, -1.0):
        parts.append(_before_eye(ring, depth, side).flatten(1, 2))
    middle = outline[:, :-1].mean(1, keepdim=True)
    lens = torch.cat([middle, outline[:, :-1]], 1)
    for side in (1.0, -1.0):
        parts.append(_before_eye(lens, torch.zeros_like(lens[..., 0]), side))
    parts.append(_bridge(glasses, outline, about))
    hinge = _before_eye(outline[:, SPOKES // 6][:, None], torch.zeros_like(outline[:, :1, 0]), 1.0)[:, 0]
    for side in (1.0, -1.0):
        parts.append(_temple(glasses, hinge, about, side))
    return torch.cat(parts, 1)


def _outline(glasses: Glasses, turn: Tensor, shrink: float = 1.0) -> Tensor:
    """The lens's edge, from above clockwise as its wearer's left lens shows: B×S×2, cm about the lens's
    middle; x away from the nose, y down."""
    power = 2 / column(glasses.exponent, 1)
    sine, cosine = torch.sin(turn)[None], torch.cos(turn)[None]
    x = sine.sign() * sine.abs() ** power * column(glasses.width, 1) / 2
    y = -cosine.sign() * cosine.abs() ** power * column(glasses.height, 1) / 2
    outer, low = smooth(0.1, 1, sine), smooth(0.1, 1, -cosine)
    y = y - column(glasses.raised * glasses.height, 1) * outer * smooth(-0.5, 0.7, cosine)
    y = y + column(glasses.dropped * glasses.height, 1) * low * (0.6 + 0.4 * sine)
    # Towards the nose the lower edge gives way to it.
    x = x + 0.8 * smooth(0.1, 1, -sine) * smooth(-0.4, 0.6, -cosine)
    return torch.stack((x, y), -1) * shrink


def _before_eye(flat: Tensor, depth: Tensor, side: float) -> Tensor:
    """…×2 about a lens's middle → head space. The lenses turn a little around the face and lean in below."""
    x, y = flat[..., 0] + APART, flat[..., 1]
    z = PLANE + 0.028 * (x - 1) ** 2 - 0.10 * y * (y < 0) + 0.02 * y
    return torch.stack((side * x, HEIGHT + y, z + depth), -1)


def _bridge(glasses: Glasses, outline: Tensor, about: Tensor) -> Tensor:
    """An arch between the rims, over the nose's root: B×(6·5)×3."""
    at = outline[:, int(SPOKES * 0.86)]  # the upper inner edge
    reach = (APART + at[:, 0])[:, None]
    share = torch.linspace(-1, 1, BRIDGE, device=outline.device)[None]
    x = share * reach
    height = HEIGHT + at[:, 1:2] + 0.1 - 0.25 * (1 - share**2)
    z = PLANE + 0.028 * (reach - 1) ** 2 * share**2 - 0.35 * (1 - share**2)
    thick = glasses.wire.clamp(min=0.06, max=0.14)[:, None, None]
    swing, lift = torch.cos(about), torch.sin(about)
    y = height[..., None] - thick * swing
    return torch.stack((x[..., None].expand_as(y), y, z[..., None] + thick * lift), -1).flatten(1, 2)


def _temple(glasses: Glasses, hinge: Tensor, about: Tensor, side: float) -> Tensor:
    """From the rim's upper outer edge along the head, over the ear and down behind it: B×(7·5)×3."""
    device = hinge.device
    far = torch.tensor(
        [[7.45, -4.1, -7.2], [7.75, -4.4, -4.0], [8.0, -4.6, -1.0], [7.95, -4.75, 1.4], [7.75, -3.9, 3.2],
         [7.5, -2.2, 4.1]],
        device=device,
    )  # fmt: skip
    path = torch.cat((hinge[:, None], far.expand(len(hinge), -1, -1)), 1)  # B×7×3
    lift = hinge[:, 1] + 4.3  # low hinges draw the temples down in front
    path = torch.stack((path[..., 0], path[..., 1], path[..., 2]), -1)
    fade = torch.tensor([0.0, 0.8, 0.45, 0.15, 0.0, 0.0, 0.0], device=device)
    path = path + fade[None, :, None] * lift[:, None, None] * torch.tensor([0.0, 1.0, 0.0], device=device)
    high = glasses.wire.clamp(min=0.06, max=0.2)[:, None] * torch.linspace(1.3, 0.9, TEMPLE, device=device)
    thin = torch.full_like(high, 0.07)
    x = path[..., 0, None] + thin[..., None] * torch.sin(about)
    y = path[..., 1, None] - high[..., None] * torch.cos(about)
    return torch.stack((side * x, y, path[..., 2, None].expand_as(x)), -1).flatten(1, 2)


def paint_glasses(glasses: Glasses, atlas: Tensor) -> None:
    """Write the rectangle GLASSES of B×4×A×A: the frame's colour above, the lenses below with their
    little cover."""
    target = window(atlas, GLASSES)
    height, width = target.shape[2:]
    v, u = texels(height, width, atlas.device)
    spots = torch.sin(u * 61) * torch.sin(u * 23 + 4) + torch.sin(v * 47 + u * 13)
    mottled = 1 + column(glasses.pattern) * 2.5 * smooth(0.2, 0.8, spots)[None]
    frame = glasses.colour[..., None, None] * mottled[:, None] ** torch.tensor(
        [1.0, 0.7, 0.3], device=atlas.device
    ).reshape(1, 3, 1, 1)
    lens = ((v - (1 - LENS)) / LENS).expand(height, width)
    # A window's reflection: two slanted stripes with soft edges.
    slant = u - 0.55 * lens
    streak = smooth(0.0, 0.1, slant + 0.14) * (1 - smooth(0.12, 0.22, slant))
    streak = streak + 0.6 * smooth(0.24, 0.29, slant) * (1 - smooth(0.29, 0.35, slant))
    bright = column(glasses.shine) * 0.16 * streak * (1 - smooth(0.3, 0.9, lens))
    cover = column(glasses.dark) * (1 - 0.25 * lens)
    total = (cover + bright * (1 - cover)).clamp(0, 1)
    tint = glasses.tint[..., None, None]
    glass = (tint * cover[:, None] + 0.45 * (bright * (1 - cover))[:, None]) / total[:, None].clamp(min=1e-4)
    above = (v < (FRAME + 1 - LENS) / 2).expand(height, width)
    target[:, :3] = torch.where(above, frame.clamp(0, 0.95), glass.clamp(0, 0.95))
    target[:, 3] = torch.where(above, torch.ones_like(total), total)
