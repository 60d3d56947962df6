"""How a face looks at each of its expressions (anatomy.py): displacements of its control points.

Left and right in the names are the person's own; the person's left is the picture's right (x > 0).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.data.synthetic.anatomy import AT, EXPRESSIONS
from trainer.data.synthetic.eyes import LOWER, UPPER
from trainer.data.synthetic.face import LIP_RINGS, mean_landmarks
from trainer.data.synthetic.fields import Blob as B
from trainer.data.synthetic.fields import Vector, displacement, weight
from trainer.data.synthetic.mesh import Array, Indices

Flags = npt.NDArray[np.bool_]

HINGE: Vector = (0.0, -0.3, -0.8)  # the jaw's, a little in front of the ears
JAW_OPENS = 22.0  # degrees: the front teeth then are about 4 cm apart
MOUTH_WIDTH = 2.5  # cm from the middle to a corner
CLOSES = 0.86  # of the way that the upper lid goes; the lower one comes to meet it
LINE = float(mean_landmarks()[13, 1])  # y where the lips meet


class Lid(NamedTuple):
    """By how much of the opening between the lids a control point follows each lid."""

    upper: Array  # 2×C: shares of the lid above it, the picture's left eye first
    lower: Array  # 2×C
    pair: Indices  # 2×C: which of the nine pairs along the lids is nearest


def jaw_moves(points: Array, name: str) -> Array:
    """How the bone of the jaw moves at jawOpen, jawForward, jawLeft or jawRight = 1: V×3 → V×3."""
    if name == "jawOpen":
        angle = np.radians(JAW_OPENS)
        sine, cosine = np.sin(angle), np.cos(angle)
        turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
        return np.asarray((points - HINGE) @ turn.T - (points - HINGE))
    push = {"jawForward": (0, 0.05, -0.6), "jawLeft": (0.8, 0, 0), "jawRight": (-0.8, 0, 0)}[name]
    return np.broadcast_to(np.asarray(push, np.float64), points.shape)


def lower_share(points: Array, upper: Flags, lower: Flags) -> Array:
    """How much each point belongs to the lower side of the mouth's line: V, [0, 1].

    Within the mouth the two sides part sharply, in the cheeks softly. upper, lower: V bool, points known to
    be the upper lip's and the lower's.
    """
    x, y = np.abs(points[:, 0]), points[:, 1]
    below = y - LINE
    soft = _ease((below + 1.6) / 3.4)
    sharp = np.where(lower, 1.0, np.where(upper, 0.0, (below > 0).astype(np.float64)))
    corner = np.clip(x / MOUTH_WIDTH, 0, 1) ** 5 * 0.5
    sharp = sharp + np.where(sharp > 0.5, -corner, corner)
    aside = _ease((x - MOUTH_WIDTH + 0.2) / 1.5)
    return np.asarray((1 - aside) * sharp + aside * soft)


def constant_shapes(points: Array, triangles: Indices) -> Array:
    """How each expression moves the skin's control points of any head: 44×C×3, cm; but for the lids' closing.

    points: C×3, of the mean head, the face's landmarks first; triangles: T×3. Where control points are moved
    by the jaw's bone, and the skin is soft, they follow by a share that fades to the ear.
    """
    known = np.arange(len(points))
    rings = np.array(LIP_RINGS)
    upper = np.isin(known, rings[:, 1:10])
    lower = np.isin(known, rings[:, 11:])
    low = lower_share(points, upper, lower)
    fade = 1 - _ease((points[:, 2] + 3.8) / 4.0)  # skin behind the jaw stays
    lips = np.isin(known, rings)
    hung = _softened(low * fade * _ease((points[:, 1] + 3.0) / 4.0), triangles, lips)
    made = {name: jaw_moves(points, name) * hung[:, None] for name in ("jawOpen", "jawForward")}
    # Sideways the two lips slide over the teeth together: they don't part, nor shear.
    slid = _softened(_ease((points[:, 1] - LINE + 1.6) / 3.4) * fade, triangles, np.zeros_like(lips))
    for name in ("jawLeft", "jawRight"):
        made[name] = jaw_moves(points, name) * slid[:, None]
    made["jawOpen"] += displacement(
        points, [B((s * 4.2, 3.0, -6.5), (1.2, 2.0, 2.0), push=(-s * 0.35, 0.1, 0.1)) for s in (-1, 1)]
    )
    near_lips = np.where(lips, 1.0, weight(points, (0, LINE + 0.6, -9), (1.9, 0.9, 2.5)))
    # The lower lip comes up three quarters of the way, the upper one down the rest.
    drop = made["jawOpen"]
    reach = jaw_moves(points, "jawOpen")
    made["mouthClose"] = near_lips[:, None] * np.where(
        (low > 0.5)[:, None], -0.72 * drop, 0.28 * reach * (1 - 2 * low.clip(0, 0.5))[:, None] * (0.4, 1, 0.6)
    )
    made.update(_upper_face(points))
    made.update(_mouth(points, low))
    made["tongueOut"] = 0.25 * drop
    shapes = np.stack([made.get(name, np.zeros_like(points)) for name in EXPRESSIONS])
    assert not set(made) - set(EXPRESSIONS)
    return shapes


def _softened(share: Array, triangles: Indices, fixed: Flags, times: int = 4) -> Array:
    """Each value half the mean of its neighbours', so that skin bends instead of breaking; but for the fixed
    ones."""
    count = len(share)
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    beside = np.zeros((count, count), bool)
    beside[ends[:, 0], ends[:, 1]] = beside[ends[:, 1], ends[:, 0]] = True
    degree = np.maximum(beside.sum(1), 1)
    for _ in range(times):
        share = np.where(fixed, share, (share + beside @ share / degree) / 2)
    return share


def _upper_face(points: Array) -> dict[str, Array]:
    made: dict[str, Array] = {}
    for name, s in (("Left", 1), ("Right", -1)):
        half = _ease(0.5 + s * points[:, 0] / 1.2)[:, None]

        def side(*blobs: B, half: Array = half) -> Array:
            return half * displacement(points, blobs)

        made[f"browDown{name}"] = side(
            B((s * 2.0, -5.0, -8.8), (1.5, 0.9, 2.5), push=(-s * 0.3, 0.55, -0.05)),
            B((s * 4.4, -5.0, -7.5), (1.2, 0.8, 2.5), push=(-s * 0.1, 0.25, 0)),
        )
        made[f"browOuterUp{name}"] = side(B((s * 4.3, -5.3, -7.6), (1.4, 1.3, 2.5), push=(0, -0.75, 0.1)))
        made[f"cheekSquint{name}"] = side(
            B((s * 3.6, -0.6, -7.4), (1.5, 1.0, 2.0), push=(s * 0.05, -0.4, -0.15)),
            B((s * 3.2, -2.2, -7.4), (1.3, 0.35, 1.5), push=(0, -0.12, 0)),
        )
        made[f"noseSneer{name}"] = side(
            B((s * 1.5, 0.6, -9.6), (0.8, 1.0, 1.5), push=(s * 0.08, -0.35, 0.1)),
            B((s * 1.2, 2.6, -9.2), (0.9, 0.8, 1.5), push=(s * 0.05, -0.2, 0)),
            B((s * 1.0, -3.0, -9.0), (0.9, 1.2, 1.5), push=(-s * 0.05, 0.15, -0.05)),
        )
    made["browInnerUp"] = displacement(
        points, [B((s * 1.3, -5.2, -9.0), (1.1, 1.4, 2.5), push=(s * 0.05, -0.62, 0.12)) for s in (-1, 1)]
    )
    made["cheekPuff"] = displacement(
        points, [B((s * 4.0, 3.4, -6.6), (1.5, 1.7, 2.2), push=(s * 0.75, 0, -0.5)) for s in (-1, 1)]
    )
    return made


def _mouth(points: Array, low: Array) -> dict[str, Array]:
    """The lips' shapes. low: C, from `lower_share`; the two lips are moved apart by it, however near they
    lie."""
    down, up = low[:, None], 1 - low[:, None]
    made: dict[str, Array] = {}
    for name, s in (("Left", 1), ("Right", -1)):
        half = _ease(0.5 + s * points[:, 0] / 1.6)[:, None]
        corner: Vector = (s * MOUTH_WIDTH, LINE + 0.05, -7.7)

        def side(*blobs: B, half: Array = half) -> Array:
            return half * displacement(points, blobs)

        made[f"mouthSmile{name}"] = side(
            B(corner, (1.25, 0.95, 2.0), push=(s * 0.9, -0.72, 0.5)),
            B((s * 3.7, 1.6, -7.2), (1.4, 1.3, 2.0), push=(s * 0.14, -0.36, -0.34)),
            B((s * 3.4, -1.6, -7.3), (1.5, 0.6, 1.5), push=(0, -0.1, 0)),
        )
        made[f"mouthFrown{name}"] = side(B(corner, (1.15, 0.9, 2.0), push=(s * 0.08, 0.55, 0.1)))
        made[f"mouthDimple{name}"] = side(B(corner, (1.0, 0.7, 1.6), push=(s * 0.4, -0.05, 0.4)))
        made[f"mouthStretch{name}"] = side(B(corner, (1.4, 1.0, 2.0), push=(s * 0.75, 0.25, 0.45)))
        made[f"mouthUpperUp{name}"] = up * side(
            B((s * 1.1, LINE - 0.3, -9.0), (1.0, 0.9, 2.0), push=(s * 0.03, -0.5, 0.05)),
            B((s * 1.9, 2.2, -8.8), (0.9, 0.9, 1.5), push=(s * 0.03, -0.2, -0.08)),
        )
        made[f"mouthLowerDown{name}"] = down * side(
            B((s * 1.1, LINE + 0.5, -9.0), (1.0, 0.9, 2.0), push=(s * 0.05, 0.5, 0.05))
        )
        flat = half * weight(points, (0, LINE, -9), (2.2, 0.6, 2.5))[:, None] * (0.0, 1.0, 0.0)
        made[f"mouthPress{name}"] = flat * (up * 0.10 - down * 0.14) - 0.35 * flat * (points[:, 1:2] - LINE)
        whole = weight(points, (0, LINE + 0.2, -8.5), (2.8, 1.6, 3.5))[:, None]
        made[f"mouth{name}"] = whole * (s * 0.75, 0, 0) + displacement(
            points, [B((s * 3.3, LINE, -7.2), (1.2, 1.2, 2.0), push=(s * 0.15, -0.1, 0))]
        )
    lips = weight(points, (0, LINE, -9), (2.4, 1.2, 2.5))[:, None]
    inwards = -np.sign(points[:, :1]) * np.minimum(np.abs(points[:, :1]) / MOUTH_WIDTH, 1.2)
    ahead = np.concatenate([0 * inwards, 0 * inwards, -np.ones_like(inwards)], 1)
    side_in = np.concatenate([inwards, 0 * inwards, 0 * inwards], 1)
    middle = np.exp(-0.5 * (points[:, :1] / 1.3) ** 2)
    made["mouthPucker"] = lips * (0.95 * side_in + 0.5 * ahead)
    made["mouthFunnel"] = lips * (
        0.6 * side_in + 0.55 * ahead + middle * (down * (0, 0.42, 0) - up * (0, 0.38, 0))
    )
    upper_lip = up * weight(points, (0, LINE - 0.35, -9.2), (2.0, 0.6, 2.0))[:, None]
    lower_lip = down * weight(points, (0, LINE + 0.5, -9.1), (1.9, 0.7, 2.0))[:, None]
    made["mouthRollUpper"] = upper_lip * (np.asarray((0, 0.05, 0.3)) + (points - (0, LINE, 0)) * (0, -0.5, 0))
    made["mouthRollLower"] = lower_lip * (
        np.asarray((0, -0.05, 0.3)) + (points - (0, LINE, 0)) * (0, -0.5, 0)
    )
    made["mouthShrugUpper"] = upper_lip * (0, -0.3, -0.15)
    chin = down * weight(points, (0, LINE + 1.8, -8.8), (2.2, 1.6, 2.5))[:, None]
    made["mouthShrugLower"] = chin * (0, -0.42, -0.12)
    return made


@cache
def lid_shares() -> Lid:
    """Of the 468 landmarks: how far each follows a lid that closes."""
    mean = mean_landmarks()[:468]
    upper, lower = np.zeros((2, len(mean))), np.zeros((2, len(mean)))
    pair = np.zeros((2, len(mean)), np.int64)
    for eye in range(2):
        above, under = mean[list(UPPER[eye])], mean[list(LOWER[eye])]
        span = np.abs(above[-1, 0] - above[0, 0])
        middle = (above.mean(0) + under.mean(0)) / 2
        x = mean[:, 0]
        order = np.argsort(above[:, 0])
        line = np.interp(x, above[order, 0], above[order, 1])
        floor = np.interp(x, under[np.argsort(under[:, 0]), 0], under[np.argsort(under[:, 0]), 1])
        beside = np.exp(-0.5 * (np.maximum(np.abs(x - middle[0]) - span / 2, 0) / 0.25) ** 2)
        near = beside * (mean[:, 2] < -4)
        height = line - mean[:, 1]  # above the upper lid
        upper[eye] = near * np.where(height >= -1e-6, np.exp(-0.5 * (height / 0.45) ** 2), 0)
        depth = mean[:, 1] - floor
        lower[eye] = near * np.where(depth >= -1e-6, np.exp(-0.5 * (depth / 0.5) ** 2), 0)
        lids = {*UPPER[eye], *LOWER[eye]}
        for index in lids:
            upper[eye, index] = 1.0 if index in UPPER[eye][1:-1] else 0.0
            lower[eye, index] = 1.0 if index in LOWER[eye][1:-1] else 0.0
        pair[eye] = np.abs(x[:, None] - (above[:, 0] + under[:, 0]) / 2).argmin(1)
    return Lid(upper, lower, pair)


def _ease(t: Array) -> Array:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def lid_shapes(neutral: Tensor) -> Tensor:
    """How lids that close move the landmarks of given faces: B×C×3 → B×2×2×C×3, cm.

    The picture's left eye first, and of each the upper lid, then the lower: at 1 a lid has gone all the way
    to the other one's place, on each face; so a closed eye is closed, wide or narrow.
    """
    shares = lid_shares()
    count = shares.upper.shape[1]
    moved = neutral.new_zeros(neutral.shape[0], 2, 2, neutral.shape[1], 3)
    for eye in range(2):
        above, under = neutral[:, list(UPPER[eye])], neutral[:, list(LOWER[eye])]
        gap = (under - above)[:, torch.from_numpy(shares.pair[eye]).long().to(neutral.device)]  # B×468×3
        moved[:, eye, 0, :count] = torch.from_numpy(shares.upper[eye]).to(neutral)[None, :, None] * gap
        moved[:, eye, 1, :count] = torch.from_numpy(shares.lower[eye]).to(neutral)[None, :, None] * -gap
    return moved


def lid_closing(expression: Tensor) -> Tensor:
    """How far lids have closed: N×44 → N×2×2, as `lid_shapes` has them; together at most 1, so that they
    meet."""
    sides = [
        [AT[f"{name}{side}"] for side in ("Right", "Left")] for name in ("eyeBlink", "eyeSquint", "eyeWide")
    ]
    blink, squint, wide = (expression[:, index] for index in sides)  # N×2, the picture's left eye first
    both = torch.stack(
        (CLOSES * blink + 0.11 * squint - 0.15 * wide, (1 - CLOSES) * blink + 0.22 * squint - 0.04 * wide), 2
    )
    return both / both.sum(2, keepdim=True).clamp_min(1.0)
