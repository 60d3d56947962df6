"""StyleGAN2: mapping, synthesis and discriminator (Karras et al., *Analyzing and Improving the Image Quality
of StyleGAN*, configuration F).

Parameters are named as in the public PyTorch re-implementation by rosinality, whose files load by key;
NVlabs' files load through `models.public_weights`. Pictures are in [−1, 1] here, as in training.

L = 2·log2(size) − 2 is the number of styles of a picture: one for every convolution, and a last one for the
last RGB layer; the others take the style of the convolution that follows them.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from models.layers import ConvLayer, EqualLinear, PixelNorm, ResBlock, StyledConv, ToRGB

STYLE = 512
BASE = 32768  # side × channels of the features that have fewer channels than the most
MAPPING_LAYERS = 8
MAPPING_LR = 0.01
STDDEV_GROUP = 4  # pictures at most whose deviation the discriminator sees together


def width(side: int, most: int = 512, base: int = BASE) -> int:
    """Channels of the features that are `side` pixels wide."""
    return min(most, base // side)


def styles(size: int) -> int:
    """L: styles of a picture of `size` pixels a side."""
    return 2 * round(math.log2(size)) - 2


class Constant(nn.Module):
    """The learned 4×4 that every picture begins with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, batch: int) -> Tensor:
        return self.input.repeat(batch, 1, 1, 1)


class Noises(nn.Module):
    """One fixed picture of noise for each convolution, so that the same code gives the same picture."""

    def __init__(self, count: int) -> None:
        super().__init__()
        for index in range(count):
            side = 4 * 2 ** ((index + 1) // 2)
            self.register_buffer(f"noise_{index}", torch.randn(1, 1, side, side))

    def forward(self) -> list[Tensor]:
        return list(self.buffers())


class Generator(nn.Module):
    """w+ → picture. size: a power of two from 8 on. Raises ValueError for any other."""

    def __init__(self, size: int, style: int = STYLE, most: int = 512, base: int = BASE) -> None:
        super().__init__()
        _check(size)
        self.size = size
        self.style = nn.Sequential(
            PixelNorm(),
            *[EqualLinear(style, style, lr_mul=MAPPING_LR, activation=True) for _ in range(MAPPING_LAYERS)],
        )
        first = width(4, most, base)
        self.input = Constant(first)
        self.conv1 = StyledConv(first, first, 3, style)
        self.to_rgb1 = ToRGB(first, style, upsample=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in pairwise(width(side, most, base) for side in _sides(size)):
            self.convs.append(StyledConv(inputs, outputs, 3, style, upsample=True))
            self.convs.append(StyledConv(outputs, outputs, 3, style))
            self.to_rgbs.append(ToRGB(outputs, style))
        self.noises = Noises(styles(size) - 1)

    def map(self, z: Tensor, truncation: float = 1.0, mean: Tensor | None = None) -> Tensor:
        """B×512: w of z (B×512), drawn towards `mean` (the mean w) if truncation is below 1."""
        w: Tensor = self.style(z)
        return w if mean is None else mean + truncation * (w - mean)

    def forward(self, w: Tensor, noises: Sequence[Tensor] | None = None) -> Tensor:
        """B×3×size×size, about [−1, 1]. w: B×L×512. noises: others than the fixed ones, for each convolution
        one of its size (`fresh_noises`)."""
        noises = noises or self.noises()
        x = self.conv1(self.input(w.shape[0]), w[:, 0], noises[0])
        rgb: Tensor = self.to_rgb1(x, w[:, 1])
        for index, to_rgb in enumerate(self.to_rgbs):
            at = 2 * index
            x = self.convs[at](x, w[:, at + 1], noises[at + 1])
            x = self.convs[at + 1](x, w[:, at + 2], noises[at + 2])
            rgb = to_rgb(x, w[:, at + 3], rgb)
        return rgb

    def fresh_noises(self, batch: int, random: torch.Generator) -> list[Tensor]:
        """B×1×H×W for each convolution, as in training: what is by chance, no code has to say."""
        return [
            torch.randn(batch, *noise.shape[1:], generator=random, device=noise.device)
            for noise in self.noises()
        ]


class Discriminator(nn.Module):
    """Picture → how real it looks. size: a power of two from 8 on. Raises ValueError for any other."""

    def __init__(self, size: int, most: int = 512, base: int = BASE) -> None:
        super().__init__()
        _check(size)
        sides = list(reversed(_sides(size)))
        self.convs = nn.Sequential(
            ConvLayer(3, width(size, most, base), 1),
            *[ResBlock(width(a, most, base), width(b, most, base)) for a, b in pairwise(sides)],
        )
        last = width(4, most, base)
        self.final_conv = ConvLayer(last + 1, last, 3)
        self.final_linear = nn.Sequential(EqualLinear(last * 16, last, activation=True), EqualLinear(last, 1))

    def features(self, picture: Tensor) -> list[Tensor]:
        """What each of its sizes sees, the largest first."""
        found = []
        for layer in self.convs:
            picture = layer(picture)
            found.append(picture)
        return found

    def forward(self, picture: Tensor) -> Tensor:
        """B×1 logits. picture: B×3×size×size in [−1, 1]."""
        x = self.convs(picture)
        x = self.final_conv(torch.cat((x, group_deviation(x)), 1))
        return cast(Tensor, self.final_linear(x.flatten(1)))


def group_deviation(x: Tensor) -> Tensor:
    """B×1×H×W: the mean standard deviation over the pictures of a group; B pictures make groups of up to
    `STDDEV_GROUP`, every B/group-th picture in one. It tells a batch of look-alikes.
    """
    batch, _, height, side = x.shape
    group = next(count for count in range(min(batch, STDDEV_GROUP), 0, -1) if batch % count == 0)
    deviation = (x.view(group, -1, *x.shape[1:]).var(0, correction=0) + 1e-8).sqrt()
    return deviation.mean((1, 2, 3)).view(-1, 1, 1, 1).repeat(group, 1, height, side)


def _sides(size: int) -> list[int]:
    """4, 8, … size."""
    return [2**power for power in range(2, round(math.log2(size)) + 1)]


def _check(size: int) -> None:
    if size < 8 or size & (size - 1):
        raise ValueError(f"a StyleGAN2 of {size} pixels: the side must be a power of two from 8 on")
