"""IMF_A: the source's features, brought to where the driver's motion has them (supplement, section 3.1)."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import TransformerBlock

SLOWEST = 100.0  # places in a radian of the positions' slowest wave


def align(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Equation 5, softmax(QKᵀ/√d)·V with one head: B×N×V. query, key: B×N×d; value: B×N×V."""
    one = F.scaled_dot_product_attention(query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1))
    return one.squeeze(1)


class Positions(nn.Module):
    """Learned 2-D positions: half of the channels tell the row, half the column. They begin as waves, so that
    attention begins local.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(_waves(channels // 2, side).view(1, -1, side, 1))
        self.columns = nn.Parameter(_waves(channels // 2, side).view(1, -1, 1, side))

    def forward(self) -> Tensor:
        """1×C×H×W."""
        side = self.rows.shape[2]
        return torch.cat((self.rows.expand(-1, -1, -1, side), self.columns.expand(-1, -1, side, -1)), 1)


class Alignment(nn.Module):
    """One level. width: channels of the motion maps and of the result; features: of the source's.

    Queries and keys are the motion maps of the driver and of the source, projected to the features' width.
    Their projections begin equal: each place then looks first for the place that is most like itself. Neither
    has a bias, which for keys changes nothing.
    """

    def __init__(self, width: int, features: int, side: int, blocks: int, heads: int, growth: int) -> None:
        super().__init__()
        self.features = features
        self.positions = Positions(width, side)
        self.query = nn.Linear(width, features, bias=False)
        self.key = nn.Linear(width, features, bias=False)
        self.value = nn.Linear(features, width)
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, growth) for _ in range(blocks)])
        nn.init.orthogonal_(self.query.weight)
        with torch.no_grad():
            self.key.weight.copy_(self.query.weight)

    def keys(self, motion: Tensor) -> Tensor:
        """B×N×features, of the source's motion map (B×width×H×W): all that its motion says to a driver's."""
        return cast(Tensor, self.key(places(motion + self.positions())))

    def queries(self, motion: Tensor) -> Tensor:
        """B×N×features, of the driver's motion map (B×width×H×W)."""
        return cast(Tensor, self.query(places(motion + self.positions())))

    def forward(self, motion: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The aligned features, B×width×H×W, and whatever is taken along with them, B×C×H×W.

        motion: B×width×H×W, the driver's; keys: B×N×features; values: B×(features + C)×H×W, the source's.

        Values are projected to `width` after they have been weighted and not before: weights add up to one,
        so it is the same, and the source's features are used as they are kept.
        """
        positions = self.positions()
        found = align(self.queries(motion), keys, places(values))
        x = self.blocks(self.value(found[..., : self.features]) + places(positions))
        side = motion.shape[2]
        return picture(x, side), picture(found[..., self.features :], side)


def places(maps: Tensor) -> Tensor:
    """B×C×H×W → B×N×C."""
    return maps.flatten(2).transpose(1, 2)


def picture(tokens: Tensor, side: int) -> Tensor:
    """B×N×C → B×C×H×W."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, side, side)


def _waves(channels: int, side: int) -> Tensor:
    """channels×side: sines and cosines of 0 … side − 1, from fast to slow."""
    speed = torch.exp(-math.log(SLOWEST) * torch.arange(channels // 2) / (channels // 2))
    angle = speed.view(-1, 1) * torch.arange(side)
    return torch.cat((angle.sin(), angle.cos()))
