"""Sixty-eight landmarks from a small grey picture of a face: a network for two CPU cores.

    points = LandmarkRegressor()(pictures)  # B×1×96×96 in [0, 1] → B×68×2, crop units, as in LANDMARKS_68

A heat map for each point, whose mean place is the answer: X. Sun et al., "Integral human pose regression",
ECCV 2018. So no answer is bound to a grid, and every part of the network is told how far off it was.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.face_geometry import LANDMARKS_68
from models.layers import lay_out

SIDE = 96  # pixels
WIDTHS = (16, 32, 56, 96)  # at 1/2, 1/4, 1/8, 1/16 of the side
MAPS = 24  # side of the heat maps


class LandmarkRegressor(nn.Module):
    """0.4 M parameters and 42 million multiplications a picture."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.stem = conv(1, a, stride=2)  # 48²
        self.fine = nn.Sequential(conv(a, b, stride=2), conv(b, b))  # 24²
        self.middle = nn.Sequential(conv(b, c, stride=2), Residual(c))  # 12²
        self.coarse = nn.Sequential(conv(c, d, stride=2), Residual(d))  # 6²
        self.to_middle = conv(d, c, kernel=1)
        self.middle_again = Residual(c)
        self.to_fine = conv(c, b, kernel=1)
        self.fine_again = conv(b, b)
        self.heat = nn.Conv2d(b, len(LANDMARKS_68), 1)
        self.register_buffer("grid", (torch.arange(MAPS) + 0.5) / MAPS, persistent=False)
        lay_out(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: B×1×96×96 in [0, 1]. Each is brought to one brightness and contrast."""
        mean = pictures.mean((2, 3), keepdim=True)
        spread = (pictures - mean).square().mean((2, 3), keepdim=True).sqrt()
        fine = self.fine(self.stem((pictures - mean) / (spread + 0.03)))
        middle = self.middle(fine)
        middle = self.middle_again(middle + doubled(self.to_middle(self.coarse(middle))))
        whole = self.fine_again(fine + doubled(self.to_fine(middle)))
        return _mean_place(self.heat(whole), self.get_buffer("grid"))


class Residual(nn.Module):
    """Two convolutions, added to what goes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.second(self.first(x))))


def conv(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, normalised over the batch, and ReLU: the side of what goes in, divided by the stride."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def doubled(x: Tensor) -> Tensor:
    """B×C×2H×2W, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _mean_place(heat: Tensor, grid: Tensor) -> Tensor:
    """Heat maps (B×K×n×n) as B×K×2: the mean of x and y over each map's soft maximum."""
    share = heat.flatten(2).softmax(2).view_as(heat)
    return torch.stack(((share.sum(2) * grid).sum(2), (share.sum(3) * grid).sum(2)), 2)
