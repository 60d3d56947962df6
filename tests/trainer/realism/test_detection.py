import math

import numpy as np
import pytest

from models.face_geometry import LANDMARKS_68
from models.face_tracker import Box
from trainer.data.realism.detection import (
    Look,
    correlation,
    eye_opening,
    interocular,
    is_found,
    is_frontal,
    landmark_errors,
    measure,
    mouth_opening,
    signed_bias,
)
from trainer.data.synthetic.face import mean_landmarks

FACE = np.asarray(mean_landmarks(), np.float64) * 10 + 128  # as in a picture of 256 pixels


def test_correlation_of_what_is_known() -> None:
    a = np.array([0.0, 1, 2, 3])
    assert correlation(a, 5 - 2 * a) == pytest.approx(-1)
    assert correlation(a, np.array([1.0, -1, -1, 1])) == pytest.approx(0)
    assert correlation(np.array([0.0, 0, 1, 1]), np.array([0.0, 1, 0, 3])) == pytest.approx(1 / math.sqrt(6))
    assert math.isnan(correlation(a, np.ones(4)))


def test_errors_are_distances_in_those_of_the_outer_corners() -> None:
    moved = FACE.copy()
    moved[100, :2] += np.array([3, 4])
    errors = landmark_errors(moved, FACE)
    width = FACE[263, 0] - FACE[33, 0]
    assert interocular(FACE) == pytest.approx(width, rel=0.02)
    assert errors[100] == pytest.approx(5 / interocular(FACE))
    assert errors.sum() == pytest.approx(errors[100])


def test_openings_are_gaps_over_widths() -> None:
    face = FACE.copy()
    face[[61, 291], :2] = [(100, 200), (140, 200)]
    face[[13, 14], :2] = [(120, 195), (120, 205)]
    assert mouth_opening(face) == pytest.approx(0.25)
    for lids, corners in (((159, 145), (33, 133)), ((386, 374), (362, 263))):
        face[list(corners), :2] = [(50, 100), (70, 100)]
        face[list(lids), :2] = [(60, 98), (60, 98 + 20 * 0.3)]
    assert eye_opening(face) == pytest.approx(0.3)


def test_bias_keeps_its_direction() -> None:
    moved = FACE.copy()
    moved[:, 1] -= 0.05 * interocular(FACE)
    bias = signed_bias([Look(np.zeros(3), FACE, True, moved)] * 2)
    assert set(bias) == {"contour", "brows", "nose", "eyes", "mouth"}
    for right, down in bias.values():
        assert right == pytest.approx(0, abs=1e-9)
        assert down == pytest.approx(-5)
    assert len(LANDMARKS_68) == 68


def test_a_box_elsewhere_is_not_the_face() -> None:
    low, high = FACE[:, :2].min(0), FACE[:, :2].max(0)
    assert is_found([Box(*low, *(high - low))], FACE)
    assert not is_found([Box(0, 0, 20, 20)], FACE)
    assert not is_found([], FACE)


@pytest.mark.parametrize(
    ("angles", "frontal"), [((9, -9, 40), True), ((10, 0, 0), False), ((0, -11, 0), False)]
)
def test_frontal_faces(angles: tuple[float, ...], frontal: bool) -> None:
    assert is_frontal(np.array(angles, np.float64)) is frontal


def test_mediapipe_sees_rendered_faces() -> None:
    found = {one.name: one for one in measure(8, seed=3, workers=0).readings}
    shares = [one.value for name, one in found.items() if name.startswith("faces found")]
    assert min(shares) >= 75
    error = next(one for name, one in found.items() if name.startswith("landmarks' mean error"))
    assert 1 < error.value < 10
