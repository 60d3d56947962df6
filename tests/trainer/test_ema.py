"""The running mean of a network."""

import io

import pytest
import torch
from torch import nn

from trainer.ema import Ema


def one(value: float, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A module of a single parameter."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor([value], dtype=dtype))
    return module


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))


def value(ema: Ema) -> float:
    return next(ema.module.parameters()).item()


def test_the_mean_is_the_one_worked_out_by_hand() -> None:
    """Half-life 16: a step of 16 pictures keeps 1/2 of the old, one of 32 keeps 1/4, one of 48 keeps 1/8."""
    ema = Ema(one(8), half_life=16, ramp=None)
    found = []
    for new, pictures in ((0, 16), (10, 32), (2.5, 48)):
        ema.update(one(new), pictures)
        found.append(value(ema))
    assert found == pytest.approx([4, 1 + 7.5, 8.5 / 8 + 2.5 * 7 / 8], rel=1e-6)
    assert ema.pictures == 96


def test_the_ramp_is_the_one_worked_out_by_hand() -> None:
    """With a ramp of 1/2: nothing was seen before the first step, which is copied; then 8 pictures make a
    half-life of 4, 12 one of 6, and 24 one of 10, which is not 12, as it stands."""
    ema = Ema(one(100), half_life=10, ramp=0.5)
    for new, pictures, expected in ((8, 8, 8), (0, 4, 4), (12, 12, 4 / 4 + 9), (0, 10, 5)):
        ema.update(one(new), pictures)
        assert value(ema) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("pictures", [1, 8, 250])
def test_after_a_half_life_half_the_way_is_left(pictures: int) -> None:
    ema = Ema(one(1), half_life=1000, ramp=None)
    for _ in range(1000 // pictures):
        ema.update(one(3), pictures)
    assert value(ema) == pytest.approx(2, abs=2e-5)


def test_pictures_count_and_not_steps() -> None:
    twice, once = (Ema(one(1), half_life=50, ramp=None) for _ in range(2))
    for ema, pictures in ((twice, (8, 8)), (once, (16,))):
        for step in pictures:
            ema.update(one(-4), step)
    assert value(twice) == pytest.approx(value(once), abs=1e-6)
    assert value(once) == pytest.approx(-4 + 5 * 0.5**0.32, abs=1e-6)


def test_short_steps_of_a_long_half_life_are_not_rounded_away() -> None:
    """In half precision, 1 + 1e-4 is 1."""
    ema = Ema(one(1, torch.bfloat16), half_life=10_000, ramp=None)
    assert next(ema.module.parameters()).dtype == torch.float32
    trained = one(2, torch.bfloat16)
    ema.update(trained, 1)
    assert value(ema) == pytest.approx(1 + 6.9312e-5, abs=1.2e-7)
    assert next(trained.parameters()).dtype == torch.bfloat16


def test_double_precision_stays() -> None:
    ema = Ema(one(1, torch.float64), half_life=1e12, ramp=None)
    ema.update(one(2, torch.float64), 1)
    assert value(ema) - 1 == pytest.approx(6.931e-13, rel=1e-3)


def test_buffers_are_copied() -> None:
    trained = small()
    ema = Ema(trained, half_life=1e6, ramp=None)
    trained(torch.randn(2, 3, 8, 8))
    norm, mean = trained[1], ema.module[1]
    assert mean.num_batches_tracked == 0
    ema.update(trained, 2)
    assert mean.num_batches_tracked == 1
    assert mean.num_batches_tracked.dtype == torch.int64
    assert torch.equal(mean.running_var, norm.running_var)
    norm.running_var.zero_()
    assert not torch.equal(mean.running_var, norm.running_var)


def test_the_mean_can_be_called_and_is_not_trained() -> None:
    trained = small()
    ema = Ema(trained, half_life=1)
    pictures = torch.randn(2, 3, 8, 8)
    out = ema.module(pictures)
    assert torch.equal(out, ema.module(pictures))  # no dropout
    assert not out.requires_grad
    assert ema.module[1].num_batches_tracked == 0
    assert trained.training
    assert all(parameter.requires_grad for parameter in trained.parameters())
    ema.update(trained, 2)
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())


def test_shared_parameters_are_averaged_once() -> None:
    trained = nn.Sequential(one(0), one(0))
    trained[1].weight = trained[0].weight
    ema = Ema(trained, half_life=4, ramp=None)
    with torch.no_grad():
        trained[0].weight.fill_(1)
    ema.update(trained, 4)
    assert ema.module[0].weight is ema.module[1].weight
    assert value(ema) == pytest.approx(0.5)


def test_a_resumed_mean_goes_on_as_if_nothing_had_been() -> None:
    def step(ema: Ema, seed: int) -> None:
        trained = small(seed)
        trained(torch.randn(2, 3, 8, 8))
        ema.update(trained, 8)

    whole, first = (Ema(small(), half_life=40, ramp=0.5) for _ in range(2))
    for seed in range(1, 4):
        step(whole, seed)
        step(first, seed)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = Ema(small(99), half_life=40, ramp=0.5)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(4, 7):
        step(whole, seed)
        step(resumed, seed)
    assert resumed.pictures == whole.pictures == 48
    expected = whole.module.state_dict()
    for key, tensor in resumed.module.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 5, 3)), r"0\.weight is 5×3×3×3 float32; the average expects 4×3×3×3"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, bias=False)),
            r"0\.bias is missing; the average expects 4 float32 under that key",
        ),
    ],
)
def test_another_networks_mean_is_refused_and_changes_nothing(other: nn.Module, message: str) -> None:
    ema = Ema(nn.Sequential(nn.Conv2d(3, 4, 3)), half_life=8)
    before = {key: tensor.clone() for key, tensor in ema.module.state_dict().items()}
    foreign = Ema(other, half_life=8)
    foreign.update(other, 8)
    with pytest.raises(ValueError, match=message):
        ema.load_state_dict(foreign.state_dict())
    assert ema.pictures == 0
    assert all(torch.equal(tensor, before[key]) for key, tensor in ema.module.state_dict().items())


@pytest.mark.parametrize(("half_life", "ramp"), [(0, None), (-1, 0.05), (10, 0), (float("nan"), None)])
def test_spans_are_above_nought(half_life: float, ramp: float | None) -> None:
    with pytest.raises(ValueError, match=r"the average's (half-life|ramp) is .*: expected more than 0"):
        Ema(one(1), half_life, ramp)
