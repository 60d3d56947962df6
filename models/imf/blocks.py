"""What the encoder of features and the decoder of frames are made of. Figure 1 names the blocks and does not
draw them; these are the ones of the first-order motion model, but for the normalisation: over groups of
channels of one picture, so that training, with any batch, and live use do the same.
"""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32  # of channels that are normalised together, at most
GROUP = 4  # channels of a group, at least


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(GROUPS, channels // GROUP), channels)


class Down(nn.Sequential):
    """Half the size: convolution, normalisation, ReLU, mean of 2×2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU(), nn.AvgPool2d(2)
        )


class Up(nn.Sequential):
    """Twice the size: each pixel four times, convolution, normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            norm(outputs),
            nn.ReLU(),
        )


class FeatRes(nn.Module):
    """Residual block, activated before its convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        out = self.conv2(F.relu(self.norm2(out)))
        return cast(Tensor, self.skip(x) + out)
