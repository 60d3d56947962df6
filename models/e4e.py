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
# Width, as a fraction of a style's, and number of units of each stage; the first of a stage halves the size.
UNITS = ((1 / 8, 3), (1 / 4, 4), (1 / 2, 14), (1, 3))
TAPS = (6, 20, 23)  # the units whose output the heads look at: 64², 32² and 16² of a 256² picture
HEADS = ((3, 16), (7, 8), (None, 4))  # up to which row a head looks at features that many times smaller
SLOPE = 0.01


class SqueezeExcite(nn.Module):
    """Scales each channel by what the means of all of them say."""

    def __init__(self, channels: int, ratio: int = 16) -> None:
        super().__init__()
        inner = max(channels // ratio, 1)
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=False)

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

    def __init__(self, side: int, style: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        while side > 1:
            parts += [nn.Conv2d(style, style, 3, 2, 1), nn.LeakyReLU(SLOPE)]
            side //= 2
        self.convs = nn.Sequential(*parts)
        self.linear = EqualLinear(style, style)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.linear(self.convs(x).flatten(1)))


class Encoder(nn.Module):
    """rows: L of the generator, 18 for one of 1024 pixels, 14 for 256.

    relative: e4e's meaning of the rows, each a difference from the first; otherwise pSp's, each the row
    itself. side: of the pictures, a power of two from 32 on. style: width of the code, a multiple of 8.
    """

    def __init__(self, rows: int, relative: bool = True, side: int = SIZE, style: int = STYLE) -> None:
        super().__init__()
        self.relative = relative
        first, second, third, _ = widths = [round(style * share) for share, _ in UNITS]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        units: list[nn.Module] = []
        inputs = first
        for outputs, (_, count) in zip(widths, UNITS, strict=True):
            for index in range(count):
                units.append(Unit(inputs, outputs, 2 if index == 0 else 1))
                inputs = outputs
        self.body = nn.Sequential(*units)
        self.styles = nn.ModuleList(Head(side // _shrinking(row), style) for row in range(rows))
        self.latlayer1 = nn.Conv2d(third, style, 1)
        self.latlayer2 = nn.Conv2d(second, style, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """B×L×style, to which the caller adds the mean w. picture: B×3×side×side in [−1, 1]."""
        x, taps = self.input_layer(picture), []
        for index, unit in enumerate(self.body):
            x = unit(x)
            if index in TAPS:
                taps.append(x)
        fine, middle, coarse = taps
        middle = _enlarged(coarse, middle) + self.latlayer1(middle)
        fine = _enlarged(middle, fine) + self.latlayer2(fine)
        levels = {16: coarse, 8: middle, 4: fine}
        rows = [head(levels[_shrinking(row)]) for row, head in enumerate(self.styles)]
        code = torch.stack(rows, 1)
        if self.relative:
            code = torch.cat((code[:, :1], code[:, :1] + code[:, 1:]), 1)
        return code


def _shrinking(row: int) -> int:
    """How many times smaller than the picture the features are that the head of a row looks at."""
    return next(times for last, times in HEADS if last is None or row < last)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
