import math
from typing import Any

import numpy as np
import pytest

from trainer.metrics.summary import summary


def test_values_that_are_all_the_same() -> None:
    assert summary([3.0, 3.0, 3.0, 3.0]) == (3, 4, 4, 3, 3)


def test_the_interval_of_a_mean() -> None:
    """Of 400 values with deviation 1 it is about ± 1.96 / 20, and it is the same every time."""
    values = np.random.default_rng(1).standard_normal(400)
    found = summary(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.1)
    assert summary(values) == found


def test_the_interval_holds_the_truth_in_19_of_20() -> None:
    random = np.random.default_rng(2)
    found = [summary(random.exponential(size=60)) for _ in range(200)]
    inside = [f.low <= 1 <= f.high for f in found if f.low is not None and f.high is not None]
    assert len(inside) == 200
    assert 0.88 < np.mean(inside) <= 0.99


def test_groups_are_drawn_whole() -> None:
    """A hundred copies of ten values say no more than the ten; the mean weights rows."""
    values = np.random.default_rng(3).standard_normal(10)
    copies = summary(values.repeat(100), np.arange(10).repeat(100))
    assert copies[1:3] == (1000, 10)
    assert copies[3:] == pytest.approx(summary(values)[3:])
    apart = summary(values.repeat(100))
    assert apart.low is not None
    assert copies.low is not None
    assert apart.low > copies.low
    assert summary([0, 0, 0, 1], ["a", "a", "a", "b"]).mean == 0.25


def test_one_group_has_no_interval() -> None:
    assert summary([5.0]) == (5, 1, 1, None, None)
    assert summary([1.0, 3.0], [7, 7]) == (2, 2, 1, None, None)


def test_infinite_values() -> None:
    """As PSNR is for equal pictures."""
    found = summary([20.0] * 50 + [math.inf])
    assert found.mean == math.inf
    assert (found.low, found.high) == (20, math.inf)


@pytest.mark.parametrize(
    ("values", "groups", "said"),
    [
        ([], None, "at least one"),
        ([[1.0]], None, "at least one"),
        ([1.0, math.nan], None, "value 1 is NaN"),
        ([math.inf, -math.inf], None, "both infinities"),
        ([1.0, 2.0], [1], "expected one for each of the 2"),
    ],
)
def test_what_is_refused(values: Any, groups: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        summary(values, groups)
