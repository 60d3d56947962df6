"""How eyes and mouth are laid over the bent picture.

Each layer is drawn in a small window that follows its feature over the picture, so all shapes are static. Pictures are in
pixels, y downwards; "upright" coordinates of a feature have its two corners on the x axis at −½ and ½.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Frame(NamedTuple):
    """The upright coordinates of a feature in a picture."""

    centre: Tensor  # B×2
    along: Tensor  # B×2: from corner to corner; its length is the feature's width
    down: Tensor  # B×2: `along` turned by 90°, same length


def frame(left: Tensor, right: Tensor, centre: Tensor | None = None) -> Frame:
    """Of a feature with these corners (B×2), centred between them or at `centre`."""
    along = right - left
    down = torch.stack((-along[:, 1], along[:, 0]), 1)
    return Frame((left + right) / 2 if centre is None else centre, along, down)


def to_upright(at: Frame, points: Tensor) -> Tensor:
    """B×K×2 pixels as upright coordinates."""
    offset = points - at.centre.unsqueeze(1)
    squared = at.along.square().sum(1).clamp_min(1e-6).view(-1, 1)
    x = (offset * at.along.unsqueeze(1)).sum(2) / squared
    y = (offset * at.down.unsqueeze(1)).sum(2) / squared
    return torch.stack((x, y), 2)


def from_upright(at: Frame, points: Tensor) -> Tensor:
    """B×K×2 upright coordinates as pixels."""
    return (
        at.centre.unsqueeze(1)
        + points[..., :1] * at.along.unsqueeze(1)
        + points[..., 1:] * at.down.unsqueeze(1)
    )


def lattice(size: tuple[int, int], span: float, device: torch.device) -> Tensor:
    """1×(H·W)×2: the upright coordinates of a patch's pixels; span: the patch's width."""
    height, width = size
    x = ((torch.arange(width, device=device) + 0.5) / width - 0.5) * span
    y = ((torch.arange(height, device=device) + 0.5) / height - 0.5) * (span * height / width)
    ys, xs = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((xs.flatten(), ys.flatten()), 1)[None]


def sample(picture: Tensor, points: Tensor) -> Tensor:
    """B×C×K: the picture (B×C×H×W) at points (B×K×2, pixels); its border is repeated outside."""
    height, width = picture.shape[2:]
    grid = torch.stack((points[..., 0] * (2 / width) - 1, points[..., 1] * (2 / height) - 1), 2).unsqueeze(1)
    return F.grid_sample(picture, grid.to(picture.dtype), align_corners=False, padding_mode="border").squeeze(
        2
    )


def sample_patch(patch: Tensor, points: Tensor, span: float) -> Tensor:
    """B×C×K: a patch (B×C×H×W of width `span`) at upright coordinates (B×K×2)."""
    height, width = patch.shape[2:]
    grid = torch.stack(
        (points[..., 0] * (2 / span), points[..., 1] * (2 / span * width / height)), 2
    ).unsqueeze(1)
    return F.grid_sample(patch, grid.to(patch.dtype), align_corners=False, padding_mode="border").squeeze(2)


TABLE_HALF = 0.75  # upright x at which the tables of `heights` end
TABLE_STEPS = 64


def heights(lines: Tensor, x: Tensor) -> Tensor:
    """B×L×K: the y of L polylines (B×L×J×2, from left to right) at x (B×K or 1×K), all in the same upright coordinates.

    A polyline goes on level beyond its ends. Its x are put in order first, as a turned head may fold them. They are drawn
    into tables once, so that each of many pixels costs one look-up.
    """
    knots = torch.cummax(lines[..., 0], 2).values
    start, width = knots[..., :-1], (knots[..., 1:] - knots[..., :-1]).clamp_min(1e-4)
    rise = lines[..., 1:, 1] - lines[..., :-1, 1]
    at = (torch.arange(TABLE_STEPS, device=x.device) + 0.5) / TABLE_STEPS * (2 * TABLE_HALF) - TABLE_HALF
    passed = ((at.view(-1, 1) - start.unsqueeze(2)) / width.unsqueeze(2)).clamp(0, 1)  # of each segment
    table = lines[..., :1, 1] + (passed * rise.unsqueeze(2)).sum(3)  # B×L×STEPS
    x = x.expand(table.shape[0], -1)
    grid = torch.stack((x / TABLE_HALF, torch.zeros_like(x)), 2).unsqueeze(1)
    return F.grid_sample(table.unsqueeze(2), grid, align_corners=False, padding_mode="border").squeeze(2)


def depth(upper: Tensor, lower: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """How far points (B×K×2) lie below an upper and above a lower edge: B×K each, negative outside.

    upper, lower: B×J×2 polylines from corner to corner; all in the same upright coordinates.
    """
    x, y = points[..., 0], points[..., 1]
    top, bottom = heights(torch.stack((upper, lower), 1), x).unbind(1)
    beyond = (x.abs() - 0.5).clamp_min(0)  # of the corners, where both edges end
    return y - top - beyond, bottom - y - beyond


def stretched(distance: Tensor, length: Tensor, source_length: Tensor, rigid: float) -> Tensor:
    """Distances from an edge, mapped from [0, length] to [0, source_length] so that the first `rigid` keep their scale."""
    keep = torch.minimum(length, source_length).clamp_min(1e-4) / 2
    keep = keep.clamp(max=rigid)
    beyond = (distance - keep).clamp_min(0) * (source_length - keep) / (length - keep).clamp_min(1e-4)
    return torch.minimum(distance.clamp_min(0), keep) + beyond


class Window(NamedTuple):
    """A window of fixed size over a picture."""

    index: Tensor  # B×(h·w) int64: its pixels, counted row by row in the picture; those outside repeat the border
    points: Tensor  # B×(h·w)×2: their centres, pixels


def window(centre: Tensor, size: tuple[int, int], picture: tuple[int, int]) -> Window:
    """Of `size` (height, width), on whole pixels about centre (B×2), kept inside a picture of `picture` (height, width)."""
    height, width = size
    x = (centre[:, 0] - width / 2).round().clamp(0, picture[1] - width)
    y = (centre[:, 1] - height / 2).round().clamp(0, picture[0] - height)
    corner = torch.stack((x, y), 1)
    ys, xs = torch.meshgrid(
        torch.arange(height, device=centre.device), torch.arange(width, device=centre.device), indexing="ij"
    )
    pixels = corner.long().unsqueeze(1) + torch.stack((xs.flatten(), ys.flatten()), 1)
    return Window(pixels[..., 1] * picture[1] + pixels[..., 0], pixels.to(centre.dtype) + 0.5)


def paste(picture: Tensor, at: Window, colour: Tensor, opacity: Tensor) -> Tensor:
    """The picture (B×3×H×W), changed in place, with colour (B·n×3×K) over it where opacity (B·n×K) says so, in n windows
    of each picture that do not overlap."""
    batch = picture.shape[0]
    flat = picture.flatten(2)
    index = at.index.view(batch, 1, -1).expand(-1, 3, -1)
    over = colour.view(batch, -1, 3, colour.shape[2]).transpose(1, 2).flatten(2)
    under = flat.gather(2, index)
    return flat.scatter_(2, index, under + opacity.view(batch, 1, -1) * (over - under)).view_as(picture)
