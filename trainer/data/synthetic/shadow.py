"""Where the key light doesn't reach: a depth map as the light sees it, compared softly at each vertex."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.lighting import Light
from trainer.data.synthetic.rasteriser import rasterise

TAPS = 16
REACH = 7.0  # cm: how far in front of what it shades a feature typically lies (nose, brows, chin, hair)
LIFT = 0.5  # cm off the surface, before comparing: it leaves no stripes, and light may wrap round
LEVELLEST = 0.3  # cosine: surfaces more aslant to the light are taken to be so
RAMP = 0.3  # cm of depth from lit to shaded
MOST_SPREAD = 24  # 128ths of the depth map: how far taps reach


def shadow(
    light: Light,
    points: Tensor,
    normals: Tensor,
    triangles: Tensor,
    centre: Tensor,
    *,
    radius: float = 16.0,
    size: int = 128,
    shown: Tensor | None = None,
    double_sided: Tensor | None = None,
) -> Tensor:
    """How much of the key light each vertex sees: B×V in [0, 1].

    points, normals: B×V×3, camera space, cm. triangles, shown, double_sided: as for `rasterise`.
    centre: B×3, cm. What lies further than `radius` from it as the light sees it casts no shadow and is lit.
    size: of the depth map, in samples.

    Depths are compared over a disc that the light's softness spreads ("percentage-closer filtering",
    W. Reeves et al., SIGGRAPH 1987).
    """
    away = -light.direction  # the axes of the light's picture: right, down, away
    upright = torch.zeros_like(away)
    upright[:, 1] = 1.0
    steep = away[:, 1].abs() > 0.99
    upright[steep] = upright.new_tensor([0.0, 0.0, 1.0])
    right = F.normalize(torch.linalg.cross(upright, away), dim=1)
    axes = torch.stack((right, torch.linalg.cross(away, right), away), 2)  # B×3×3, by column
    scale = size / (2 * radius)  # samples in a centimetre
    far = 1000.0  # cm, so that all depths are positive

    def viewed(positions: Tensor) -> Tensor:
        plane = _times(positions - centre[:, None], axes)
        return torch.cat((plane[..., :2] * scale + size / 2, plane[..., 2:] + far), 2)

    raster = rasterise(
        viewed(points), triangles, size, size, shown=shown, double_sided=double_sided, perspective=False
    )
    # A border without anything, for taps outside.
    border = MOST_SPREAD * size // 128
    depths = F.pad(raster.depth, (border, border, border, border), value=torch.inf).flatten()
    x, y, depth = viewed(points + LIFT * normals)[..., None].unbind(2)  # B×V×1 each

    spread = torch.tan(torch.deg2rad(light.softness)) * (REACH * scale)
    spread = spread.clamp(min=1.5, max=border - 1.0)[:, None, None]
    taps = torch.arange(TAPS, device=points.device)
    distance, angle = ((taps + 0.5) / TAPS).sqrt(), taps * (math.pi * (3 - math.sqrt(5)))
    across, down = (spread * (distance * angle.cos())).round(), (spread * (distance * angle.sin())).round()
    column, row = (at.floor().long().clamp(-1, size) + border for at in (x, y))
    wide = size + 2 * border
    first = torch.arange(len(points), device=points.device)[:, None, None] * wide**2
    place = (first + row * wide + column) + (down * wide + across).long()  # B×V×taps
    nearest = depths.index_select(0, place.flatten()).view_as(place)
    # Where the surface lies aslant to the light it goes on at another depth, which is no reason for a shadow.
    slant = _times(normals, axes)[..., None]
    steep = slant[..., :2, :] / (slant[..., 2:, :].abs().clamp(min=LEVELLEST) * scale)
    expected = torch.addcmul(depth, across, steep[..., 0, :]).addcmul_(down, steep[..., 1, :])
    return nearest.sub_(expected).div_(RAMP).add_(1).clamp_(0, 1).mean(2)


def _times(vectors: Tensor, matrices: Tensor) -> Tensor:
    """B×V×3 by B×3×3, added up in the same order whatever the batch."""
    x, y, z = (vectors[..., axis, None] * matrices[:, None, axis] for axis in range(3))
    return x + y + z
