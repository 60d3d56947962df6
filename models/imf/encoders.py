"""E_T and E_F: what is read from a picture (supplement, Figure 1). Both take pictures in [−1, 1]."""

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from models.imf.blocks import Down, norm
from models.imf.shape import LEVELS, Shape
from models.layers import ConvLayer, EqualConv2d, EqualLinear, ResBlock

LAYERS = 4  # of the perceptron, before the last one


class TokenEncoder(nn.Module):
    """E_T: picture → token. Residual blocks down to 4×4, one convolution over all of it, and a perceptron,
    whose layers but the last are activated (the figure does not show it, but section 3.1 says perceptron).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        last = shape.encoder[-1]
        self.blocks = nn.Sequential(
            ConvLayer(3, shape.encoder[0], 1), *[ResBlock(a, b) for a, b in pairwise(shape.encoder)]
        )
        self.whole = EqualConv2d(last, last, 4, bias=False)
        self.perceptron = nn.Sequential(
            *[EqualLinear(last, last, activation=True) for _ in range(LAYERS)],
            EqualLinear(last, shape.token),
        )

    def forward(self, picture: Tensor) -> Tensor:
        """B×token."""
        x = self.whole(self.blocks(picture)).flatten(1)
        return cast(Tensor, self.perceptron(x))


class FeatureEncoder(nn.Module):
    """E_F: picture → f¹…f⁴."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        first = shape.features[0]
        self.first = nn.Sequential(nn.Conv2d(3, first, 7, padding=3, bias=False), norm(first), nn.ReLU())
        self.downs = nn.ModuleList(Down(a, b) for a, b in pairwise(shape.features))

    def forward(self, picture: Tensor) -> list[Tensor]:
        """B×C×H×W each; 64×64 down to 8×8 of 256×256."""
        x, levels = self.first(picture), []
        for down in self.downs:
            x = down(x)
            levels.append(x)
        return levels[-LEVELS:]
