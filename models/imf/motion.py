"""IMF_D: token → motion maps (supplement, section 3.1 and Figure 1)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.imf.shape import Shape
from models.layers import StyledConv

PAPER_SIDE = 4  # of the constant, for pictures of 256²


class MotionDecoder(nn.Module):
    """A StyleGAN2 generator without RGB: a learned constant, then convolutions that the token modulates, two
    of each size, as in StyleGAN2. Its noise is drawn once, so that the same token gives the same motion.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        first, side = shape.motion[0], shape.side // 64
        # Fewer pixels spread thinner over the maps, whose strength is to be that of the paper's 4×4.
        self.constant = nn.Parameter(torch.randn(1, first, side, side) * (PAPER_SIDE / side) ** 2)
        self.first = StyledConv(first, first, 3, shape.token)
        self.ups, self.convs = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in pairwise(shape.motion):
            self.ups.append(StyledConv(inputs, outputs, 3, shape.token, upsample=True))
            self.convs.append(StyledConv(outputs, outputs, 3, shape.token))
        sides = [side] + [side << level for level in range(1, len(shape.motion)) for _ in range(2)]
        for index, each in enumerate(sides):
            self.register_buffer(f"noise_{index}", torch.randn(1, 1, each, each))

    def forward(self, token: Tensor) -> list[Tensor]:
        """Motion maps, B×C×H×W each, from the finest level that attends to m⁴. token: B×token."""
        noises = list(self.buffers(recurse=False))
        x = self.first(self.constant.expand(token.shape[0], -1, -1, -1), token, noises[0])
        maps = []
        for index, (up, conv) in enumerate(zip(self.ups, self.convs, strict=True)):
            x = up(x, token, noises[2 * index + 1])
            x = conv(x, token, noises[2 * index + 2])
            maps.append(x)
        return maps[::-1]
