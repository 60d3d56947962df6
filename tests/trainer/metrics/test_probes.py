import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainer.metrics.probes import linear_probe_r2, retrieval_at_1, swap_error


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[: len(x) // 2], x[len(x) // 2 :]


def probe(codes: Tensor, targets: Tensor) -> Tensor:
    (codes_train, codes_test), (targets_train, targets_test) = split(codes), split(targets)
    return linear_probe_r2(codes_train, targets_train, codes_test, targets_test).r2


def test_what_is_linear_in_a_code_is_read_off() -> None:
    """However the code's columns are scaled and shifted, and with columns that say nothing."""
    code = drawn(200, 10)
    targets = code @ drawn(10, 3, seed=1) + 5
    code = torch.cat((code * 10.0 ** torch.arange(-4, 6) + 100, torch.full((200, 1), 0.1)), 1)
    assert bool((probe(code, targets) > 0.999).all())


def test_columns_that_vary_in_the_test_alone_are_not_looked_at() -> None:
    """However its mean is rounded."""
    code, constant = drawn(60, 3), drawn(1, 50, seed=2).expand(30, 50)
    (a, b), (y, z) = split(code), split(code[:, :2])
    found = linear_probe_r2(torch.cat((a, constant), 1), y, torch.cat((b, drawn(30, 50, seed=1)), 1), z)
    torch.testing.assert_close(found.r2, linear_probe_r2(a, y, b, z).r2)


def test_noise_says_nothing() -> None:
    """Even with more columns than rows, with which every target can be fitted exactly."""
    for columns in (10, 500):
        r2 = probe(drawn(600, columns), drawn(600, 8, seed=1))
        assert abs(float(r2.mean())) < 0.05
        assert float(r2.max()) < 0.05


def test_half_of_the_variance_is_half_an_r2() -> None:
    code = drawn(4000, 5)
    targets = code[:, :1] + drawn(4000, 1, seed=1)
    assert float(probe(code, targets)) == pytest.approx(0.5, abs=0.05)


def test_targets_are_probed_alone() -> None:
    """One that is all there and one that isn't: each as without the other, and its own ridge."""
    code = drawn(200, 40)
    targets = torch.cat((code[:, :1], drawn(200, 1, seed=1)), 1)
    (a, b), (y, z) = split(code), split(targets)
    found = linear_probe_r2(a, y, b, z)
    assert found.r2[0] > 0.999
    assert found.r2[1] < 0.05
    assert found.mean == pytest.approx(float(found.r2.mean()))
    assert found.ridges[0] < 1e-3 < found.ridges[1]
    assert found[3:] == (100, 100)
    for target in (0, 1):
        alone = linear_probe_r2(a, y[:, [target]], b, z[:, [target]])
        torch.testing.assert_close(alone.r2, found.r2[[target]])


def test_a_ridge_by_hand() -> None:
    """One column, −1 and 1 alike often, and y = x: the weight shrinks to 1 / (1 + ridge), so of the residual
    there remains (ridge / (1 + ridge))². With ridge 1: R² = ¾."""
    x = torch.tensor([[-1.0], [1.0]]).repeat(10, 1)
    assert linear_probe_r2(x, x, x, x, ridges=[1.0]).mean == pytest.approx(0.75)


def test_groups_stay_together_in_the_trial() -> None:
    """A code tells the group, and so its target, which has nothing to do with any other group's: only a trial
    that keeps groups whole finds out that the code helps with no new one."""
    groups = torch.arange(40).repeat_interleave(10)
    code = drawn(40, 60)[groups] + 0.01 * drawn(400, 60, seed=1)
    targets = drawn(40, 1, seed=2)[groups]
    test, test_targets = drawn(400, 60, seed=3), drawn(400, 1, seed=4)
    together = linear_probe_r2(code, targets, test, test_targets, groups)
    apart = linear_probe_r2(code, targets, test, test_targets)
    assert float(apart.ridges) < 0.1 < 1 < float(together.ridges)
    assert apart.mean < together.mean
    assert together.mean == pytest.approx(0, abs=0.05)


def test_neighbours_by_hand() -> None:
    """Directions of 0°, 10°, 60° and 70° and their opposites, so that standardising keeps the rows' order:
    people 0 and 1 are found, and so are 2 and 3 where they lie together."""
    angle = torch.tensor([0.0, 10, 90, 100]) * math.pi / 180
    codes = torch.stack((angle.cos(), angle.sin()), 1)
    codes = torch.cat((codes, -codes))
    right = retrieval_at_1(codes, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    assert right == (1, pytest.approx(1 / 7), 8)
    wrong = retrieval_at_1(codes, torch.tensor([0, 1, 0, 1, 2, 3, 2, 3]))
    assert wrong.share == 0
    mixed = retrieval_at_1(codes, torch.tensor([0, 0, 1, 1, 2, 3, 2, 3]))
    assert mixed.share == 0.5


def test_codes_that_say_nothing_are_at_chance() -> None:
    """Exactly, where all are the same; nearly, where they are noise."""
    people = torch.arange(20).repeat(10)
    same = retrieval_at_1(torch.ones(200, 5), people)
    assert same.share == pytest.approx(same.chance) == pytest.approx(9 / 199)
    noise = retrieval_at_1(drawn(2000, 8), torch.arange(20).repeat(100))
    assert noise.share == pytest.approx(noise.chance, abs=0.02)


def test_frames_of_one_clip_are_no_neighbours() -> None:
    """Each clip has a pose of its own and the code holds that alone: it finds the clip, not the person."""
    people, clips = torch.arange(10).repeat_interleave(20), torch.arange(40).repeat_interleave(5)
    code = drawn(40, 6)[clips] + 0.01 * drawn(200, 6, seed=1)
    assert retrieval_at_1(code, people).share == 1
    other = retrieval_at_1(code, people, clips)
    assert other.chance == pytest.approx(15 / 195)
    assert other.share < 3 * other.chance


def test_a_code_of_the_person_is_found_in_another_clip() -> None:
    people, clips = torch.arange(10).repeat_interleave(20), torch.arange(40).repeat_interleave(5)
    code = drawn(10, 6)[people] + 0.01 * drawn(200, 6, seed=1)
    assert retrieval_at_1(code, people, clips).share == 1


def test_swapped_codes_by_hand() -> None:
    """On the wanted one, on the other, midway, and a quarter of the way."""
    wanted, other = torch.zeros(4, 2), torch.tensor([[3.0, 4.0]]).expand(4, 2)
    found = other * torch.tensor([[0.0], [1.0], [0.5], [0.25]])
    assert swap_error(found, wanted, other).tolist() == pytest.approx([0, 1, 0.5, 0.25])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: linear_probe_r2(x, x[:4], x, x), "training codes"),
        (lambda x: linear_probe_r2(x, x, x[:, :2], x), "other numbers"),
        (lambda x: linear_probe_r2(x[:4], x[:4], x, x), "4 training rows"),
        (lambda x: linear_probe_r2(x, x, x, x, torch.zeros(6)), "6 training rows of 1 groups"),
        (lambda x: linear_probe_r2(x, x, x, x, torch.zeros(5)), "expected one for each of the 6"),
        (lambda x: linear_probe_r2(x, x, x, torch.cat((x[:, :1], 0 * x[:, 1:]), 1)), "target 1 doesn't vary"),
        (lambda x: retrieval_at_1(x, torch.arange(5)), "expected n×D and n"),
        (lambda x: retrieval_at_1(x, torch.arange(6)), "another of its identity"),
        (lambda x: retrieval_at_1(x, torch.zeros(6)), "one of another"),
        (lambda x: retrieval_at_1(x, torch.tensor([0, 0, 1, 1, 2, 2]), torch.zeros(6)), "in another clip"),
        (lambda x: retrieval_at_1(x, torch.tensor([0, 0, 1, 1, 2, 2]), torch.zeros(5)), "expected one for"),
        (lambda x: swap_error(x, x, x), "choose pairs that differ"),
        (lambda x: swap_error(x, x, x[:2]), "of one shape"),
    ],
)
def test_what_is_refused(call: Callable[[Tensor], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(drawn(6, 3))
