import io
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.data.synthetic.colour import srgb, tone
from trainer.data.synthetic.jpeg import compressed
from trainer.data.synthetic.lens import (
    MOST_DEFOCUS,
    Lens,
    blurred,
    draw_lens,
    moved,
    noise,
    perfect,
    photograph,
)


def scene(count: int = 1, size: int = 64) -> Tensor:
    """Smooth colours with a few edges, linear light in [0, 1]."""
    line = (torch.arange(size) + 0.5) / size
    waves = torch.stack([0.5 + 0.4 * torch.sin(k * line[:, None] + (9 - k) * line) for k in (2.0, 4.0, 7.0)])
    waves[:, size // 4 : size // 2, size // 3 : size // 2] *= 0.3
    return waves.expand(count, -1, -1, -1)


def decibels(one: Tensor, other: Tensor) -> float:
    return float(-10 * (one - other).square().mean().log10())


def test_a_perfect_lens_only_stores() -> None:
    light = scene(2)
    assert torch.equal(photograph(perfect(2), light, torch.arange(2)), srgb(tone(light)))


def test_photographs_are_the_same_in_any_batch_and_differ_from_frame_to_frame() -> None:
    lens, frame = draw_lens(0, range(12)), torch.arange(12)
    light = scene(12)
    motion = torch.ones(12, 2, 64, 64)
    together = photograph(lens, light, frame, motion)
    assert all(torch.equal(a[[4, 9]], b) for a, b in zip(lens, draw_lens(0, [4, 9]), strict=True))
    for one in range(12):
        own = Lens(*(part[one : one + 1] for part in lens))
        assert torch.equal(photograph(own, light[:1], frame[one : one + 1], motion[:1])[0], together[one])
        assert not torch.equal(
            photograph(own, light[:1], frame[one : one + 1] + 1, motion[:1])[0], together[one]
        )
    assert together.min() >= 0
    assert together.max() <= 1


def test_drawn_lenses_leave_a_picture_to_be_recognised() -> None:
    lens, light = draw_lens(1, range(60)), scene(60)
    stored = photograph(lens._replace(gains=torch.ones(60, 3)), light, torch.arange(60))
    worth = torch.tensor([decibels(one, other) for one, other in zip(stored, srgb(tone(light)), strict=True)])
    assert worth.min() > 15
    assert worth.max() > 30
    assert lens.defocus.max() <= MOST_DEFOCUS
    assert 0.4 < (lens.defocus == 0).float().mean() < 0.8
    assert 0.1 < (lens.quality == 0).float().mean() < 0.5


def test_defocus_spreads_a_point_by_its_deviation_and_keeps_its_light() -> None:
    light = torch.zeros(2, 1, 201, 201)
    light[:, :, 100, 100] = 1.0
    sharp, soft = blurred(light, torch.tensor([0.0, MOST_DEFOCUS]))
    assert torch.equal(sharp, light[0])
    assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
    off = torch.arange(201.0) - 100
    for axis in (1, 2):
        spread = float((soft.sum(axis)[0] * off**2).sum().sqrt())
        assert spread == pytest.approx(MOST_DEFOCUS * 201, rel=0.03)


def test_motion_draws_a_point_along_its_way() -> None:
    light = torch.zeros(1, 1, 21, 21)
    light[:, :, 10, 10] = 1.0
    motion = torch.zeros(1, 2, 21, 21)
    motion[:, 0] = 8.0
    streak = moved(light, motion)[0, 0]
    expected = torch.zeros(21, 21)
    expected[10, [6, 8, 10, 12, 14]] = 0.2
    torch.testing.assert_close(streak, expected, atol=1e-5, rtol=0)
    assert decibels(moved(light, motion * 0), light) > 100


def test_noise_is_white_and_nearly_normal() -> None:
    one = noise(torch.tensor([5, 5, 6]), torch.tensor([0, 1, 0]), (96, 96))
    assert one.shape == (3, 3, 96, 96)
    flat = one.flatten(1).double()
    assert flat.mean(1).abs().max() < 0.02
    torch.testing.assert_close(flat.std(1), torch.ones(3, dtype=torch.float64), atol=0.02, rtol=0)
    within = (flat.abs() < 1).double().mean()
    assert float(within) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.03)
    assert (torch.corrcoef(flat) - torch.eye(3)).abs().max() < 0.03  # streams and frames
    assert (torch.corrcoef(one[0].flatten(1)) - torch.eye(3)).abs().max() < 0.04  # colours
    neighbours = (one[..., 1:] * one[..., :-1]).mean(), (one[..., 1:, :] * one[..., :-1, :]).mean()
    assert max(abs(float(product)) for product in neighbours) < 0.02


def test_noise_grows_with_light_as_told() -> None:
    light = torch.full((1, 3, 64, 64), 0.5)
    lens = perfect(1)._replace(shot=torch.tensor([4e-4]), read=torch.tensor([0.01]))
    stored = photograph(lens, light, torch.tensor([3]))
    # Of the stored curve the slope at 0.5, below the knee of the tone curve.
    slope = 1.055 / 2.4 * 0.5 ** (1 / 2.4 - 1)
    assert float(stored.std()) == pytest.approx(slope * math.sqrt(4e-4 * 0.5 + 1e-4), rel=0.05)


def test_corners_lack_what_the_vignette_says() -> None:
    light = torch.full((1, 3, 101, 101), 0.5)
    dark = photograph(perfect(1)._replace(vignette=torch.tensor([0.3])), light, torch.tensor([0]))
    assert float(dark[0, 0, 50, 50]) == pytest.approx(float(srgb(torch.tensor(0.5))), abs=1e-4)
    assert float(dark[0, 0, 0, 0]) == pytest.approx(float(srgb(torch.tensor(0.35))), abs=3e-3)


@pytest.mark.parametrize("halved", [True, False])
@pytest.mark.parametrize("quality", [92, 75, 30])
def test_compression_leaves_the_traces_of_a_real_coder(quality: int, halved: bool) -> None:
    """Pillow's result is ours but for rounding: far nearer to it than either is to the picture."""
    image = pytest.importorskip("PIL.Image")
    size = 70  # not whole blocks
    picture = srgb(scene(1, size)) + 0.03 * noise(torch.tensor([1]), torch.tensor([0]), (size, size))
    bytes_ = (picture.clamp(0, 1) * 255).round().byte()
    file = io.BytesIO()
    image.fromarray(bytes_[0].permute(1, 2, 0).numpy()).save(
        file, "JPEG", quality=quality, subsampling=2 if halved else 0
    )
    theirs = torch.from_numpy(np.asarray(image.open(file)).copy()).permute(2, 0, 1)[None] / 255
    ours = compressed(bytes_ / 255, torch.tensor([float(quality)]), torch.tensor([halved]))
    assert decibels(ours, theirs) > decibels(bytes_ / 255, theirs) + 6
    assert decibels(ours, theirs) > 38


def test_what_is_not_to_be_compressed_stays() -> None:
    picture = srgb(scene(2))
    result = compressed(picture, torch.tensor([0.0, 50.0]), torch.tensor([True, True]))
    assert torch.equal(result[0], picture[0])
    assert not torch.equal(result[1], picture[1])
