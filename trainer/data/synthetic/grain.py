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
