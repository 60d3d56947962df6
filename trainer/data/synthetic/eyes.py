"""Eyeballs, the walls of their sockets, and lashes.

The eyeballs are spheres that turn with the gaze; lids slide over them. What grows from the lids follows
landmarks.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.face_geometry import EYE_LEFT, EYE_RIGHT
from trainer.data.synthetic.face import mean_landmarks
from trainer.data.synthetic.mesh import Array, Indices, Mesh, grid, strip

RADIUS = 1.2  # cm, of an eyeball: adults' are 24 mm across
IRIS = np.radians(29.0)  # half the iris's angle as seen from the ball's centre: 11.7 mm across
SEEN = np.radians(100.0)  # from the pupil to the edge of its texture
BALL_RINGS, BALL_SPOKES = 14, 24
LID = 0.14  # cm of skin between the ball and the lid's outside, least

# The lids from the outer corner to the inner one in the picture's left eye, from the inner one in the right.
UPPER = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LOWER = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))

EYE_CORNER, EYE_SIDE = (0.0, 0.75), 0.25  # of the atlas
LASHES = (0.5, 0.75, 0.75, 0.875)
# A place of the skin's texture for what lies between lid and ball: the inner corner's own.
LID_EDGE = 0.10  # cm the lid is thick
SOCKET_RINGS = 3  # the lids' margin, its inner edge, and the end of the wall


class Following(NamedTuple):
    """A part whose points move with landmarks."""

    mesh: Mesh
    follows: Indices  # V: the landmark whose displacement each point copies
    droops: Array | None = None  # V×3, cm, what a point moves besides when the eye's upper lid closes


@cache
def eyeball() -> Mesh:
    """A sphere about the origin that looks ahead (−z); its texture is azimuthal about the pupil."""
    away = SEEN * np.linspace(0, 1, BALL_RINGS + 1)[1:]
    turn = np.linspace(0, 2 * np.pi, BALL_SPOKES, endpoint=False)
    sine, cosine = np.sin(away)[:, None], np.cos(away)[:, None]
    ball = np.stack([sine * np.cos(turn), sine * np.sin(turn), -cosine + 0 * turn], -1).reshape(-1, 3)
    share = (away / SEEN)[:, None]
    flat = np.stack([share * np.cos(turn), share * np.sin(turn)], -1).reshape(-1, 2)
    points = np.concatenate([[[0.0, 0.0, -1.0]], ball]) * RADIUS
    uv = np.array(EYE_CORNER) + EYE_SIDE * (0.5 + 0.49 * np.concatenate([[[0.0, 0.0]], flat]))
    first = 1 + np.arange(BALL_SPOKES)
    middle = np.stack([np.zeros(BALL_SPOKES, np.int64), first, np.roll(first, -1)], 1)
    around = grid(BALL_RINGS, BALL_SPOKES, closed=True)[:, [0, 2, 1]] + 1
    return Mesh(points, np.concatenate([middle, around]), uv)


@cache
def socket(right: bool, uv: tuple[tuple[float, float], ...]) -> Following:
    """The edge of the lids and the wall behind it, down to behind the ball. uv: the landmarks' places
    (478)."""
    ring = _clockwise_eye(right)
    mean = mean_landmarks()
    lids = mean[list(ring)]
    middle = mean[473 if right else 468] + (0, 0, RADIUS)
    edge = lids + (0, 0, 1.3 * LID_EDGE) + 0.04 * (middle - lids) * (1, 1, 0)
    deep = middle + (edge - middle) * (0.96, 0.96, 0.0)
    points = np.concatenate([lids, edge, deep])
    count = len(ring)
    rows = np.arange(SOCKET_RINGS * count).reshape(SOCKET_RINGS, count)
    triangles = np.concatenate([strip(rows[1], rows[0]), strip(rows[2], rows[1])])
    places = np.array([uv[index] for index in ring])
    inwards = places.mean(0) - places
    spots = np.concatenate([places, places + 0.10 * inwards, places + 0.2 * inwards])
    return Following(Mesh(points, triangles, spots), np.tile(np.array(ring, np.int64), SOCKET_RINGS))


@cache
def lashes(right: bool) -> Following:
    """Two strips of lashes of an eye, the upper lid's and the lower's."""
    mean = mean_landmarks()
    points: list[Array] = []
    uv: list[Array] = []
    follows: list[Indices] = []
    triangles: list[Indices] = []
    droops: list[Array] = []
    u0, v0, u1, v1 = LASHES
    for lid, up, long in ((UPPER[right], 1.0, 0.75), (LOWER[right], -1.0, 0.38)):
        roots = mean[list(lid)]
        at = np.linspace(0, 1, len(lid))
        fan = (at - 0.5) * 0.7
        size = long * np.clip(np.minimum(at, 1 - at) * 5, 0.25, 1)
        tips = roots + np.stack([fan * size, -0.45 * up * size, -0.75 * size], 1)
        first = sum(len(row) for row in points)
        points += [roots, tips]
        across = u0 + (u1 - u0) * at
        uv += [
            np.stack([across, np.full_like(at, v1 - 0.002)], 1),
            np.stack([across, np.full_like(at, v0)], 1),
        ]
        follows += [np.array(lid, np.int64)] * 2
        # A closed lid's lashes point down.
        down = np.stack([0 * size, 0.95 * size, 0.15 * size], 1) if up > 0 else np.zeros_like(tips)
        droops += [np.zeros_like(roots), down]
        triangles.append(grid(2, len(lid)) + first)
    mesh = Mesh(np.concatenate(points), np.concatenate(triangles), np.concatenate(uv))
    return Following(mesh, np.concatenate(follows), np.concatenate(droops))


def ball_centres(lids: Tensor) -> Tensor:
    """Where the balls lie behind the lids of neutral faces: B×2×3, the picture's left one first.

    lids: B×≥468×3, cm. Across and up, the lids' middle; as deep as the lids' middle parts touch the ball.
    """
    centres = []
    for upper, lower in zip(UPPER, LOWER, strict=True):
        edge = lids[:, [*upper[1:-1], *lower[1:-1]]]  # B×14×3
        flat = (lids[:, [*upper, *lower]][:, :, :2]).mean(1)
        part = lids[:, [*upper[2:-2], *lower[2:-2]]]
        reach = (RADIUS + LID) ** 2 - (part[:, :, :2] - flat[:, None]).square().sum(2)
        deep = part[:, :, 2] + reach.clamp_min(0.04).sqrt()
        # The median keeps an odd lid from pushing the ball out or in; nothing is nearer than the lids allow.
        depth = torch.maximum(deep.median(1).values, edge[:, :, 2].amin(1) + 0.8 * RADIUS)
        centres.append(torch.cat((flat, depth[:, None]), 1))
    return torch.stack(centres, 1)


def iris_points(centres: Tensor, turn: Tensor) -> Tensor:
    """The ten landmarks of the irises: B×10×3, each eye's middle, then right, top, left and bottom of the
    rim.

    centres: B×2×3; turn: B×3×3, the gaze's rotation.
    """
    away = float(IRIS)
    rim = [(0.0, 0.0, -1.0)]
    for x, y in ((1, 0), (0, -1), (-1, 0), (0, 1)):
        rim.append((x * float(np.sin(away)), y * float(np.sin(away)), -float(np.cos(away))))
    rays = torch.tensor(rim, device=centres.device, dtype=centres.dtype) * RADIUS
    turned = rays @ turn.transpose(1, 2)  # B×5×3
    return torch.cat((centres[:, :1] + turned, centres[:, 1:] + turned), 1)


def _clockwise_eye(right: bool) -> tuple[int, ...]:
    """The eye's outline, clockwise in the picture."""
    ring = EYE_RIGHT if right else EYE_LEFT
    xy: Array = mean_landmarks()[list(ring), :2]
    x, y = (xy - xy.mean(0)).T
    area = float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
    return ring if area > 0 else ring[::-1]
