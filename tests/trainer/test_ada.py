"""Augmentation for discriminators: what each step does by hand, how often and how far, and the controller."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from trainer import ada

THROWS = 20_000


def dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=dice(seed), dtype=torch.float64) * 2 - 1


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def steps(probability: float, batch: int = THROWS) -> ada._Steps:
    return ada._Steps(batch, probability, dice(0))


def waves(side: int) -> Tensor:
    """1×3×S×S, smooth: a wave 16 pixels long along x in red, along y in green, both in blue."""
    x = torch.arange(side, dtype=torch.float64) + 0.5
    wave = (2 * math.pi * x / 16).sin()
    across, down = wave.expand(side, side), wave[:, None].expand(side, side)
    return torch.stack((across, down, (across + down) / 2))[None]


# All of it


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("side", [5, 16])
def test_probability_0_leaves_pictures_to_the_last_bit(dtype: torch.dtype, side: int) -> None:
    pictures = noise(1, 32, 3, side, side).to(dtype)
    found = ada.augmented(pictures, 0.0, dice(0))
    assert found.dtype == dtype
    assert torch.equal(found, pictures)


def test_probability_1_changes_every_picture_in_its_own_way() -> None:
    pictures = noise(1, 1, 3, 16, 16).expand(16, -1, -1, -1)
    found = ada.augmented(pictures, 1.0, dice(0))
    assert found.isfinite().all()
    every = torch.cat((pictures[:1], found)).flatten(1)
    apart = torch.cdist(every, every) + 100 * torch.eye(17, dtype=torch.float64)
    assert apart.min() > 1


def test_the_generators_state_decides_and_nothing_else() -> None:
    pictures = noise(1, 8, 3, 16, 16)
    random = dice(3)
    first, second = (ada.augmented(pictures, 0.7, random) for _ in range(2))
    torch.manual_seed(99)
    again = dice(3)
    assert torch.equal(ada.augmented(pictures, torch.tensor(0.7), again), first)
    assert torch.equal(ada.augmented(pictures, torch.tensor([0.7]), again), second)
    assert not torch.equal(first, second)


def test_the_generator_gives_as_many_numbers_whatever_the_probability() -> None:
    after = []
    for probability in (0.0, 0.5, 1.0):
        random = dice(3)
        ada.augmented(noise(1, 8, 3, 8, 8), probability, random)
        after.append(float(torch.rand(1, generator=random)))
    assert len(set(after)) == 1


def test_pictures_don_t_mix() -> None:
    pictures = noise(1, 4, 3, 16, 16)
    other = pictures.clone()
    other[2] = -other[2]
    found, changed = (ada.augmented(one, 1.0, dice(0)) for one in (pictures, other))
    same = (found == changed).flatten(1).all(1)
    assert same.tolist() == [True, True, False, True]


def test_gradients_are_what_differences_say() -> None:
    pictures = noise(1, 2, 3, 4, 4).requires_grad_()
    assert gradcheck(lambda pictures: ada.augmented(pictures, 1.0, dice(0)), pictures)
    (slope,) = torch.autograd.grad(ada.augmented(pictures, 1.0, dice(0)).sum(), pictures)
    assert slope.flatten(1).abs().amax(1).min() > 0


def test_gradients_can_be_differentiated_again() -> None:
    """As R1 does, whose gradient is with regard to the pictures in front of the augmentation."""
    pictures = noise(1, 2, 3, 4, 4).requires_grad_()
    assert gradgradcheck(lambda pictures: ada.augmented(pictures, 0.5, dice(0)) ** 3, pictures)


def test_gradients_are_finite_for_every_step_left_or_taken() -> None:
    pictures = noise(1, 64, 3, 8, 8).float().requires_grad_()
    for probability in (0.0, 0.3, 1.0):
        (slope,) = torch.autograd.grad(ada.augmented(pictures, probability, dice(0)).square().sum(), pictures)
        assert slope.isfinite().all()
        assert slope.flatten(1).abs().amax(1).min() > 0


def test_it_is_linear_in_the_pictures_but_for_what_is_added() -> None:
    """One affine map each, so that the generator's gradient doesn't depend on where its pictures are."""
    a, b = noise(1, 8, 3, 8, 8), noise(2, 8, 3, 8, 8)
    of_a, of_b, of_mean = (ada.augmented(one, 1.0, dice(0)) for one in (a, b, (a + b) / 2))
    torch.testing.assert_close(of_mean, (of_a + of_b) / 2)


def test_autocast_does_not_round() -> None:
    pictures = noise(1, 4, 3, 16, 16).float()
    exact = ada.augmented(pictures, 1.0, dice(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ada.augmented(pictures, 1.0, dice(0)), exact)


# Where pixels go


def moved(pictures: Tensor, *back: Tensor) -> Tensor:
    whole = torch.eye(3, dtype=torch.float64)[None]
    for one_step in back:
        whole = whole @ one_step
    return ada._sampled(pictures, whole.expand(len(pictures), 3, 3))


@pytest.mark.parametrize("side", [7, 16])
def test_blitting_by_hand(side: int) -> None:
    pictures = noise(1, 2, 3, side, side)
    torch.testing.assert_close(moved(pictures, ada._flip(one(1))), pictures.flip(3))
    for count in range(4):
        torch.testing.assert_close(moved(pictures, ada._quarters(one(count))), pictures.rot90(count, (2, 3)))
    found = moved(pictures, ada._shift(one(2 * 2 / side), one(-2 / side)))
    torch.testing.assert_close(found[:, :, :-1, 2:], pictures[:, :, 1:, :-2])
    # Outside, the picture is mirrored at its border.
    torch.testing.assert_close(found[:, :, :-1, :2], pictures[:, :, 1:, :2].flip(3))
    torch.testing.assert_close(found[:, :, -1, 2:], pictures[:, :, -1, :-2])


def test_a_turn_by_90_degrees_is_the_quarter() -> None:
    pictures = noise(1, 1, 3, 8, 8)
    torch.testing.assert_close(
        moved(pictures, ada._turn(one(math.pi / 2))), moved(pictures, ada._quarters(one(1)))
    )


def test_steps_come_in_their_order() -> None:
    """Mirrored first and then turned, which is not the same as turned and then mirrored."""
    pictures = noise(1, 1, 3, 8, 8)
    found = moved(pictures, ada._flip(one(1)), ada._quarters(one(1)))
    torch.testing.assert_close(found, pictures.flip(3).rot90(1, (2, 3)))


def test_pixels_between_pixels() -> None:
    """Half a pixel to the right: of a smooth wave, nearly the wave there."""
    pictures = waves(32)
    x = torch.arange(32, dtype=torch.float64)
    found = moved(pictures, ada._shift(one(1 / 32), one(0)))[0, 0, 0]
    assert (found - (2 * math.pi * x / 16).sin())[4:-4].abs().max() < 0.02


def test_growing_and_shrinking_by_hand() -> None:
    pictures = noise(1, 1, 3, 8, 8)
    # At half the size each pixel is the mean of 2×2.
    half = moved(pictures, ada._scale(one(0.5), one(0.5)))[:, :, 2:6, 2:6]
    torch.testing.assert_close(half, torch.nn.functional.avg_pool2d(pictures, 2))
    # At half the width, of two beside each other.
    flat = moved(pictures, ada._scale(one(0.5), one(1)))[:, :, :, 2:6]
    torch.testing.assert_close(flat, torch.nn.functional.avg_pool2d(pictures, (1, 2)))
    # At three times the size every third pixel, from the middle one on, is one of the picture's.
    odd = noise(1, 1, 3, 9, 9)
    large = moved(odd, ada._scale(one(3), one(3)))
    torch.testing.assert_close(large[:, :, 1::3, 1::3], odd[:, :, 3:6, 3:6])


def test_shrinking_does_not_alias() -> None:
    checks = ((torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1).double().expand(1, 3, 16, 16)
    half = moved(checks, ada._scale(one(0.5), one(0.5)))
    assert half[:, :, 4:12, 4:12].abs().max() < 1e-12


# What colours become


def mixed(colours: Tensor, *rgb: float) -> list[float]:
    pixel = torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)
    found: list[float] = ada._recoloured(pixel, colours).flatten().tolist()
    return found


def test_colours_by_hand() -> None:
    assert mixed(ada._brighter(one(0.25)), 0.5, 0, -1) == pytest.approx([0.75, 0.25, -0.75])
    assert mixed(ada._contrast(one(2)), 0.5, 0, -1) == pytest.approx([1, 0, -2])
    # The mean of 0.3, 0 and −0.9 is −0.2; mirrored it is 0.2, all else staying.
    assert mixed(ada._luma_flip(one(1)), 0.3, 0, -0.9) == pytest.approx([0.7, 0.4, -0.5])
    assert mixed(ada._luma_flip(one(0)), 0.3, 0, -0.9) == pytest.approx([0.3, 0, -0.9])
    assert mixed(ada._hue(one(2 * math.pi / 3)), 0.3, 0, -0.9) == pytest.approx([-0.9, 0.3, 0])
    # Half way there, 60 degrees: from (1, 0, 0) to (2, 2, −1)/3.
    assert mixed(ada._hue(one(math.pi / 3)), 1, 0, 0) == pytest.approx([2 / 3, 2 / 3, -1 / 3])
    # From the mean −0.2 half as far.
    assert mixed(ada._saturation(one(0.5)), 0.3, 0, -0.9) == pytest.approx([0.05, -0.1, -0.55])


# How often, and how far


def taken(matrices: Tensor) -> float:
    return float(ada._changing(matrices).double().mean())


def share(event: Tensor) -> float:
    return float(event.double().mean())


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.8])
def test_a_step_is_taken_as_often_as_it_says(probability: float) -> None:
    found = steps(probability).taken(torch.ones(THROWS, dtype=torch.float64))
    assert share(found == 1) == pytest.approx(probability, abs=0.01)


def test_one_of_the_two_turns_is_taken_with_the_probability() -> None:
    """Unchanged is what none of five steps takes: two shifts, two scalings, and the turns, which count as
    one. Of mirrorings that are taken half do nothing, and of quarters one in four."""
    p = 0.3
    untouched = (1 - p) ** 5 * (1 - p / 2) * (1 - p * 3 / 4)
    assert taken(ada._geometry(steps(p), 1024)) == pytest.approx(1 - untouched, abs=0.015)


def test_geometry_at_probability_1() -> None:
    back = ada._geometry(steps(1.0), 64)
    area = torch.linalg.det(back[:, :2, :2])
    # Stretching and turning leave areas alone; half are mirrored.
    assert share(area < 0) == pytest.approx(0.5, abs=0.015)
    octaves = -area.abs().log2() / 2
    assert float(octaves.mean()) == pytest.approx(0, abs=0.005)
    assert float(octaves.std()) == pytest.approx(0.2, rel=0.02)
    longest, shortest = torch.linalg.svdvals(back[:, :2, :2]).unbind(1)
    # |N(0, 0.2)| twice, one up and one down: √(2/π)·0.4 in the mean.
    assert float((longest / shortest).log2().mean()) == pytest.approx(0.4 * math.sqrt(2 / math.pi), rel=0.02)


def test_shifts_at_probability_1() -> None:
    """The middle of the picture, after all steps: moved by whole pixels, scaled, turned, moved again."""
    back = ada._geometry(steps(1.0), 64)
    middle = torch.linalg.inv(back)[:, :2, 2]
    # Variances in half sides: (1/4)²/3, scaled by E[4^N(0, 0.2²)] = exp(2·(0.2·ln 2)²) twice, and (1/4)².
    grown = math.exp(4 * (0.2 * math.log(2)) ** 2)
    assert middle.mean(0).tolist() == pytest.approx([0, 0], abs=0.01)
    assert middle.var(0).tolist() == pytest.approx([(1 + grown / 3) / 16] * 2, rel=0.05)


def test_colours_at_probability_1() -> None:
    colours = ada._colours(steps(1.0))
    grey = colours[:, :3, :3].sum(2)  # what (1, 1, 1) becomes, but for brightness: grey again
    torch.testing.assert_close(grey[:, 0], grey[:, 1])
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    assert share(grey[:, 0] < 0) == pytest.approx(0.5, abs=0.015)
    contrast = grey[:, 0].abs().log2()
    assert float(contrast.mean()) == pytest.approx(0, abs=0.015)
    assert float(contrast.std()) == pytest.approx(0.5, rel=0.02)
    bright = colours[:, 0, 3] / grey[:, 0]
    assert float(bright.mean()) == pytest.approx(0, abs=0.01)
    assert float(bright.std()) == pytest.approx(0.2, rel=0.02)
    # |det| = contrast³ · saturation²
    saturation = (torch.linalg.det(colours).abs().log2() - 3 * contrast) / 2
    assert float(saturation.mean()) == pytest.approx(0, abs=0.03)
    assert float(saturation.std()) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("probability", [0.3, 0.79])
def test_pictures_are_upright_more_often_than_not_so(probability: float) -> None:
    """What keeps the augmentation from leaking into what the generator draws: below p = 0.8 no other
    orientation comes as often as the true one."""
    back = ada._geometry(steps(probability), 64)[:, :2, :2]
    upright = torch.atan2(back[:, 1, 0], back[:, 1, 1])  # of the picture's y axis, which no mirroring turns
    quarter = (upright / (math.pi / 2)).round().long() % 4
    counts = torch.bincount(quarter, minlength=4) / THROWS
    # Quarters are even when one is taken, and so are turns: 1 − (1 − p)² is even, the rest upright.
    even = 1 - (1 - probability) ** 2
    assert counts.tolist() == pytest.approx([1 - 0.75 * even, *[even / 4] * 3], abs=0.015)
    assert counts[0] - counts[1:].max() > 0.02


# The controller


@pytest.mark.parametrize(
    ("before", "sign_mean", "after"),
    [
        (0.5, 0.7, 0.502),
        (0.5, 0.5, 0.498),
        (0.5, 0.6, 0.5),
        (0.0, 0.9, 0.002),
        (0.0, -1.0, 0.0),
        (0.001, 0.0, 0.0),
        (0.999, 1.0, 1.0),
        (1.0, 1.0, 1.0),
    ],
)
def test_the_controller_by_hand(before: float, sign_mean: float, after: float) -> None:
    assert ada.adjusted(before, sign_mean, pictures=1000) == pytest.approx(after, abs=1e-12)


def test_the_controller_takes_its_speed_from_0_to_1() -> None:
    probability = 0.0
    for _ in range(499):
        probability = ada.adjusted(probability, 0.61, pictures=10, speed=5000)
    assert probability == pytest.approx(0.998)
    assert ada.adjusted(0.5, 0.3, pictures=10, target=0.2, speed=100) == pytest.approx(0.6)


def test_the_controller_finds_the_target() -> None:
    """Of a discriminator that is the surer the less it sees augmented: r = 1 − p, so p = 0.4."""
    probability = 0.0
    for _ in range(200):
        probability = ada.adjusted(probability, 1 - probability, pictures=2000)
    assert probability == pytest.approx(0.4, abs=0.005)


@pytest.mark.parametrize(
    "step", [ada._flip, ada._quarters, ada._turn, ada._luma_flip, ada._hue, ada._brighter]
)
def test_a_step_that_is_left_is_the_identity_exactly(step: Callable[[Tensor], Tensor]) -> None:
    assert not bool(ada._changing(step(one(0))))
    assert bool(ada._changing(step(one(1))))
