"""How far a picture is from the true one.

Pictures are B×3×H×W in [0, 1] (any number of channels will do), masks B×1×H×W in [0, 1] with at least some
of each picture inside, results B float64. All raise ValueError where shapes don't fit and where a mask is
empty.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 5  # of the window of 11; what is nearer to the border is left out
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2  # for values in [0, 1]
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first
MS_SMALLEST = (2 * RADIUS + 1) * 2 ** (len(MS_WEIGHTS) - 1)  # pixels


def l1(pictures: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference of a channel's value."""
    pictures, truth = _pair(pictures, truth)
    return mean_inside((pictures - truth).abs(), mask)


def psnr(pictures: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """−10 log₁₀ of the mean squared difference, dB; infinite where nothing differs."""
    pictures, truth = _pair(pictures, truth)
    return -10 * mean_inside((pictures - truth).square(), mask).log10()


def ssim_gauss11(pictures: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean of `ssim_gauss11_map`; with a mask, of what is inside."""
    if mask is not None:
        _check_mask(mask, pictures)
        mask = mask[:, :, RADIUS:-RADIUS, RADIUS:-RADIUS]
    return mean_inside(ssim_gauss11_map(pictures, truth), mask)


def ssim_gauss11_map(pictures: Tensor, truth: Tensor) -> Tensor:
    """B×1×H−10×W−10: structural similarity, the mean over the channels of each.

    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004): a
    gaussian window of 11 pixels with σ 1.5, K₁ 0.01, K₂ 0.03, moments with weights that sum to 1. Windows
    that reach over the border are left out. Also raises ValueError for pictures smaller than a window.
    """
    luminance, structure = _similarity(*_pair(pictures, truth))
    return (luminance * structure).mean(1, keepdim=True)


def ms_ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity at five scales, a channel at a time; then the mean of the channels.

    Z. Wang, E. Simoncelli, A. Bovik, "Multi-scale structural similarity for image quality assessment" (2003),
    with the windows of `ssim_gauss11` and means of 2×2 pixels between scales (an odd last row or column is
    dropped). A scale whose mean contrast and structure is negative counts as 0. Also raises ValueError for
    pictures of less than 176 pixels a side: the coarsest scale must hold a window.
    """
    pictures, truth = _pair(pictures, truth)
    if min(pictures.shape[2:]) < MS_SMALLEST:
        raise ValueError(
            f"ms_ssim of pictures of {_sides(pictures)} pixels: they must have at least {MS_SMALLEST} a side"
        )
    result = pictures.new_ones(pictures.shape[:2])
    for scale, weight in enumerate(MS_WEIGHTS):
        if scale:
            pictures, truth = F.avg_pool2d(pictures, 2), F.avg_pool2d(truth, 2)
        luminance, similarity = _similarity(pictures, truth)
        if scale == len(MS_WEIGHTS) - 1:
            similarity = luminance * similarity
        result = result * similarity.mean((2, 3)).clamp(min=0) ** weight
    return result.mean(1)


def mean_inside(values: Tensor, mask: Tensor | None) -> Tensor:
    """B: the mean over everything but the batch, weighted by the mask. values: B×C×H×W."""
    if mask is None:
        return values.flatten(1).mean(1)
    _check_mask(mask, values)
    mask = mask.to(values)
    inside = mask.flatten(1).sum(1)
    if not bool((inside > 0).all()):
        row = int((inside <= 0).nonzero()[0])
        raise ValueError(f"the mask of row {row} is empty: leave such rows to a metric of the whole picture")
    return (values * mask).flatten(1).sum(1) / (inside * values.shape[1])


def _pair(pictures: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64."""
    if pictures.ndim != 4 or pictures.shape != truth.shape:
        raise ValueError(
            f"pictures {tuple(pictures.shape)}, truth {tuple(truth.shape)}: both must be the same B×C×H×W"
        )
    if not (pictures.is_floating_point() and truth.is_floating_point()):
        raise ValueError("pictures of whole numbers: give values in [0, 1] (levels / 255)")
    return pictures.double(), truth.double()


def _check_mask(mask: Tensor, values: Tensor) -> None:
    expected = (values.shape[0], 1, *values.shape[2:])
    if mask.shape != expected:
        raise ValueError(f"a mask of {tuple(mask.shape)}: expected {expected}")


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """B×C×H−10×W−10 each: of luminance, and of contrast and structure together."""
    if min(a.shape[2:]) <= 2 * RADIUS:
        raise ValueError(
            f"pictures of {_sides(a)} pixels: SSIM's window needs at least {2 * RADIUS + 1} a side"
        )
    mean_a, mean_b = _windowed(a), _windowed(b)
    variances = _windowed(a * a) - mean_a**2 + _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)


def _windowed(x: Tensor) -> Tensor:
    """The gaussian window's mean about each pixel that it fits around."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=x.dtype, device=x.device)
    line = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    line = line / line.sum()
    flat = x.flatten(0, 1).unsqueeze(1)
    flat = F.conv2d(F.conv2d(flat, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))
    return flat.view(*x.shape[:2], *flat.shape[2:])


def _sides(pictures: Tensor) -> str:
    return "×".join(str(side) for side in pictures.shape[2:])
