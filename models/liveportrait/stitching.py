"""S: stitching and retargeting (section 3.3), three perceptrons that shift key points."""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import without_autocast
from models.liveportrait.keypoints import POINTS

COORDINATES = 3 * POINTS
LEAST = 1e-6  # added to a width, pixels


class Perceptron(nn.Module):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, *given: Tensor) -> Tensor:
        """float32, for these are points. given: B×… each, of which the layers see all numbers."""
        x = torch.cat([one.float().flatten(1) for one in given], 1)
        with without_autocast(x.device.type):
            for layer in self.mlp:
                if isinstance(layer, nn.Linear):
                    x = F.linear(x, layer.weight.float(), layer.bias.float())
                else:
                    x = layer(x)
        return x


class Stitching(nn.Module):
    """Its parts are named as in the public weights."""

    def __init__(self) -> None:
        super().__init__()
        self.retarget_shoulder = Perceptron(2 * COORDINATES, 128, 128, 64, COORDINATES + 2)
        self.retarget_mouth = Perceptron(COORDINATES + 2, 128, 128, 64, COORDINATES)
        self.retarget_eye = Perceptron(COORDINATES + 3, 256, 256, 128, 128, 64, COORDINATES)

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """B×21×3: the driving key points, moved so that the shoulders stay. source, driving: B×21×3."""
        found = self.retarget_shoulder(source, driving)
        shift = F.pad(found[:, COORDINATES:], (0, 1)).unsqueeze(1)  # of x and y
        return driving + cast(Tensor, found[:, :COORDINATES].view(-1, POINTS, 3) + shift)

    def eyes(self, source: Tensor, ratios: Tensor) -> Tensor:
        """B×21×3 to be added. ratios: B×3, how open the source's eyes are, left and right, and how they
        should be.
        """
        return cast(Tensor, self.retarget_eye(source, ratios)).view(-1, POINTS, 3)

    def lips(self, source: Tensor, ratios: Tensor) -> Tensor:
        """B×21×3 to be added. ratios: B×2, how open the source's lips are, and how they should be."""
        return cast(Tensor, self.retarget_mouth(source, ratios)).view(-1, POINTS, 3)


def openness(points: Tensor, across: tuple[int, int], along: tuple[int, int]) -> Tensor:
    """B×1: the distance of two points over that of two others. points: B×P×2, pixels."""
    (high, low), (left, right) = ([points[:, index] for index in pair] for pair in (across, along))
    wide = (left - right).norm(dim=1, keepdim=True)
    ratio: Tensor = (high - low).norm(dim=1, keepdim=True) / (wide + LEAST)
    return ratio
