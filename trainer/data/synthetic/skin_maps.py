"""Where things are on a face, as its texture sees it: distances and regions of the rectangle HEAD, the same for all.

Maps are h×h, of the rectangle's texels; lengths are centimetres on the mean face.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.face_geometry import EYE_LEFT, EYE_RIGHT
from trainer.data.synthetic.eyes import LOWER, UPPER
from trainer.data.synthetic.face import LIP_RINGS, mean_landmarks
from trainer.data.synthetic.head import HEAD_SIDE, skin
from trainer.data.synthetic.mesh import Array
from trainer.data.synthetic.parts import smooth
from trainer.data.synthetic.scalp import face_points

# Lines of landmarks, of the picture's left side and of its right side.
CREASES = ((130, 247, 30, 29, 27, 28, 56, 190, 243), (463, 414, 286, 258, 257, 259, 260, 467, 359))
BROWS_UPPER = ((107, 66, 105, 63, 70), (336, 296, 334, 293, 300))  # from the nose outwards
BROWS_LOWER = ((55, 65, 52, 53, 46), (285, 295, 282, 283, 276))
WINGS = ((131, 129, 102, 64, 98), (360, 358, 331, 294, 327))
FOLDS = ((129, 206, 216, 212), (358, 426, 436, 432))
NOSTRILS = ((20, 238, 79, 166, 60), (250, 458, 309, 392, 290))
CHEEKS = ((50, 205), (280, 425))
NOSE_TIP, PHILTRUM, CHIN = 4, 164, 199


class Brow(NamedTuple):
    """Coordinates of a brow: `along` from the nose (0) to the temple (1), `across` upwards from its middle, cm."""

    along: Tensor
    across: Tensor


class Maps(NamedTuple):
    """Of HEAD's texels. What is a region is in [0, 1]."""

    x: Tensor
    y: Tensor
    z: Tensor
    head: Tensor  # face and scalp; the rest is ears, neck and chest
    ears: Tensor
    lips: Tensor  # signed distance to the lips' outer edge, cm, positive inside
    mouth: Tensor  # distance to the line where the lips meet
    lids: Tensor  # distance to the lids' edges
    upper_lids: Tensor
    crease: Tensor  # distance to the fold of the upper lid
    lid_skin: Tensor  # between upper lid and brow
    under_eye: Tensor
    bags: Tensor  # the line below
    brows: tuple[Brow, Brow]
    wings: Tensor  # distance to the creases beside the nose
    folds: Tensor  # distance to the folds from nose to mouth
    nostrils: Tensor
    blush: Tensor  # cheeks, nose, chin, ears
    cheeks: Tensor
    stubble: Tensor  # where beards grow
    shine: Tensor  # forehead, nose, cheekbones, chin
    brow_light: Tensor  # the bone under the brow


@cache
def maps(size: int, device: torch.device) -> Maps:
    """size: of HEAD, texels."""
    found = _maps(size)
    return Maps(*(_to(part, device) for part in found))  # type: ignore[arg-type]


def _to(part: object, device: torch.device) -> object:
    if isinstance(part, Tensor):
        return part.float().to(device)
    assert isinstance(part, tuple)
    return tuple(Brow(*(one.float().to(device) for one in brow)) for brow in part)


def _maps(size: int) -> Maps:
    points = face_points(size).double().numpy()
    uv = skin().uv / HEAD_SIDE
    middles = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(middles, middles)
    x, y, z = np.moveaxis(points, -1, 0)
    place = np.stack([u, v], -1)
    from_middle = np.hypot(u - 0.5, v - 0.5)
    head = 1 - _step(0.485, 0.5, from_middle)
    ears = ((np.hypot(u - 0.93, v - 0.07) < 0.062) | (np.hypot(u - 0.07, v - 0.07) < 0.062)).astype(
        np.float64
    )
    scale = _centimetres(points, size)  # of a unit of the square, about the mouth
    lips = _signed(place, uv[list(LIP_RINGS[0])]) * scale
    inner = list(LIP_RINGS[-1])
    mouth = np.minimum(_line(place, uv[[*inner, inner[0]]]), 9) * scale
    lid_lines = [[*ring, ring[0]] for ring in (EYE_LEFT, EYE_RIGHT)]
    lids = np.minimum(*(_line(points, _at(line)) for line in lid_lines))
    upper = np.minimum(*(_line(points, _at(line)) for line in UPPER))
    lower = np.minimum(*(_line(points, _at(line)) for line in LOWER))
    crease = np.minimum(*(_line(points, _at(line)) for line in CREASES))
    eye = _near(points, [468, 473], 1.0)
    above = _step(0.05, -0.15, y - (-3.25))
    lid_skin = np.exp(-0.5 * ((y + 3.75) / 0.42) ** 2) * _near(points, [159, 386], 1.15) * above
    under = (
        np.exp(-0.5 * ((lower - 0.45) / 0.35) ** 2) * _step(-2.9, -2.5, y) * _near(points, [230, 450], 1.0)
    )
    bags = lower + np.where(y > -2.8, 0.0, 9.0)
    wings = np.minimum(*(_line(points, _at(line)) for line in WINGS))
    folds = np.minimum(*(_line(points, _at(line)) for line in FOLDS))
    holes = [(_at(list(line)).mean(0)) for line in NOSTRILS]
    nostrils = sum(np.exp(-0.5 * (((points - hole) / (0.33, 0.2, 0.45)) ** 2).sum(-1)) for hole in holes)
    cheeks = _near(points, [CHEEKS[0][0], CHEEKS[1][0]], 1.5)
    blush = np.clip(
        0.9 * cheeks
        + 0.8 * _near(points, [NOSE_TIP], 1.0)
        + 0.35 * _near(points, [CHIN], 1.0)
        + 0.5 * _near(points, [*CHEEKS[0][1:], *CHEEKS[1][1:]], 1.2)
        + 0.8 * ears
        + 0.5 * eye,
        0,
        1.2,
    )
    turn = np.abs(np.degrees(np.arctan2(x, -z)))
    edge = np.interp(
        turn, [0, 14, 26, 45, 75, 95], [1.9, 2.0, 2.9, 3.2, 1.0, -1.5]
    )  # upper edge of the beard
    stubble = (
        _step(-0.35, 0.45, y - edge)
        * _step(105, 80, turn)
        * _step(9.3, 8.2, y)
        * _step(0.08, -0.1, lips)
        * head
    )
    shine = (
        0.25
        + 0.45 * _near(points, [9, 151], 2.2)
        + 0.75 * _near(points, [NOSE_TIP, 5, 195], 0.8)
        + 0.35 * _near(points, [117, 346], 1.3)
        + 0.3 * _near(points, [CHIN], 0.9)
    )
    shine = shine * (1 - 0.6 * np.exp(-0.5 * (lids / 0.4) ** 2))
    brow_light = _near(points, [225, 445], 0.8)
    found = (
        x, y, z, head, ears, lips, mouth, lids, upper, crease, lid_skin, under, bags,
        (_brow(points, 0), _brow(points, 1)),
        wings, folds, np.clip(nostrils, 0, 1), blush, cheeks, stubble, shine, brow_light,
    )  # fmt: skip
    return Maps(
        *(part if isinstance(part, tuple) else torch.from_numpy(np.ascontiguousarray(part)) for part in found)
    )


def _brow(points: Array, side: int) -> Brow:
    """By projection on the line half-way between the landmarks of its upper edge and of its lower."""
    line = (_at(BROWS_UPPER[side]) + _at(BROWS_LOWER[side])) / 2
    fine = np.linspace(0, 1, 41)
    ends = np.linspace(0, 1, len(line))
    # A parabola through the five points, and on beyond its ends.
    curve = np.stack(
        [np.polyval(np.polyfit(ends, line[:, axis], 2), fine * 1.5 - 0.25) for axis in range(3)], 1
    )
    away = np.linalg.norm(points[..., None, :] - curve, axis=-1)
    nearest = away.argmin(-1)
    along = (fine * 1.5 - 0.25)[nearest]
    across = np.where(points[..., 1] < curve[nearest][..., 1], 1.0, -1.0) * away.min(-1)
    return Brow(torch.from_numpy(along), torch.from_numpy(across))


def _at(landmarks: Sequence[int]) -> Array:
    return mean_landmarks()[list(landmarks)]


def _near(points: Array, landmarks: Sequence[int], radius: float) -> Array:
    """A soft region about landmarks."""
    return np.asarray(
        np.max([np.exp(-0.5 * (((points - at) / radius) ** 2).sum(-1)) for at in _at(landmarks)], axis=0)
    )


def _line(points: Array, line: Array) -> Array:
    """The distance of each point (…×D) to a line of corners (K×D)."""
    best = np.full(points.shape[:-1], np.inf)
    for a, b in zip(line, line[1:], strict=False):
        along = np.clip(((points - a) @ (b - a)) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - along[..., None] * (b - a), axis=-1))
    return best


def _signed(points: Array, ring: Array) -> Array:
    """The distance to a closed line in the plane, positive inside."""
    x, y = points[..., 0], points[..., 1]
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(ring, np.roll(ring, -1, 0), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return np.where(inside, 1.0, -1.0) * _line(points, np.concatenate([ring, ring[:1]]))


def _centimetres(points: Array, size: int) -> float:
    """How long a side of the square is where the mouth is."""
    row = int(skin().uv[LIP_RINGS[0][0], 1] / HEAD_SIDE * size)
    columns = slice(int(0.45 * size), int(0.55 * size))
    part = points[row, columns]
    return float(np.linalg.norm(np.diff(part, axis=0), axis=1).mean() * size)


def _step(low: float, high: float, value: Array) -> Array:
    """0 at `low`, 1 at `high`, smooth between; `low` may be the greater."""
    return smooth(low, high, torch.from_numpy(np.ascontiguousarray(value))).numpy()
