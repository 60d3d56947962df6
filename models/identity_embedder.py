"""Who is in a picture, as a direction: people are told apart by the angle between their pictures' vectors.

    vectors = IdentityEmbedder()(pictures)  # B×3×96×96 in [0, 1] → B×128, of length 1

Trained with a margin between the people of a training set: H. Wang et al., "CosFace: large margin cosine
loss for deep face recognition", CVPR 2018.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import lay_out

SIDE = 96  # pixels
NUMBERS = 128
WIDTHS = (16, 32, 64, 128)
MARGIN, SCALE = 0.2, 24.0  # of the loss: by how much the right cosine must be greater, and how steep it is


class IdentityEmbedder(nn.Module):
    """0.3 M parameters and 30 million multiplications a picture."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in WIDTHS:
            layers += [_Halving(before, width)]
            before = width
        self.layers = nn.Sequential(*layers)  # 6²
        # Each place's features have weights of their own in the vector: faces are aligned roughly.
        self.last = nn.Sequential(
            nn.Conv2d(before, before, 6, groups=before, bias=False), nn.BatchNorm2d(before)
        )
        self.vector = nn.Linear(before, NUMBERS)
        lay_out(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures: B×3×96×96 in [0, 1]."""
        return F.normalize(self.vector(self.last(self.layers(2 * pictures - 1)).flatten(1)), dim=1)


class _Halving(nn.Module):
    """Half the resolution, then a residual convolution."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(before, width, 3, 2, 1, bias=False)
        self.along = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.down(x)))
        y: Tensor = self.norms[1](self.along(x))
        return F.relu(x + y)


def margin_loss(vectors: Tensor, people: Tensor, who: Tensor) -> Tensor:
    """CosFace: cross entropy of the cosines, the right one's less MARGIN.

    vectors: B×128, of length 1. people: P×128, a direction for each person, of any length. who: B int64.
    """
    cosine = vectors @ F.normalize(people, dim=1).T
    right = F.one_hot(who, len(people)).to(cosine)
    return F.cross_entropy(SCALE * (cosine - MARGIN * right), who)


def retrieval(gallery: Tensor, probes: Tensor) -> float:
    """Which share of the probes is nearest to its own row of the gallery: both P×128, a row a person."""
    nearest = (probes @ gallery.T).argmax(1)
    return float((nearest == torch.arange(len(probes), device=probes.device)).float().mean())
