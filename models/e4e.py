"""The encoders of e4e (Tov et al., *Designing an Encoder for StyleGAN Image Manipulation*) and pSp
(Richardson et al., *Encoding in Style*): a picture's W+ code from three levels of an improved ResNet with
squeeze and excitation.

The two share all their parameters, named as in e4e's public code; they differ in what the rows of the code
mean.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import EqualLinear
from models.stylegan2 import STYLE

SIZE = 256  # side of the pictures that the encoders see
UNITS = ((64, 3), (128, 4), (256, 14), (512, 3))  # width and number of units of each stage; the first halves
TAPS = (6, 20, 23)  # the units whose output the heads look at: 64², 32² and 16² of a 256² picture
HEADS = ((3, 16), (7, 32), (None, 64))  # up to which row a head looks at which size
SLOPE = 0.01


class SqueezeExcite(nn.Module):
    """Scales each channel by what the means of all of them say."""

    def __init__(self, channels: int, ratio: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // ratio, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // ratio, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))


class Unit(nn.Module):
    """A residual unit, its output `stride` times smaller."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            SqueezeExcite(outputs),
        )
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        projection = self._modules.get("shortcut_layer")
        short = x[:, :, :: self.stride, :: self.stride] if projection is None else projection(x)
        return short + cast(Tensor, self.res_layer(x))


class Head(nn.Module):
    """One row of the code from features of `side` pixels a side."""

    def __init__(self, side: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        while side > 1:
            parts += [nn.Conv2d(STYLE, STYLE, 3, 2, 1), nn.LeakyReLU(SLOPE)]
            side //= 2
        self.convs = nn.Sequential(*parts)
        self.linear = EqualLinear(STYLE, STYLE)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.linear(self.convs(x).flatten(1)))


class Encoder(nn.Module):
    """rows: L of the generator, 18 for one of 1024 pixels, 14 for 256.

    relative: e4e's meaning of the rows, each a difference from the first; otherwise pSp's, each the row
    itself.
    """

    def __init__(self, rows: int, relative: bool = True) -> None:
        super().__init__()
        self.relative = relative
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        units: list[nn.Module] = []
        inputs = 64
        for outputs, count in UNITS:
            for index in range(count):
                units.append(Unit(inputs, outputs, 2 if index == 0 else 1))
                inputs = outputs
        self.body = nn.Sequential(*units)
        self.styles = nn.ModuleList(Head(_side_of(row)) for row in range(rows))
        self.latlayer1 = nn.Conv2d(256, STYLE, 1)
        self.latlayer2 = nn.Conv2d(128, STYLE, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """B×L×512, to which the caller adds the mean w. picture: B×3×256×256 in [−1, 1]."""
        x, taps = self.input_layer(picture), []
        for index, unit in enumerate(self.body):
            x = unit(x)
            if index in TAPS:
                taps.append(x)
        fine, middle, coarse = taps
        middle = _enlarged(coarse, middle) + self.latlayer1(middle)
        fine = _enlarged(middle, fine) + self.latlayer2(fine)
        by_side = {16: coarse, 32: middle, 64: fine}
        rows = [head(by_side[_side_of(row)]) for row, head in enumerate(self.styles)]
        code = torch.stack(rows, 1)
        if self.relative:
            code = torch.cat((code[:, :1], code[:, :1] + code[:, 1:]), 1)
        return code


def _side_of(row: int) -> int:
    """The side of the features that the head of a row looks at."""
    return next(side for last, side in HEADS if last is None or row < last)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
