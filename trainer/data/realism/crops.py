"""Faces cut out of pictures as a detector would, and the harm that cameras, hands and networks do to them.

A crop is a square: its centre and side in pixels of the picture, and by how many degrees it is turned.
    B pictures
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from models.face_tracker import Box, Picture
from trainer.data.synthetic.jpeg import compressed

AROUND = 1.55  # side of a crop / side of the detector's box
LUMA = (0.299, 0.587, 0.114)


class Squares(NamedTuple):
    """Of B crops."""

    centre: Tensor  # B×2, picture sides
    side: Tensor  # B, picture sides
    angle: Tensor  # B, radians, clockwise


def squares_of(boxes: list[Box], width: int, height: int) -> Squares:
    """About detector's boxes, upright. width, height: of the picture, pixels; its longer side is the unit."""
    unit = max(width, height)
    centre = torch.tensor([(box.x + box.width / 2, box.y + box.height / 2) for box in boxes]) / unit
    side = torch.tensor([AROUND * box.side for box in boxes]) / unit
    return Squares(centre, side, torch.zeros(len(boxes)))


def jittered(squares: Squares, random: torch.Generator) -> Squares:
    """As if detectors and heads were less steady: 8 % of the side, 20 % of the scale, 15°."""
    count = len(squares.side)
    shift = torch.randn(count, 2, generator=random).clamp(-2, 2) * 0.04
    scale = 1.2 ** (torch.rand(count, generator=random) * 2 - 1)
    angle = torch.randn(count, generator=random).clamp(-2, 2) * 0.13
    side = squares.side * scale
    return Squares(squares.centre + shift * side[:, None], side, squares.angle + angle)


def cut(pictures: Tensor, squares: Squares, size: int) -> Tensor:
    """Crops of square pictures (B×C×S×S, 0 to 1): B×C×size×size. What lies outside repeats the edge."""
    theta = torch.cat((_axes(squares), (2 * squares.centre - 1)[:, :, None]), 2)
    grid = F.affine_grid(theta, [len(pictures), pictures.shape[1], 2 * size, 2 * size], align_corners=False)
    fine = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, 2)


def as_square(picture: Picture) -> Tensor:
    """A picture as 1×3×S×S in [0, 1], with black added at its right or below."""
    height, width = picture.shape[:2]
    whole = np.zeros((max(height, width), max(height, width), 3), np.uint8)
    whole[:height, :width] = picture
    return as_tensor(whole[None])


def as_tensor(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """B×H×W×3 as B×3×H×W in [0, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def into(points: Tensor, squares: Squares) -> Tensor:
    """Points in picture sides (B×K×2) in crop units."""
    axes = _axes(squares)
    return (points - squares.centre[:, None]) @ axes.inverse().transpose(1, 2) + 0.5


def out_of(points: Tensor, squares: Squares) -> Tensor:
    """Points in crop units (B×K×2) in picture sides."""
    return (points - 0.5) @ _axes(squares).transpose(1, 2) + squares.centre[:, None]


def grey(pictures: Tensor) -> Tensor:
    """B×3×… as B×1×…, of Rec. 601, as cameras and codecs have it."""
    return (pictures * pictures.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def degraded(crops: Tensor, random: torch.Generator) -> Tensor:
    """B×C×S×S in [0, 1], each in another way worse, or not: lower resolution, gain and gamma and tint, uneven
    light, patches before the face, noise, JPEG. E. Wood et al., "Fake it till you make it", ICCV 2021, found
    that networks need it to go from renders to photographs."""
    count, channels, size = crops.shape[:3]

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random)

    found = []
    for row, low in zip(torch.split(crops, 1), (1 - 0.75 * drawn(count) ** 2).tolist(), strict=True):
        side = max(int(size * low), 16)  # a face far away, or out of focus
        small = F.interpolate(row, (side, side), mode="bilinear", antialias=True, align_corners=False)
        found.append(F.interpolate(small, (size, size), mode="bicubic", align_corners=False))
    crops = torch.cat(found).clamp(0, 1)
    gamma = 2 ** (1.6 * drawn(count, 1, 1, 1) - 0.8)
    gain, tint = 0.6 + 0.7 * drawn(count, 1, 1, 1), 0.9 + 0.2 * drawn(count, channels, 1, 1)
    shade = F.interpolate(
        0.7 + 0.6 * drawn(count, 1, 3, 3), (size, size), mode="bilinear", align_corners=True
    )
    shade = torch.where(drawn(count, 1, 1, 1) < 0.5, shade, 1.0)
    crops = ((crops + 1e-4) ** gamma * gain * tint * shade).clamp(0, 1)
    crops = _patched(crops, drawn)
    strength = 0.06 * drawn(count, 1, 1, 1) ** 2
    crops = (crops + strength * torch.randn(crops.shape, generator=random)).clamp(0, 1)
    some = (drawn(count) < 0.3).nonzero().squeeze(1)
    if len(some):
        quality = 25 + 70 * drawn(len(some))
        whole = crops[some].expand(-1, 3, -1, -1)
        stored = compressed(whole, quality, torch.zeros(len(some), dtype=torch.bool))[:, :channels]
        crops = crops.index_copy(0, some, stored)
    return crops


def _patched(crops: Tensor, drawn: Callable[..., Tensor]) -> Tensor:
    """A third of the crops with a rectangle before them, as hands, cups and microphones are."""
    count, channels, size = crops.shape[:3]
    place = drawn(count, 4)
    line = (torch.arange(size) + 0.5) / size
    half = 0.05 + 0.17 * place[:, 2:]
    near_x = (line - place[:, :1]).abs() < half[:, :1]
    near_y = (line - place[:, 1:2]).abs() < half[:, 1:]
    inside = (near_y[:, :, None] & near_x[:, None])[:, None] & (drawn(count, 1, 1, 1) < 0.33)
    filling = F.interpolate(drawn(count, channels, 2, 2), (size, size), mode="bilinear", align_corners=True)
    return torch.where(inside, filling, crops)


def _axes(squares: Squares) -> Tensor:
    """The crop's x and y axes, whole sides, in picture sides: B×2×2, columns."""
    cos, sin = squares.angle.cos() * squares.side, squares.angle.sin() * squares.side
    return torch.stack((cos, -sin, sin, cos), 1).view(-1, 2, 2)
