"""Many rows' values as one line of a report."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0


class Summary(NamedTuple):
    """The mean, and between which values it is."""

    mean: float
    n: int  # rows
    groups: int  # what was drawn again: clips or people, or rows
    low: float | None  # 95 % interval; None where there is only one group
    high: float | None


def summary(values: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Summary:
    """Mean, n and its 95 % interval by the percentiles of 1,000 bootstrap samples, with a fixed seed.

    groups: the clip or person of each value. Whole groups are then drawn again: frames of one clip are so
    alike that an interval from single frames would be far too narrow. A value may be infinite, as PSNR is
    for equal pictures, and so is the mean then. Raises ValueError for no values, for NaN, for infinities of
    both signs, and where shapes don't fit.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 1 or not len(rows):
        raise ValueError(f"values of shape {rows.shape}: expected one for each row, and at least one")
    if np.isnan(rows).any():
        raise ValueError(f"value {int(np.isnan(rows).argmax())} is NaN: count such a row as the worst case")
    if np.isposinf(rows).any() and np.isneginf(rows).any():
        raise ValueError("values of both infinities have no mean")
    names = np.arange(len(rows)) if groups is None else np.asarray(groups)
    if names.shape != rows.shape:
        raise ValueError(f"groups of shape {names.shape}: expected one for each of the {len(rows)} values")
    number = np.unique(names, return_inverse=True)[1]
    sizes = np.bincount(number)
    sums = np.array([rows[number == one].sum() for one in range(len(sizes))])
    mean = float(rows.mean())
    if len(sizes) == 1:
        return Summary(mean, len(rows), 1, None, None)
    low, high = _interval(sums, sizes)
    return Summary(mean, len(rows), len(sizes), low, high)


def _interval(sums: npt.NDArray[np.float64], sizes: npt.NDArray[Any]) -> tuple[float, float]:
    drawn = np.random.default_rng(SEED).integers(len(sizes), size=(RESAMPLES, len(sizes)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    # A value that occurs, since between a finite and an infinite one there is none.
    tails = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="closest_observation")
    return float(tails[0]), float(tails[1])
