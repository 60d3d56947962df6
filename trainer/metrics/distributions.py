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
from torch import Tensor


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


def _root(features: Tensor) -> Tensor:
    """min(n, D)×D: R with RᵀR the covariance of the rows."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    root: Tensor = torch.linalg.qr(centred, mode="r")[1]
    return root
