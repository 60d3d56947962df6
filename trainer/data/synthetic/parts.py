"""What hair, glasses and clothes are made of: parts of a mesh that everybody has, and their places in
the atlas."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.mesh import Array, Indices, Mesh

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in the atlas, [0, 1]

HEAD: Rectangle = (0.0, 0.0, 0.75, 0.75)
HAIR: Rectangle = (0.75, 0.0, 1.0, 0.5)
CLOTH: Rectangle = (0.75, 0.5, 1.0, 0.75)
BEARD: Rectangle = (0.75, 0.75, 1.0, 1.0)
GLASSES: Rectangle = (0.5, 0.875, 0.75, 1.0)


class Part(NamedTuple):
    """A piece of the mesh in its mean form, in head space."""

    mesh: Mesh
    label: int  # what it counts as in the truth: 2 hair, 6 clothes, 7 glasses
    cutout: bool  # the atlas's alpha says where it has holes
    double_sided: bool
    follows: Indices  # V: the landmark that a vertex moves with, -1 for none


def part(mesh: Mesh, label: int, *, cutout: bool, double_sided: bool, follows: Indices | None = None) -> Part:
    none = np.full(len(mesh.points), -1, np.int64)
    return Part(mesh, label, cutout, double_sided, none if follows is None else follows)


def placed(uv: Array, rectangle: Rectangle) -> Array:
    """…×2 in [0, 1] of a rectangle → …×2 in the atlas."""
    left, top, right, bottom = rectangle
    return np.asarray(np.array([left, top]) + uv * np.array([right - left, bottom - top]))


def window(atlas: Tensor, rectangle: Rectangle) -> Tensor:
    """The view of a rectangle of the atlas: B×4×A×A → B×4×h×w. What is written there is written to the
    atlas."""
    size = atlas.shape[-1]
    left, top, right, bottom = (round(edge * size) for edge in rectangle)
    return atlas[:, :, top:bottom, left:right]


def texels(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places of the middles of a picture's texels, [0, 1]: v (height×1), u (1×width)."""
    v = (torch.arange(height, device=device) + 0.5) / height
    u = (torch.arange(width, device=device) + 0.5) / width
    return v[:, None], u[None]


def smooth(low: float | Tensor, high: float | Tensor, value: Tensor) -> Tensor:
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def column(values: Tensor, dimensions: int = 2) -> Tensor:
    """B → B×1×…: one value a person, beside `dimensions` further dimensions."""
    return values.reshape(-1, *([1] * dimensions))
