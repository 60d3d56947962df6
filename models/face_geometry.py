"""Geometry of a face in landmarks: which index is what, the rigid fit of a head, and where a network's crop
lies.

Landmarks are MediaPipe FaceMesh's 478 (468 of the mesh, then 5 of each iris). "Left" and "right" are the
picture's.
"""

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.contract import CropRule

Array = npt.NDArray[np.float64]

# Points that neither expression nor speech moves much: forehead, temples, nose bridge, eye corners.
RIGID = (
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
    234,
    168,
    6,
    197,
    195,
    5,
    33,
    263,
    133,
    362,
)
# Closed outlines, in order.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
LIPS_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
LIPS_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
EYE_LEFT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
EYE_RIGHT = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
# From corner to corner along the upper and the lower edge of the mouth's opening.
LIP_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LIP_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
IRIS_LEFT = (468, 469, 470, 471, 472)  # centre, then four of the rim
IRIS_RIGHT = (473, 474, 475, 476, 477)
EYE_CORNERS = (33, 133, 362, 263)  # outer left, inner left, inner right, outer right
LIP_CORNERS = (61, 291)

# The 68 points of iBUG's 300-W and 300-VW annotations, as landmarks of the mesh. The mesh has no exact
# counterpart of the contour: its points are those of FACE_OVAL, from the level of the eyes down to the chin,
# that lie nearest to equal eighths of that line in the mean face. The other points that iBUG spaces evenly
# (nose bridge, lips) are chosen likewise between their ends.
LANDMARKS_68 = (
    127, 234, 93, 58, 172, 136, 149, 176, 152,  # 0…8 contour, from the left to the chin
    400, 378, 365, 397, 288, 323, 454, 356,  # 9…16 from there to the right
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # 17…26 brows, left to right
    168, 197, 195, 4, 98, 97, 2, 326, 327,  # 27…30 nose bridge to tip, 31…35 its base
    33, 160, 158, 133, 153, 144,  # 36…41 left eye: outer corner, upper lid, inner corner, lower lid
    362, 385, 387, 263, 373, 380,  # 42…47 right eye: inner corner, upper lid, outer corner, lower lid
    61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91,  # 48…59 lips' outer edge, left corner and upper first
    78, 81, 13, 311, 308, 402, 14, 178,  # 60…67 lips' inner edge, likewise
)  # fmt: skip
# Which of the 68 each of them is in a mirror.
FLIP_68 = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip


# Horn's matrix (4×4, row by row) as a linear map of the sums xx, xy, xz, yx, …, zz over two sets of points.
HORN = (
    (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1),
    (0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0),
    (0, 0, -1, 0, 0, 0, 0, 1, -1, 0, 0, 0, 0, 1, 0, 0),
    (0, 0, 0, -1, 0, 0, 1, 0, 0, 1, 0, 0, -1, 0, 0, 0),
    (1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1),
    (0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0),
    (0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0),
    (0, -1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0),
    (1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1),
)
# A rotation (3×3, row by row) as a linear map of a unit quaternion's products ww, wx, wy, wz, xw, …, zz.
QUATERNION = (
    (1, 0, 0, 0, 1, 0, 0, 0, 1),
    (0, 0, 0, 0, 0, -1, 0, 1, 0),
    (0, 0, 1, 0, 0, 0, -1, 0, 0),
    (0, -1, 0, 1, 0, 0, 0, 0, 0),
    (0, 0, 0, 0, 0, -1, 0, 1, 0),
    (1, 0, 0, 0, -1, 0, 0, 0, -1),
    (0, 1, 0, 1, 0, 0, 0, 0, 0),
    (0, 0, 1, 0, 0, 0, 1, 0, 0),
    (0, 0, 1, 0, 0, 0, -1, 0, 0),
    (0, 1, 0, 1, 0, 0, 0, 0, 0),
    (-1, 0, 0, 0, 1, 0, 0, 0, -1),
    (0, 0, 0, 0, 0, 1, 0, 1, 0),
    (0, -1, 0, 1, 0, 0, 0, 0, 0),
    (0, 0, 1, 0, 0, 0, 1, 0, 0),
    (0, 0, 0, 0, 0, 1, 0, 1, 0),
    (-1, 0, 0, 0, -1, 0, 0, 0, 1),
)

# A rotation's trace, and twice the vector that its antisymmetric part stands for, as a linear map of it.
AXIS = (
    (1, 0, 0, 0),
    (0, 0, 0, -1),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
    (1, 0, 0, 0),
    (0, -1, 0, 0),
    (0, 0, -1, 0),
    (0, 1, 0, 0),
    (1, 0, 0, 0),
)
IDENTITY = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
RAMP = ((0.0, 1e-6, 2e-6, 3e-6),)


def length(vectors: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The vectors' Euclidean length along `dim`, which goes. One operation, where squares, sum and root are
    three."""
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=dim)
    return norm


def rotation_between(source: Tensor, target: Tensor) -> Tensor:
    """The rotation R (B×3×3) that best turns centred `source` rows into `target` rows: target ≈ source @ Rᵀ.

    source, target: B×K×3, centred. Horn's quaternion method (Closed-form solution of absolute orientation,
    1987): the eigenvector of the largest eigenvalue of a symmetric 4×4 matrix, here by repeated squaring,
    which needs neither an SVD nor a host synchronisation, and never returns a reflection.
    """
    m = source.transpose(1, 2) @ target  # B×3×3
    k = (m.flatten(1) @ _table(HORN, m.device, m.dtype)).view(-1, 4, 4)
    # Shifted: all eigenvalues in [0, 2], the largest kept largest.
    k = k / (length(k, (1, 2)).view(-1, 1, 1) + 1e-12) + _table(IDENTITY, m.device, m.dtype)
    for _ in range(2):
        k = k / length(k, (1, 2)).view(-1, 1, 1)
        for _ in range(6):  # a 64th power is far from float's limits, and norms are dear on small tensors
            k = k @ k
    # k is now c·v vᵀ: its column with the largest diagonal entry is v. The ramp breaks ties between opposite
    # signs.
    k = k / k.diagonal(dim1=1, dim2=2).sum(1).view(-1, 1, 1)
    diagonal = k.diagonal(dim1=1, dim2=2) + _table(RAMP, m.device, m.dtype)
    column = (diagonal >= diagonal.amax(1, keepdim=True)).to(k.dtype)
    q = (k @ column.unsqueeze(2)).squeeze(2)
    return quaternion_to_rotation(q / (length(q, 1).unsqueeze(1) + 1e-12))


def quaternion_to_rotation(q: Tensor) -> Tensor:
    """Unit quaternions (B×4, scalar first) as rotations B×3×3."""
    products = (q.unsqueeze(2) * q.unsqueeze(1)).flatten(1)  # ww, wx, wy, wz, xw, …
    return (products @ _table(QUATERNION, q.device, q.dtype)).view(-1, 3, 3)


def _table(rows: tuple[tuple[float, ...], ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A constant matrix, copied to each device once. Products with it replace dozens of tiny operations."""
    if torch.compiler.is_compiling():  # what a tracer makes here stands for a tensor, and must not be kept
        return torch.tensor(rows, device=device, dtype=dtype)
    return _kept_table(rows, device, dtype)


@cache
def _kept_table(rows: tuple[tuple[float, ...], ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # or training could not use what a server's first frame left here
        return torch.tensor(rows, device=device, dtype=dtype)


def limiting(size: Tensor, limit: Tensor | float) -> Tensor:
    """By what a motion of that size is multiplied so that it stays below `limit`: hardly anything as long as
    it is short, and always so that more remains more.
    """
    return (1 + (size / limit).pow(4)).pow(-0.25)


def rotation_power(rotation: Tensor, power: Tensor, limit: float = math.inf) -> Tensor:
    """Rotations (B×3×3, less than half a turn) about the same axis by `power` (B) times the angle, which
    approaches `limit` (radians) smoothly.
    """
    parts = rotation.flatten(1) @ _table(AXIS, rotation.device, rotation.dtype)
    trace, axis = parts[:, :1], parts[:, 1:]  # the axis by twice the angle's sine
    sine = length(axis, 1).unsqueeze(1)
    angle = torch.atan2(sine, trace - 1) * power.unsqueeze(1)
    half = angle * limiting(angle, limit) / 2
    axis = axis * (half.sin() / sine.clamp_min(1e-12))
    return quaternion_to_rotation(torch.cat((half.cos(), axis), 1))


def rigid_fit(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale s (B), rotation R (B×3×3) and shift t (B×3) with target ≈ s · source @ Rᵀ + t, least squares.

    source, target: B×K×3 (Umeyama's similarity; the scale is the one that minimises the residual in the
    target).
    """
    mean_source, mean_target = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    a, b = source - mean_source, target - mean_target
    rotation = rotation_between(a, b)
    turned = a @ rotation.transpose(1, 2)
    scale = (turned * b).sum((1, 2)) / (a.square().sum((1, 2)) + 1e-12)
    shift = mean_target - scale.view(-1, 1, 1) * (mean_source @ rotation.transpose(1, 2))
    return scale, rotation, shift.squeeze(1)


def eye_line(points: npt.NDArray[np.floating[Any]]) -> Array:
    """The direction from the left eye to the right one in the picture: 2, of length 1. points: 478×≥2."""
    xy = np.asarray(points, np.float64)[:, :2]
    along: Array = xy[list(EYE_CORNERS[2:])].mean(0) - xy[list(EYE_CORNERS[:2])].mean(0)
    return along / np.linalg.norm(along)


def face_line(points: npt.NDArray[np.floating[Any]]) -> Array:
    """Like `eye_line`, but square to the line from the middle between the eyes to that of the lips."""
    xy = np.asarray(points, np.float64)[:, :2]
    down: Array = xy[list(LIP_CORNERS)].mean(0) - xy[list(EYE_CORNERS)].mean(0)
    along: Array = np.array([down[1], -down[0]])
    return along / np.linalg.norm(along)


def crop_to_frame(points: npt.NDArray[np.floating[Any]], rule: CropRule, width: int, height: int) -> Array:
    """Where the rule's square lies: 2×3, crop units ([0, 1]²) → pixels of the frame.

    points: 478×≥2 in frame pixels. width, height: of the frame, used by `rule.inside`.
    """
    xy = np.asarray(points, np.float64)[:, :2]
    anchors = xy[list(rule.anchors)] if rule.anchors else xy
    axes = np.eye(2)
    if rule.upright:
        along = eye_line(xy) if rule.level == "eyes" else face_line(xy)
        axes = np.array(
            [[along[0], -along[1]], [along[1], along[0]]]
        )  # columns: the crop's x and y axis in the frame
    local = anchors @ axes
    low, high = local.min(0), local.max(0)
    box = float((high - low).max())
    side = rule.scale * box
    middle = (low + high) / 2 if rule.centre is None else xy[rule.centre] @ axes
    centre = axes @ (middle + np.asarray(rule.shift) * box)
    corner = centre - axes @ np.full(2, side / 2)
    if rule.inside:
        side = float(max(round(min(side, width, height)), round(rule.min_scale * box), 1))
        corner = np.round(centre - side / 2)
        for axis, room in enumerate((width, height)):
            if side <= room:
                corner[axis] = np.clip(corner[axis], 0, room - side)
    return np.concatenate([axes * side, corner[:, None]], 1)


def to_crop_units(points: npt.NDArray[np.floating[Any]], to_frame: Array) -> Array:
    """Landmarks in frame pixels (478×3) as crop units; z by the same scale as x."""
    (a, b, x), (c, d, y) = to_frame
    back = np.array([[d, -c], [-b, a]]) / (a * d - b * c)
    xy = (np.asarray(points, np.float64)[:, :2] - (x, y)) @ back
    return np.concatenate([xy, np.asarray(points, np.float64)[:, 2:3] / scale_of(to_frame)], 1)


def scale_of(affine: Array) -> float:
    """By how much an affine map (2×3 or 2×2) of the plane enlarges, each way.

    Nothing that is done every frame may call LAPACK: its threads stall beside other work.
    """
    (a, b), (c, d) = affine[:, :2]
    return float(np.sqrt(abs(a * d - b * c)))
