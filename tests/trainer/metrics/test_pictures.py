import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from tests.trainer.metrics.golden_metrics import Fixture
from trainer.metrics.pictures import MS_WEIGHTS, l1, ms_ssim, psnr, ssim_gauss11, ssim_gauss11_map


def noisy(side: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two of each."""
    random = torch.Generator().manual_seed(seed)
    a = torch.rand(2, 3, side, side, generator=random)
    return a, (a + 0.1 * torch.randn(a.shape, generator=random)).clamp(0, 1)


def test_the_fixture(golden: Fixture) -> None:
    a, b = golden.pictures()
    golden.check(l1(b, a), "mae")
    golden.check(psnr(b, a), "psnr")
    golden.check(ssim_gauss11(b, a), "ssim_rgb")
    golden.check(ssim_gauss11(b[:, :1], a[:, :1]), "ssim_gray_channel0")
    golden.check(ssim_gauss11(a, a), "ssim_rgb_same_image")


def test_l1_and_psnr_by_hand() -> None:
    """A tenth off everywhere: 0.1, and 20 dB. One of 4 pixels off by 0.2: 0.05, and −10 log₁₀ 0.01."""
    truth = torch.full((2, 3, 2, 2), 0.5, dtype=torch.float64)
    pictures = truth.clone()
    pictures[0] += 0.1
    pictures[1, :, 0, 0] -= 0.2
    assert l1(pictures, truth).tolist() == pytest.approx([0.1, 0.05])
    assert psnr(pictures, truth).tolist() == pytest.approx([20.0, 20.0])


def test_a_mask_weights_pixels() -> None:
    """0.2 off with weight 1 and 0.4 off with weight ½: (0.2 + 0.2) / 1.5."""
    truth = torch.zeros(1, 3, 1, 3)
    pictures = torch.tensor([0.2, 0.4, 1.0]).expand(1, 3, 1, 3)
    mask = torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 1, 3)
    assert float(l1(pictures, truth, mask)) == pytest.approx(0.4 / 1.5)
    assert float(psnr(pictures, truth, mask)) == pytest.approx(-10 * math.log10((0.04 + 0.08) / 1.5))


def test_equal_pictures() -> None:
    a, _ = noisy(176)
    assert l1(a, a).tolist() == [0, 0]
    assert psnr(a, a).tolist() == [math.inf, math.inf]
    assert ssim_gauss11(a, a).tolist() == pytest.approx([1, 1])
    assert ms_ssim(a, a).tolist() == pytest.approx([1, 1])


def test_what_a_mask_leaves_out_does_not_count() -> None:
    a, _ = noisy()
    b = a.clone()
    b[:, :, :, :10] = 0
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 16:] = 1  # further from the difference than half a window
    assert l1(b, a, mask).tolist() == [0, 0]
    assert psnr(b, a, mask).tolist() == [math.inf, math.inf]
    assert ssim_gauss11(b, a, mask).tolist() == pytest.approx([1, 1])
    assert bool((ssim_gauss11(b, a) < 0.9).all())


def test_a_mask_of_ones_changes_nothing() -> None:
    a, b = noisy()
    ones = torch.ones(2, 1, 32, 32)
    for metric in (l1, psnr, ssim_gauss11):
        torch.testing.assert_close(metric(b, a, ones), metric(b, a))


def test_rows_are_judged_alone() -> None:
    a, b = noisy(176)
    for metric in (l1, psnr, ssim_gauss11, ms_ssim):
        torch.testing.assert_close(
            metric(b, a), torch.cat([metric(b[i : i + 1], a[i : i + 1]) for i in (0, 1)])
        )


def test_the_map_lies_where_the_pictures_differ() -> None:
    """A pixel's difference reaches as far as half a window, and the map starts half a window inside."""
    a = torch.full((1, 3, 40, 50), 0.5)
    b = a.clone()
    b[..., 20, 30] = 1
    reached = (ssim_gauss11_map(b, a) < 1 - 1e-12).squeeze()
    assert reached.shape == (30, 40)
    rows, columns = reached.nonzero().T
    assert (int(rows.min()), int(rows.max())) == (20 - 5 - 5, 20 - 5 + 5)
    assert (int(columns.min()), int(columns.max())) == (30 - 5 - 5, 30 - 5 + 5)


def test_flat_pictures_differ_in_luminance_alone() -> None:
    """(2ab + C₁) / (a² + b² + C₁), to the power of the coarsest scale's weight where there are scales."""
    a, b = torch.full((1, 3, 176, 180), 0.2), torch.full((1, 3, 176, 180), 0.6)
    luminance = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert float(ssim_gauss11(a, b)) == pytest.approx(luminance, rel=1e-6)
    assert float(ms_ssim(a, b)) == pytest.approx(luminance**0.1333, rel=1e-6)


def test_scales_by_another_filter() -> None:
    """Each scale's moments by scipy's gaussian, a channel at a time."""
    a, b = (picture[:1].double() for picture in noisy(192))
    channels = []
    for x, y in zip(a[0].numpy(), b[0].numpy(), strict=True):
        product = 1.0
        for scale, weight in enumerate(MS_WEIGHTS):
            if scale:
                x, y = (p.reshape(len(p) // 2, 2, len(p) // 2, 2).mean((1, 3)) for p in (x, y))

            def mean(p: np.ndarray) -> np.ndarray:
                return gaussian_filter(p, 1.5, radius=5)[5:-5, 5:-5]

            mx, my = mean(x), mean(y)
            found = (2 * (mean(x * y) - mx * my) + 9e-4) / (
                mean(x * x) - mx * mx + mean(y * y) - my * my + 9e-4
            )
            if scale == 4:
                found = found * (2 * mx * my + 1e-4) / (mx * mx + my * my + 1e-4)
            product *= found.mean() ** weight
        channels.append(product)
    assert float(ms_ssim(b, a)) == pytest.approx(np.mean(channels), abs=1e-9)


def test_opposite_pictures_are_0_at_worst() -> None:
    a, _ = noisy(176)
    assert ms_ssim(1 - a, a).tolist() == [0, 0]
    assert bool((ssim_gauss11(1 - a, a) < 0).all())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: l1(a, a[:1]), "must be the same"),
        (lambda a: psnr(a[0], a[0]), "must be the same"),
        (lambda a: l1((a * 255).byte(), (a * 255).byte()), "levels / 255"),
        (lambda a: l1(a, a, torch.zeros(2, 1, 32, 32)), "mask of row 0 is empty"),
        (lambda a: l1(a, a, torch.ones(2, 3, 32, 32)), "a mask of"),
        (lambda a: ssim_gauss11(a, a, torch.ones(2, 32, 32)), "a mask of"),
        (lambda a: ssim_gauss11(a[..., :10], a[..., :10]), "at least 11 a side"),
        (lambda a: ms_ssim(a, a), "32×32 pixels: they must have at least 176"),
    ],
)  # fmt: skip
def test_what_is_refused(call, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        call(noisy()[0])
