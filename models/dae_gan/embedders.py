"""The two deforming autoencoders: F, which undoes the pose of pictures, and P, which puts one on again.

B batch, K pictures of a person, S the pictures' side. Pictures are RGB in [−1, 1]. Flows are backward: where
in the picture that is sampled each pixel comes from, as an offset in halves of its width and height, x before
y; they are float32 whatever the weights are.

The paper draws both as encoder and decoder and gives no layers (Figures 3 and 4). Ours meet in a vector and
have no skips between them: what a skip carries is where it was in one picture, not where it belongs in the
other. Groups of channels are normalised together, and not each alone: a flow that is the same everywhere is
the difference of channels' means.
"""

import math
from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import flow_warp, without_autocast

SLOPE = 0.2
GROUP = 16  # channels that are normalised together
SMALLEST = 4  # side of the features between an encoder's convolutions and its code, and a decoder's
WIDEST = 8  # × width: channels of the smallest features
NEARLY_NOUGHT = 0.02  # of flows and residuals at first: an untrained embedder hardly changes a picture
COARSE = 4  # the pose embedder's flow is 1/4 of the picture's size (section 3.1)


class Embedded(NamedTuple):
    """What F makes of a person's pictures."""

    face: Tensor  # B×3×S×S: f̂
    flows: Tensor  # B×K×2×S×S: T_k
    attention: Tensor  # B×K×1×S×S: A'_k, positive, the K of a pixel sum to one


class Posed(NamedTuple):
    """What P makes of a frame and an embedded face."""

    picture: Tensor  # B×3×S×S: x̂, the frame redrawn
    flow: Tensor  # B×2×S/4×S/4: T⁻¹
    code: Tensor  # B×code: p̂


class FaceEmbedder(nn.Module):
    """F: pictures of one person → one face without pose (section 3.1, Figure 3)."""

    def __init__(self, side: int, width: int = 64) -> None:
        super().__init__()
        code = WIDEST * width
        self.encoder = Encoder(side, width, code)
        self.decoder = Decoder(side, width, code)
        self.flow = FlowHead(channels(side, side, width))
        self.attention = nn.Conv2d(channels(side, side, width), 1, 3, padding=1)

    def forward(self, pictures: Tensor) -> Embedded:
        """pictures: B×K×3×S×S, any K; their order makes no difference."""
        batch, count = pictures.shape[:2]
        flat = pictures.flatten(0, 1)
        features = self.decoder(self.encoder(flat))[-1]
        flows = self.flow(features)
        # Eq. 1 divides positive weights by their sum: the softmax over the pictures, A being an exponential.
        scores: Tensor = self.attention(features).float()
        attention = scores.view(batch, count, *scores.shape[1:]).softmax(1)
        warped = flow_warp(flat, flows).view_as(pictures)
        face = (attention * warped).sum(1)
        return Embedded(face.to(pictures.dtype), flows.view(batch, count, *flows.shape[1:]), attention)


class PoseEmbedder(nn.Module):
    """P: a frame → its pose code, and from that code and an embedded face the frame again (section 3.1,
    Figure 4): a flow at 1/4 of the size, residuals at 1/2 and the whole.
    """

    def __init__(self, side: int, width: int = 64, code: int = 128) -> None:
        super().__init__()
        self.encoder = Encoder(side, width, code)
        self.decoder = Decoder(side, width, code)
        self.flow = FlowHead(channels(side, side // 4, width))
        self.low = _residual(channels(side, side // 2, width))
        self.high = _residual(channels(side, side, width))

    def encode(self, frames: Tensor) -> Tensor:
        """p̂: B×code. frames: B×3×S×S."""
        return cast(Tensor, self.encoder(frames))

    def decode(self, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """T⁻¹ (B×2×S/4×S/4), R^L (B×3×S/2×S/2), R^H (B×3×S×S)."""
        *_, quarter, half, whole = self.decoder(code)
        return self.flow(quarter), self.low(half), self.high(whole)

    def forward(self, frames: Tensor, face: Tensor) -> Posed:
        """frames, face: B×3×S×S."""
        code = self.encode(frames)
        flow, low, high = self.decode(code)
        return Posed(redraw(face, flow, low, high), flow, code)


def redraw(face: Tensor, flow: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Eq. 2, x̂ = R^H + U(R^L + U(T⁻¹(f̂))). Shapes as in `PoseEmbedder.decode`; U is bilinear."""
    # The flow takes one sample for 4×4 pixels: what is finer is averaged away first, or it would alias.
    small = flow_warp(F.avg_pool2d(face, COARSE), flow)
    return high + _doubled(low + _doubled(small))


class Encoder(nn.Module):
    """Picture → code: strided convolutions down to 4×4, then a linear layer."""

    def __init__(self, side: int, width: int, code: int) -> None:
        super().__init__()
        sides = _sides(side)[:-1][::-1]
        parts: list[nn.Module] = []
        inputs = 3
        for at in sides:
            outputs = channels(side, at, width)
            parts += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=inputs == 3)]
            parts += [] if inputs == 3 else [_norm(outputs)]
            parts += [nn.LeakyReLU(SLOPE)]
            inputs = outputs
        self.convs = nn.Sequential(*parts)
        self.linear = nn.Linear(inputs * SMALLEST**2, code)

    def forward(self, picture: Tensor) -> Tensor:
        """B×code. picture: B×3×S×S."""
        return cast(Tensor, self.linear(self.convs(picture).flatten(1)))


class Decoder(nn.Module):
    """Code → features of each size: a linear layer to 4×4, then doublings, each with a convolution."""

    def __init__(self, side: int, width: int, code: int) -> None:
        super().__init__()
        inputs = channels(side, SMALLEST, width)
        self.linear = nn.Linear(code, inputs * SMALLEST**2)
        self.convs = nn.ModuleList()
        for at in _sides(side)[1:]:
            outputs = channels(side, at, width)
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.convs.append(nn.Sequential(conv, _norm(outputs), nn.LeakyReLU(SLOPE)))
            inputs = outputs

    def forward(self, code: Tensor) -> list[Tensor]:
        """The features, the smallest (8×8) first, the whole size last."""
        x = self.linear(code).unflatten(1, (-1, SMALLEST, SMALLEST))
        found = []
        for conv in self.convs:
            x = conv(_doubled(x))
            found.append(x)
        return found


class FlowHead(nn.Module):
    """Features → flow, at most half the picture's side either way (tanh); in float32 under autocast and in
    a network of bfloat16 weights too.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = _quiet(nn.Conv2d(inputs, 2, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """B×2×H×W float32. features: B×inputs×H×W."""
        weight, bias = self.conv.weight.float(), cast(Tensor, self.conv.bias).float()
        with without_autocast(features.device.type):
            return F.conv2d(features.float(), weight, bias, padding=1).tanh()


def channels(side: int, at: int, width: int) -> int:
    """Of the features of `at` pixels a side: half of `width` at the whole size, doubled by each halving."""
    return min(width * side // at // 2, WIDEST * width)


def _sides(side: int) -> list[int]:
    """4, 8, … side."""
    found = [SMALLEST]
    while found[-1] < side:
        found.append(2 * found[-1])
    if found[-1] != side or side < SMALLEST * COARSE:
        raise ValueError(f"pictures of {side} pixels: the side must be a power of two from 16 on")
    return found


def _norm(width: int) -> nn.Module:
    return nn.GroupNorm(max(1, width // GROUP), width)


def _residual(inputs: int) -> nn.Module:
    return _quiet(nn.Conv2d(inputs, 3, 3, padding=1))


def _quiet(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution whose output is nearly nought at first."""
    nn.init.normal_(conv.weight, std=NEARLY_NOUGHT / math.sqrt(conv.weight[0].numel()))
    nn.init.zeros_(cast(Tensor, conv.bias))
    return conv


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
