"""What several of the networks are made of."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import without_autocast


def fine(device: str) -> AbstractContextManager[object]:
    """For layers that must not run in bfloat16, whose seven bits show in the picture: those that find points,
    those that every volume goes through, and G's first, whose mean the norms after it take away. They are a
    fortieth of a frame's work. float16 has ten, and is good enough.
    """
    return without_autocast(device, unless=torch.float16)


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


def shifted_volumes(volume: Tensor, shifts: Tensor) -> Tensor:
    """B×K×C×D×H×W: the volume (B×C×D×H×W) looked up at its grid and each of the shifts (B×K×3, x, y, z), as
    `sample_volume` does it. Where a place is looked up along an axis depends on that axis alone, so these are
    three products with matrices of two weights a row, and no sampling in five dimensions.
    """
    looked = volume.float().unsqueeze(1).expand(-1, shifts.shape[1], -1, -1, -1, -1)
    for axis, count, shift in zip("whd", volume.shape[:1:-1], shifts.float().unbind(2), strict=True):
        places = torch.arange(count, device=volume.device, dtype=torch.float32)
        grid = torch.linspace(-1, 1, count, device=volume.device, dtype=torch.float32)
        at = ((grid + shift.unsqueeze(2) + 1) * count - 1) / 2  # B×K×count, places
        share = (1 - (at.unsqueeze(3) - places).abs()).clamp(min=0)
        with without_autocast(volume.device.type):
            looked = torch.einsum(f"bkn{axis},bkcdhw->bkc{'dhw'.replace(axis, 'n')}", share, looked)
    return looked.to(volume.dtype)


def sample_volume(volume: Tensor, grid: Tensor) -> Tensor:
    """B×C×D×H×W of a volume (B×C×d×h×w) at a grid (B×D×H×W×3, x, y, z, −1 … 1 from edge to edge), trilinear,
    nought outside.

    Neither ONNX nor Apple's GPUs know torch's own sampling of volumes: there, and so in exported programs, it
    is `gathered`.
    """
    if torch.compiler.is_exporting() or volume.device.type == "mps":
        return gathered(volume, grid)
    return F.grid_sample(volume.float(), grid, align_corners=False).to(volume.dtype)


def gathered(volume: Tensor, grid: Tensor) -> Tensor:
    """`sample_volume`, made of lookups of the eight places around each point."""
    batch, channels, depth, height, width = volume.shape
    size = torch.tensor((width, height, depth), device=volume.device)
    at = ((grid.flatten(1, 3) + 1) * size - 1) / 2  # B×N×3, places
    first = at.floor()
    # Of the nearer and of the farther place, along each axis.
    index = torch.stack((first, first + 1), 3).long()
    share = torch.stack((first + 1 - at, at - first), 3)
    share = share * ((index >= 0) & (index < size.unsqueeze(1)))
    x, y, z = torch.minimum(index.clamp(min=0), size.unsqueeze(1) - 1).unbind(2)  # B×N×2 each
    along_x, along_y, along_z = share.unbind(2)
    flat, found = volume.float().flatten(2), None
    for k in range(2):
        for j in range(2):
            for i in range(2):
                place = (z[..., k] * height + y[..., j]) * width + x[..., i]
                value = flat.gather(2, place.unsqueeze(1).expand(-1, channels, -1))
                value = value * (along_z[..., k] * along_y[..., j] * along_x[..., i]).unsqueeze(1)
                found = value if found is None else found + value
    assert found is not None
    return found.view(batch, channels, *grid.shape[1:4]).to(volume.dtype)
