"""Generator and discriminator (section 3.2). Pictures are RGB in [−1, 1]; S is their side."""

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from models.layers import SelfAttention
from models.pix2pixhd import MultiscaleDiscriminator, ResidualBlock


class Generator(nn.Module):
    """G: embedded face, drawn in a pose. pix2pixHD with every convolution a residual block, self-attention,
    and AdaIN in the middle and the back end, where the pose code comes in (section 3.2).

    The paper leaves open where attention stands: ours is at twice the middle's size (32² of a 256² picture),
    once in front of the middle and once behind it. Upsampling repeats pixels, then convolves.

    width: channels at the whole size; each halving doubles them, up to `widest`.
    """

    def __init__(
        self, code: int = 128, width: int = 64, downs: int = 4, blocks: int = 9, widest: int = 1024
    ) -> None:
        super().__init__()
        widths = [min(width * 2**level, widest) for level in range(downs + 1)]
        front: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.ReLU()]
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            if index == downs - 1:
                front.append(SelfAttention(inputs))
            front.append(ResidualBlock(inputs, outputs, scale=0.5, bias=False))
        self.front = nn.Sequential(*front)
        self.middle = nn.ModuleList(ResidualBlock(widths[-1], code=code, bias=False) for _ in range(blocks))
        self.back = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(pairwise(reversed(widths))):
            self.back.append(ResidualBlock(inputs, outputs, scale=2, code=code, bias=False))
            if index == 0:
                self.back.append(SelfAttention(outputs))
        self.last = nn.Sequential(nn.ReLU(), nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

    def encode(self, face: Tensor) -> Tensor:
        """What of the picture no pose changes (G_f): B×C×S/2^downs×…, to be made once a face. face:
        B×3×S×S.
        """
        return cast(Tensor, self.front(face))

    def decode(self, features: Tensor, code: Tensor) -> Tensor:
        """B×3×S×S, from `encode`'s features and a pose code, B×code (G_m and G_b)."""
        x = features
        for part in (*self.middle, *self.back):
            x = part(x, code) if isinstance(part, ResidualBlock) else part(x)
        return cast(Tensor, self.last(x))

    def forward(self, face: Tensor, code: Tensor) -> Tensor:
        """B·T×3×S×S: each face (B×3×S×S) in T poses of its own (code: B·T×code, face after face)."""
        return self.decode(self.encode(face).repeat_interleave(len(code) // len(face), 0), code)


class Discriminator(MultiscaleDiscriminator):
    """D: a picture, real or drawn → the features and logits of two scales. It sees the picture alone
    (Eq. 7); pix2pixHD's widths, for the paper gives none.
    """

    def __init__(self, width: int = 64, layers: int = 3, scales: int = 2) -> None:
        super().__init__(3, width, layers, scales, bias=False)
