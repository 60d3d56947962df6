"""pix2pixHD's blocks (Wang et al., *High-Resolution Image Synthesis and Semantic Manipulation with
Conditional GANs*, section 3 and appendix): residual block, global generator, multi-scale discriminator.

Parameters are named as in the public code, so that its weights load by key. Pictures are B×C×H×W in [−1, 1].
`dae_gan` is made of the residual block and the discriminator; the generator is here as the authors have it.
"""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import AdaIN

SLOPE = 0.2  # of the discriminator's leaky ReLUs


class ResidualBlock(nn.Module):
    """Two reflect-padded convolutions, each normalised, added to what came in; no activation behind the sum.

    code: the width of a code that gives the normalisation's mean and deviation (AdaIN); without one it is
    plain instance normalisation. scale: ½, 1 or 2, of the size; then, or where `outputs` differs, a 1×1
    convolution brings what came in to the block's output. bias: as the authors have it; the normalisation
    takes it away again, so that it never learns.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int | None = None,
        scale: float = 1.0,
        code: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        outputs = outputs or inputs

        def norm() -> nn.Module:
            return nn.InstanceNorm2d(outputs) if code is None else AdaIN(outputs, code)

        self.scale = scale
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(inputs, outputs, 3, stride=2 if scale < 1 else 1, bias=bias),
            norm(),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(outputs, outputs, 3, bias=bias),
            norm(),
        )
        whole = inputs == outputs and scale == 1
        self.shortcut = nn.Identity() if whole else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """x: B×inputs×H×W; code: B×K, where the block was built for one."""
        short = F.avg_pool2d(x, 2) if self.scale < 1 else x
        short = _doubled(self.shortcut(short)) if self.scale > 1 else self.shortcut(short)
        x = _doubled(x) if self.scale > 1 else x
        for part in self.conv_block:
            x = part(x, code) if isinstance(part, AdaIN) else part(x)
        return short + x


class GlobalGenerator(nn.Module):
    """Picture → picture: `downs` halvings, `blocks` residual blocks, as many doublings, tanh."""

    def __init__(
        self, inputs: int = 3, outputs: int = 3, width: int = 64, downs: int = 4, blocks: int = 9
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(inputs, width, 7),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
        ]
        for _ in range(downs):
            parts += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.InstanceNorm2d(2 * width), nn.ReLU()]
            width *= 2
        parts += [ResidualBlock(width) for _ in range(blocks)]
        for _ in range(downs):
            halved = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1)
            parts += [halved, nn.InstanceNorm2d(width // 2), nn.ReLU()]
            width //= 2
        parts += [nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh()]
        self.model = nn.Sequential(*parts)

    def forward(self, picture: Tensor) -> Tensor:
        return cast(Tensor, self.model(picture))


class MultiscaleDiscriminator(nn.Module):
    """The same patch discriminator at `scales` sizes, each half of the one before.

    width: of its first layer, doubled by each of the `layers` that follow, up to 512. bias: as in
    `ResidualBlock`, of the convolutions that are normalised.
    """

    def __init__(
        self, inputs: int = 3, width: int = 64, layers: int = 3, scales: int = 2, bias: bool = True
    ) -> None:
        super().__init__()
        self.layers, self.scales = layers + 2, scales
        for scale in range(scales):
            for index, layer in enumerate(_patch_layers(inputs, width, layers, bias)):
                self.add_module(f"scale{scale}_layer{index}", layer)

    def forward(self, picture: Tensor) -> list[list[Tensor]]:
        """For each scale, the whole size first, the output of each layer; the last are the logits
        (B×1×patches): what a loss averages.
        """
        found = [self._features(self.scales - 1, picture)]  # the authors count from the smallest
        for scale in reversed(range(self.scales - 1)):
            # Only pixels of the picture are averaged, not those of the padding.
            picture = F.avg_pool2d(picture, 3, stride=2, padding=1, count_include_pad=False)
            found.append(self._features(scale, picture))
        return found

    def _features(self, scale: int, x: Tensor) -> list[Tensor]:
        features = []
        for index in range(self.layers):
            x = self.get_submodule(f"scale{scale}_layer{index}")(x)
            features.append(x)
        return features


def logits(found: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Of each scale of a discriminator's answer."""
    return [features[-1] for features in found]


def _patch_layers(inputs: int, width: int, layers: int, bias: bool) -> list[nn.Module]:
    """The first and the last are not normalised; the last two keep the size."""
    every: list[nn.Module] = [nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(SLOPE))]
    for index in range(layers):
        outputs = min(2 * width, 512)
        stride = 2 if index < layers - 1 else 1
        conv = nn.Conv2d(width, outputs, 4, stride, 2, bias=bias)
        every.append(nn.Sequential(conv, nn.InstanceNorm2d(outputs), nn.LeakyReLU(SLOPE)))
        width = outputs
    every.append(nn.Sequential(nn.Conv2d(width, 1, 4, 1, 2)))
    return every


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
