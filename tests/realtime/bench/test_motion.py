"""The measures of motion, on faces that are moved by known amounts."""

import numpy as np
import pytest

from models.face_geometry import EYE_CORNERS, IRIS_LEFT, IRIS_RIGHT, RIGID
from realtime.bench.motion import EYES, LIP_GAPS, MOUTH_CORNERS, agreement, as_track, jitter, motion

RNG = np.random.default_rng(7)


def a_face() -> np.ndarray:
    """478 scattered landmarks, with eyes 30 wide, lids 12 apart, a mouth 40 wide and lips 4 apart."""
    points = RNG.uniform(-50, 50, (478, 3))
    for (left, right), lids, iris in EYES:
        middle = -25.0 if iris == IRIS_LEFT[0] else 25.0
        points[left], points[right], points[iris] = (
            (middle - 15, -20, 0),
            (middle + 15, -20, 0),
            (middle, -20, 0),
        )
        for place, (upper, lower) in enumerate(lids):
            points[upper], points[lower] = (middle + 5 * place, -26, 0), (middle + 5 * place, -14, 0)
    points[MOUTH_CORNERS[0]], points[MOUTH_CORNERS[1]] = (-20, 30, 0), (20, 30, 0)
    for place, (upper, lower) in enumerate(LIP_GAPS):
        points[upper], points[lower] = (5 * place, 28, 0), (5 * place, 32, 0)
    return points


FACE = a_face()


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Rotation by degrees: x to the right, y down, z away. A nose points to -z."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def seen(
    points: np.ndarray, rotation: np.ndarray, scale: float = 1.0, shift: tuple[float, float] = (0, 0)
) -> np.ndarray:
    return scale * points @ rotation.T + np.array([*shift, 0.0])


def test_head_rotation_is_told_apart_by_axis_and_sign() -> None:
    nose = np.array([0.0, 0.0, -1.0])
    assert (turned(yaw=20) @ nose)[0] > 0.3  # to the picture's right
    assert (turned(pitch=20) @ nose)[1] < -0.3  # up: y points down
    track = as_track([FACE, seen(FACE, turned(17, -9, 5), 1.3, (40, -8))])
    result = motion(track)
    assert [result.yaw[1], result.pitch[1], result.roll[1]] == pytest.approx([17, -9, 5], abs=1e-3)
    assert [result.yaw[0], result.pitch[0], result.roll[0]] == pytest.approx([0, 0, 0], abs=1e-3)


def test_openings_are_in_the_faces_own_widths_and_do_not_change_with_pose() -> None:
    result = motion(as_track([FACE, seen(FACE, turned(25, 10, -5), 0.7, (100, 50))]))
    assert result.mouth == pytest.approx([4 / 40] * 2, abs=1e-5)
    assert result.lids == pytest.approx([12 / 30] * 2, abs=1e-5)


def test_closed_lids_read_zero_and_open_ones_one() -> None:
    shut = FACE.copy()
    for _, lids, _ in EYES:
        for upper, lower in lids:
            shut[[upper, lower], 1] = -20.0
    result = motion(as_track([FACE, FACE, shut]))
    assert result.lids == pytest.approx([0.4, 0.4, 0.0], abs=1e-6)
    assert result.closing == pytest.approx([1, 1, 0], abs=1e-6)


def test_gaze_is_in_eye_widths_to_the_pictures_right() -> None:
    aside = FACE.copy()
    aside[[IRIS_LEFT[0], IRIS_RIGHT[0]], 0] += 6.0
    result = motion(as_track([FACE, aside, seen(aside, turned(roll=30), 2.0)]))
    assert result.gaze == pytest.approx([0, 0.2, 0.2], abs=1e-6)


def test_the_far_eye_of_a_turned_face_counts_little() -> None:
    narrow = FACE.copy()
    left, right = EYES[1][0]
    narrow[[left, right], 0] = (24.0, 26.0)  # 2 pixels of the far eye show
    narrow[IRIS_RIGHT[0], 0] = 30.0  # and its iris is nonsense
    assert abs(motion(as_track([narrow])).gaze[0]) < 0.2


def test_lost_frames_stay_unknown() -> None:
    result = motion(as_track([None, FACE, None]))
    assert np.isnan(result.yaw).tolist() == [True, False, True]


def test_a_track_without_faces_is_refused() -> None:
    with pytest.raises(ValueError, match="no face"):
        motion(as_track([None, None]))


def test_the_used_points_exist() -> None:
    assert {corner for corners, _, _ in EYES for corner in corners} == set(EYE_CORNERS)
    assert max(RIGID) < 468


def test_agreement_of_half_the_motion_is_a_slope_of_one_half() -> None:
    driver = np.sin(np.arange(50) / 5)
    result = agreement(driver, 3 + driver / 2)
    assert (result.correlation, result.slope, result.frames) == pytest.approx((1, 0.5, 50))
    assert result.spread == pytest.approx(driver.std())


def test_agreement_of_opposite_motion_is_negative() -> None:
    driver = np.sin(np.arange(50) / 5)
    assert agreement(driver, -driver).correlation == pytest.approx(-1)


def test_agreement_leaves_lost_frames_out() -> None:
    driver = np.arange(10.0)
    avatar = driver.copy()
    avatar[3], driver[5] = np.nan, np.nan
    assert agreement(driver, avatar).frames == 8
    assert agreement(driver, avatar).correlation == pytest.approx(1)


def test_an_avatar_that_does_not_move_follows_nothing() -> None:
    assert agreement(np.arange(9.0), np.zeros(9))[:2] == (0, 0)


def test_a_driver_that_does_not_move_says_nothing() -> None:
    assert np.isnan(agreement(np.zeros(9), np.arange(9.0)).correlation)
    assert np.isnan(agreement(np.arange(2.0), np.arange(2.0)).correlation)


def test_jitter_of_independent_noise_is_its_deviation() -> None:
    noise = np.zeros((400, 478, 3))
    noise[..., :2] = np.random.default_rng(1).normal(0, 0.5, (400, 478, 2))
    between = np.linalg.norm(FACE[33] - FACE[263])
    own, other = jitter(FACE + noise, FACE + 3 * noise)
    # The corners' own noise moves the unit of length a little.
    assert own == pytest.approx(0.5 / between, rel=0.02)
    assert other == pytest.approx(1.5 / between, rel=0.02)


def test_jitter_ignores_steady_motion_and_the_frames_in_which_the_driver_moves() -> None:
    steady = FACE + np.arange(40)[:, None, None] * np.array([0.1, 0.05, 0.0])
    assert max(jitter(steady, steady)) < 1e-9
    shaken = np.repeat(FACE[None], 40, 0)
    shaken[20:, :, 0] += (np.arange(20) ** 2 * 0.1)[:, None]
    assert max(jitter(shaken, shaken)) < 1e-9


def test_jitter_of_too_few_frames_is_unknown() -> None:
    assert np.isnan(jitter(*[np.repeat(FACE[None], 4, 0)] * 2)).all()
