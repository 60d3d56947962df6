import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.face_tracker import Box
from tests.material import TRACKS, track
from trainer.data.quality import Limits, fault_of, figures_of, yaw_of
from trainer.data.shots import ROOM, SIDE, Seen, Square, cut_out, in_square, split, square_of

FACE = track(TRACKS[0]).points[0].astype(np.float32)


def seen(number=0, points=FACE, change=0.001, others=None, size=(640, 480), sharpness=100.0, light=0.5):
    return Seen(number, size, points, change, sharpness, light, others)


def test_a_shot_ends_where_the_face_is_lost():
    frames = [seen(i, None if i in (3, 4) else FACE) for i in range(10)]
    assert split(frames, 100) == [slice(0, 3), slice(5, 10)]


def test_a_shot_ends_where_the_landmarks_jump():
    frames = [seen(i, FACE + (200 if i >= 4 else 0, 0, 0)) for i in range(8)]
    assert split(frames, 100) == [slice(0, 4), slice(4, 8)]


def test_a_shot_ends_where_the_picture_changes():
    frames = [seen(i, change=0.2 if i == 6 else 0.004) for i in range(9)]
    assert split(frames, 100) == [slice(0, 6), slice(6, 9)]


def test_a_picture_that_changes_all_the_time_is_no_row_of_cuts():
    assert split([seen(i, change=0.1) for i in range(9)], 100)[-1].stop == 9
    assert len(split([seen(i, change=0.02) for i in range(9)], 100)) == 1


def test_long_shots_are_split():
    assert split([seen(i) for i in range(10)], 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_nothing_is_split_into_nothing():
    assert split([], 4) == []
    assert split([seen(points=None)] * 3, 4) == []


@given(st.floats(0.2, 3), st.floats(-300, 900), st.floats(-300, 700), st.floats(0, 300), st.integers(2, 5))
def test_the_square_holds_all_the_shot_s_landmarks(scale, x, y, way, count):
    places = np.linspace(0, way, count)
    shot = [seen(i, (FACE * scale + (x + place, y, 0)).astype(np.float32)) for i, place in enumerate(places)]
    square = square_of(shot)
    points = np.stack([in_square(one.points, square) for one in shot])
    assert square.side > 0
    inside = all(
        one.points[:, k].min() >= 0 and one.points[:, k].max() <= 480 for one in shot for k in (0, 1)
    )
    if inside:
        assert points[..., :2].min() >= -0.01
        assert points[..., :2].max() <= 1.01


def test_the_square_is_as_wide_as_it_says():
    middle = FACE - FACE.mean(0) + (1000, 1000, 0)
    square = square_of([seen(points=middle.astype(np.float32), size=(2000, 2000))])
    box = np.ptp(middle[:, :2], axis=0)
    assert square.side == pytest.approx(max(SIDE * box[1], ROOM * box.max()), abs=1)


def test_the_square_stays_in_the_picture_where_it_can():
    corner = FACE - FACE.min(0) + (5, 5, 0)
    square = square_of([seen(points=corner.astype(np.float32), size=(640, 480))])
    assert square.x >= 0
    assert square.y >= 0
    assert square.y + square.side <= 480


def test_what_is_cut_out_lies_where_the_landmarks_say():
    """A dot on a landmark is at that landmark's place in the crop; beyond the picture its border goes on."""
    picture = np.full((200, 300, 3), 40, np.uint8)
    picture[96:104, 146:154] = 250
    square = Square(-20, -40, 240)
    cut = cut_out(picture, square, 480)
    place = in_square(np.array([[150, 100, 0]], np.float32), square)[0, :2] * 480
    rows, columns = np.nonzero(cut[..., 0] > 150)
    np.testing.assert_allclose((columns.mean() + 0.5, rows.mean() + 0.5), place, atol=1)
    assert cut.shape == (480, 480, 3)
    assert (cut[:60] == 40).all()


@pytest.mark.parametrize("degrees", [-40, -10, 0, 25, 50])
def test_yaw_is_that_of_a_turned_face(degrees):
    """Positive towards the picture's right, as seen: the nose's tip moves there."""
    turned = FACE @ Rotation.from_euler("y", -degrees, degrees=True).as_matrix().T
    yaw, before = yaw_of(turned[None])[0], yaw_of(FACE[None])[0]
    assert yaw - before == pytest.approx(degrees, abs=3)
    if degrees:
        nose, cheeks = 1, [234, 454]
        aside = [points[nose, 0] - points[cheeks, 0].mean() for points in (FACE, turned)]
        assert np.sign(aside[1] - aside[0]) == np.sign(degrees)


def judged(shot, **limits):
    limits = Limits(**{"min_frames": 1, "min_side": 1, **limits})
    figures = figures_of(shot, [square_of(shot)] * len(shot))
    broke = fault_of(figures, limits)
    return broke, None if broke is None else figures[broke]


def test_each_shot_of_a_series_has_a_square_of_its_own():
    """Of which it is looked into for other faces: here one beside the second shot's."""
    far = FACE * 0.5 + (1000, 800, 0)
    x, y = far[:, :2].max(0)
    shot = [seen(), seen(1, far, others=(Box(x + 2, y - 40, 40, 40),), size=(1920, 1080))]
    squares = [square_of([one]) for one in shot]
    assert figures_of(shot, squares)["max_second_face"] == 1
    assert figures_of(shot, squares)["min_side"] == squares[1].side < squares[0].side
    assert figures_of(shot, [squares[0]] * 2)["max_second_face"] == 0


def test_a_good_shot_has_no_fault():
    assert judged([seen(i) for i in range(40)], min_frames=32, min_side=128) == (None, None)


@pytest.mark.parametrize(
    ("changes", "limits", "fault", "figure"),
    [
        ({}, {"min_frames": 5}, "min_frames", 4),
        ({"points": FACE / 10}, {"min_side": 100}, "min_side", None),
        ({"points": FACE - (FACE[:, 0].mean(), 0, 0)}, {}, "max_cut", 1.0),
        ({"light": 0.05}, {}, "min_light", 0.05),
        ({"light": 0.95}, {}, "max_light", 0.95),
        ({"sharpness": 3.0}, {}, "min_sharpness", 3.0),
        ({}, {"min_motion": 0.01}, "min_motion", 0.0),
    ],
)
def test_each_fault_is_named_with_its_figure(changes, limits, fault, figure):
    changes = {key: np.float32(value) if key == "points" else value for key, value in changes.items()}
    found, value = judged([seen(i, **changes) for i in range(4)], **limits)
    assert found == fault
    if figure is not None:
        assert value == pytest.approx(figure)


def test_a_turned_head_is_a_fault():
    turned = (FACE @ Rotation.from_euler("y", 70, degrees=True).as_matrix().T).astype(np.float32)
    shot = [seen(i, turned - turned.min(0) + (100, 100, 0)) for i in range(4)]
    assert judged(shot)[0] == "max_yaw"
    assert judged(shot, max_yaw=90)[0] is None


def test_another_face_counts_where_the_square_shows_it():
    square = square_of([seen()])
    near = Box(square.x + 2, square.y + 2, 80, 80)
    beyond = near._replace(x=square.x + square.side + 50.0)
    small = near._replace(width=10.0, height=10.0)
    assert judged([seen(i, others=(near,)) for i in range(4)]) == ("max_second_face", 1.0)
    assert judged([seen(i, others=(beyond, small)) for i in range(4)])[0] is None
    assert judged([seen(i, others=(near,) if i == 0 else ()) for i in range(20)])[0] is None


def test_stills_have_no_motion_and_no_length():
    figures = figures_of([seen()], [square_of([seen()])])
    limits = Limits(min_frames=32, min_motion=0.1)
    assert fault_of(figures, limits) == "min_frames"
    assert fault_of(figures, limits, series=True) is None
