"""The inside of the mouth: the bag behind the lips, teeth, and tongue."""

from functools import cache

import numpy as np

from trainer.data.synthetic.eyes import Following
from trainer.data.synthetic.face import LIP_RINGS, mean_landmarks
from trainer.data.synthetic.mesh import Array, Mesh, grid, strip

RECTANGLE = (0.25, 0.75, 0.5, 1.0)  # of the atlas
UPPER_TEETH, LOWER_TEETH, TONGUE, BAG = (0.0, 0.35), (0.35, 0.65), (0.65, 0.8), (0.8, 1.0)  # rows of it
ARCH_COLUMNS = 28
ARCH_WIDTH, ARCH_DEPTH = 2.9, 4.4  # cm: half the width between the last molars, front to back
BEHIND_LIPS = 0.95  # cm from the lips' inner edge to the front teeth


@cache
def bag() -> Following:
    """Lips' inside and cheeks, closed behind the throat; its first ring is the lips' inner edge."""
    ring = LIP_RINGS[-1]
    lips = mean_landmarks()[list(ring)]
    middle = lips.mean(0)
    rows = [lips]
    for back, wide, high in (
        (0.25, 0.99, 0.15),
        (0.7, 1.02, 0.8),
        (1.8, 1.15, 1.6),
        (4.5, 1.0, 1.7),
        (6.5, 0.3, 0.4),
    ):
        angle = np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
        round_ = np.stack(
            [-2.4 * np.cos(angle), -np.sin(angle), 0 * angle], 1
        )  # from the left corner, clockwise
        ring_points = np.stack([round_[:, 0] * wide, round_[:, 1] * high, 0 * angle], 1) + middle
        ring_points[:, 2] = lips[:, 2] + back
        if back < 1:
            ring_points[:, :2] = middle[:2] + (lips - middle)[:, :2] * wide + round_[:, :2] * (0, high * 0.35)
        rows.append(ring_points)
    count = len(ring)
    at = np.arange(count * len(rows)).reshape(len(rows), count)
    triangles = np.concatenate([strip(outer, inner) for inner, outer in zip(at, at[1:], strict=False)])
    u = np.tile(np.linspace(0.02, 0.98, count), len(rows))
    v = np.repeat(np.linspace(*BAG, len(rows)), count)
    follows = np.tile(np.array(ring, np.int64), len(rows))
    return Following(Mesh(np.concatenate(rows), triangles[:, [0, 2, 1]], _place(u, v)), follows)


@cache
def teeth(lower: bool) -> Mesh:
    """An arch of teeth and its gum; the upper ones hang a little in front of the lower."""
    upper_lip = mean_landmarks()[13]
    at = np.linspace(-1, 1, ARCH_COLUMNS)
    turn = at * np.pi / 2
    inset = 0.22 if lower else 0.0
    x = (ARCH_WIDTH - inset) * np.sin(turn)
    z = upper_lip[2] + BEHIND_LIPS + inset + ARCH_DEPTH * (1 - np.cos(turn) ** 0.8)
    edge = upper_lip[1] + (0.22 if lower else 0.36) + (0.1 if lower else -0.1) * at**2
    away = 1.0 if lower else -1.0  # from the biting edge to the root
    rows = []
    for high, out in ((0.0, 0.10), (0.12, 0.0), (0.5, -0.04), (0.95, 0.02), (1.15, -0.06), (2.0, 0.1)):
        rows.append(np.stack([x * (1 - out / 4), edge + away * high, z + out], 1))
    if not lower:
        rows.reverse()
    points = np.concatenate(rows)
    u = np.tile(0.5 + 0.49 * at, len(rows))
    share = np.linspace(0.03, 0.97, len(rows))
    low, high = LOWER_TEETH if lower else UPPER_TEETH
    v = np.repeat(low + (high - low) * share, ARCH_COLUMNS)
    return Mesh(points, grid(len(rows), ARCH_COLUMNS), _place(u, v))


@cache
def tongue() -> Mesh:
    """It lies on the floor of the mouth, its tip behind the lower teeth."""
    upper_lip = mean_landmarks()[13]
    along = np.linspace(0, 1, 9)  # from the root to the tip
    around = np.linspace(-np.pi, np.pi, 13)
    points, u, v = [], [], []
    for t in along:
        wide = 2.2 * np.sqrt(max(1e-4, 1 - max(0.0, (t - 0.45) / 0.55) ** 2.2)) + 0.01
        thick = 0.75 - 0.35 * t
        z = upper_lip[2] + 7.0 - 5.35 * t
        y = upper_lip[1] + 0.9 + 0.25 * np.sin(np.pi * t) * -1.0
        points.append(
            np.stack([wide * np.sin(around), y - thick * np.cos(around), np.full_like(around, z)], 1)
        )
        u.append(0.5 + 0.48 * around / np.pi)
        v.append(np.full_like(around, TONGUE[0] + (TONGUE[1] - TONGUE[0]) * t))
    return Mesh(
        np.concatenate(points), grid(len(along), len(around)), _place(np.concatenate(u), np.concatenate(v))
    )


def _place(u: Array, v: Array) -> Array:
    u0, v0, u1, v1 = RECTANGLE
    return np.stack([u0 + (u1 - u0) * u, v0 + (v1 - v0) * v], 1)
