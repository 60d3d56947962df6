"""F, the appearance extractor: a portrait's feature volume."""

from collections import OrderedDict
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from models.liveportrait.blocks import ConvNorm

CHANNELS, DEPTH = 32, 16  # of the volume
RESIDUALS = 6


class Down(ConvNorm):
    """And half the size."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(super().forward(x), 2)


class ResidualBlock3d(nn.Module):
    """Normalised and activated before its convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        return x + cast(Tensor, self.conv2(F.relu(self.norm2(out))))


class AppearanceExtractor(nn.Module):
    """width: channels of the first layer. depth: of the volume."""

    def __init__(self, width: int = 64, depth: int = DEPTH) -> None:
        super().__init__()
        self.depth = depth
        self.first = ConvNorm(3, width)
        self.down_blocks = nn.ModuleList((Down(width, 2 * width), Down(2 * width, 4 * width)))
        self.second = nn.Conv2d(4 * width, CHANNELS * depth, 1)
        self.resblocks_3d = nn.Sequential(
            OrderedDict((f"3dr{index}", ResidualBlock3d(CHANNELS)) for index in range(RESIDUALS))
        )

    def forward(self, picture: Tensor) -> Tensor:
        """B×32×16×H/4×W/4 of pictures, B×3×H×W in [0, 1]; 256×256 for the public weights."""
        x = self.first(picture)
        for down in self.down_blocks:
            x = down(x)
        x = self.second(x)
        batch, _, height, width = x.shape
        return cast(Tensor, self.resblocks_3d(x.view(batch, CHANNELS, self.depth, height, width)))
