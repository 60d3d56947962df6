"""M, the motion extractor: a ConvNeXt V2 (Woo et al., arXiv:2301.00808) that ends in the key points and how
they move.
"""

from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.liveportrait.keypoints import POINTS, Motion, degrees

BINS = 66  # of each angle, 3° each
EPSILON = 1e-6  # of every norm
DEPTHS, WIDTHS = (3, 3, 9, 3), (96, 192, 384, 768)  # the tiny one


class Raw(NamedTuple):
    """What the heads give."""

    pitch: Tensor  # B×66, of bins of an angle, before their softmax; likewise yaw and roll
    yaw: Tensor
    roll: Tensor
    t: Tensor  # B×3
    exp: Tensor  # B×63
    scale: Tensor  # B×1
    kp: Tensor  # B×63


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of B×C×H×W."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation (section 3.2) of B×H×W×C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        response = x.norm(dim=(1, 2), keepdim=True)
        response = response / (response.mean(-1, keepdim=True) + EPSILON)
        normal: Tensor = self.gamma * (x * response) + self.beta + x
        return normal


class Block(nn.Module):
    """Depthwise 7×7, then each place by itself: four times as wide and back. Added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=EPSILON)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.grn = ResponseNorm(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        places = self.pwconv2(self.grn(F.gelu(self.pwconv1(places))))
        return x + cast(Tensor, places.permute(0, 3, 1, 2))


class Detector(nn.Module):
    """ConvNeXt V2 with the seven heads."""

    def __init__(self, depths: tuple[int, ...] = DEPTHS, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0]))]
        )
        for narrow, wide in pairwise(widths):
            self.downsample_layers.append(nn.Sequential(ChannelNorm(narrow), nn.Conv2d(narrow, wide, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        last = widths[-1]
        self.norm = nn.LayerNorm(last, eps=EPSILON)
        self.fc_kp = nn.Linear(last, 3 * POINTS)
        self.fc_scale = nn.Linear(last, 1)
        nn.init.ones_(self.fc_scale.bias)  # about what it ends with: a head of no size could not be trained
        self.fc_pitch = nn.Linear(last, BINS)
        self.fc_yaw = nn.Linear(last, BINS)
        self.fc_roll = nn.Linear(last, BINS)
        self.fc_t = nn.Linear(last, 3)
        self.fc_exp = nn.Linear(last, 3 * POINTS)

    def forward(self, x: Tensor) -> Raw:
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        x = self.norm(x.mean((2, 3)))
        return Raw(
            pitch=self.fc_pitch(x),
            yaw=self.fc_yaw(x),
            roll=self.fc_roll(x),
            t=self.fc_t(x),
            exp=self.fc_exp(x),
            scale=self.fc_scale(x),
            kp=self.fc_kp(x),
        )


class MotionExtractor(nn.Module):
    """depths, widths: blocks and channels of the detector's stages."""

    def __init__(self, depths: tuple[int, ...] = DEPTHS, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.detector = Detector(depths, widths)

    def forward(self, picture: Tensor) -> Motion:
        """Of pictures, B×3×H×W in [0, 1]; 256×256 for the public weights."""
        found = Raw(*(one.float() for one in self.detector(picture)))
        return Motion(
            kp=found.kp.view(-1, POINTS, 3),
            exp=found.exp.view(-1, POINTS, 3),
            pitch=degrees(found.pitch),
            yaw=degrees(found.yaw),
            roll=degrees(found.roll),
            scale=found.scale,
            t=found.t,
        )
