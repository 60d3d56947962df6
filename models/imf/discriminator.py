"""D: how real each patch of a picture looks, at two scales (supplement, sections 2 and Figure 1)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.layers import SLOPE

WIDTHS = (64, 128, 256, 512)
SCALES = 2


class Patches(nn.Module):
    """One scale: spectrally normalised 4×4 convolutions of stride 2, the last three instance-normalised, and
    a 1×1 head."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        # Where the mean is taken out, a bias before it would do nothing.
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=inputs == 3))
            for inputs, outputs in pairwise((3, *widths))
        )
        self.head = spectral_norm(nn.Conv2d(widths[-1], 1, 1))

    def forward(self, picture: Tensor) -> list[Tensor]:
        """The features after each layer, then the logits, B×1×H/16×W/16. picture: B×3×H×W in [−1, 1]."""
        x, found = picture, []
        for index, conv in enumerate(self.convs):
            x = conv(x) if index == 0 else F.instance_norm(conv(x))
            x = F.leaky_relu(x, SLOPE)
            found.append(x)
        return [*found, self.head(x)]


class Discriminator(nn.Module):
    """The same at full size and, with weights of its own, at half of it for each further scale."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, scales: int = SCALES) -> None:
        super().__init__()
        self.scales = nn.ModuleList(Patches(widths) for _ in range(scales))

    def forward(self, picture: Tensor) -> list[list[Tensor]]:
        """For each scale, the features of each layer and, last, the logits. picture: B×3×H×W in [0, 1]."""
        x, found = picture * 2 - 1, []
        for index, scale in enumerate(self.scales):
            if index:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            found.append(scale(x))
        return found
