"""How far apart two sets of pictures or clips are, seen through a network's features.

FID is `frechet` over the 2,048 numbers of Inception-V3's last pooling layer (the weights of the original
TensorFlow graph, pictures at 299²), FVD over the 400 logits of I3D trained on Kinetics-400 (clips at 224²).
Both networks are the user's: see `availability`.

A distance between few rows is too great: two sets of one distribution are not at 0 but at a distance that
grows with the number of features and falls about as 1 / n: with 64 features of deviation 1 it is 22 at
n = 100 and 0.22 at n = 10,000. Compare distances of equal n only.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH, PER_PICTURE = 7, 128  # side of a descriptor, pixels, and how many are taken of a picture and level
DIRECTIONS = 128
COARSEST = 16  # pixels a side of a pyramid's last level


class Distance(NamedTuple):
    """A distance and of how many rows: they belong together."""

    value: float
    n: int  # rows of the first set
    n_truth: int  # rows of the second


def frechet(features: Tensor, truth: Tensor) -> Distance:
    """The Fréchet distance of the gaussians that fit two sets of features, n×D and m×D:

        |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½

    with covariances over n − 1. The trace of the root is the sum of the roots of the eigenvalues of Σ₁ Σ₂.
    With Σ = RᵀR those are the squared singular values of R₁ R₂ᵀ, so that none can be negative or complex,
    however few rows there are. Raises ValueError for less than two rows, other shapes, and what is not
    finite.
    """
    if features.ndim != 2 or truth.ndim != 2 or features.shape[1] != truth.shape[1]:
        raise ValueError(
            f"features {tuple(features.shape)} and {tuple(truth.shape)}: expected n×D and m×D with one D"
        )
    if min(len(features), len(truth)) < 2:
        raise ValueError(f"{len(features)} and {len(truth)} rows of features: at least 2 each are needed")
    first, second = features.double(), truth.double()
    if not bool(first.isfinite().all() and second.isfinite().all()):
        raise ValueError("features are not finite: look for what made them so")
    apart = (first.mean(0) - second.mean(0)).square().sum()
    root_1, root_2 = _root(first), _root(second)
    common = torch.linalg.svdvals(root_1 @ root_2.T).sum()
    value = apart + root_1.square().sum() + root_2.square().sum() - 2 * common
    return Distance(float(value), len(first), len(second))


def sliced_wasserstein(pictures: Tensor, truth: Tensor) -> float:
    """SWD of two sets of pictures, N×3×S×S in [0, 1], both of one shape: Karras et al., *Progressive Growing
    of GANs*, section 5 and appendix B. Needs no network, and says less than one would.

    Patches of 7×7 pixels, 128 of each picture, from each level of Laplacian pyramids down to 16²; each
    channel of a level's patches at mean nought and deviation one; the distance is the mean, over 128 random
    directions, between the sorted lengths along them, in the mean over levels, times 1,000. Patches and
    directions are always the same.
    """
    assert pictures.shape == truth.shape, f"{tuple(pictures.shape)} against {tuple(truth.shape)}"
    random = torch.Generator().manual_seed(0)
    found = []
    for level, true in zip(_laplacian(pictures), _laplacian(truth), strict=True):
        side = level.shape[-1] - PATCH + 1
        corners = torch.randint(side, (2, len(level), PER_PICTURE), generator=random)
        directions = torch.randn(3 * PATCH * PATCH, DIRECTIONS, generator=random)
        directions = (directions / directions.norm(dim=0)).to(level)
        along = [_descriptors(one, corners.to(one.device)) @ directions for one in (level, true)]
        first, second = (one.sort(0).values for one in along)
        found.append((first - second).abs().mean())
    return 1000 * float(torch.stack(found).mean())


def _laplacian(pictures: Tensor) -> list[Tensor]:
    """The pyramid's levels, the finest first."""
    levels = []
    now = pictures.float()
    while now.shape[-1] > COARSEST:
        smaller = F.avg_pool2d(now, 2)
        levels.append(now - F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False))
        now = smaller
    return [*levels, now]


def _descriptors(level: Tensor, corners: Tensor) -> Tensor:
    """(N·128)×147: patches with their upper left corners there, 2×N×128."""
    y, x = corners
    reach = torch.arange(PATCH, device=level.device)
    rows, columns = (at[..., None] + reach for at in (y, x))  # N×128×7
    which = torch.arange(len(level), device=level.device).view(-1, 1, 1, 1)
    patches = level[which, :, rows[..., :, None], columns[..., None, :]]  # N×128×7×7×3
    mean, deviation = patches.mean((0, 1, 2, 3)), patches.std((0, 1, 2, 3))
    return ((patches - mean) / deviation.clamp(min=1e-6)).flatten(0, 1).flatten(1)


def _root(features: Tensor) -> Tensor:
    """min(n, D)×D: R with RᵀR the covariance of the rows."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    root: Tensor = torch.linalg.qr(centred, mode="r")[1]
    return root
