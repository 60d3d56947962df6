"""Meshes to draw."""

import math

import torch
from torch import Tensor


def sphere(radius: float, rings: int = 12, around: int = 16) -> tuple[Tensor, Tensor]:
    """A closed one about the origin: V×3 and T×3. Seen from outside, in space with y down and z away, its
    triangles run clockwise."""
    polar = torch.arange(1, rings) * (math.pi / rings)
    angle = torch.arange(around) * (2 * math.pi / around)
    ring = torch.stack(
        (
            polar.sin()[:, None] * angle.cos(),
            -polar.cos()[:, None].expand(-1, around),
            polar.sin()[:, None] * angle.sin(),
        ),
        2,
    )
    pole = torch.tensor([[0.0, -1.0, 0.0]])
    vertices = torch.cat((pole, ring.flatten(0, 1), -pole)) * radius

    index = 1 + torch.arange((rings - 1) * around).view(rings - 1, around)
    after = index.roll(-1, 1)
    top, bottom = torch.zeros(around, dtype=torch.int64), torch.full((around,), len(vertices) - 1)
    parts = [
        torch.stack((top, after[0], index[0]), 1),
        torch.stack((index[:-1], after[:-1], after[1:]), 2).flatten(0, 1),
        torch.stack((index[:-1], after[1:], index[1:]), 2).flatten(0, 1),
        torch.stack((bottom, index[-1], after[-1]), 1),
    ]
    return vertices, torch.cat(parts)


def seen(points: Tensor, size: int, distance: float = 60.0, focal: float = 2.5) -> Tensor:
    """Points (…×3, about the origin) as a camera at `distance` before them sees them: x and y in samples of a
    square picture, z the depth. focal: in picture sizes."""
    depth = points[..., 2] + distance
    plane = points[..., :2] / depth[..., None] * (focal * size) + size / 2
    return torch.cat((plane, depth[..., None]), -1)
