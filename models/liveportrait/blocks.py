"""What several of the networks are made of."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """3×3(×3) convolution, batch normalisation, activation, on pictures or volumes."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        dimensions: int = 2,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ) -> None:
        super().__init__()
        if dimensions == 2:
            self.conv: nn.Conv2d | nn.Conv3d = nn.Conv2d(inputs, outputs, 3, padding=1)
            self.norm: nn.BatchNorm2d | nn.BatchNorm3d = nn.BatchNorm2d(outputs)
        else:
            self.conv, self.norm = nn.Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


def volume_grid(size: torch.Size, like: Tensor) -> Tensor:
    """D×H×W×3, float32, on the device of `like`: where each place lies, x, y, z, from exactly −1 at the first
    to 1 at the last. size: D, H, W.

    The weights were trained with these places and a sampler that puts the volume's *edges* at −1 and 1, so
    that looking up the grid as it is enlarges a little: see `sample_volume`.
    """
    axes = (torch.linspace(-1, 1, count, device=like.device, dtype=torch.float32) for count in size)
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack((x, y, z), 3)


def sample_volume(volume: Tensor, grid: Tensor) -> Tensor:
    """B×C×D×H×W of a volume (B×C×d×h×w) at a grid (B×D×H×W×3, x, y, z, −1 … 1 from edge to edge), trilinear,
    nought outside.
    """
    return F.grid_sample(volume.float(), grid, align_corners=False).to(volume.dtype)
