"""The driver's change of shading on the portrait: luminance only, low-pass, as a ratio to his own neutral
face.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.warp.codes import SHADE, Appearance, Structure
from models.warp.features import planar
from models.warp.field import Array, barycentric, cell_centres, interpolated, pulled_inside
from models.warp.layers import sample

SIGMA = 2.8  # pixels of the canonical face: over 3 % of the face's width
FINE_SIGMA = (
    1.3  # the same where driver and portrait look alike under the same light, as only one person does
)
ALIKE = (
    0.09,
    0.13,
)  # difference of their log shading, RMS: wholly alike below the first, not at all above the second
FLOOR = 0.04  # added to luminance, so that black has no ratio
LIMIT = 0.22  # |log| at most 1.25×, or highlights blow out


class Shading(nn.Module):
    """Shading is compared on a canonical face, SHADE pixels a side, to which every face's landmarks map its
    picture.
    """

    def __init__(self, mean: Tensor) -> None:
        """mean: 478×3, the mean face."""
        super().__init__()
        face = mean[:, :2].numpy().astype(np.float64)
        self.canonical: Array = face / (np.ptp(face[:, 1]) * 1.04) + 0.5  # in the unit square
        queries = pulled_inside(self.canonical, cell_centres(SHADE))
        index, weight, _ = barycentric(self.canonical, queries)
        self.index: Tensor
        self.weight: Tensor
        self.grey: Tensor
        self.fine: Tensor
        self.coarse: Tensor
        self.register_buffer("index", torch.from_numpy(index.T.reshape(-1).copy()), persistent=False)
        self.register_buffer("weight", torch.from_numpy(weight.T.astype(np.float32).copy()), persistent=False)
        luminance = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        self.register_buffer("grey", (luminance / 4).expand(1, 3, 2, 2).contiguous(), persistent=False)
        self.register_buffer("fine", _smoothing(FINE_SIGMA), persistent=False)
        self.register_buffer("coarse", _smoothing((SIGMA**2 - FINE_SIGMA**2) ** 0.5), persistent=False)

    def encode(self, image: Tensor, points: Tensor) -> Tensor:
        """B×1×SHADE×SHADE: log of the smoothed luminance. image: B×3×H×W; points: B×478×2, where on it in
        grid_sample's units.
        """
        grey = F.conv2d(image, self.grey.to(image.dtype), stride=2)
        at = interpolated(planar(points), self.index[None], self.weight[None])
        light = sample(grey, at).view(-1, 1, SHADE, SHADE).float()
        return (_blurred(light, self.fine) + FLOOR).log()

    def unlike(self, neutral: Structure, source: Structure) -> Tensor:
        """B in [0, 1]: 0 where driver and portrait are one person in one light."""
        difference = neutral.shade - source.shade
        contrast = difference - difference.mean((2, 3), keepdim=True)
        amount = contrast.square().mean((1, 2, 3)).sqrt()
        return ((amount - ALIKE[0]) / (ALIKE[1] - ALIKE[0])).clamp(0, 1)

    def change(self, structure: Structure, neutral: Structure, unlike: Tensor) -> Tensor:
        """How the driver's shading changed since his neutral, as fine as his likeness to the portrait
        allows.
        """
        change = structure.shade - neutral.shade
        return torch.lerp(change, _blurred(change, self.coarse), unlike.view(-1, 1, 1, 1))

    def ratio(self, appearance: Appearance, structure: Structure) -> Tensor:
        """B×1×GRID×GRID in the portrait's own pose: by what the change of shading multiplies it."""
        change = (structure.shade - appearance.structure.shade).clamp(-LIMIT, LIMIT)
        at = appearance.shade_at.expand(change.shape[0], -1, -1, -1)
        change = F.grid_sample(change, at, align_corners=False, padding_mode="border")
        return (change * appearance.shade_mask).exp()


def _smoothing(sigma: float) -> Tensor:
    """The matrix that smooths a row of the canonical face, its border repeated outside; sigma in pixels."""
    reach = round(3 * sigma)
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    columns = (torch.arange(SHADE).view(-1, 1) + offsets).clamp(0, SHADE - 1)
    matrix = torch.zeros(SHADE, SHADE)
    return matrix.scatter_add_(1, columns, (kernel / kernel.sum()).expand(SHADE, -1).contiguous())


def _blurred(picture: Tensor, smoothing: Tensor) -> Tensor:
    """B×1×SHADE×SHADE, smoothed both ways: two products are faster than a convolution with one channel."""
    return smoothing @ picture @ smoothing.T
