"""D_F: aligned features → picture (supplement, Figure 1)."""

from typing import cast

import torch
from torch import Tensor, nn

from models.imf.blocks import FeatRes, Up
from models.imf.shape import LEVELS, Shape

BLOCKS = 3  # residual blocks of each of the levels 3 to 1


class FrameDecoder(nn.Module):
    """From level 4 up: doubled, joined with the next level's features, residual blocks, the first of which
    brings the two back to one width; doubled twice more; a convolution and a sigmoid.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.ups, self.blocks = nn.ModuleList(), nn.ModuleList()
        inputs = shape.aligned_width(LEVELS)
        for index, outputs in enumerate(shape.decoder):
            self.ups.append(Up(inputs, outputs))
            level = LEVELS - 1 - index
            if level >= 1:
                joined = outputs + shape.aligned_width(level)
                rest = [FeatRes(outputs, outputs) for _ in range(BLOCKS - 1)]
                self.blocks.append(nn.Sequential(FeatRes(joined, outputs), *rest))
            inputs = outputs
        self.last = nn.Conv2d(inputs, 3, 3, padding=1)

    def forward(self, aligned: list[Tensor]) -> Tensor:
        """B×3×H×W in [0, 1]. aligned: B×C×H×W each, levels 1 to 4."""
        *finer, x = aligned
        for index, up in enumerate(self.ups):
            x = up(x)
            if index < len(self.blocks):
                x = self.blocks[index](torch.cat((x, finer[-1 - index]), 1))
        return cast(Tensor, self.last(x)).sigmoid()
