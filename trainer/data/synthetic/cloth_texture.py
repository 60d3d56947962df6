"""Cloth painted: colours, patterns, necklines, lapels."""

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.clothes import CHEST, PATTERNS, Clothes, neckline, places
from trainer.data.synthetic.parts import CLOTH, column, smooth, window

EDGE = 80.0  # cm: over this much of a texel's share of the chest's girth, each way, a neckline fades


def paint_clothes(clothes: Clothes, atlas: Tensor) -> None:
    """Write the rectangle CLOTH of B×4×A×A: linear reflectance, and 0 where skin is bare."""
    target = window(atlas, CLOTH)
    height, width = target.shape[2:]
    split = round(height * CHEST)
    points, angle = (one.to(atlas.device) for one in places(split, width))
    across, down = angle[None].expand(split, -1) * 13, points[..., 1]
    below = neckline(clothes, points)
    colour = _cloth(clothes, across, down)
    bare = column(clothes.kind == 5, 3)
    colour = torch.where(bare, _suit(clothes, colour, points), colour)
    seam = torch.exp(-(((below - 0.8) / 0.18) ** 2)) * column(clothes.kind != 2)
    colour = colour * (1 - 0.25 * seam)[:, None]
    target[:, :3, :split] = colour.clamp(0.003, 0.92)
    target[:, 3, :split] = smooth(-EDGE / width, EDGE / width, below)

    rows = height - split
    v = torch.linspace(0, 1, rows, device=atlas.device)[:, None]
    turn = angle[None].expand(rows, -1)
    plain = _cloth(clothes, turn * 8, v * 5)
    shirt = _cloth(clothes._replace(colour=clothes.second), turn * 8, v * 5)
    rib = 1 + 0.16 * torch.sin(turn * 90) * column(clothes.kind == 4)
    colour = torch.where(column(clothes.kind == 5, 3), shirt, plain) * rib[:, None]
    colour = colour * (0.75 + 0.25 * smooth(0.1, 0.45, v))  # in its own shade inside
    open_ = column((clothes.kind == 2) * (0.05 + 0.22 * clothes.low) + (clothes.kind == 5) * 0.06)
    open_ = open_ + 0.16 * column((clothes.kind == 2) | (clothes.kind == 5)) * smooth(0.4, 1, v)
    hood = column(clothes.kind == 3) * 0.12
    target[:, :3, split:] = colour.clamp(0.003, 0.92)
    soft = 8 / width  # radians
    target[:, 3, split:] = smooth(-soft, soft, turn.abs() - torch.maximum(open_, hood))


def _cloth(clothes: Clothes, x: Tensor, y: Tensor) -> Tensor:
    """B×3×h×w. x, y: h×w, cm along the cloth."""
    x, y = x[None], y[None]
    scale, phase = column(clothes.scale), clothes.phase[:, :, None, None]
    wave = 2 * np.pi / scale
    stripe = smooth(-0.25, 0.25, torch.sin(wave * y + 6.28 * phase[:, 0]))
    along = smooth(-0.25, 0.25, torch.sin(wave * x + 6.28 * phase[:, 0]))
    blobs = torch.sin(wave * 0.7 * x + 5 * phase[:, 1] + torch.sin(wave * 0.5 * y)) + torch.sin(
        wave * 0.8 * y + 7 * phase[:, 2] + 1.5 * torch.sin(wave * 0.6 * x)
    )
    none = torch.zeros_like(blobs)
    share = torch.stack(
        [
            value + none
            for value in (none, stripe, along, 0.5 * (stripe + along), none, none, smooth(0.5, 0.9, blobs))
        ]
    )
    kinds = clothes.pattern[None, :, None, None].expand(1, -1, *share.shape[2:])
    share = share.gather(0, kinds)[0][:, None]
    colour = clothes.colour[..., None, None] * (1 - share) + clothes.second[..., None, None] * share
    row = y * 2 * np.pi / 0.9
    knit = 0.75 + 0.25 * torch.sin(row + 1.6 * torch.sin(x * 2 * np.pi / 0.9).abs())
    weave = 1 + 0.14 * torch.sin(x * 9.1 + y * 6.7) * torch.sin(x * 5.3 - y * 8.9 + 3 * phase[:, 3])
    fold = torch.sin(x * 0.5 + 2 * torch.sin(y * 0.21 + 6 * phase[:, 1]) + 6 * phase[:, 2])
    light = 1 + 0.12 * fold + 0.05 * torch.sin(x * 1.3 - y * 0.4 + 6 * phase[:, 3])
    light = light * torch.where(
        column(clothes.pattern == PATTERNS.index("knit")), knit, torch.ones_like(knit)
    )
    light = light * torch.where(
        column(clothes.pattern == PATTERNS.index("denim")), weave, torch.ones_like(weave)
    )
    return colour * light[:, None]


def _suit(clothes: Clothes, jacket: Tensor, points: Tensor) -> Tensor:
    """A jacket with lapels over a shirt with a tie or none. jacket: B×3×h×w."""
    x, y = points[..., 0].abs()[None], points[..., 1][None]
    ahead = (points[..., 2] < 3)[None]
    depth = 15 + 9 * column(clothes.low)
    inside = x - 5.6 * (1 - (y - 16) / depth).clamp(min=0)  # cm outside the shirt's edge
    shirt = (clothes.second[..., None, None] * (0.95 + 0.05 * torch.sin(y * 3))).expand_as(jacket)
    half = 1.0 + 0.09 * (y - 17).clamp(min=0)
    tied = column(clothes.phase[:, 3] > 0.45) * smooth(0.15, -0.15, x - half) * smooth(16.6, 17, y)
    tied = tied[:, None]
    bands = 1 + 0.5 * (torch.sin((points[..., 0] + points[..., 1])[None] * 3) > 0.4) * (
        column(clothes.phase[:, 2] > 0.5)
    )
    tie = clothes.third[..., None, None] * bands[:, None]
    shirt = shirt * (1 - 0.25 * torch.exp(-((x / 0.15) ** 2)) * (y > 16))[:, None]
    shirt = shirt + (tie - shirt) * tied
    lapel = 2.6 + 2.2 * smooth(16, 21, y) - 3.5 * smooth(22, 34, y)
    edge = torch.exp(-(((inside - lapel) / 0.25) ** 2)) + torch.exp(-((inside / 0.3) ** 2))
    jacket = jacket * (1 - 0.45 * edge.clamp(max=1) * ahead)[:, None]
    jacket = jacket * (1 + 0.12 * ((inside > 0) & (inside < lapel) & ahead))[:, None]
    share = (smooth(0.2, -0.2, inside) * ahead)[:, None]
    return jacket + (shirt - jacket) * share
