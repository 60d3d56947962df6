"""The scalp: where its surface lies in each direction, where hair begins on it, and where that is in the
atlas.

Directions go out from the middle of the skull: azimuth in degrees (0 to the front, 90 to the picture's
right), elevation in degrees (0 level, 90 up).
"""

from functools import cache

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator, PchipInterpolator
from torch import Tensor

from trainer.data.synthetic.head import HEAD_SIDE, SKULL_CENTRE, neck, skin
from trainer.data.synthetic.mesh import Array, subdivide
from trainer.data.synthetic.parts import column, texels

RADIUS = 9.5  # cm, about the skull's mean: degrees of direction to centimetres of scalp
DEGREE = RADIUS * np.pi / 180  # cm
STEP = 3  # degrees between the directions of the table of radii
LOWEST = -66  # degrees of elevation where it begins
BEHIND = 115  # degrees of azimuth from which on the neck may reach further than the skull

# Azimuth and elevation of the mean hairline, with sideburns and the arch about the ear, and without
# them: hair that stands off begins higher than what lies on the skin.
PAINTED = (
    (0, 12, 24, 34, 43, 50, 58, 66, 72, 77, 84, 88, 93, 108, 114, 122, 135, 155, 180),
    (25, 25, 25, 24, 21, 16, 9, 0, -8, -22, -26, -8, 1, 1, -22, -37, -44, -46, -46),
)
STANDING = (
    (0, 12, 24, 34, 43, 50, 58, 66, 72, 78, 84, 90, 97, 105, 114, 124, 135, 155, 180),
    (27, 27, 27, 26, 23, 18, 11, 3, -4, -14, -12, 3, 5, 4, -12, -30, -38, -41, -41),
)


class Hairline:
    """What moves a hairline, B each: `height` (degrees up), `recede` (degrees up at the temples), `peak`
    (degrees down in the middle)."""

    def __init__(self, height: Tensor, recede: Tensor, peak: Tensor) -> None:
        self.height, self.recede, self.peak = height, recede, peak

    def elevation(self, azimuth: Tensor, *, painted: bool) -> Tensor:
        """Degrees, B×…, for azimuths B×… or 1×… (degrees, either side)."""
        away = azimuth.abs()
        table = _hairline(painted).to(away.device)
        low = away.floor().clamp(0, 179)
        at = low.long()
        base = table[at] + (table[at + 1] - table[at]) * (away - low)
        ahead = 1 / (1 + torch.exp((away - 52) / 6))
        wide = [column(value, azimuth.ndim - 1) for value in (self.height, self.recede, self.peak)]
        return (
            base
            + wide[0] * ahead
            + wide[1] * torch.exp(-(((away - 36) / 15) ** 2))
            - wide[2] * torch.exp(-((away / 8) ** 2))
        )


@cache
def _hairline(painted: bool) -> Tensor:
    """Elevation at each whole degree of azimuth: 181."""
    azimuth, elevation = PAINTED if painted else STANDING
    return torch.tensor(PchipInterpolator(azimuth, elevation)(np.arange(181)), dtype=torch.float32)


def direction(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Degrees → unit vectors: …×3."""
    azimuth, elevation = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    flat = elevation.cos()
    return torch.stack((azimuth.sin() * flat, -elevation.sin(), -azimuth.cos() * flat), -1)


def angles(ray: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors …×3 → azimuth and elevation, degrees."""
    azimuth = torch.atan2(ray[..., 0], -ray[..., 2])
    return torch.rad2deg(azimuth), torch.rad2deg(torch.asin((-ray[..., 1]).clamp(-1, 1)))


def radius(ray: Tensor) -> Tensor:
    """How far the skin lies from the middle of the skull in directions (unit, …×3): …, cm."""
    azimuth, elevation = angles(ray)
    table = radii().to(ray.device)
    row = ((elevation - LOWEST) / STEP).clamp(0, table.shape[0] - 1.001)
    place = (azimuth.abs() / STEP).clamp(0, table.shape[1] - 1.001)
    at, beside = row.long(), place.long()
    down, right = row - at, place - beside
    above = table[at, beside] * (1 - right) + table[at, beside + 1] * right
    below = table[at + 1, beside] * (1 - right) + table[at + 1, beside + 1] * right
    return above * (1 - down) + below * down


@cache
def radii() -> Tensor:
    """The skin's distance from the middle of the skull, cm: rows of elevation from `LOWEST` up, columns
    of azimuth from 0 to 180°, each `STEP` apart. Behind and below, the neck counts where it reaches
    further."""
    mesh = skin()
    _, refinement = subdivide(mesh.triangles, len(mesh.points))
    found = _radii(refinement.of(mesh.points))
    azimuth = np.arange(0, 181, STEP)
    # What is interpolated above the neck's own highest directions lies across the head.
    rays = neck().points - SKULL_CENTRE
    behind = rays[np.degrees(np.arctan2(np.abs(rays[:, 0]), -rays[:, 2])) > BEHIND]
    highest = np.degrees(np.arcsin(-behind[:, 1] / np.linalg.norm(behind, axis=1))).max()
    low = np.arange(LOWEST, 91, STEP)[:, None] <= highest
    reach = np.fmax(found, _radii(neck().points))
    return torch.tensor(np.where(low & (azimuth > BEHIND), reach, found), dtype=torch.float32)


def _radii(points: Array) -> Array:
    rays = points - SKULL_CENTRE
    length = np.linalg.norm(rays, axis=1)
    azimuth = np.degrees(np.arctan2(rays[:, 0], -rays[:, 2]))
    elevation = np.degrees(np.arcsin(-rays[:, 1] / length))
    # On a flat map of directions: around the top the map would tear, so it is azimuthal about straight up.
    away = 90 - elevation
    flat = np.stack([away * np.sin(np.radians(azimuth)), away * np.cos(np.radians(azimuth))], 1)
    asked_elevation, asked_azimuth = np.meshgrid(
        np.arange(LOWEST, 91, STEP), np.arange(0, 181, STEP), indexing="ij"
    )
    turn = np.radians(asked_azimuth)
    asked = (90 - asked_elevation)[..., None] * np.stack([np.sin(turn), np.cos(turn)], -1)
    return np.asarray(LinearNDInterpolator(flat, length)(asked))


@cache
def hairy(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The N texels of the rectangle HEAD, `size` on a side, where hair may grow: rows and columns (N
    int64 each), azimuth and elevation (1×N, degrees) of the skin that they show."""
    rays = face_points(size) - torch.tensor(SKULL_CENTRE, dtype=torch.float32)
    azimuth, elevation = angles(torch.nn.functional.normalize(rays, dim=-1))
    v, u = texels(size, size, rays.device)
    # In the corners are ears, neck and chest.
    inside = torch.hypot(u - 0.5, v - 0.5) < 0.495
    lowest = _hairline(True)[azimuth.abs().round().long()] - 16
    down, right = (inside & (elevation > lowest)).nonzero().unbind(1)
    return down, right, azimuth[down, right][None], elevation[down, right][None]


@cache
def face_points(size: int) -> Tensor:
    """The points of face and skull that HEAD's texels show: size×size×3, cm; in the corners the nearest
    ones."""
    mesh = skin()
    middles = (np.arange(size) + 0.5) / size
    asked = np.stack(np.meshgrid(middles, middles), -1)
    places = mesh.uv / HEAD_SIDE
    points = LinearNDInterpolator(places, mesh.points)(asked)
    lost = np.isnan(points[..., 0])
    points[lost] = NearestNDInterpolator(places, mesh.points)(asked[lost])
    return torch.tensor(points, dtype=torch.float32)
