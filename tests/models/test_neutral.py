import numpy as np
import pytest

from models.neutral import most_neutral
from tests.material import TRACKS, track


def apart(points: np.ndarray, a: int, b: int) -> np.ndarray:
    """Distance of two landmarks in each frame, in distances between the eyes."""
    eyes = np.linalg.norm(points[:, 33] - points[:, 263], axis=1)
    return np.linalg.norm(points[:, a] - points[:, b], axis=1) / eyes


@pytest.mark.parametrize("name", TRACKS)
def test_the_frame_has_a_closed_mouth_and_open_eyes(name):
    points = track(name).points
    chosen = most_neutral(list(points))
    mouth, lids = apart(points, 13, 14), apart(points, 159, 145)
    assert mouth[chosen] <= np.quantile(mouth, 0.1) + 0.01
    assert lids[chosen] >= 0.9 * np.median(lids)


def test_frames_without_a_face_are_never_chosen():
    points = track(TRACKS[0]).points
    best = most_neutral(list(points))
    without = [None if abs(index - best) < 3 else frame for index, frame in enumerate(points)]
    chosen = most_neutral(without)
    assert without[chosen] is not None


def test_a_still_moment_is_preferred():
    """Two identical faces, but one is on the move."""
    face = track(TRACKS[0]).points[0]
    moving = [face + (8.0 * index, 0, 0) for index in range(5)]
    still = [face + (100.0, 50.0, 0)] * 5
    assert 6 <= most_neutral([*moving, *still]) <= 9


def test_no_face_at_all():
    with pytest.raises(
        ValueError, match="no face found in any frame .*: use a clip whose face is upright and well lit"
    ):
        most_neutral([None] * 4)
