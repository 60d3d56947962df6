"""Building blocks that several networks share. Pictures and features are B×C×H×W unless said otherwise.

The equalised and modulated layers are StyleGAN2's (Karras et al., *Analyzing and Improving the Image Quality
of StyleGAN*, section 2 and appendix B), with parameters named as in the public PyTorch code, so that its
weights load by key.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of every leaky ReLU here
GAIN = math.sqrt(2)  # makes up for the variance that a leaky ReLU takes away


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance."""
    return F.leaky_relu(x, SLOPE) * GAIN


class BiasedLeakyReLU(nn.Module):
    """Adds one bias a channel, then `leaky`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return leaky(x + self.bias.view(1, -1, *[1] * (x.dim() - 2)))


class EqualConv2d(nn.Module):
    """Convolution with an equalised learning rate: weights of variance one, scaled by 1/√fan-in when used."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualLinear(nn.Module):
    """Linear layer with an equalised learning rate (`lr_mul` times the network's), with `leaky` behind it if
    `activation`. x: …×inputs."""

    def __init__(
        self, inputs: int, outputs: int, bias: float = 0.0, lr_mul: float = 1.0, activation: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_mul)
        self.bias = nn.Parameter(torch.full((outputs,), float(bias)))
        self.scale, self.lr_mul, self.activation = lr_mul / math.sqrt(inputs), lr_mul, activation

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias * self.lr_mul)
        return leaky(x) if self.activation else x


class PixelNorm(nn.Module):
    """Each row of x (B×K) at root mean square one."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class Blur(nn.Module):
    """StyleGAN2's binomial filter (1, 3, 3, 1), both ways, after `pad` (before, after) pixels of zeros on
    each axis. gain: of its sum.
    """

    def __init__(self, pad: tuple[int, int], gain: float = 1.0) -> None:
        super().__init__()
        self.pad = (*pad, *pad)
        self.kernel: Tensor
        self.register_buffer("kernel", binomial(gain), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(F.pad(x, self.pad), kernel, groups=x.shape[1])


class Upsample(nn.Module):
    """Twice the size: zeros between the pixels, then the binomial filter."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: Tensor
        self.register_buffer("kernel", binomial(4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def binomial(gain: float) -> Tensor:
    """4×4: outer((1, 3, 3, 1)) with `gain` for its sum."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(line, line) * (gain / 64)


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels are scaled by a style, and whose output channels are brought back to
    variance one (`demodulate`).

    Styles scale the features and not the weights: the same function, but one plain convolution for the whole
    batch, which exports with any batch size.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        style: int,
        demodulate: bool = True,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel))
        self.modulation = EqualLinear(style, inputs, bias=1.0)
        self.blur = Blur((1, 1), gain=4.0) if upsample else None
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.demodulate, self.padding = demodulate, kernel // 2

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: B×inputs×H×W; style: B×style."""
        weight = self.weight[0] * self.scale
        scale = self.modulation(style)  # B×inputs
        x = x * scale.unsqueeze(2).unsqueeze(3)
        if self.blur is not None:
            x = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        else:
            x = F.conv2d(x, weight, padding=self.padding)
        if self.demodulate:
            power = scale.square() @ weight.square().sum((2, 3)).T  # B×outputs
            x = x * torch.rsqrt(power + 1e-8).unsqueeze(2).unsqueeze(3)
        return x


class NoiseInjection(nn.Module):
    """Adds noise, in one learned strength for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """noise: B×1×H×W or 1×1×H×W."""
        return x + self.weight * noise


class StyledConv(nn.Module):
    """Modulated convolution, noise where there is some, bias and `leaky`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, style: int, upsample: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, kernel, style, upsample=upsample)
        self.noise = NoiseInjection()
        self.activate = BiasedLeakyReLU(outputs)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        x = self.noise(self.conv(x, style), noise)
        return cast(Tensor, self.activate(x))


class ToRGB(nn.Module):
    """A style's picture of features, added to the enlarged picture of the features before."""

    def __init__(self, inputs: int, style: int, upsample: bool = True) -> None:
        super().__init__()
        self.upsample = Upsample() if upsample else None
        self.conv = ModulatedConv2d(inputs, 3, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, before: Tensor | None = None) -> Tensor:
        """before: B×3×H/2×W/2, unless this is the first."""
        rgb: Tensor = self.conv(x, style) + self.bias
        return rgb if self.upsample is None or before is None else rgb + self.upsample(before)


class ConvLayer(nn.Sequential):
    """Equalised convolution, blurred and strided if `down`, with bias and `leaky` if `activate`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, down: bool = False, activate: bool = True
    ) -> None:
        parts: list[nn.Module] = []
        if down:
            reach = kernel + 1  # of the filter beyond what the convolution takes away
            parts.append(Blur(((reach + 1) // 2, reach // 2)))
        padding = 0 if down else kernel // 2
        parts.append(EqualConv2d(inputs, outputs, kernel, 2 if down else 1, padding, bias=False))
        if activate:
            parts.append(BiasedLeakyReLU(outputs))
        super().__init__(*parts)


class ResBlock(nn.Module):
    """StyleGAN2's residual block, half the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(inputs, inputs, 3)
        self.conv2 = ConvLayer(inputs, outputs, 3, down=True)
        self.skip = ConvLayer(inputs, outputs, 1, down=True, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x)) + self.skip(x)
        return out / GAIN


class AdaIN(nn.Module):
    """Instance normalisation whose mean and deviation a code gives: a shared linear layer, then one head for
    each (Huang and Belongie, *Arbitrary Style Transfer in Real-Time*; Zeng et al., section 3.2).
    """

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.shared = nn.Linear(code, channels)
        self.mean = nn.Linear(channels, channels)
        self.deviation = nn.Linear(channels, channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """code: B×K."""
        shared = F.relu(self.shared(code))
        mean: Tensor = self.mean(shared).unsqueeze(2).unsqueeze(3)
        deviation: Tensor = 1 + self.deviation(shared).unsqueeze(2).unsqueeze(3)
        return torch.addcmul(mean, F.instance_norm(x), deviation)


class SelfAttention(nn.Module):
    """Attention of every place to every other (Zhang et al., *Self-Attention Generative Adversarial
    Networks*, section 3). Begins as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)  # softmax would take a bias away
        self.value = nn.Conv2d(channels, channels // 2, 1)
        self.out = nn.Conv2d(channels // 2, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        # As of one head: torch exports no other attention.
        query, key, value = (
            part(x).flatten(2).transpose(1, 2).unsqueeze(1) for part in (self.query, self.key, self.value)
        )
        found = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        found = found.squeeze(1).transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])
        return x + self.gamma * cast(Tensor, self.out(found))


class TransformerBlock(nn.Module):
    """Multi-head self-attention and a GELU network, layer-normalised before and added after. x: B×N×dim."""

    def __init__(self, dim: int, heads: int, growth: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, growth * dim), nn.GELU(), nn.Linear(growth * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        batch, count, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        found = F.scaled_dot_product_attention(query, key, value)
        x = x + self.proj(found.transpose(1, 2).reshape(batch, count, dim))
        return x + cast(Tensor, self.mlp(self.norm2(x)))


def identity_grid(height: int, width: int, like: Tensor) -> Tensor:
    """1×2×H×W: where each pixel's centre lies, in grid_sample's units, as `like` in device, in float32."""
    x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) / width * 2 - 1
    y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) / height * 2 - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]


def flow_warp(x: Tensor, flow: Tensor) -> Tensor:
    """B×C×H×W: each pixel taken from `flow` away in x; its border is repeated outside. flow: B×2×H×W, x
    before y, in halves of the picture's width and height; it stays float32 whatever x is.
    """
    grid = (identity_grid(flow.shape[2], flow.shape[3], flow) + flow.float()).permute(0, 2, 3, 1)
    warped = F.grid_sample(x.float(), grid, align_corners=False, padding_mode="border")
    return warped.to(x.dtype)


def faded_border(size: int, share: float = 0.03) -> Tensor:
    """1×1×size×size: one inside, falling to nought over `share` of the side at the border."""
    ramp = (torch.arange(size) + 0.5) / (share * size)
    line = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
    return torch.minimum(line.view(1, -1), line.view(-1, 1))[None, None]


def lay_out(network: nn.Module) -> None:
    """Kernels with their channels last, as GPUs' tensor cores want them, and as CPUs are a third faster with
    in small networks; pictures then follow."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def without_autocast(device: str, unless: torch.dtype | None = None) -> AbstractContextManager[object]:
    """For points, grids and flows, which half precision would spoil, unless it is that one. Does nothing
    where autocast is off: an exported graph would carry the change of mode along.
    """
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if not on or torch.get_autocast_dtype(device) == unless:
        return nullcontext()
    return torch.autocast(device, enabled=False)
