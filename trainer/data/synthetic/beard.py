"""Beards: two shells over the lower face that move with its landmarks, and their strands."""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.face_geometry import FACE_OVAL
from trainer.data.synthetic.face import LIP_RINGS, SKIN_POINTS, face_triangles, mean_landmarks
from trainer.data.synthetic.grain import grain_at
from trainer.data.synthetic.mesh import Array, Indices, Mesh, fans, normals
from trainer.data.synthetic.parts import BEARD, HEAD, Part, column, part, placed, smooth, texels, window
from trainer.data.synthetic.scalp import face_points
from trainer.data.synthetic.seeds import rng

if TYPE_CHECKING:
    from trainer.data.synthetic.hair import Hair

LAYERS = ((0.45, 0.02), (1.0, 0.06))  # of the length, and cm more: the dense one, the loose one
WIDEST = 112.0  # degrees about the axis that the texture spans on each side
AXIS = -2.0  # z of that axis
TOP, BOTTOM = -2.5, 9.0  # y that the texture spans down to the jaw
JAW = 0.84  # its share; the rest is the two lines under the jaw
KINDS = ("none", "full", "goatee", "moustache", "chin strap", "circle")
SHARES = (0.58, 0.2, 0.07, 0.06, 0.03, 0.06)  # of men


class Beard(NamedTuple):
    """B each."""

    there: Tensor  # bool
    moustache: Tensor  # how much hair grows above the mouth, [0, 1]
    chin: Tensor  # on the chin and below the lip
    cheeks: Tensor  # along the jaw and up to the ears
    line: Tensor  # cm by which the cheeks' edge lies lower than usual
    length: Tensor  # cm
    density: Tensor  # [0, 1]


def draw_beard(seed: int, indices: Tensor, sex: Tensor) -> Beard:
    """indices: B int64; sex: B in [0, 1], 0 woman … 1 man. Only those beyond 0.5 may have one."""
    rows = []
    for index, share in zip(indices.tolist(), sex.tolist(), strict=True):
        random = rng(seed, "beard", int(index))
        kind = KINDS[int(random.choice(len(KINDS), p=SHARES))] if share > 0.5 else "none"
        long = random.uniform(0.12, 0.5) if random.random() < 0.75 else random.uniform(0.5, 2.6)
        zones = {
            "none": (0, 0, 0), "full": (1, 1, 1), "goatee": (0.1, 1, 0), "moustache": (1, 0, 0),
            "chin strap": (0, 0.9, 1), "circle": (1, 1, 0),
        }[kind]  # fmt: skip
        line = random.uniform(0, 2.2) + (3 if kind == "chin strap" else 0)
        rows.append([float(kind != "none"), *zones, line, long, random.uniform(0.5, 1)])
    there, *rest = torch.tensor(rows, dtype=torch.float32).unbind(1)
    return Beard(there > 0.5, *rest)


def plain_beard() -> Beard:
    """None: of the template."""
    return Beard(torch.tensor([False]), *[torch.zeros(1)] * 6)


class _Shape(NamedTuple):
    """One shell's vertices: landmarks of the lower face, then the two lines under the jaw."""

    follows: Indices  # V
    points: Array  # V×3, on the skin
    normals: Array  # V×3
    triangles: Indices
    below: Array  # V: 0 on the face, 1 and 2 under the jaw


@cache
def _shape() -> _Shape:
    points = mean_landmarks()[:SKIN_POINTS]
    turn = np.abs(_turn(points))
    inner = {vertex for ring in LIP_RINGS[1:] for vertex in ring}
    low = np.interp(turn, (0, 13, 16, 30, 50, 80, 110), (1.0, 1.0, 1.4, 0.2, -0.8, -1.8, -2.4))
    wanted = (points[:, 1] > low) & [vertex not in inner for vertex in range(SKIN_POINTS)]
    wanted &= ~((turn < 16) & (points[:, 1] < 1.9) & (points[:, 2] < -10.2))  # the nose's tip
    triangles = np.array([t for t in face_triangles().tolist() if wanted[t].all()])
    used = np.unique(triangles)
    index = np.full(SKIN_POINTS, -1)
    index[used] = np.arange(len(used))
    oval = [vertex for vertex in FACE_OVAL if wanted[vertex]]  # from the picture's right ear along the chin
    rows = [index[oval]]
    whole = torch.tensor(points)[None]
    face = face_triangles()
    out = normals(whole, torch.tensor(face), torch.tensor(fans(face, SKIN_POINTS)))[0].numpy()
    parts, follows = [points[used]], [used]
    # Under the jaw the neck is behind; the lines end inside it.
    front = np.cos(np.radians(_turn(points[oval]) * 0.8))[:, None].clip(0)
    for line, (down, back) in enumerate(((0.35, 0.9), (0.3, 2.2)), 1):
        rows.append(len(used) + (line - 1) * len(oval) + np.arange(len(oval)))
        parts.append(points[oval] * (1 - 0.04 * line, 1, 1) + front * (0, down, back))
        follows.append(np.array(oval))
    joined = [index[triangles]]
    for upper, lower in zip(rows, rows[1:], strict=False):
        a, b, c, d = upper[:-1], upper[1:], lower[1:], lower[:-1]
        joined += [np.stack([a, c, b], 1), np.stack([a, d, c], 1)]
    below = np.concatenate([np.full(len(part), line) for line, part in enumerate(parts)]).astype(np.float64)
    under = out[oval] * 0.5 + (0, 0.5, 0)
    return _Shape(
        np.concatenate(follows),
        np.concatenate(parts),
        np.concatenate([out[used], under, under * (0.3, 1, 0.3)]),
        _outwards(np.concatenate(joined), np.concatenate(parts), np.concatenate([out[used], under, under])),
        below,
    )


def _outwards(triangles: Indices, points: Array, out: Array) -> Indices:
    """With every triangle turned as the normals of its corners say."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    wrong = (np.cross(c - a, b - a) * out[triangles].sum(1)).sum(1) < 0
    return np.where(wrong[:, None], triangles[:, ::-1], triangles)


def _turn(points: Array) -> Array:
    return np.asarray(np.degrees(np.arctan2(points[:, 0], AXIS - points[:, 2])))


@cache
def beard_parts() -> tuple[Part, ...]:
    """The dense and the loose shell."""
    shape = _shape()
    share = np.clip(0.5 + 0.5 * _turn(shape.points) / WIDEST, 0, 1)
    v = np.clip((shape.points[:, 1] - TOP) / (BOTTOM - TOP), 0, 1) * JAW
    v = np.where(shape.below > 0, JAW + (1 - JAW) * (shape.below - 0.2) / 2, v)
    found = []
    for layer, (_, extra) in enumerate(LAYERS):
        uv = placed(np.stack([share, 0.5 * layer + 0.005 + 0.49 * v], 1), BEARD)
        points = shape.points + shape.normals * extra
        found.append(
            part(
                Mesh(points, shape.triangles, uv),
                2,
                cutout=True,
                double_sided=True,
                follows=shape.follows,
            )
        )
    return tuple(found)


def beard_displacement(beard: Beard) -> Tensor:
    """B×V×3, cm, of both shells' points."""
    shape = _shape()
    device = beard.length.device
    points = torch.tensor(shape.points, dtype=torch.float32, device=device)
    out = torch.tensor(shape.normals, dtype=torch.float32, device=device)
    turn = torch.tensor(_turn(shape.points), dtype=torch.float32, device=device).abs()
    grown = _zones(beard, points[None, :, 1].expand(len(beard.length), -1), turn[None])
    # On the chin it grows longest, and hangs.
    chin = smooth(4.8, 7.5, points[:, 1]) * (1 - smooth(25, 75, turn))
    long = beard.length[:, None] * grown * (0.35 + 0.65 * chin)
    lip = 1 - 0.6 * smooth(1.2, 0.0, (points[:, 1] - 4.1).abs()) * (1 - smooth(20, 30, turn))
    away = out * (long.clamp(max=0.6) * 0.6 * lip)[..., None]
    down = torch.tensor([0.0, 1.0, 0.1], device=device)
    moved = away + (long * chin * 0.8 + (long - 0.6).clamp(min=0) * 0.3 * chin)[..., None] * down
    return torch.cat([moved * scale for scale, _ in LAYERS], 1)


def beard_shown(beard: Beard) -> Tensor:
    """B×T bool."""
    return beard.there[:, None].expand(-1, len(LAYERS) * len(_shape().triangles))


def _zones(beard: Beard, y: Tensor, turn: Tensor) -> Tensor:
    """How densely hair grows at a height of the mean face and an angle about its axis (degrees, ≥ 0):
    B×…, [0, 1].

    y, turn: B×… or 1×…
    """
    wide = y.ndim - 1
    lip = 3.1 + 0.8 * smooth(0, 24, turn)  # the upper lip's edge
    moustache = (
        smooth(-0.2, 0.6, y - 1.5 - 1.7 * (turn / 27) ** 2)
        * (1 - smooth(lip - 0.05, lip + 0.2, y))
        * (1 - smooth(20, 33, turn))
    )
    # From the corners of the mouth down, and the chin; little at either side of the tuft under the lip.
    corner = torch.exp(-(((turn - 27) / 6) ** 2)) * smooth(2.6, 3.4, y)
    bare = 0.6 * torch.exp(-(((turn - 13) / 7.5) ** 2) - ((y - 5.35) / 0.6) ** 2)
    below = y - 4.75 + 0.9 * (turn / 27) ** 2  # the lower lip's edge
    chin = smooth(-0.1, 0.8, below) * (1 - smooth(20, 38, turn + 1.5 * (y - 6.5).clamp(min=0))) * (1 - bare)
    chin = torch.maximum(chin, 0.9 * corner * smooth(3.6, 4.2, y))
    edge = torch.where(turn > 85, -2.0 + 0 * turn, 4.2 - 5.4 * smooth(28, 92, turn))
    edge = edge + column(beard.line, wide) * (1 - smooth(78, 98, turn))
    cheeks = smooth(-0.6, 1.3, y - edge) * smooth(22, 31, turn)
    cheeks = torch.maximum(cheeks, corner * smooth(4.0, 5.0, y))
    chin = torch.maximum(chin, corner * (column(beard.moustache, wide) > 0.5))
    found = torch.maximum(column(beard.moustache, wide) * moustache, column(beard.chin, wide) * chin)
    found = torch.maximum(found, column(beard.cheeks, wide) * torch.maximum(cheeks, chin * 0.9))
    mouth = ((turn / 25) ** 2 + ((y - 4.05) / 0.85) ** 2) ** 0.5  # nothing on the lips
    return found * smooth(0.95, 1.15, mouth)


def _uneven(grain: Tensor, y: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Places (B×…, degrees either side) moved a little, so that edges are neither straight nor alike on both
    sides: y and |turn| for `_zones`. Beside the lips they move less."""
    free = smooth(0.8, 2.2, torch.hypot(turn / 25, (y - 4.05) / 0.85))
    coarse = grain_at(grain[:, 5], y * 0.7, turn * 0.06 + 11) - 0.5
    fine = grain_at(grain[:, 4], y * 2.1, turn * 0.2) - 0.5
    down = (0.2 + 0.8 * free) * (0.7 * coarse + 0.6 * fine)
    aside = (0.3 + 0.7 * free) * (9 * grain_at(grain[:, 5], y * 0.7 + 30, turn * 0.06) - 4.5 + 5 * fine)
    return y + down, (turn + aside).abs()


def paint_beard(hair: "Hair", atlas: Tensor) -> None:
    """Write the rectangle BEARD of B×4×A×A, dense on its upper half and loose on its lower."""
    beard = hair.beard
    target = window(atlas, BEARD)
    height, width = target.shape[2] // 2, target.shape[3]
    v, u = texels(height, width, atlas.device)
    count = len(beard.length)
    v, u = v.expand(count, -1, width), u.expand(count, height, -1)
    grain = hair.grain.to(atlas.device)
    y = TOP + (v / JAW).clamp(max=1) * (BOTTOM - TOP)
    turn = (2 * u - 1) * WIDEST
    # Strands hang down, and away from the middle towards the ears.
    slant = turn + 3.0 * (y - 4) * smooth(5, 40, turn.abs()) * turn.sign()
    lock = grain_at(grain[:, 3], y * 0.8, slant * 0.22)
    curl = column(hair.shape.curl)
    twist = slant + curl * 2.0 * torch.sin(y * 9 + 6 * lock)
    fine = grain_at(grain[:, 1], y * 1.6, twist * 0.85)
    middle = grain_at(grain[:, 2], y * 1.1, twist * 0.36)
    zones = _zones(beard, *_uneven(grain, y, turn))
    full = zones * (0.55 + 0.45 * column(beard.density))
    thick = 0.7 * fine + 0.3 * middle
    under = v > JAW
    for layer in range(2):
        colour = hair.colour[..., None, None] * torch.exp(
            column(hair.contrast, 3) * (0.9 * (fine - 0.5) + 0.6 * (lock - 0.5) + 0.1)[:, None]
        )
        half = target[..., layer * height : (layer + 1) * height, :]
        half[:, :3] = colour.clamp(0.002, 0.95)
        share = 0.62 if layer else 1.05
        cover = smooth(
            0.0, 0.4, full * share + 0.25 - (1.25 if layer else 0.9) * (1 - thick) * (1.15 - 0.45 * full)
        )
        cover = cover * smooth(0.03, 0.2, full)
        half[:, 3] = torch.where(under, cover * (0.4 if layer else 1.0), cover)


def paint_beard_roots(hair: "Hair", atlas: Tensor) -> None:
    """Blend the beard's roots into the rectangle HEAD of B×4×A×A, under its shells."""
    grown = hair.beard.there.nonzero()[:, :, None]  # M×1×1: only those who have one
    beard = Beard(*(value[grown[:, 0, 0]] for value in hair.beard))
    target = window(atlas, HEAD)
    down, right, y, turn = (one.to(atlas.device) for one in _lower_face(target.shape[-1]))
    count = len(grown)
    grain = hair.grain[grown[:, 0, 0]].to(atlas.device)
    y, turn = y.expand(count, 1, -1), turn.expand(count, 1, -1)
    fine = grain_at(grain[:, 1], y * 2.5, turn * 1.6)
    zones = _zones(beard, *_uneven(grain, y, turn))
    cover = 0.85 * smooth(0.05, 0.9, zones * (0.5 + 0.5 * column(beard.density)) + 0.5 * (fine - 0.5) * zones)
    cover = cover * (1 - smooth(102, 112, turn.abs()))
    shade = hair.colour[grown[:, 0, 0], :, None] * torch.exp(0.8 * (fine - 0.6))
    channels = torch.arange(4, device=atlas.device)[:, None]
    skin = target[grown, channels, down, right]  # M×4×N
    painted = skin[:, :3] + (shade.clamp(0.002, 0.9) - skin[:, :3]) * cover
    target[grown, channels, down, right] = torch.cat((painted, skin[:, 3:] * (1 - 0.6 * cover)), 1)


@cache
def _lower_face(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The N texels of HEAD where a beard may grow: rows and columns (N each), y and the angle about the
    beard's axis in degrees (1×N)."""
    points = face_points(size)
    turn = torch.rad2deg(torch.atan2(points[..., 0], AXIS - points[..., 2]))
    v, u = texels(size, size, points.device)
    there = (points[..., 1] > TOP) & (points[..., 1] < 9.2) & (turn.abs() < 112)
    down, right = (there & (torch.hypot(u - 0.5, v - 0.5) < 0.495)).nonzero().unbind(1)
    return down, right, points[down, right, 1][None], turn[down, right][None]
