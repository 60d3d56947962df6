import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.filters import OneEuroFilter, Smoothing
from realtime.tracker import SMOOTHING
from tests.material import TRACKS, track

FPS = 30


def run(
    signal: np.ndarray, smoothing: Smoothing = SMOOTHING, fps: float = FPS, unit: float = 1.0
) -> np.ndarray:
    one_euro = OneEuroFilter(smoothing)
    return np.array([one_euro.filter(points, i / fps, unit) for i, points in enumerate(signal)])


def jitter(signal: np.ndarray) -> float:
    """RMS of the second difference: motion that no head makes."""
    return float(np.sqrt(np.square(np.diff(signal, 2, axis=0)).mean()))


def test_jitter_of_a_point_at_rest_is_taken_out():
    noise = np.random.default_rng(0).normal(0, 0.002, (300, 20, 2))
    assert jitter(run(noise)) < 0.6 * jitter(noise)
    assert np.abs(run(noise)[100:].mean(0)).max() < 0.001


def test_a_moving_point_lags_by_less_than_half_a_frame():
    """A point that swings by a tenth of the face twice a second, as nodding heads and speaking lips do."""
    times = np.arange(300) / FPS
    swing = np.zeros((300, 1, 2))
    swing[:, 0, 0] = 0.1 * np.sin(2 * np.pi * 2 * times)
    smooth = run(swing)[60:, 0, 0]
    shifts = np.linspace(0, 0.1, 201)
    errors = [np.abs(smooth - 0.1 * np.sin(2 * np.pi * 2 * (times[60:] - shift))).mean() for shift in shifts]
    assert shifts[int(np.argmin(errors))] < 0.5 / FPS
    assert smooth.max() > 0.097


def test_a_jump_is_followed_at_once():
    step = np.zeros((60, 1, 2))
    step[30:] = 1.0
    smooth = run(step)[:, 0, 0]
    assert smooth[29] == 0
    assert smooth[30] > 0.9
    assert smooth[33] > 0.99


@pytest.mark.parametrize("name", TRACKS)
def test_real_faces_lose_jitter_and_keep_their_shape(name):
    points, fps, _ = track(name)
    side = float(np.ptp(points[0, :, :2], axis=0).max())
    smooth = run(points, fps=fps, unit=side)
    assert jitter(smooth) < jitter(points)
    assert np.sqrt(np.square(smooth - points)[:, :, :2].sum(2)).mean() < 0.004 * side


def test_the_frame_rate_does_not_change_what_is_smoothed():
    def settled(fps: int) -> float:
        step = np.zeros((fps, 1, 2))
        step[1:] = 0.01
        return float(run(step, Smoothing(rest_hz=1.0, per_speed=0.0), fps)[-1, 0, 0])

    assert settled(30) == pytest.approx(settled(120), rel=0.02)


def test_the_first_sample_and_the_one_after_a_reset_are_taken_as_they_are():
    one_euro = OneEuroFilter(SMOOTHING)
    first, second = np.zeros((4, 2)), np.full((4, 2), 0.01)
    assert np.array_equal(one_euro.filter(first, 0.0), first)
    assert not np.array_equal(one_euro.filter(second, 0.03), second)
    one_euro.reset()
    assert np.array_equal(one_euro.filter(second, 0.06), second)


def test_time_that_runs_backwards_starts_anew():
    one_euro = OneEuroFilter(SMOOTHING)
    one_euro.filter(np.zeros((4, 2)), 5.0)
    assert np.array_equal(one_euro.filter(np.ones((4, 2)), 1.0), np.ones((4, 2)))


@given(
    st.lists(st.tuples(st.floats(1e-4, 10), st.floats(-1e4, 1e4)), min_size=1, max_size=30),
    st.floats(0.1, 20),
    st.floats(0, 100),
)
def test_the_output_stays_between_what_came_in(samples, rest_hz, per_speed):
    one_euro, time_s, seen = OneEuroFilter(Smoothing(rest_hz, per_speed)), 0.0, []
    for passed_s, value in samples:
        time_s += passed_s
        seen.append(value)
        out = float(one_euro.filter(np.full((1, 2), value), time_s)[0, 0])
        slack = 1e-9 * (1 + max(map(abs, seen)))
        assert min(seen) - slack <= out <= max(seen) + slack


@pytest.mark.parametrize("wrong", [{"rest_hz": 0}, {"speed_hz": -1}, {"per_speed": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="smoothing"):
        Smoothing(**{"rest_hz": 1.0, "per_speed": 1.0, **wrong})
