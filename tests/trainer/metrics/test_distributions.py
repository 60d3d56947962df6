import math

import pytest
import torch
from torch import Tensor

from tests.trainer.metrics.golden_metrics import Fixture
from trainer.metrics.distributions import frechet


def fitting(mean: Tensor, covariance: Tensor, n: int, seed: int) -> Tensor:
    """n rows of exactly this mean and covariance (over n − 1)."""
    random = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    white = torch.linalg.qr(random - random.mean(0))[0] * (n - 1) ** 0.5
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_the_fixture(golden: Fixture) -> None:
    x = torch.from_numpy(golden["x"] @ golden["mixA"])
    y = torch.from_numpy(golden["y"] @ golden["mixB"] + 0.3)
    z = torch.from_numpy(golden["z"] @ golden["mixA"])
    golden.check(frechet(x, y).value, "frechet_x_y")
    golden.check(frechet(x, x).value, "frechet_x_x")
    golden.check(frechet(x, z).value, "frechet_x_z_rank_deficient")


def test_one_number_by_hand() -> None:
    """Means 1 and 4, deviations 2 and 5: 3² + (5 − 2)² = 18."""
    a = fitting(torch.tensor([1.0], dtype=torch.float64), torch.tensor([[4.0]], dtype=torch.float64), 10, 0)
    b = fitting(torch.tensor([4.0], dtype=torch.float64), torch.tensor([[25.0]], dtype=torch.float64), 7, 1)
    assert frechet(a, b).value == pytest.approx(18)
    assert frechet(a, b)[1:] == (10, 7)


def test_covariances_that_do_not_commute() -> None:
    """For 2×2 matrices tr (Σ₁ Σ₂)^½ = √(tr Σ₁Σ₂ + 2 √det Σ₁Σ₂), by Cayley and Hamilton."""
    one = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    two = torch.tensor([[5.0, -2.0], [-2.0, 1.0]], dtype=torch.float64)
    product = one @ two
    root = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    a, b = (
        fitting(torch.zeros(2, dtype=torch.float64), one, 20, 0),
        fitting(torch.ones(2).double(), two, 30, 1),
    )
    assert frechet(a, b).value == pytest.approx(2 + 5 + 6 - 2 * root)


def test_fewer_rows_than_features() -> None:
    """Of one line each, at right angles: nothing in common, so the variances add up."""
    a, b = torch.zeros(3, 50), torch.zeros(2, 50)
    a[:, 0] = torch.tensor([-1.0, 0.0, 1.0])  # variance 1
    b[:, 1] = torch.tensor([-2.0, 2.0])  # variance 8
    assert frechet(a, b).value == pytest.approx(9)
    assert frechet(a, a).value == pytest.approx(0, abs=1e-12)


def test_neither_order_nor_a_turn_matters() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 6, generator=random, dtype=torch.float64) for n in (15, 25))
    turn = torch.linalg.qr(torch.randn(6, 6, generator=random, dtype=torch.float64))[0]
    assert frechet(b, a).value == pytest.approx(frechet(a, b).value)
    assert frechet(a @ turn, b @ turn).value == pytest.approx(frechet(a, b).value)


def test_few_rows_look_far_apart() -> None:
    """Two sets of one distribution: the distance falls about as 1 / n, so n belongs to the figure."""
    random = torch.Generator().manual_seed(0)
    found = {n: frechet(*(torch.randn(n, 64, generator=random) for _ in range(2))).value for n in (200, 2000)}
    assert found[2000] > 0.1
    assert 6 < found[200] / found[2000] < 16


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 4), "with one D"),
        (torch.zeros(1, 3), torch.zeros(5, 3), "at least 2"),
        (torch.zeros(5, 3), torch.full((5, 3), math.nan), "not finite"),
    ],
)
def test_what_is_refused(a: Tensor, b: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        frechet(a, b)
