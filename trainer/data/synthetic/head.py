"""The head's skin: the face's landmarks, and around them skull, ears, neck and chest, in the mean
proportions.

All lengths are centimetres of head space (face.py).
"""

from functools import cache

import numpy as np

from models.face_geometry import FACE_OVAL
from trainer.data.synthetic.face import (
    SKIN_POINTS,
    azimuthal,
    face_triangles,
    mean_landmarks,
    open_landmarks,
)
from trainer.data.synthetic.mesh import Array, Indices, Mesh, grid, strip

# The skull: an ellipsoid about the brain, of the mean breadth, height and length of heads (docs/data.md).
SKULL_CENTRE = np.array([0.0, -4.6, 0.6])
SKULL_AXES = np.array([7.6, 9.4, 9.6])
SKULL_SQUARE = 2.25  # a superellipsoid's exponent: 2 is an ellipsoid
SKULL_RINGS = 9  # between the face's outline and the pole at the back

# Of the atlas's rectangle HEAD, of which the face's outline is an ellipse in the middle.
HEAD_SIDE = 0.75
FACE_RADIUS = 0.34
CENTRE = 0.5

NECK_TOP, NECK_BASE = 3.5, 16.5  # y
NECK_ROWS, NECK_COLUMNS = 10, 28
EAR_PLACE = np.array([7.3, -1.6, 1.3])  # middle of the right ear
EAR_HEIGHT, EAR_WIDTH = 6.3, 3.5
EAR_RINGS, EAR_SPOKES = 8, 24


@cache
def skin() -> Mesh:
    """Face and skull as one closed skin, but for the eyes and the mouth. The first 468 points are
    landmarks."""
    face = mean_landmarks()[:SKIN_POINTS]
    outline = face[list(FACE_OVAL)]
    face_uv = _face_uv()
    outline_uv = face_uv[list(FACE_OVAL)]
    rays = outline - SKULL_CENTRE
    radius = np.linalg.norm(rays, axis=1)
    rays = rays / radius[:, None]
    back = np.array([0.0, 0.0, 1.0])
    angle = np.arccos(rays @ back)[:, None]
    points, uv = [face], [face_uv]
    for ring in range(1, SKULL_RINGS + 1):
        t = (
            ring / SKULL_RINGS
        )  # the last ring is a point: each of its vertices has a place of its own in the atlas
        turned = (np.sin((1 - t) * angle) * rays + np.sin(t * angle) * back) / np.sin(angle)
        hull = (np.abs(turned / SKULL_AXES) ** SKULL_SQUARE).sum(1) ** (-1 / SKULL_SQUARE)
        ease = _smooth(t / 0.45)
        points.append(SKULL_CENTRE + turned * ((1 - ease) * radius + ease * hull)[:, None])
        out = (outline_uv - CENTRE) / np.linalg.norm(outline_uv - CENTRE, axis=1, keepdims=True)
        far = np.linalg.norm(outline_uv - CENTRE, axis=1, keepdims=True)
        uv.append(CENTRE + out * (far + (0.49 - far) * t))
    count = len(FACE_OVAL)
    rings = [np.array(FACE_OVAL)] + [SKIN_POINTS + count * at + np.arange(count) for at in range(SKULL_RINGS)]
    triangles = [face_triangles()]
    for inner, outer in zip(rings, rings[1:], strict=False):
        triangles.append(strip(inner, outer))
    return Mesh(np.concatenate(points), np.concatenate(triangles), np.concatenate(uv) * HEAD_SIDE)


def _face_uv() -> Array:
    """Places of the landmarks in the unit square: the face's outline is an ellipse about its middle."""
    flat = azimuthal(open_landmarks()[:SKIN_POINTS])
    outline = flat[list(FACE_OVAL)]
    low, high = outline.min(0), outline.max(0)
    uv = np.asarray(CENTRE + (flat - (low + high) / 2) / (high - low) * 2 * FACE_RADIUS)
    return _unfolded(uv, face_triangles())


def _unfolded(uv: Array, triangles: Indices) -> Array:
    """Without triangles that lie upside down (in the nostrils, at the inner edge of the lips): their corners
    are drawn to the middle of their neighbours."""
    beside: list[set[int]] = [set() for _ in uv]
    for triangle in triangles.tolist():
        for vertex in triangle:
            beside[vertex].update(triangle)
    for _ in range(200):
        u, v = uv[triangles[:, 1]] - uv[triangles[:, 0]], uv[triangles[:, 2]] - uv[triangles[:, 0]]
        folded = triangles[u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] < 1e-6]
        if not len(folded):
            return uv
        uv = uv.copy()
        for vertex in set(folded.ravel().tolist()):
            uv[vertex] = uv[sorted(beside[vertex] - {vertex})].mean(0)
    raise AssertionError("the face's map folds")


@cache
def neck() -> Mesh:
    """A tube from within the head to the collar bones, leaning forward upwards."""
    rows = np.linspace(0, 1, NECK_ROWS)
    turn = np.linspace(0, 2 * np.pi, NECK_COLUMNS + 1)
    points, uv = [], []
    for t in rows:
        y = NECK_TOP + (NECK_BASE - NECK_TOP) * t
        flare = max(0.0, t - 0.6) ** 2 * 12
        within = min(1.0, 0.45 + 2.2 * t)  # the top is hidden in the head, behind the mouth
        # The nape begins further up, within the skull: no shelf shows when the head is bowed.
        nape = np.maximum(-np.cos(turn), 0)
        wide, deep = within * 5.5 + flare * 1.6, np.maximum(within, 0.95 * nape) * 5.4 + flare * 0.8
        # The strap muscles and the throat: a little square, narrower in front.
        x = wide * np.sin(turn)
        z = 1.4 + 3.0 * t - deep * np.cos(turn)
        points.append(np.stack([x, y - 3.0 * max(0.0, 1 - 3 * t) ** 2 * nape, z], 1))
        uv.append(np.stack([np.abs(turn / np.pi - 1) * 0.13, 0.87 + 0.12 * np.full_like(x, t)], 1))
    return Mesh(np.concatenate(points), _tube(NECK_ROWS), np.concatenate(uv) * HEAD_SIDE)


def _tube(rows: int) -> Indices:
    """Rows about the neck, closed: the last point of a row lies where its first one does, which serves for
    both."""
    triangles, columns = grid(rows, NECK_COLUMNS + 1), NECK_COLUMNS + 1
    return np.asarray(triangles - np.where(triangles % columns == NECK_COLUMNS, NECK_COLUMNS, 0))


@cache
def chest() -> Mesh:
    """Neck base, shoulders and chest, as skin."""
    # y, half width, half depth, middle's z, how square
    profile = np.array(
        [
            (14.0, 6.0, 5.4, 4.0, 2.0),
            (15.6, 7.6, 6.2, 4.3, 2.0),
            (16.8, 10.5, 7.0, 4.6, 2.1),
            (17.9, 14.5, 7.8, 4.8, 2.2),
            (19.4, 18.2, 8.8, 4.8, 2.4),
            (22.0, 20.6, 10.0, 4.6, 2.6),
            (26.0, 21.8, 11.0, 4.4, 2.7),
            (32.0, 22.0, 11.8, 4.2, 2.7),
            (48.0, 21.0, 12.2, 4.0, 2.7),
        ]
    )
    turn = np.linspace(0, 2 * np.pi, NECK_COLUMNS + 1)
    sine, cosine = np.sin(turn), np.cos(turn)
    points, uv = [], []
    for at, (y, wide, deep, middle, square) in enumerate(profile):
        reach = (np.abs(sine) ** square + np.abs(cosine) ** square) ** (-1 / square)
        # Shoulders drop outwards, collar bones rise from the hollow of the throat.
        drop = 1.5 * np.abs(sine) ** 2 * min(1.0, at / 3) - 0.8 * np.maximum(cosine, 0) ** 4 * (at < 4)
        points.append(np.stack([wide * reach * sine, y + drop, middle - deep * reach * cosine], 1))
        share = np.full_like(turn, at / (len(profile) - 1))
        uv.append(np.stack([1 - np.abs(turn / np.pi - 1) * 0.13, 0.87 + 0.12 * share], 1))
    return Mesh(np.concatenate(points), _tube(len(profile)), np.concatenate(uv) * HEAD_SIDE)


@cache
def ear(right: bool) -> Mesh:
    """An ear: helix, antihelix, concha, tragus and lobe as a relief over its outline. right: the
    picture's."""
    turn = np.linspace(0, 2 * np.pi, EAR_SPOKES, endpoint=False)  # from the top, backwards
    up, behind = np.cos(turn), np.sin(turn)
    # Rounder above, narrower at the lobe; flatter in front, where it grows from the head.
    long = EAR_HEIGHT / 2 * np.where(up > 0, 1.0, 1.05)
    wide = EAR_WIDTH / 2 * (1 + 0.22 * up) * np.where(behind > 0, 1.1, 0.8)
    front = np.clip(-behind, 0, 1) ** 2
    reach = np.array([0.0, 0.2, 0.4, 0.58, 0.72, 0.84, 0.94, 1.0, 0.97])
    #                 concha      wall  antihelix scapha helix rim  fold
    relief = np.array([-0.55, -0.6, -0.5, 0.12, 0.3, 0.05, 0.42, 0.34, -0.25])
    points, rows = [], len(reach)
    lobe = np.clip(-up - 0.3, 0, 1)
    for s, height in zip(reach, relief, strict=True):
        lift = height * (1 - 0.75 * lobe) + 0.1 * lobe
        lift = lift * (1 - 0.8 * front) + 0.35 * front * np.exp(-(((s - 0.55) / 0.2) ** 2))  # the tragus
        lift = lift - 0.9 * front * (s > 0.8)
        points.append(np.stack([0.55 + lift + 0.35 * s * behind, -long * s * up, wide * s * behind], 1))
    local = np.concatenate(points)
    tilt = np.radians(12)  # the top leans back
    y, z = local[:, 1], local[:, 2]
    local = np.stack(
        [local[:, 0], y * np.cos(tilt) + z * np.sin(tilt) * 0.2, z * np.cos(tilt) - y * np.sin(tilt)], 1
    )
    away = np.radians(17)  # the back edge stands off the head
    x, z = local[:, 0], local[:, 2]
    local = np.stack(
        [x * np.cos(away) + z * np.sin(away), local[:, 1], z * np.cos(away) - x * np.sin(away)], 1
    )
    at = EAR_PLACE + local - (0.55, 0, 0)
    triangles = grid(rows, EAR_SPOKES, closed=True)[:, [0, 2, 1]]
    s = np.repeat(reach, EAR_SPOKES)
    flat = np.stack([np.tile(behind, rows) * s, np.tile(-up, rows) * s], 1)
    corner = np.array([0.93, 0.07])
    uv = corner + 0.06 * flat
    if not right:
        at, triangles, uv = at * (-1, 1, 1), triangles[:, [0, 2, 1]], np.array([1.0, 0.0]) + uv * (-1, 1)
    return Mesh(at, triangles, uv * HEAD_SIDE)


def _smooth(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)
