"""W, the warping network: the feature volume, where the driver has it, made flat for the generator."""

from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import without_autocast
from models.liveportrait.appearance import CHANNELS, DEPTH
from models.liveportrait.blocks import ConvNorm, fine, sample_volume, shifted_volumes, volume_grid
from models.liveportrait.keypoints import POINTS

COMPRESSED = 4  # channels of the volume that the dense motion is found with
VARIANCE = 0.01  # of a key point's heat map
LEVELS, LEAST, MOST = 5, 32, 1024  # of the hourglass: halvings, and its channels
SLOPE = 0.01


class Down(ConvNorm):
    """And half the height and width."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        # In two dimensions, which the CPU can do in bfloat16, too.
        half = F.avg_pool2d(x.flatten(1, 2), 2)
        return half.view(*x.shape[:3], *half.shape[2:])


class Up(ConvNorm):
    """At twice the height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=(1, 2, 2)))


class Encoder(nn.Module):
    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(Down(a, b, 3) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [x]
        for down in self.down_blocks:
            levels.append(down(levels[-1]))
        return levels


class Decoder(nn.Module):
    """Each level is joined with the encoder's; the finest with what the hourglass was given."""

    def __init__(self, widths: list[int], least: int) -> None:
        super().__init__()
        outputs = [*reversed(widths[1:-1]), least]
        inputs = [widths[-1], *(2 * width for width in outputs[:-1])]
        self.up_blocks = nn.ModuleList(Up(a, b, 3) for a, b in zip(inputs, outputs, strict=True))
        joined = widths[0] + least
        self.conv = nn.Conv3d(joined, joined, 3, padding=1)
        self.norm = nn.BatchNorm3d(joined)

    def forward(self, levels: list[Tensor]) -> Tensor:
        *skips, x = levels
        for up in self.up_blocks:
            x = torch.cat((up(x), skips.pop()), 1)
        return F.relu(self.norm(self.conv(x)))


class Hourglass(nn.Module):
    def __init__(self, inputs: int, least: int, most: int, levels: int) -> None:
        super().__init__()
        widths = [inputs, *(min(most, least << level) for level in range(1, levels + 1))]
        self.encoder, self.decoder = Encoder(widths), Decoder(widths, least)
        self.outputs = inputs + least

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.decoder(self.encoder(x)))


class Dense(NamedTuple):
    """The dense motion."""

    mask: Tensor  # B×22×16×H×W: how much each place moves with the background and with each key point
    deformation: Tensor  # B×16×H×W×3: where each place is looked up
    occlusion: Tensor  # B×1×H×W in (0, 1): how much of it was seen


class DenseMotion(nn.Module):
    """Each key point's shift would be a motion of the whole volume; which of them a place follows is
    learned from how the volume looks when it is moved by each.
    """

    def __init__(self, depth: int, least: int, most: int, levels: int) -> None:
        super().__init__()
        ways = POINTS + 1  # the background stays
        self.compress = nn.Conv3d(CHANNELS, COMPRESSED, 1)
        self.norm = nn.BatchNorm3d(COMPRESSED)
        self.hourglass = Hourglass(ways * (COMPRESSED + 1), least, most, levels)
        self.mask = nn.Conv3d(self.hourglass.outputs, ways, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.outputs * depth, 1, 7, padding=3)

    def forward(self, volume: Tensor, driving: Tensor, source: Tensor) -> Dense:
        grid = volume_grid(volume.shape[2:], volume)
        shifts = F.pad(source - driving, (0, 0, 1, 0)).float()  # B×22×3
        moved = shifted_volumes(F.relu(self.norm(self.compress(volume))), shifts)
        heat = F.pad(_heat(grid, driving) - _heat(grid, source), (0, 0, 0, 0, 0, 0, 1, 0))
        seen = torch.cat((heat.to(moved.dtype).unsqueeze(2), moved), 2).flatten(1, 2)
        found = self.hourglass(seen)
        mask = self.mask(found).float().softmax(1)
        return Dense(mask, followed(grid, mask, shifts), self.occlusion(found.flatten(1, 2)).sigmoid())


def followed(grid: Tensor, mask: Tensor, shifts: Tensor) -> Tensor:
    """B×D×H×W×3: Σ mask·(grid + shift), of which the masks (B×K×D×H×W) add up to one. shifts: B×K×3."""
    with without_autocast(grid.device.type):
        return grid + torch.einsum("bkdhw,bkc->bdhwc", mask, shifts)


def _heat(grid: Tensor, points: Tensor) -> Tensor:
    """B×21×D×H×W: a Gaussian of height one around each key point (B×21×3)."""
    apart = grid - points.float().view(points.shape[0], -1, 1, 1, 1, 3)
    return (apart.square().sum(5) / (-2 * VARIANCE)).exp()


class WarpingNetwork(nn.Module):
    """outputs: channels that the generator is given. least, most, levels: channels and halvings of the
    hourglass. depth: of the volume.
    """

    def __init__(
        self,
        outputs: int = 256,
        least: int = LEAST,
        most: int = MOST,
        levels: int = LEVELS,
        depth: int = DEPTH,
    ) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotion(depth, least, most, levels)
        self.third = ConvNorm(CHANNELS * depth, outputs, activation=lambda x: F.leaky_relu(x, SLOPE))
        self.fourth = nn.Conv2d(outputs, outputs, 1)

    def dense(self, volume: Tensor, driving: Tensor, source: Tensor) -> Dense:
        return cast(Dense, self.dense_motion_network(volume, driving, source))

    def forward(self, volume: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        """B×256×H×W. volume: B×32×16×H×W; driving, source: key points, B×21×3."""
        return self.flat(volume, self.dense(volume, driving, source))

    def flat(self, volume: Tensor, dense: Dense) -> Tensor:
        """B×256×H×W: the moved volume, as the generator is given it."""
        moved = sample_volume(volume, dense.deformation).flatten(1, 2)
        with fine(volume.device.type):
            return cast(Tensor, self.fourth(self.third(moved))) * dense.occlusion
