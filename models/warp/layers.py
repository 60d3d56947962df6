"""How eyes and mouth are laid over the bent picture.

Each layer is drawn in a small window that follows its feature over the picture, so all shapes are static.
Pictures are in pixels, y downwards; "upright" coordinates of a feature have its two corners on the x axis at
−½ and ½. Many points are B×2×K, x's before y's, because arithmetic on interleaved pairs is several times
slower."""

from collections.abc import Sequence
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


def planar(points: Tensor) -> Tensor:
    """Landmarks B×K×≥2 as B×2×K."""
    return points[..., :2].transpose(1, 2)


def to_upright(at: Frame, points: Tensor) -> Tensor:
    """B×2×K pixels as upright coordinates."""
    x, y = (points - at.centre.unsqueeze(2)).unbind(1)
    axes = torch.stack((at.along, at.down), 1) / at.along.square().sum(1).clamp_min(1e-6).view(-1, 1, 1)
    right, down = axes[:, :, :1], axes[:, :, 1:]  # what a step to the right and down adds, B×2×1
    return right * x.unsqueeze(1) + down * y.unsqueeze(1)


def from_upright(at: Frame, points: Tensor) -> Tensor:
    """B×2×K upright coordinates as pixels."""
    x, y = points.unbind(1)
    along = at.along.unsqueeze(2) * x.unsqueeze(1) + at.down.unsqueeze(2) * y.unsqueeze(1)
    return along + at.centre.unsqueeze(2)


def lattice(size: tuple[int, int], span: float, device: torch.device) -> Tensor:
    """1×2×(H·W): the upright coordinates of a patch's pixels; span: the patch's width."""
    height, width = size
    x = ((torch.arange(width, device=device) + 0.5) / width - 0.5) * span
    y = ((torch.arange(height, device=device) + 0.5) / height - 0.5) * (span * height / width)
    ys, xs = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((xs.flatten(), ys.flatten()))[None]


def sample(picture: Tensor, points: Tensor) -> Tensor:
    """B×C×K: the picture (B×C×H×W) at points (B×2×K, pixels); its border is repeated outside."""
    height, width = picture.shape[2:]
    return _look_up(picture, points[:, 0] * (2 / width) - 1, points[:, 1] * (2 / height) - 1)


def sample_patch(patch: Tensor, points: Tensor, span: float) -> Tensor:
    """B×C×K: a patch (B×C×H×W of width `span`) at upright coordinates (B×2×K)."""
    height, width = patch.shape[2:]
    return _look_up(patch, points[:, 0] * (2 / span), points[:, 1] * (2 / span * width / height))


def _look_up(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """B×C×K: the picture (B×C×H×W) at x and y (B×K, grid_sample's units)."""
    grid = torch.stack((x, y), 2).unsqueeze(1).to(picture.dtype)
    return F.grid_sample(picture, grid, align_corners=False, padding_mode="border").squeeze(2)


TABLE_HALF = 0.75  # upright x at which the tables of `heights` end
TABLE_STEPS = 64


def heights(lines: Tensor, x: Tensor) -> Tensor:
    """B×L×K: the y of L polylines (B×2×L×J, from left to right) at x (B×K or 1×K), all in the same upright
    coordinates.

    A polyline goes on level beyond its ends. Its x are put in order first, as a turned head may fold them.
    They are drawn into tables once, so that each of many pixels costs one look-up."""
    knots = torch.cummax(lines[:, 0], 2).values
    start, width = knots[..., :-1], (knots[..., 1:] - knots[..., :-1]).clamp_min(1e-4)
    rise = lines[:, 1, :, 1:] - lines[:, 1, :, :-1]
    at = (torch.arange(TABLE_STEPS, device=x.device) + 0.5) / TABLE_STEPS * (2 * TABLE_HALF) - TABLE_HALF
    passed = ((at - start.unsqueeze(3)) / width.unsqueeze(3)).clamp(0, 1)  # of each segment
    table = lines[:, 1, :, :1] + (passed * rise.unsqueeze(3)).sum(2)  # B×L×STEPS
    x = x.expand(table.shape[0], -1)
    return _look_up(table.unsqueeze(2), x / TABLE_HALF, torch.zeros_like(x))


def depth(upper: Tensor, lower: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """How far points (B×2×K) lie below an upper and above a lower edge: B×K each, negative outside.

    upper, lower: B×2×J polylines from corner to corner; all in the same upright coordinates.
    """
    x, y = points.unbind(1)
    top, bottom = heights(torch.stack((upper, lower), 2), x).unbind(1)
    # Beyond the corners, where both edges end, it is outside, and twice as far, so that layers end there.
    beyond = 2 * torch.maximum(upper[:, 0, :1] - x, x - upper[:, 0, -1:]).clamp_min(0)
    return y - top - beyond, bottom - y - beyond


def stretched(distance: Tensor, length: Tensor, source_length: Tensor, rigid: float) -> Tensor:
    """Distances from an edge, mapped from [0, length] to [0, source_length] so that the first `rigid` keep
    their scale.
    """
    keep = torch.minimum(length, source_length).clamp_min(1e-4) / 2
    keep = keep.clamp(max=rigid)
    beyond = (distance - keep).clamp_min(0) * (source_length - keep) / (length - keep).clamp_min(1e-4)
    return torch.minimum(distance.clamp_min(0), keep) + beyond


def bent(y: Tensor, knots: Sequence[Tensor], source_knots: Sequence[Tensor]) -> Tensor:
    """y, mapped piece by piece so that each knot meets its source, and shifted beyond the first and the last.
    All B×K."""
    mapped = source_knots[0] + torch.minimum(y - knots[0], torch.zeros_like(y))
    for start, end, source_start, source_end in zip(
        knots, knots[1:], source_knots, source_knots[1:], strict=False
    ):
        length = (end - start).clamp_min(1e-3)
        mapped = mapped + ((y - start) / length).clamp(0, 1) * (source_end - source_start)
    return mapped + (y - knots[-1]).clamp_min(0)


class Window(NamedTuple):
    """A window of fixed size over a picture."""

    pixels: Tensor  # B×(h·w) int64: its pixels, counted row by row in the picture
    points: Tensor  # B×2×(h·w): their centres, pixels


def window(centre: Tensor, size: tuple[int, int], picture: tuple[int, int]) -> Window:
    """Of `size` (height, width), on whole pixels about centre (B×2), kept inside a picture of `picture`
    (height, width).
    """
    height, width = size
    x = (centre[:, 0] - width / 2).round().clamp(0, picture[1] - width)
    y = (centre[:, 1] - height / 2).round().clamp(0, picture[0] - height)
    rows, columns = torch.meshgrid(
        torch.arange(height, device=centre.device), torch.arange(width, device=centre.device), indexing="ij"
    )
    pixel_x = x.unsqueeze(1) + columns.flatten()
    pixel_y = y.unsqueeze(1) + rows.flatten()
    index = (pixel_y * picture[1] + pixel_x).long()  # whole numbers below 2²⁴: float32 holds them exactly
    return Window(index, torch.stack((pixel_x, pixel_y), 1) + 0.5)


def paste(picture: Tensor, at: Window, colour: Tensor, opacity: Tensor) -> Tensor:
    """The picture (B×3×H×W), changed in place, with colour (B·n×3×K) over it where opacity (B·n×K) says so,
    in n windows of each picture that do not overlap.
    """
    batch = picture.shape[0]
    flat = picture.flatten(2)
    index = at.pixels.view(batch, 1, -1).expand(-1, 3, -1)
    over = colour.view(batch, -1, 3, colour.shape[2]).transpose(1, 2).flatten(2)
    under = flat.gather(2, index)
    return flat.scatter_(2, index, under + opacity.view(batch, 1, -1) * (over - under)).view_as(picture)
