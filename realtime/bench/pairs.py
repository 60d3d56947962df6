"""What a pair of portrait and clip is worth, and all pairs together: pure functions of the judge's tracks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.bench.motion import FLOORS, QUANTITIES, Motion, agreement, jitter, motion

# What is wanted: the least mean correlation and the least mean slope; None where none is asked for.
GOALS: dict[str, tuple[float | None, float | None]] = {
    "yaw": (0.9, None),
    "pitch": (0.9, None),
    "mouth": (0.9, None),
    "lids": (0.85, 0.75),
    "closing": (None, None),
    "gaze": (None, 0.8),
}
JITTER_GOAL = 1.2


def compare(driver: npt.NDArray[np.float64], avatar: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The figures of one pair, from two tracks T×478×3: for each quantity correlation and slope (None where
    the driver hardly moves) and the driver's spread; the jitter ratio; the share of the driver's frames in
    which the avatar's face is found."""
    seen = ~np.isnan(driver[:, 0, 0])
    both = seen & ~np.isnan(avatar[:, 0, 0])
    row: dict[str, Any] = {"face": float(both.sum() / max(1, seen.sum())), "jitter": None}
    if not both.any():
        return row | dict.fromkeys(QUANTITIES)
    still_driver, still_avatar = jitter(driver, avatar)
    row["jitter"] = still_avatar / still_driver if still_driver > 0 else None
    of_driver, of_avatar = motion(driver), motion(avatar)
    for name in QUANTITIES:
        row[name] = _quantity(name, of_driver, of_avatar)
    return row


def _quantity(name: str, of_driver: Motion, of_avatar: Motion) -> dict[str, float | None]:
    result = agreement(getattr(of_driver, name), getattr(of_avatar, name))
    counts = result.spread >= FLOORS[name]
    return {
        "correlation": result.correlation if counts else None,
        "slope": result.slope if counts else None,
        "spread": result.spread,
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Over all pairs that count, for each quantity: how many, and mean, median and worst of correlation and
    slope."""
    table: dict[str, dict[str, Any]] = {}
    for name in QUANTITIES:
        counted = [row[name] for row in rows if row[name] and row[name]["slope"] is not None]
        table[name] = {"pairs": len(counted)}
        for figure in ("correlation", "slope"):
            table[name][figure] = _spread_of([row[figure] for row in counted], worst=min)
    table["jitter"] = {"pairs": len(rows)}
    table["jitter"]["ratio"] = _spread_of(
        [row["jitter"] for row in rows if row["jitter"] is not None], worst=max
    )
    return table


def _spread_of(values: Sequence[float], worst: Callable[[Sequence[float]], float]) -> dict[str, float] | None:
    """Mean, median and worst; None for no values."""
    if not values:
        return None
    return {"mean": float(np.mean(values)), "median": float(np.median(values)), "worst": worst(values)}
