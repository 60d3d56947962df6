"""G, the generator: a decoder of which every normalisation is modulated by what it decodes (Park et al.,
*Semantic Image Synthesis with Spatially-Adaptive Normalization*, arXiv:1903.07291, section 3).
"""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.liveportrait.blocks import fine

HIDDEN = 128  # channels that scale and shift are made of
MIDDLE = 6  # blocks at the first size
SLOPE = 0.2


class Spade(nn.Module):
    """Instance normalisation, whose scale and shift are drawn from a map."""

    def __init__(self, channels: int, label: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(label, HIDDEN, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(HIDDEN, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(HIDDEN, channels, 3, padding=1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        hidden = self.mlp_shared(F.interpolate(label, x.shape[2:]))
        scale, shift = self.mlp_gamma(hidden), self.mlp_beta(hidden)
        normal: Tensor = F.instance_norm(x) * (1 + scale) + shift
        return normal


class SpadeBlock(nn.Module):
    """Two convolutions after modulated norms, and a way around them that is modulated, not activated, where
    the channels change.
    """

    def __init__(self, inputs: int, outputs: int, label: int) -> None:
        super().__init__()
        between = min(inputs, outputs)
        self.conv_0 = nn.Conv2d(inputs, between, 3, padding=1)
        self.conv_1 = nn.Conv2d(between, outputs, 3, padding=1)
        self.norm_0, self.norm_1 = Spade(inputs, label), Spade(between, label)
        self.changes = inputs != outputs
        if self.changes:
            self.conv_s = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm_s = Spade(inputs, label)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        around = self.conv_s(self.norm_s(x, label)) if self.changes else x
        out = self.conv_0(F.leaky_relu(self.norm_0(x, label), SLOPE))
        out = self.conv_1(F.leaky_relu(self.norm_1(out, label), SLOPE))
        return cast(Tensor, around + out)


class SpadeGenerator(nn.Module):
    """inputs: channels of what W gives; most: of the first blocks."""

    def __init__(self, inputs: int = 256, most: int = 512) -> None:
        super().__init__()
        self.fc = nn.Conv2d(inputs, most, 3, padding=1)
        for index in range(MIDDLE):
            self.add_module(f"G_middle_{index}", SpadeBlock(most, most, inputs))
        self.up_0 = SpadeBlock(most, most // 2, inputs)
        self.up_1 = SpadeBlock(most // 2, most // 8, inputs)
        self.conv_img = nn.Sequential(nn.Conv2d(most // 8, 3 * 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, label: Tensor) -> Tensor:
        """B×3×8H×8W in [0, 1]. label: B×256×H×W, W's output."""
        with fine(label.device.type):
            x = self.fc(label)
        for index in range(MIDDLE):
            x = self.get_submodule(f"G_middle_{index}")(x, label)
        for up in (self.up_0, self.up_1):
            x = up(F.interpolate(x, scale_factor=2), label)
        return cast(Tensor, self.conv_img(F.leaky_relu(x, SLOPE))).sigmoid()


def folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The public weights without spectral normalisation: W / σ, with σ = uᵀWv of the vectors as they were
    stored, for training ended with those.
    """
    found = {}
    for key, value in state.items():
        name, _, kind = key.rpartition(".")
        if kind == "weight_orig":
            u, v = state[f"{name}.weight_u"], state[f"{name}.weight_v"]
            found[f"{name}.weight"] = value / torch.dot(u, value.flatten(1) @ v)
        elif kind not in ("weight_u", "weight_v"):
            found[key] = value
    return found
