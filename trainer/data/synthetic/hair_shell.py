"""The hair's geometry: two sheets around the head, one in the other, and a bun or a tail.

A sheet's columns are strands: each runs from the crown, or from the parting, over the scalp to the
hairline, or from where the head is widest down past ears and neck. Its rows are equally far apart along
the strand.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.beard import plain_beard
from trainer.data.synthetic.hair import NONE, Hair, Shape
from trainer.data.synthetic.head import SKULL_CENTRE, chest
from trainer.data.synthetic.mesh import Array, Mesh, grid
from trainer.data.synthetic.parts import HAIR, Part, column, part, placed, smooth
from trainer.data.synthetic.scalp import DEGREE, Hairline, angles, direction, radius

# Azimuths of the columns: closer where hair begins to hang and about the ears.
SIDE = (0, 11, 22, 32, 41, 48, 54, 60, 66, 72, 78, 84, 90, 98, 106, 113, 120, 129, 140, 153, 166)
ROWS = 16
LAYERS = (0.3, 0.0)  # cm by which they lie lower than the hair is thick: the dense one, the loose one
LEAST = (0.04, 0.08)  # cm off the skin, at the hairline
TAIL_ROWS, TAIL_COLUMNS = 10, 13
CROWN = (0.0, 72.0)  # azimuth from behind and elevation of the whorl
TURNS = 6  # how often the strands' texture is laid around the head, there and back
PHASE = 0.5  # where in it the column behind begins: elsewhere than its mirror image
TIPS = (1.5, 4.5)  # degrees by which sheets reach beyond the hairline, as tips end before them: even, ragged

LOOSE = 5.0  # cm before a strand leaves the scalp, from which on one may see under it
HANG = 6.0  # degrees of elevation at which hair leaves the scalp to hang
BROWS = 7.0  # degrees of elevation of the brows


@cache
def columns() -> Tensor:
    """Azimuths of the columns, degrees, from straight behind around the picture's left side; the first
    is again the last."""
    right = np.array(SIDE[1:], dtype=np.float64)
    return torch.tensor(np.concatenate([[-180], -right[::-1], [0], right, [180]]), dtype=torch.float32)


@cache
def hair_parts() -> tuple[Part, ...]:
    """Two sheets, a tail, as they lie on the mean head with short hair."""
    count = len(columns())
    plain = _plain()
    points = _points(plain)[0].double().numpy()
    found = []
    turned = np.linspace(0, TURNS, count) * 0.4 + (columns().double().numpy() + 180) / 360 * TURNS * 0.6
    share = np.abs((turned + PHASE) % 2 - 1)
    v, u = np.meshgrid(np.linspace(0.004, 0.996, ROWS), share, indexing="ij")
    at = 0
    for layer in range(len(LAYERS)):
        half = 0.5 * layer + 0.5 * (0.02 + 0.96 * u)
        uv = placed(np.stack([half, v], -1).reshape(-1, 2), HAIR)
        mesh = Mesh(points[at : at + ROWS * count], grid(ROWS, count), uv)
        found.append(part(mesh, 2, cutout=True, double_sided=True))
        at += ROWS * count
    v, u = np.meshgrid(np.linspace(0.05, 0.996, TAIL_ROWS), np.linspace(0, 1, TAIL_COLUMNS), indexing="ij")
    uv = placed(np.stack([0.01 + 0.48 * np.abs(u * 2 - 1), v], -1).reshape(-1, 2), HAIR)
    mesh = Mesh(points[at:], grid(TAIL_ROWS, TAIL_COLUMNS), uv)
    return (*found, part(mesh, 2, cutout=True, double_sided=True))


def hair_displacement(hair: Hair) -> Tensor:
    """From the mean short hair: B×V×3, cm, of the parts' points in their order."""
    return _points(hair) - _points(_plain()).to(hair.colour.device)


def hair_shown(hair: Hair) -> Tensor:
    """Which of the parts' triangles a head has: B×T bool."""
    device = hair.style.device
    shell = torch.ones_like(hair.style, dtype=torch.bool)
    for style in NONE:
        shell &= hair.style != style
    left, right = columns()[:-1].to(device), columns()[1:].to(device)
    # Where strands are combed apart the forehead is bare.
    apart = (
        (hair.shape.sweep > 0.02)[:, None]
        & (left <= hair.shape.part[:, None])
        & (right > hair.shape.part[:, None])
    )
    bald = (hair.shape.ring > 0.01)[:, None] & (left.abs().minimum(right.abs()) < 71)  # nor before a bare top
    quads = (shell[:, None] & ~apart & ~bald).repeat(1, ROWS - 1)  # B×rows·columns
    tail = (hair.shape.tail > 0.5)[:, None].expand(-1, 2 * (TAIL_ROWS - 1) * (TAIL_COLUMNS - 1))
    return torch.cat([quads] * (2 * len(LAYERS)) + [tail], 1)


def hair_backs(hair: Hair) -> Tensor:
    """Of which of the parts' triangles the inner side can be seen: B×T bool. Of hair that lies on the head it
    can't."""
    strands = _strands(hair)
    scalp, whole = _lengths(strands)
    share = torch.linspace(0, 1, ROWS, device=whole.device)[1:, None]
    hanging = (whole > scalp)[:, None] & (
        share * whole[:, None] > (scalp - LOOSE)[:, None]
    )  # quads' lower ends
    beside = hanging.roll(1, 2) | hanging | hanging.roll(-1, 2)
    quads = (beside[..., :-1] | beside[..., 1:]).flatten(1)
    tail = quads.new_ones(len(quads), 2 * (TAIL_ROWS - 1) * (TAIL_COLUMNS - 1))
    return torch.cat([quads] * (2 * len(LAYERS)) + [tail], 1)


@cache
def _plain() -> Hair:
    """The template's hair."""
    values = dict.fromkeys(Shape._fields, 0.0) | {"top": 1.0, "sides": 0.8, "drop": 200.0, "roots": 1.0}
    shape = Shape(*(torch.tensor([value]) for value in values.values()))
    grey = torch.full((1, 3), 0.1)
    return Hair(
        torch.tensor([2]), shape, grey, grey, torch.ones(1), torch.full((1, 6, 64, 64), 0.5), plain_beard()
    )


class _Strands(NamedTuple):
    """Where columns leave the scalp, B×C."""

    begin: Tensor  # unit vectors, ×3
    end: Tensor
    hang: Tensor  # [0, 1]: whether they hang
    over: Tensor  # [0, 1]: whether they lie over the forehead
    fall: Tensor  # y of the tips
    tuft: Tensor  # B×R×C, about 0, how much more than the mean a place stands off


def _points(hair: Hair) -> Tensor:
    """B×V×3: both sheets and the tail."""
    strands = _strands(hair)
    sheets = [_sheet(hair, strands, *layer).flatten(1, 2) for layer in zip(LAYERS, LEAST, strict=True)]
    return torch.cat([*sheets, _tail(hair).flatten(1, 2)], 1)


def _strands(hair: Hair) -> _Strands:
    shape, device = hair.shape, hair.colour.device
    azimuth = columns().to(device)
    # Combed aside: strands of each side of the parting end at the temples.
    beyond = azimuth - shape.part[:, None]
    target = torch.where(beyond > 0, 66.0, -66.0)
    front = azimuth.abs() < 66
    ends = torch.where(front, azimuth + shape.sweep[:, None] * (target - azimuth), azimuth.expand_as(beyond))
    away = ends.abs()
    drop = shape.drop[:, None]
    line = Hairline(shape.height, shape.recede, shape.peak)
    whole = line.elevation(ends, painted=False)  # B×C
    hang = smooth(drop - 4, drop + 10, away)
    ahead = 1 - smooth(38, 58, away)
    over = ahead * shape.fringe.clamp(0, 1)[:, None]
    whole = whole - (TIPS[0] + TIPS[1] * shape.ragged[:, None]) * (1 - shape.sweep[:, None] * ahead)
    uneven = hair.grain[:, 0, 0, : len(azimuth)] - 0.5
    uneven = torch.cat((uneven[:, :-1], uneven[:, :1]), 1)  # the first column is the last
    elevation = whole + (BROWS + 3 * uneven - whole) * over
    elevation = elevation + (HANG - elevation) * hang
    end = direction(ends, elevation)

    tail = shape.tail > 0.5  # strands are gathered there
    crown = torch.where(tail, shape.tail_height, torch.full_like(shape.tail, CROWN[1]))
    back = direction(torch.full_like(crown, 180.0 - CROWN[0]), crown)[:, None]
    front = parting_end(shape)
    share = (shape.forward * ~tail)[:, None] * (
        0.5 + 0.5 * torch.cos(torch.deg2rad(azimuth - shape.part[:, None]))
    )
    begin = back + share[..., None] * (front[:, None] - back)
    begin = torch.nn.functional.normalize(begin, dim=-1)
    # A bare top reaches down to the temples.
    bare = smooth(0.0, 0.05, shape.ring)[:, None] * (1 - smooth(72, 105, away))
    begin = _between(begin, end, shape.ring[:, None] + (0.96 - shape.ring[:, None]) * bare)
    fall = shape.fall[:, None] + uneven * 3 * hang
    rough = torch.nn.functional.interpolate(
        hair.grain[:, 1:2, :12, :24], (ROWS, len(azimuth)), mode="bilinear", align_corners=True
    )[:, 0]
    fine = hair.grain[:, 2, :ROWS, : len(azimuth)]
    tuft = torch.lerp(rough, fine, 0.4) - 0.5
    tuft = torch.cat((tuft[..., :-1], tuft[..., :1]), -1)
    return _Strands(begin, end, hang, over, fall, tuft)


def parting_end(shape: Shape) -> Tensor:
    """The direction of the parting's end over the forehead: B×3."""
    return direction(shape.part, 43 - 20 * smooth(0.0, 0.3, shape.sweep) + 0.7 * shape.height)


def _between(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """On the great circle from a to b (…×3, unit): …×3. share: …"""
    angle = torch.acos((a * b).sum(-1).clamp(-0.99999, 0.99999))
    near, far = torch.sin((1 - share) * angle), torch.sin(share * angle)
    return torch.nn.functional.normalize(near[..., None] * a + far[..., None] * b, dim=-1)


def _lengths(strands: _Strands) -> tuple[Tensor, Tensor]:
    """How long strands lie on the scalp, and how long they are: B×C each, cm."""
    scalp = torch.rad2deg(torch.acos((strands.begin * strands.end).sum(-1).clamp(-1, 1))) * DEGREE
    leave = SKULL_CENTRE[1] - HANG * DEGREE
    return scalp, scalp + (strands.fall - leave).clamp(min=0) * strands.hang


def _sheet(hair: Hair, strands: _Strands, lower: float, least: float) -> Tensor:
    """One layer, which lies so much lower than the hair is thick, and at least so far off the skin (cm):
    B×R×C×3."""
    shape, device = hair.shape, hair.colour.device
    centre = torch.tensor(SKULL_CENTRE, dtype=torch.float32, device=device)
    begin, end = strands.begin, strands.end
    scalp, whole = _lengths(strands)
    share = torch.linspace(0, 1, ROWS, device=device)[:, None]
    at = share * whole[:, None]  # B×R×C, cm from the beginning
    on = (at / scalp.clamp(min=0.1)[:, None]).clamp(max=1)
    ray = _between(begin[:, None].expand(-1, ROWS, -1, -1), end[:, None].expand(-1, ROWS, -1, -1), on)
    azimuth, elevation = angles(ray)

    upper = smooth(5, 50, elevation)
    thick = column(shape.sides) + (column(shape.top) - column(shape.sides)) * upper
    quiff = torch.exp(-((azimuth / 48) ** 2)) * smooth(18, 40, elevation) * (1 - smooth(60, 85, elevation))
    thick = thick + column(shape.lift) * quiff
    apart = smooth(0.0, 4.0, at)  # where columns meet they stand off alike
    thick = thick * (1 + column(shape.tuft) * 2 * strands.tuft * apart)
    thick = thick * (1 - column(shape.dip) * torch.exp(-((at / 1.4) ** 2)))
    # From the hairline it rises slowly, and slower at the nape; what is thick is round.
    nape = 1 - smooth(-28, 8, elevation)
    left = (scalp[:, None] - at).clamp(min=0) / ((0.8 + 1.1 * thick).clamp(max=3.4) + 2.5 * nape)
    left = left.clamp(max=1)
    edge = torch.lerp(smooth(0, 1, left), (1 - (1 - left) ** 2).sqrt(), smooth(1.5, 4, thick))
    edge = edge + (1 - edge) * torch.maximum(strands.hang, 0.55 * strands.over)[:, None]
    bare = column(shape.ring) > 0
    edge = edge * torch.where(bare, smooth(-0.01, 2.0, at), torch.ones_like(at))
    thick = least + torch.maximum(thick - lower, 0.6 * thick) * edge
    points = centre + ray * (radius(ray) + thick)[..., None]
    return _hung(hair, strands, points, (at - scalp[:, None]).clamp(min=0), azimuth)


def _hung(hair: Hair, strands: _Strands, points: Tensor, down: Tensor, azimuth: Tensor) -> Tensor:
    """Strands beyond where they leave the scalp. down: B×R×C, cm below; points there are still at that
    place."""
    shape = hair.shape
    reach = torch.hypot(points[..., 0], points[..., 2] - SKULL_CENTRE[2])
    side = torch.where(azimuth < 0, -1.0, 1.0)
    away = azimuth.abs()
    # Beside the face, not before it.
    turned = torch.maximum(away, away + (76 - away) * smooth(0, 7, down))
    y = points[..., 1] + down
    ears = torch.exp(-(((turned - 97) / 24) ** 2)) * smooth(0, 4, down)
    reach = reach + 0.9 * ears * (1 - 0.6 * smooth(2, 7, y))
    length = (strands.fall[:, None] - y).clamp(min=0)
    tips = 1 - smooth(0.0, 7.0, length)
    reach = reach + column(shape.flare) * smooth(2, 16, down) - 0.5 * tips * (down > 0)
    reach = reach + smooth(0, 3, down) * column(shape.tuft) * 5 * strands.tuft
    reach = reach - 1.3 * smooth(5, 12, y) * smooth(0, 3, down)  # towards the neck
    turn = torch.deg2rad(turned)
    x, z = reach * turn.sin(), SKULL_CENTRE[2] - reach * turn.cos()
    x, z = _over_shoulders(x, y, z, turned, column(shape.front) > 0)
    hung = torch.stack((x * side, y, z), -1)
    return torch.where(down[..., None] > 0, hung, points)


def _over_shoulders(x: Tensor, y: Tensor, z: Tensor, azimuth: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
    """Hair that reaches the shoulders lies on the chest or on the back. x ≥ 0."""
    wide, deep, middle = _torso(y)
    x = x - (x - 7.8).clamp(min=0) * smooth(8, 16, y)
    room = (1 - (x / wide).clamp(0, 0.97) ** 2.3) ** (1 / 2.3)
    on_chest = torch.minimum(z, middle - deep * room - 0.9)
    on_back = torch.maximum(z, middle + deep * room + 0.9)
    forward = front & (azimuth < 104)
    share = smooth(7.5, 15.5, y)
    return x, torch.where(forward, z + (on_chest - z) * share, z + (on_back - z) * share)


@cache
def _profile() -> Array:
    """Of the chest's rows: y at the side, half width, half depth, middle: 9×4."""
    rows = len(chest().points) // 29
    points = chest().points.reshape(rows, 29, 3)
    z = points[..., 2]
    return np.stack(
        [points[:, 7, 1], points[..., 0].max(1), np.ptp(z, axis=1) / 2, (z.max(1) + z.min(1)) / 2], 1
    )


def _torso(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Half width, half depth and middle (z) of the chest at heights y."""
    table = torch.tensor(_profile(), dtype=torch.float32, device=y.device)
    heights = table[:, 0].contiguous()
    above = (torch.searchsorted(heights, y.contiguous()) - 1).clamp(0, len(table) - 2)
    share = ((y - heights[above]) / (heights[above + 1] - heights[above])).clamp(0, 1)
    values = table[above] + (table[above + 1] - table[above]) * share[..., None]
    return values[..., 1], values[..., 2], values[..., 3]


def _tail(hair: Hair) -> Tensor:
    """A bun or a ponytail at the back of the head: B×rows×columns×3."""
    shape, device = hair.shape, hair.colour.device
    ray = direction(torch.full_like(shape.tail_height, 180.0), shape.tail_height)
    thick = shape.sides + (shape.top - shape.sides) * smooth(5, 50, shape.tail_height)
    centre = torch.tensor(SKULL_CENTRE, dtype=torch.float32, device=device)
    root = centre + ray * (radius(ray) + thick)[:, None]  # B×3
    share = torch.linspace(0, 1, TAIL_ROWS, device=device)[None, :, None]
    turn = torch.linspace(0, 2 * np.pi, TAIL_COLUMNS, device=device)
    lump = hair.grain[:, 3, :4, :6] - 0.5
    lump = torch.cat((lump[..., :-1], lump[..., :1]), -1)[:, None]
    lump = torch.nn.functional.interpolate(
        lump, (TAIL_ROWS, TAIL_COLUMNS), mode="bilinear", align_corners=True
    )[:, 0]
    size = column(2.6 + 2.2 * hair.grain[:, 3, 0, 20])
    across = torch.cos(turn)
    # The bun's axis goes out from the head; its frame is that axis, the picture's x, and their cross.
    angle = share * np.pi
    ball = size * (1 + 0.12 * lump) * torch.sin(angle)
    out = size * (0.75 - torch.cos(angle))
    up = torch.stack((torch.zeros_like(ray[:, 0]), ray[:, 2], -ray[:, 1]), 1)
    bun = (
        root[:, None, None]
        + ray[:, None, None] * out[..., None] * 0.9
        + up[:, None, None] * (ball * torch.sin(turn))[..., None]
    )
    bun = bun + torch.stack((ball * across, *[torch.zeros_like(ball)] * 2), -1)
    # The tail leaves along the axis and falls.
    length = column(14 + 14 * hair.grain[:, 3, 0, 21])
    thin = (0.9 + 2.2 * torch.sin(share.clamp(max=0.96) * np.pi) ** 0.6 * (1 - 0.45 * share)) * (
        1 + 0.2 * lump
    )
    fallen = length * share
    leave = 4.5 * (1 - torch.exp(-fallen / 3.0))
    drop = fallen - 0.6 * leave
    middle_y = root[:, 1, None, None] - ray[:, 1, None, None].abs() * leave * 0.4 + drop
    middle_z = root[:, 2, None, None] + leave - 0.9
    wide, deep, middle = _torso(middle_y)
    middle_z = torch.where(middle_y > 12, torch.maximum(middle_z, middle + deep + 2.5), middle_z)
    tail = torch.stack(
        (
            thin * across,
            middle_y.expand_as(thin) + 0.3 * thin * torch.sin(turn),
            middle_z.expand_as(thin) + 0.8 * thin * torch.sin(turn),
        ),
        -1,
    )
    return torch.where(column(shape.tail, 3) > 1.5, tail, bun)
