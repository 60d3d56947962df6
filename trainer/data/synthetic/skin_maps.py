"""Where on the head each texel of the atlas's HEAD lies, and how far from its lids, brows, lips, folds and
nostrils.

All of it is the same for everybody, so it is computed once for each size and kept. Lengths are centimetres of
the mean head. The face is symmetric: what lies at the picture's right is measured as its mirror image at the
left.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from torch import Tensor

from trainer.data.synthetic.face import LIP_RINGS, mean_landmarks
from trainer.data.synthetic.head import HEAD_SIDE, chest, ear, neck, skin
from trainer.data.synthetic.mesh import Array, Mesh, linear_middles, subdivide
from trainer.data.synthetic.rasteriser import interpolate, rasterise

FACE, EAR, NECK, CHEST = range(4)
# Lines over landmarks of the picture's left half, each from the middle of the face outwards or downwards.
LID_UPPER = (133, 173, 157, 158, 159, 160, 161, 246, 33)
LID_LOWER = (133, 155, 154, 153, 145, 144, 163, 7, 33)
CREASE = (190, 56, 28, 27, 29, 30, 247)
BAG = (243, 112, 26, 22, 23, 24, 110, 25)
TROUGH = (244, 233, 232, 231, 230, 229, 228, 31)
BROW_ABOVE = (107, 66, 105, 63, 70)
BROW_BELOW = (55, 65, 52, 53, 46)
NASOLABIAL = (129, 203, 206, 216, 212)
MARIONETTE = (61, 43, 202, 210)
CHIN_CREASE = (18, 83, 182)
WING = (49, 129, 64, 98)
NOSTRIL = (20, 60, 75)
FAR = 3.0  # cm, beyond which distances are not measured


class Maps(NamedTuple):
    """S×S each, S the side of HEAD in texels; distances in cm, at most 3."""

    place: Tensor  # 3×S×S, cm of the mean head, mirrored to the left
    right: Tensor  # bool, the picture's right half
    part: Tensor  # int64: FACE, EAR, NECK or CHEST
    lid_upper: Tensor
    lid_lower: Tensor
    along_lid: Tensor  # 0 inner corner … 1 outer, of the upper lid
    above_lid: Tensor  # cm, of the upper lid's edge, < 0 below
    crease: Tensor
    bag: Tensor
    trough: Tensor
    brow_along: Tensor  # 0 inner end … 1 outer end, and beyond
    brow_up: Tensor  # cm above the middle of the brow
    lip: Tensor  # 0 at the outer edge … 1 at the inner, and within; 0 beyond the lips
    lip_edge: Tensor  # distance to the outer edge
    nasolabial: Tensor
    marionette: Tensor
    chin_crease: Tensor
    wing: Tensor
    nostril: Tensor
    hollow: Tensor  # 0 … 1 in the ear's hollows


@cache
def maps(side: int, device: torch.device) -> Maps:
    """For a HEAD of side×side texels."""
    place, part, lip = _places(side)
    folded = place.copy()
    folded[..., 0] = -np.abs(folded[..., 0])
    face = mean_landmarks()
    on_face = (part == FACE) & (folded[..., 2] < 1.5)

    def line(indices: tuple[int, ...]) -> tuple[Array, Array, Array]:
        return _nearest(folded, face[list(indices)], on_face)

    upper, along_lid, above = line(LID_UPPER)
    brow = (face[list(BROW_ABOVE)] + face[list(BROW_BELOW)]) / 2
    # Beyond its ends the line goes on straight, so that longer brows have a place.
    brow = np.concatenate([brow[:1] * 2 - brow[1:2], brow, brow[-1:] * 2 - brow[-2:-1]])
    near, along, above = _nearest(folded, brow, on_face)
    ends = _shares(brow)[[1, -2]]
    brow_up = np.where(above > 0, near, -near)
    outer = np.append(face[list(LIP_RINGS[0])], face[[LIP_RINGS[0][0]]], 0)
    edge = cKDTree(_curve(outer)).query(place.reshape(-1, 3), distance_upper_bound=FAR)[0].reshape(side, side)
    v, u = (np.mgrid[:side, :side] + 0.5) / side
    away = np.hypot(np.minimum(u, 1 - u) - 0.07, v - 0.07) / 0.06
    hollow = (part == EAR) * (np.exp(-((away / 0.42) ** 2)) + 0.5 * np.exp(-(((away - 0.8) / 0.1) ** 2)))
    values = (
        folded.transpose(2, 0, 1),
        place[..., 0] > 0,
        part,
        upper,
        line(LID_LOWER)[0],
        along_lid,
        above,
        line(CREASE)[0],
        line(BAG)[0],
        line(TROUGH)[0],
        (along - ends[0]) / (ends[1] - ends[0]),
        brow_up,
        lip,
        np.where(on_face, np.minimum(edge, FAR), FAR),
        line(NASOLABIAL)[0],
        line(MARIONETTE)[0],
        line(CHIN_CREASE)[0],
        line(WING)[0],
        line(NOSTRIL)[0],
        hollow,
    )
    tensors = (torch.from_numpy(np.ascontiguousarray(value)) for value in values)
    return Maps(*((t.float() if t.dtype == torch.float64 else t).to(device) for t in tensors))


def _shares(points: Array) -> Array:
    """How far along a line through points (N×3) each is: N, [0, 1]."""
    far = np.append(0.0, np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum())
    return np.asarray(far / far[-1])


def _curve(points: Array, count: int = 2000) -> Array:
    """A smooth line through points N×3: count×3, at even steps."""
    return np.asarray(CubicSpline(_shares(points), points)(np.linspace(0, 1, count)))


def _nearest(place: Array, line: Array, where: Array) -> tuple[Array, Array, Array]:
    """Of each texel: the distance to a line through points (at most FAR), how far along it that is ([0, 1])
    and how far above it the texel lies."""
    curve = _curve(line)
    distance, at = cKDTree(curve).query(place[where])
    far, along, above = (np.full(where.shape, value) for value in (FAR, 0.0, -FAR))
    far[where], along[where] = np.minimum(distance, FAR), at / (len(curve) - 1)
    above[where] = curve[at, 1] - place[where][:, 1]
    return far, along, above


def _places(side: int) -> tuple[Array, npt.NDArray[Any], Array]:
    """Place on the head (S×S×3), part and lip of each texel; what lies on no part has the nearest texel's."""
    parts = (_refined(skin()), _refined(ear(False)), _refined(ear(True)), _refined(neck()), _refined(chest()))
    kinds = (FACE, EAR, EAR, NECK, CHEST)
    place, part, lip = np.zeros((side, side, 3)), np.full((side, side), -1), np.zeros((side, side))
    for mesh, kind in zip(parts, kinds, strict=True):
        found, values = _drawn(mesh, mesh.points, side)
        place[found], part[found] = values, kind
    rings = np.zeros((len(skin().points), 1))
    for at, ring in enumerate(LIP_RINGS):
        rings[list(ring)] = at / (len(LIP_RINGS) - 1)
    found, values = _drawn(skin(), rings, side)
    lip[found] = values[:, 0]
    row, column = distance_transform_edt(part < 0, return_distances=False, return_indices=True)
    return place[row, column], part[row, column], lip[row, column]


def _refined(mesh: Mesh) -> Mesh:
    count = len(mesh.points)
    triangles, smooth = subdivide(mesh.triangles, count)
    return Mesh(smooth.of(mesh.points), triangles, linear_middles(mesh.triangles, count).of(mesh.uv))


def _drawn(mesh: Mesh, values: Array, side: int) -> tuple[npt.NDArray[Any], Array]:
    """Which texels (S×S bool) a mesh covers, and values of its vertices there, in their order."""
    flat = np.concatenate([mesh.uv / HEAD_SIDE * side, np.full((len(mesh.uv), 1), 10.0)], 1)
    triangles = torch.from_numpy(mesh.triangles)
    raster = rasterise(
        torch.from_numpy(flat).float()[None],
        triangles,
        side,
        side,
        double_sided=torch.ones(len(triangles), dtype=torch.bool),
        perspective=False,
    )
    found = (raster.triangle[0] >= 0).numpy()
    return found, interpolate(raster, torch.from_numpy(values).float(), triangles).double().numpy()
