"""How eyes and mouth are laid over the bent picture.

Each layer is drawn in a small window that follows its feature over the picture, so all shapes are static.
Points to look up are B×2×K, x's before y's, in grid_sample's units: the picture spans [−1, 1].
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.warp.features import TABLE_HALF, Frame

RIM = 4  # pixels over which a layer fades at its window's edge


def lattice(size: tuple[int, int], span: float) -> Tensor:
    """1×2×(H·W): the upright coordinates of a patch's pixels; span: the patch's width."""
    height, width = size
    x = ((torch.arange(width) + 0.5) / width - 0.5) * span
    y = ((torch.arange(height) + 0.5) / height - 0.5) * (span * height / width)
    ys, xs = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((xs.flatten(), ys.flatten()))[None]


def patch_units(size: tuple[int, int], span: float) -> Tensor:
    """2×1: what makes grid_sample's units of upright coordinates; size and width of the patch."""
    height, width = size
    return torch.tensor([[2 / span], [2 / span * width / height]])


def sample(picture: Tensor, points: Tensor) -> Tensor:
    """B×C×K float32: the picture (B×C×H×W) at points (B×2×K); its border is repeated outside."""
    grid = points.transpose(1, 2).unsqueeze(1)
    return F.grid_sample(picture.float(), grid, align_corners=False, padding_mode="border").squeeze(2)


def look_up(tables: Tensor, x: Tensor) -> Tensor:
    """N×L×K: what tables of heights (N×L×TABLE_STEPS) say at upright x (N×K)."""
    x = x / TABLE_HALF
    # A table has one row only, so any y is as good as another.
    grid = torch.stack((x, x), 2).unsqueeze(1)
    return F.grid_sample(tables.unsqueeze(2), grid, align_corners=False, padding_mode="border").squeeze(2)


def stretched(distance: Tensor, length: Tensor, source_length: Tensor, rigid: float) -> Tensor:
    """Distances from an edge, mapped from [0, length] to [0, source_length] so that the first `rigid` keep
    their scale.
    """
    keep = (torch.minimum(length, source_length) / 2).clamp(5e-5, rigid)
    beyond = (distance - keep).clamp_min(0) * (source_length - keep) / (length - keep).clamp_min(1e-4)
    return torch.minimum(distance.clamp_min(0), keep) + beyond


def bent(y: Tensor, knots: Tensor, source_knots: Tensor) -> Tensor:
    """y (N×K), mapped piece by piece so that each knot meets its source (both N×L×K, from above down), and
    shifted beyond the first and the last.
    """
    past = y.unsqueeze(1) - knots
    length = (knots[:, 1:] - knots[:, :-1]).clamp_min(1e-3)
    pieces = (past[:, :-1] / length).clamp(0, 1) * (source_knots[:, 1:] - source_knots[:, :-1])
    return source_knots[:, 0] + past[:, 0].clamp_max(0) + pieces.sum(1) + past[:, -1].clamp_min(0)


class Placed(NamedTuple):
    """A window put somewhere on a picture."""

    pixels: Tensor  # N×K int64: its pixels, counted row by row in the picture
    points: Tensor  # N×2×K: their centres, upright coordinates of the feature


class Window(nn.Module):
    """A window of `size` (height, width) that follows a feature over a square picture of `side` pixels.

    fade: K, 0 at the window's rim and 1 from `RIM` pixels on, for layers of features that outgrow it.
    """

    def __init__(self, size: tuple[int, int], side: int) -> None:
        super().__init__()
        self.middle: Tensor
        self.limit: Tensor
        self.stride: Tensor
        self.centres: Tensor
        self.pixels: Tensor
        self.fade: Tensor
        height, width = size
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        rim_rows = torch.minimum(rows, height - 1 - rows)
        rim_columns = torch.minimum(columns, width - 1 - columns)
        for name, value in {
            "middle": torch.tensor([[width / 2], [height / 2]]),
            "limit": torch.tensor([[side - width], [side - height]]),
            "stride": torch.tensor([1, side]),
            "centres": torch.stack((columns.flatten(), rows.flatten()))[None] + 0.5,
            "pixels": (rows * side + columns).flatten(),
            "fade": (torch.minimum(rim_rows, rim_columns) / RIM).clamp(max=1).flatten(),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def place(self, at: Frame) -> Placed:
        """On whole pixels about the features, kept inside the picture."""
        corner = (at.centre - self.middle).round().clamp_min(0).minimum(self.limit)  # N×2×1
        pixels = (corner.long().squeeze(2) * self.stride).sum(1, keepdim=True) + self.pixels
        centres = self.centres.expand(corner.shape[0], -1, -1)
        return Placed(pixels, torch.baddbmm(at.inverse @ (corner - at.centre), at.inverse, centres))


class Layer(NamedTuple):
    """What is laid over n windows of each picture: under · (1 − cover) + colour."""

    pixels: Tensor  # B×(n·K) int64: which
    colour: Tensor  # B×3×(n·K), multiplied by how much of it is seen
    cover: Tensor  # B×1×(n·K) in [0, 1]


def paste(picture: Tensor, *layers: Layer) -> Tensor:
    """The picture (B×3×H×W), changed in place, with layers over it that do not overlap, though their windows
    may.
    """
    pixels, colour, cover = (torch.cat(part, -1) for part in zip(*layers, strict=True))
    index = pixels.unsqueeze(1).expand(-1, 3, -1)
    flat = picture.flatten(2)
    return flat.scatter_add_(2, index, colour - cover * flat.gather(2, index)).view_as(picture)
