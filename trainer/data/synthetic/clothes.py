"""Clothes: a shell over the chest whose neckline is painted, and a collar about the neck."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.head import chest, neck
from trainer.data.synthetic.mesh import Array, Mesh, grid
from trainer.data.synthetic.parts import CLOTH, Part, column, part, placed, smooth
from trainer.data.synthetic.seeds import rng

KINDS = ("crew", "v-neck", "shirt", "hoodie", "turtleneck", "suit", "scoop", "off-shoulder")
SHARES = (
    (18, 12, 12, 9, 9, 8, 22, 6),
    (30, 10, 21, 15, 6, 15, 3, 0),
)  # relative to one another, of women and men
PATTERNS = ("plain", "stripes across", "stripes along", "checks", "knit", "denim", "print")
COLLARED = (2, 3, 4, 5)  # kinds with a collar of their own
COLUMNS = 29  # of the chest's and the neck's rows, the last again the first
COLLAR_ROWS = 5
CHEST = 0.76  # share of the rectangle's height; the collar is below
GAP = 0.4  # cm between skin and cloth
NARROW = 0.7  # exponent that gives the front more of the texture than the back


class Clothes(NamedTuple):
    """B each, but for the colours (B×3, linear reflectance)."""

    kind: Tensor  # int64, of KINDS
    pattern: Tensor  # int64, of PATTERNS
    colour: Tensor
    second: Tensor  # of the pattern, and of what is under a jacket
    third: Tensor  # of a tie
    scale: Tensor  # cm, the pattern's
    low: Tensor  # cm by which the neckline is lower than usual
    loose: Tensor  # cm that the cloth stands off
    high: Tensor  # [0, 1], the collar's height
    phase: Tensor  # B×4, [0, 1]: what makes patterns and folds differ


def draw_clothes(seed: int, indices: Tensor, sex: Tensor) -> Clothes:
    """indices: B int64, ≥ 0; sex: B in [0, 1], 0 woman … 1 man."""
    kinds, patterns, colours, numbers = [], [], [], []
    for index, share in zip(indices.tolist(), sex.tolist(), strict=True):
        random = rng(seed, "clothes", int(index))
        shares = np.array(SHARES[0]) * (1 - share) + np.array(SHARES[1]) * share
        kind = int(random.choice(len(KINDS), p=shares / shares.sum()))
        pattern = int(random.choice(len(PATTERNS), p=(0.5, 0.09, 0.07, 0.09, 0.11, 0.06, 0.08)))
        kinds.append(kind)
        patterns.append(0 if KINDS[kind] == "suit" and pattern not in (2, 3) else pattern)
        colour, second, third = _colour(random), _colour(random), _colour(random)
        if KINDS[kind] == "suit":
            colour = colour * 0.25
            second = random.uniform(0.5, 0.85) * np.ones(3) if random.random() < 0.7 else second
        if PATTERNS[patterns[-1]] == "denim":
            colour = np.array([0.05, 0.09, 0.18]) * random.uniform(0.4, 2.5)
        colours.append([colour, second, third])
        numbers.append(
            [
                random.uniform(0.5, 3.5),
                random.uniform(0, 1) ** 1.5,
                random.uniform(0, 0.8),
                random.uniform(0, 1),
            ]
            + random.random(4).tolist()
        )
    dyes = torch.tensor(np.array(colours), dtype=torch.float32).clamp(0.008, 0.9)
    values = torch.tensor(numbers, dtype=torch.float32)
    low, loose, high = values[:, 1:4].unbind(1)
    return Clothes(
        torch.tensor(kinds), torch.tensor(patterns), dyes[:, 0], dyes[:, 1], dyes[:, 2], values[:, 0],
        low, loose, high, values[:, 4:],
    )  # fmt: skip


def _colour(random: np.random.Generator) -> Array:
    """Linear reflectance: greys from black to white, or a hue of any strength."""
    light = random.uniform(0.1, 0.95) ** 2.2
    if random.random() < 0.4:
        return np.asarray(light * np.exp(random.normal(0, 0.05, 3)))
    vivid = random.random(3)
    vivid = vivid / vivid.max()
    return np.asarray(light * vivid ** random.uniform(0.3, 2.5))


def _around(points: Array) -> Array:
    """Rows that begin in front as rows that begin behind: R×29×3."""
    rows = points.reshape(-1, COLUMNS, 3)[:, :-1]
    rows = np.roll(rows, (COLUMNS - 1) // 2, axis=1)
    return np.concatenate([rows, rows[:, :1]], 1)


@cache
def turns() -> Array:
    """Angle of each column from straight ahead, [-π, π]: 29."""
    return np.linspace(-np.pi, np.pi, COLUMNS)


@cache
def torso() -> Array:
    """The chest's points, from behind around: R×29×3."""
    return _around(chest().points)


@cache
def clothes_parts() -> tuple[Part, ...]:
    """The shell over the chest, and the collar."""
    rows = len(torso())
    points = _points(_plain())[0].double().numpy()
    share = 0.5 + 0.5 * np.sign(turns()) * (np.abs(turns()) / np.pi) ** NARROW
    found = []
    for at, count, top, bottom in ((0, rows, 0.0, CHEST), (rows, COLLAR_ROWS, CHEST + 0.02, 1.0)):
        v, u = np.meshgrid(np.linspace(top, bottom, count), share, indexing="ij")
        uv = placed(np.stack([u, v], -1).reshape(-1, 2), CLOTH)
        mesh = Mesh(points[at * COLUMNS : (at + count) * COLUMNS], grid(count, COLUMNS), uv)
        found.append(part(mesh, 6, cutout=True, double_sided=True))
    return tuple(found)


def clothes_displacement(clothes: Clothes) -> Tensor:
    """B×V×3, cm, of both parts' points."""
    return _points(clothes) - _points(_plain()).to(clothes.colour.device)


def clothes_shown(clothes: Clothes) -> Tensor:
    """B×T bool: the collar only where a kind has one."""
    shell, collar = (len(piece.mesh.triangles) for piece in clothes_parts())
    has = torch.isin(clothes.kind, clothes.kind.new_tensor(COLLARED))
    return torch.cat((torch.ones_like(has)[:, None].expand(-1, shell), has[:, None].expand(-1, collar)), 1)


@cache
def _plain() -> Clothes:
    zero, grey = torch.zeros(1), torch.full((1, 3), 0.1)
    kind = torch.zeros(1, dtype=torch.int64)
    return Clothes(kind, kind, grey, grey, grey, zero + 1, zero, zero, zero, torch.zeros(1, 4))


def _points(clothes: Clothes) -> Tensor:
    device = clothes.colour.device
    skin = torch.tensor(torso(), dtype=torch.float32, device=device)
    turn = torch.tensor(turns(), dtype=torch.float32, device=device)
    middle = (skin.amax(1) + skin.amin(1)) / 2
    out = (skin - middle[:, None]) * torch.tensor([1.0, 0.0, 1.0], device=device)
    out = torch.nn.functional.normalize(out, dim=-1)
    up = torch.tensor([0.0, -1.0, 0.0], device=device)
    jacket = 0.5 * ((clothes.kind == 5) | (clothes.kind == 3))
    off = column(GAP + clothes.loose + jacket)
    # Folds: the cloth hangs in waves from the shoulders.
    wave = torch.sin(turn * 7 + 6.28 * clothes.phase[:, :1])[:, None] * 0.25
    depth = torch.linspace(0, 1, len(skin), device=device)[None, :, None]
    slack = 0.35 * clothes.loose[:, None, None] + 0.02
    shell = skin + (off + slack * wave * depth * 2)[..., None] * out + 0.35 * up
    return torch.cat((shell.flatten(1, 2), _collar(clothes, turn).flatten(1, 2)), 1)


def _collar(clothes: Clothes, turn: Tensor) -> Tensor:
    """Rows about the neck from inside over the upper edge to outside: B×5×29×3."""
    front = torch.cos(turn)  # 1 ahead, -1 behind
    ahead, behind = front.clamp(min=0) ** 2, (-front).clamp(min=0)
    high = column(clothes.high)

    def rows(heights: list[Tensor], away: list[Tensor]) -> Tensor:
        y = torch.stack([value.expand(len(high), COLUMNS) for value in heights], 1)
        reach = torch.stack([value.expand(len(high), COLUMNS) for value in away], 1)
        return _about_neck(y, reach)

    flat, top = torch.zeros_like(front)[None], high[:, 0]
    shapes = {  # by the kinds that have it
        (2, 5): rows(
            [flat + 16.5, flat + 13.6 - top + 1.6 * ahead, flat + 13.4 - top + 1.6 * ahead,
             flat + 15.2 + 1.8 * ahead, flat + 16.8 + 3.4 * ahead],
            [flat + 0.3, flat + 0.5, flat + 0.9, flat + 1.3, flat + 2.0 + 1.2 * ahead],
        ),
        (3,): rows(
            [flat + 17.0, flat + 14.4 - 1.2 * behind + 2.6 * ahead, flat + 13.9 - 1.4 * behind + 2.6 * ahead,
             flat + 16.0 + 2.4 * ahead, flat + 19.5 + 1.5 * behind + 1.5 * ahead],
            [flat + 0.5, flat + 1.0 + behind, flat + 2.0 + 2.2 * behind, flat + 3.4 + 3.2 * behind,
             flat + 4.0 + 2.8 * behind],
        ),
        (4,): rows(
            [flat + 11.6 - top, flat + 10.4 - top, flat + 10.3 - top, flat + 12.6, flat + 17.2 + 0.6 * ahead],
            [flat + 0.25, flat + 0.35, flat + 0.6, flat + 0.75, flat + 1.0],
        ),
    }  # fmt: skip
    found = shapes[2, 5]
    for kinds, points in shapes.items():
        own = torch.isin(clothes.kind, clothes.kind.new_tensor(kinds))
        found = torch.where(column(own, 3), points, found)
    return found


def _about_neck(y: Tensor, away: Tensor) -> Tensor:
    """Points at heights y, `away` cm outside the neck: B×R×29 each → B×R×29×3."""
    rings = torch.tensor(_around(neck().points), dtype=torch.float32, device=y.device)
    heights = rings[:, COLUMNS // 2, 1]  # in front: the nape reaches up into the skull
    share = ((y - heights[0]) / (heights[-1] - heights[0]) * (len(rings) - 1)).clamp(0, len(rings) - 1.001)
    at = share.long()
    columns = torch.arange(COLUMNS, device=y.device)
    near, far = rings[at, columns], rings[at + 1, columns]
    on = near + (far - near) * (share - at)[..., None]
    # Flaring shoulders don't belong to the neck.
    middle = torch.stack((torch.zeros_like(y), y, on[..., 2].mean(-1, keepdim=True).expand_as(y)), -1)
    out = (on - middle) * torch.tensor([1.0, 0.0, 1.0], device=y.device)
    length = out.norm(dim=-1, keepdim=True)
    out = out / length * (length.clamp(max=6.6) + away[..., None])
    return torch.add(middle, out)


@cache
def places(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Of the texels of the chest's part of CLOTH: the point of the chest that they show, height×width×3,
    and its angle from straight ahead, width."""
    share = (np.arange(width) + 0.5) / width * 2 - 1
    angle = np.sign(share) * np.abs(share) ** (1 / NARROW) * np.pi
    rows = np.linspace(0, len(torso()) - 1, height)
    column_at = np.interp(angle, turns(), np.arange(COLUMNS))
    low, left = rows.astype(int).clip(0, len(torso()) - 2), column_at.astype(int).clip(0, COLUMNS - 2)
    down, right = (rows - low)[:, None, None], (column_at - left)[None, :, None]
    points = torso()
    upper = points[low][:, left] * (1 - right) + points[low][:, left + 1] * right
    lower = points[low + 1][:, left] * (1 - right) + points[low + 1][:, left + 1] * right
    found = upper * (1 - down) + lower * down
    return torch.tensor(found, dtype=torch.float32), torch.tensor(angle, dtype=torch.float32)


def neckline(clothes: Clothes, points: Tensor) -> Tensor:
    """cm below the edge of the cloth, negative above: B×h×w. points: h×w×3, of the chest."""
    x, y = points[..., 0].abs(), points[..., 1]
    before = smooth(4.0, -1.0, points[..., 2])
    ahead = before * (1 - smooth(4, 11, x))
    low = column(clothes.low)
    line = (
        15.2 + 1.6 * ahead + 0.9 * low * ahead,  # crew
        15.4 + (4.0 + 5 * low) * before * (1 - x / 8.0).clamp(min=0),  # v-neck
        15.2 + (1.8 + 5 * low) * before * (1 - x / 5.0).clamp(min=0),  # shirt
        15.6 + 1.5 * ahead,  # hoodie
        14.0 * torch.ones_like(ahead),  # turtleneck
        15.0 * torch.ones_like(ahead),  # suit
        15.6 + (3.5 + 4 * low) * ahead * (1 - (x / 9.5) ** 2).clamp(min=0) ** 0.5,  # scoop
        21.5 + 2.0 * low,  # off-shoulder
    )
    lines = torch.stack([value.expand(len(clothes.kind), *y.shape) for value in line])
    index = clothes.kind[None, :, None, None].expand(1, -1, *y.shape)
    return y - lines.gather(0, index)[0]
