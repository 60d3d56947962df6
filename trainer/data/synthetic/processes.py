"""Random processes in time that motion is made of. Time is in seconds.

Each draws in the order of time and looks at no later draw, so that a longer clip begins as a shorter one, and
the same clip at another frame rate is the same motion. Clips begin amid the motion: processes start earlier,
by `BEFORE_S` at least.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.signal import lfilter

from trainer.data.synthetic.anatomy import Array

BEFORE_S = 8.0  # before a clip's first frame: what happened earlier is over
EARLIER = 4  # gaps before that, at which events begin to be drawn


def ease(x: Array) -> Array:
    """From 0 (x ≤ 0) to 1 (x ≥ 1) with the least jerk, as hands, heads and eyes move: T. Flash, N. Hogan, The
    coordination of arm movements, Journal of Neuroscience 5 (1985)."""
    x = x.clip(0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def bump(times: Array, start: float, rise_s: float, hold_s: float, fall_s: float) -> Array:
    """From 0 to 1 and back, with the least jerk each way: N."""
    return ease((times - start) / rise_s) - ease((times - start - rise_s - hold_s) / fall_s)


def events(end: float, gap: Callable[[], float]) -> Iterator[float]:
    """Times at which something happens, from `BEFORE_S` before the clip to `end`; `gap` draws the time from
    one to the next. What happens began some gaps earlier: did it begin with the clip, rare things would never
    be seen in short ones."""
    time = -BEFORE_S - EARLIER * gap()
    while time < end:
        if time >= -BEFORE_S:
            yield time
        time += gap()


def skewed(rng: np.random.Generator, median: float, spread: float, low: float, high: float) -> float:
    """A log-normal number, held in [low, high]. spread: standard deviation of its logarithm."""
    return float(np.clip(median * math.exp(spread * rng.standard_normal()), low, high))


def moves(times: Array, starts: Sequence[float], lasts_s: Sequence[float], levels: Array) -> Array:
    """From level to level, each move with the least jerk, rest between: N×C.

    starts, lasts_s: K moves; levels: (K + 1)×C, before the first and after each. Moves may overlap.
    """
    progress = ease((times[:, None] - np.asarray(starts)) / np.asarray(lasts_s))  # N×K
    moved: Array = levels[0] + progress @ np.diff(levels, axis=0)
    return moved


def wander(rng: np.random.Generator, times: Array, scale_s: float, channels: int) -> Array:
    """Smooth wandering about 0 with unit variance, N×channels.

    White noise through three equal lags: a Gaussian process with Matérn's covariance, ν = 5/2, of length
    `scale_s` (C. E. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, section 4.2). It
    has a velocity and an acceleration, as heads have, where an Ornstein-Uhlenbeck process (one lag) has
    neither.
    """
    step = scale_s / 16
    lag = math.exp(-math.sqrt(5) * step / scale_s)
    back = np.poly([lag] * 3)
    response = lfilter([1.0], back, np.eye(1, 512)[0])
    before = int(8 * scale_s / step)
    count = before + int(times[-1] / step) + 4
    level = lfilter([1.0], back, rng.standard_normal((count, channels)), axis=0)
    level /= np.linalg.norm(response)
    slope = (level[2:] - level[:-2]) / (2 * step)  # of neighbours only: the future does not matter
    places = (np.arange(1, count - 1) - before) * step
    return np.asarray(CubicHermiteSpline(places, level[1:-1], slope, axis=0)(times))
