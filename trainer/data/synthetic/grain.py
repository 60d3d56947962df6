"""Noise that is read from a table of random numbers: the same at any size of picture and on any device."""

import torch
from torch import Tensor
from torch.nn import functional as F


def grain_at(table: Tensor, v: Tensor, u: Tensor) -> Tensor:
    """Smoothly between the numbers of tables that repeat in both directions.

    table: B×R×C; v, u: B×h×w, in steps of the table's rows and columns. Returns B×h×w.
    """
    rows, columns = table.shape[1:]
    framed = F.pad(table[:, None], (1, 1, 1, 1), mode="circular")
    v, u = torch.remainder(v, rows) + 1, torch.remainder(u, columns) + 1  # places in the framed table
    grid = torch.stack((u / (columns + 1) * 2 - 1, v / (rows + 1) * 2 - 1), -1)
    return F.grid_sample(framed, grid, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


def curls(table: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Coils, about one in each step of a table, that overlap: their light about 0 and how near the next
    coil's edge a place is ([0, 1], 1 in a coil's middle). Tables and places as in `grain_at`; two B×h×w."""
    rows, columns = table.shape[1:]
    flat = table.flatten(1)
    nearest = torch.full_like(v, 9.0)
    second = torch.full_like(v, 9.0)
    light = torch.zeros_like(v)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row, place = v.floor() + down, u.floor() + right
            at = (torch.remainder(row, rows) * columns + torch.remainder(place, columns)).long().flatten(1)
            first = flat.gather(1, at).view_as(v)
            other = flat.roll(17, 1).gather(1, at).view_as(v)
            y, x = v - row - 0.15 - 0.7 * first, u - place - 0.15 - 0.7 * other
            far = (x * x + y * y).sqrt()
            # A spiral of strands.
            coil = torch.sin(9.0 * far + torch.atan2(y, x) + 6.28 * (first + other))
            nearer = far < nearest
            second = torch.where(nearer, nearest, torch.minimum(second, far))
            light = torch.where(nearer, coil, light)
            nearest = torch.where(nearer, far, nearest)
    return light, ((second - nearest) / 0.6).clamp(0, 1)
