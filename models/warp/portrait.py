"""What is prepared once for a portrait, on the host: the shading's mask, and eyeballs without lids over
them.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.face_geometry import FACE_OVAL
from models.warp.codes import EYE, EYE_SPAN, GRID, IRIS, IRIS_SPAN
from models.warp.features import (
    IRISES,
    LID_LOWER,
    LID_UPPER,
    frame,
    from_upright,
    heights,
    planar,
    to_upright,
)
from models.warp.field import barycentric, cell_centres, pulled_inside
from models.warp.layers import lattice, sample

Array = npt.NDArray[np.float64]

FADE = 0.04  # × the face's width: how far inside the oval the driver's shading fades in
SEEN = 0.12  # the least share of white in an eye that is worth drawing


def shading_map(points: Array, canonical: Array) -> tuple[Tensor, Tensor]:
    """Where on the canonical face each cell lies (1×GRID×GRID×2, grid_sample's units) and where shading may
    act (1×1×GRID×GRID).

    points: 478×≥2, crop units; canonical: 478×2, units of the canonical square.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    cells = cell_centres(GRID)
    index, weight, _ = barycentric(points[:, :2], pulled_inside(points[:, :2], cells))
    at = (canonical[index] * weight[..., None]).sum(1) * 2 - 1

    face = _filled(points[list(FACE_OVAL), :2], cells)
    fade = FADE * np.ptp(points[:, 0]) * GRID
    mask = np.clip((distance_transform_edt(face) - 0.5) / fade, 0, 1)
    holes = np.zeros((GRID, GRID))
    for upper, lower in ((LID_UPPER[0], LID_LOWER[0]), (LID_UPPER[1], LID_LOWER[1])):
        holes = np.maximum(holes, _filled(points[list(upper + lower[-2:0:-1]), :2], cells))
    mask *= 1 - np.clip(1.5 * gaussian_filter(holes, 0.015 * np.ptp(points[:, 0]) * GRID), 0, 1)
    return (
        torch.from_numpy(at.astype(np.float32)).view(1, GRID, GRID, 2),
        torch.from_numpy(mask.astype(np.float32))[None, None],
    )


def _filled(outline: Array, cells: Array) -> Array:
    """GRID×GRID: 1 where a cell's centre lies inside the closed outline (K×2), by the even-odd rule."""
    x, y = cells[:, :1], cells[:, 1:]
    a, b = outline, np.roll(outline, -1, 0)
    crosses = (a[:, 1] > y) != (b[:, 1] > y)
    height = np.where(a[:, 1] == b[:, 1], 1.0, b[:, 1] - a[:, 1])
    left_of = x < a[:, 0] + (y - a[:, 1]) / height * (b[:, 0] - a[:, 0])
    return np.asarray((crosses & left_of).sum(1) % 2, np.float64).reshape(GRID, GRID)


def eyes(picture: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sclera, iris, iris_radius and eyes_seen of one portrait (1×3×H×W, 1×478×3 in its pixels)."""
    parts = [_eye(picture, points, side) for side in (0, 1)]
    sclera, iris, radius, seen = (torch.stack(part, 0)[None] for part in zip(*parts, strict=True))
    return sclera, iris, radius, seen


def _eye(picture: Tensor, points: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    edges = points[:, [LID_UPPER[side], LID_LOWER[side]], :2]  # 1×2×9×2
    left, right = edges[:, :1, 0], edges[:, :1, -1]
    at = frame((left + right) / 2, right - left).of(slice(0, 1))
    width = float(at.width)
    lids = to_upright(at, edges.flatten(1, 2).transpose(1, 2)).view(1, 2, 2, -1)  # 1×2×2×9
    pixels = lattice(EYE, EYE_SPAN).to(picture.device)
    patch = _seen_at(picture, from_upright(at, pixels), EYE)

    inside = _between(lids, pixels).view(EYE).cpu().numpy() * width
    rim = planar(points[:, list(IRISES[side])])
    # The landmarks lie inside the dark rim.
    radius = float((rim[..., 1:] - rim[..., :1]).square().sum(1).sqrt().mean()) * 1.06
    centre = to_upright(at, rim[..., :1])
    distance = (pixels - centre)[0].square().sum(0).sqrt().view(EYE).cpu().numpy() * width
    white = (inside > 1) & (distance > 1.12 * radius)
    seen = white.sum() > SEEN * max(int((inside > 0).sum()), 1)
    sclera = _spread(patch, white)

    fine = lattice((IRIS, IRIS), 2 * IRIS_SPAN).to(picture.device) * (radius / width) + centre
    disc = _seen_at(picture, from_upright(at, fine), (IRIS, IRIS))
    visible = _between(lids, fine).view(IRIS, IRIS).cpu().numpy() * width > 1
    return (
        torch.from_numpy(sclera.astype(np.float32)).to(picture.device),
        torch.from_numpy(_round(disc, visible).astype(np.float32)).to(picture.device),
        torch.tensor(radius / width, device=picture.device),
        torch.tensor(float(seen), device=picture.device),
    )


def _seen_at(picture: Tensor, points: Tensor, size: tuple[int, int]) -> Array:
    """3×size: the picture (1×3×H×W) at points (1×2×K, its pixels)."""
    sides = torch.tensor([[picture.shape[3]], [picture.shape[2]]], device=picture.device)
    return sample(picture, points * (2 / sides) - 1)[0].view(3, *size).cpu().numpy().astype(np.float64)


def _between(lids: Tensor, points: Tensor) -> Tensor:
    """1×K: how deep points (1×2×K) lie between the upper and the lower lid (1×2×2×J), negative outside."""
    x, y = points.unbind(1)
    top, bottom = heights(lids, x).unbind(1)
    beyond = torch.maximum(lids[:, 0, 0, :1] - x, x - lids[:, 0, 0, -1:]).clamp_min(0)
    return torch.minimum(y - top, bottom - y) - 2 * beyond


def _spread(patch: Array, known: npt.NDArray[np.bool_]) -> Array:
    """The patch (3×h×w) with what is not known filled from what is, near before far."""
    from scipy.ndimage import gaussian_filter

    filled, total = np.zeros_like(patch), np.zeros(known.shape)
    for sigma, weight in ((2.0, 1.0), (6.0, 0.03), (18.0, 0.001)):
        total += weight * gaussian_filter(known.astype(np.float64), sigma)
        filled += weight * np.stack([gaussian_filter(channel * known, sigma) for channel in patch])
    filled /= np.maximum(total, 1e-9)
    soft = gaussian_filter(known.astype(np.float64), 1.0) * known
    return np.asarray(patch * soft + filled * (1 - soft))


def _round(disc: Array, visible: npt.NDArray[np.bool_]) -> Array:
    """The iris (3×h×h) with what the lids hide filled by the median of its ring."""
    axis = (np.arange(IRIS) + 0.5) / IRIS * 2 - 1
    radius = np.hypot(*np.meshgrid(axis, axis))
    filled = disc.copy()
    last = np.median(disc[:, visible], axis=1) if visible.any() else disc.mean((1, 2))
    for inner in np.arange(0, 1.45, 1 / 16)[::-1]:
        ring = (radius >= inner) & (radius < inner + 1 / 16)
        if (ring & visible).sum() > 2:
            last = np.median(disc[:, ring & visible], axis=1)
        filled[:, ring & ~visible] = last[:, None]
    return np.asarray(filled)
