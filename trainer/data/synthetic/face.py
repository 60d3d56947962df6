"""The face: the mean of the landmarks measured over portraits, upright and in centimetres, triangulated.

Head space: x right, y down, z away from who looks at the face; the origin is on the axis between the ears.
"""

from functools import cache
from pathlib import Path

import numpy as np
from scipy.spatial import Delaunay, cKDTree

import models
from models.face_geometry import EYE_LEFT, EYE_RIGHT, FACE_OVAL
from trainer.data.synthetic.fields import Blob, both_sides, displacement
from trainer.data.synthetic.mesh import Array, Indices

WIDTH = 13.7  # cm, bizygomatic: between the means of men and women, see docs/data.md
# The detector's depth is too shallow by this: with it the face's depth is that of heads.
DEPTH = 1.25
PITCH = 7.0  # degrees by which the mean face looks down
EARS = (0.0, -0.07, 0.35)  # the axis of the head, in widths of the mean face and its depth
SHUT = -0.0455  # widths of the face by which the mean mouth is opened
# The detector sees the wings of most noses further out than they are, and the mean has them from there: what
# brings them in, to the published breadth (see docs/data.md).
WINGS = both_sides(Blob((2.1, 0.6, -9.0), (0.7, 0.8, 1.1), push=(-0.18, 0, 0)))
SKIN_POINTS = 468  # of the 478 landmarks; the others are the irises'

# The lips as four closed lines, from the outer edge to the inner, each from the left corner along the upper
# lip.
LIP_RINGS = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 307, 320, 404, 315, 16, 85, 180, 90, 77),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292, 325, 319, 403, 316, 15, 86, 179, 89, 96),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)  # fmt: skip


@cache
def _measured() -> tuple[Array, Array]:
    """The mean face with its mouth shut, and how it moves for each width of the face between the lips:
    478×3."""
    with np.load(Path(models.__file__).with_name("mean_face.npz")) as file:
        mean, jaw = file["points"].astype(np.float64), file["jaw"].astype(np.float64)
    return mean + SHUT * jaw, jaw


@cache
def mean_landmarks() -> Array:
    """478×3, cm, head space: upright, symmetric, mouth shut, eyes open."""
    return _upright(_measured()[0])


@cache
def open_landmarks() -> Array:
    """The same with the mouth wide open: 478×3."""
    mean, jaw = _measured()
    return _upright(mean + 0.2 * jaw)


def _upright(points: Array) -> Array:
    centred = (points - EARS) * (WIDTH, WIDTH, WIDTH * DEPTH)
    sine, cosine = np.sin(np.radians(PITCH)), np.cos(np.radians(PITCH))
    turned = np.asarray(centred @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]))
    return turned + displacement(turned, WINGS)


@cache
def mirror_landmarks() -> Indices:
    """Which landmark each of the 478 is in a mirror."""
    mean = mean_landmarks()
    found: Indices = cKDTree(mean).query(mean * (-1, 1, 1))[1].astype(np.int64)
    assert (found[found] == np.arange(len(mean))).all()
    return found


def azimuthal(points: Array, centre: tuple[float, float, float] = (0.0, -1.0, 0.0)) -> Array:
    """Angle from straight ahead as a distance: …×3 → …×2, radians, about the axis towards the face."""
    rays = points - centre
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    away = np.arccos(np.clip(-rays[..., 2], -1, 1))
    return np.asarray(
        rays[..., :2] * (away / np.maximum(np.linalg.norm(rays[..., :2], axis=-1), 1e-9))[..., None]
    )


@cache
def face_triangles() -> Indices:
    """The triangles of the 468 landmarks of the skin, symmetric, with holes for the eyes and the mouth.

    Delaunay's in an azimuthal map of the face with its mouth open, of one half and mirrored; the lips are
    strips between their lines.
    """
    flat = azimuthal(open_landmarks()[:SKIN_POINTS])
    half = np.flatnonzero(flat[:, 0] < 1e-6)
    # Points on the middle line are shared; each one a little off it would give slivers.
    found = half[Delaunay(flat[half]).simplices]
    mirror = mirror_landmarks()
    lips = {vertex for ring in LIP_RINGS for vertex in ring}
    holes = [set(EYE_LEFT), set(EYE_RIGHT), lips]
    oval = flat[list(FACE_OVAL)]
    skin = [
        _clockwise(triangle, flat)
        for triangle in found.tolist()
        if not any(set(triangle) <= hole for hole in holes) and _inside(flat[triangle].mean(0), oval)
    ]
    kept = _flipped(skin, open_landmarks())
    kept += [(int(mirror[a]), int(mirror[c]), int(mirror[b])) for a, b, c in kept]
    for outer, inner in zip(LIP_RINGS, LIP_RINGS[1:], strict=False):
        for at in range(20):
            a, b, c, d = outer[at], outer[(at + 1) % 20], inner[(at + 1) % 20], inner[at]
            kept += [(a, b, c), (a, c, d)] if at % 10 < 5 else [(a, b, d), (b, c, d)]
    return np.array(kept, np.int64)


def _clockwise(triangle: list[int], flat: Array) -> tuple[int, int, int]:
    a, b, c = triangle
    u, v = flat[b] - flat[a], flat[c] - flat[a]
    return (a, b, c) if u[0] * v[1] - u[1] * v[0] > 0 else (a, c, b)


def _flipped(triangles: list[tuple[int, int, int]], points: Array) -> list[tuple[int, int, int]]:
    """Edges turned until the angles that face each of them sum to at most half a turn, measured on the
    surface
    itself: a plane map's triangles are slivers where the surface is steep, at the wings of the nose."""
    for _ in range(20):
        facing = {}
        for triangle in triangles:
            for a, b, c in zip(
                triangle, triangle[1:] + triangle[:1], triangle[2:] + triangle[:2], strict=True
            ):
                facing[a, b] = c
        touched: set[int] = set()
        for (a, b), c in list(facing.items()):
            d = facing.get((b, a))
            if d is None or {a, b, c, d} & touched or (c, d) in facing or (d, c) in facing:
                continue
            if _angle(points, a, c, b) + _angle(points, a, d, b) > np.pi + 1e-6:
                triangles = [t for t in triangles if not {a, b} <= set(t)] + [(a, d, c), (b, c, d)]
                touched |= {a, b, c, d}
        if not touched:
            break
    return triangles


def _angle(points: Array, a: int, at: int, b: int) -> float:
    u, v = points[a] - points[at], points[b] - points[at]
    return float(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))


def _inside(point: Array, polygon: Array) -> bool:
    """Is a point (2) inside a closed line (N×2)?"""
    x, y = (polygon - point).T
    following = np.roll(np.arange(len(x)), -1)
    crosses = (y > 0) != (y[following] > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = x - y * (x[following] - x) / (y[following] - y) > 0
    return bool((crosses & right).sum() % 2)
