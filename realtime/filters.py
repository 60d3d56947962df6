"""Smoothing in time. Nothing here reads a clock: the time of each sample is passed in."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Smoothing:
    """How much a `OneEuroFilter` smooths."""

    rest_hz: float
    """Cut-off for a point at rest: lower takes out more jitter."""
    per_speed: float
    """By how many Hz the cut-off rises for each unit a second that a point moves: higher lags less."""
    speed_hz: float = 1.0
    """Cut-off of the speed's own smoothing."""

    def __post_init__(self) -> None:
        if self.rest_hz <= 0 or self.speed_hz <= 0 or self.per_speed < 0:
            raise ValueError("smoothing: cut-offs must be above 0, and per_speed not below it")


class OneEuroFilter:
    """Takes the jitter out of points at rest, and follows those that move.

    A first-order low-pass whose cut-off rises with the speed of each point, so that a still cheek is smoothed
    while a lip that opens is not (Casiez, Roussel, Vogel: 1€ Filter, CHI 2012).
    """

    def __init__(self, smoothing: Smoothing) -> None:
        self._smoothing = smoothing
        self._time_s: float | None = None
        self._raw: Array
        self._value: Array
        self._speed: Array

    def reset(self) -> None:
        """Forget everything: the next sample is taken as it is."""
        self._time_s = None

    def filter(self, points: Array, time_s: float, unit: float = 1.0) -> Array:
        """The smoothed points at that time.

        points: N×D. unit: what speed is measured in, for instance the face's size in pixels. A sample that is
        not later than the last one starts anew.
        """
        if self._time_s is None or time_s <= self._time_s:
            self._time_s, self._raw, self._value = time_s, points, points
            self._speed = np.zeros_like(points)
            return points
        passed_s = time_s - self._time_s
        settings = self._smoothing
        rate = (points - self._raw) / (passed_s * unit)
        self._speed = self._speed + _share(settings.speed_hz, passed_s) * (rate - self._speed)
        pace = np.sqrt((self._speed**2).sum(1, keepdims=True))  # N×1
        share = _share(settings.rest_hz + settings.per_speed * pace, passed_s)
        self._time_s, self._raw = time_s, points
        self._value = self._value + share * (points - self._value)
        return self._value


def _share(cutoff_hz: "float | Array", passed_s: float) -> "float | Array":
    """How much of the new sample a first-order low-pass of that cut-off takes."""
    return 1 - 1 / (1 + 2 * math.pi * cutoff_hz * passed_s)
