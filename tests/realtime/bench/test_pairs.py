"""What counts as a comparison of an avatar with its driver, and what all of them come to."""

import numpy as np
import pytest

from models.face_geometry import IRIS_LEFT, IRIS_RIGHT
from realtime.bench.motion import EYES, LIP_GAPS
from realtime.bench.pairs import compare, summary


def speaking(openness: float, gaze: float, frames: int = 60, noise: float = 0.01) -> np.ndarray:
    """A face whose lips open and whose irises wander, in pixels; everything else trembles by `noise`."""
    rng = np.random.default_rng(11)
    face = rng.uniform(-50, 50, (478, 3))
    for (left, right), _, iris in EYES:
        middle = -25.0 if iris == IRIS_LEFT[0] else 25.0
        face[left], face[right], face[iris] = (middle - 15, -20, 0), (middle + 15, -20, 0), (middle, -20, 0)
    face[78], face[308] = (-20, 30, 0), (20, 30, 0)
    track = np.repeat(face[None], frames, 0) + rng.normal(0, noise, (frames, 478, 3))
    wave = np.sin(np.arange(frames) / 4)
    for upper, lower in LIP_GAPS:
        track[:, upper, :2] = (0, 25)
        track[:, lower, 0] = 0
        track[:, lower, 1] = 30 + openness * (1 + wave)
    track[:, [IRIS_LEFT[0], IRIS_RIGHT[0]], 0] += gaze * wave[:, None]
    return track


def test_a_pair_is_compared_where_the_driver_moves_enough() -> None:
    row = compare(speaking(6, 0), speaking(3, 0))
    assert row["mouth"]["correlation"] > 0.99
    assert row["mouth"]["slope"] == pytest.approx(0.5, abs=0.02)
    assert row["gaze"]["slope"] is None  # the driver's eyes rest
    assert row["gaze"]["spread"] < 0.01
    assert row["face"] == 1


def test_an_avatar_whose_face_is_never_found_has_no_figures() -> None:
    driver = speaking(6, 0)
    row = compare(driver, np.full_like(driver, np.nan))
    assert row["face"] == 0
    assert row["mouth"] is None
    assert summary([row])["mouth"] == {"pairs": 0, "correlation": None, "slope": None}


def test_the_share_of_found_faces_is_of_the_drivers_frames() -> None:
    driver = speaking(6, 0)
    avatar = driver.copy()
    driver[:20], avatar[10:30] = np.nan, np.nan
    assert compare(driver, avatar)["face"] == pytest.approx(30 / 40)


def test_the_jitter_ratio_is_the_avatars_over_the_drivers() -> None:
    row = compare(speaking(0, 0, noise=0.1), speaking(0, 0, noise=0.2))
    assert row["jitter"] == pytest.approx(2, rel=0.02)


def test_the_summary_counts_only_pairs_that_say_something() -> None:
    rows = [
        compare(speaking(6, 6), speaking(6, 3)),
        compare(speaking(6, 6), speaking(3, 6)),
        compare(speaking(6, 0), speaking(6, 6)),
    ]
    result = summary(rows)
    assert result["gaze"]["pairs"] == 2
    assert result["gaze"]["slope"]["mean"] == pytest.approx(0.75, abs=0.02)
    assert result["gaze"]["slope"]["worst"] == pytest.approx(0.5, abs=0.02)
    assert result["mouth"]["slope"]["median"] == pytest.approx(1, abs=0.02)
    assert result["jitter"]["pairs"] == 3
