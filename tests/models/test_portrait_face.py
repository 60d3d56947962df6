import cv2
import numpy as np
import pytest

from models.face_geometry import EYE_LEFT, EYE_RIGHT
from models.face_tracker import box_of
from models.portrait_face import find_faces, portrait_face
from tests.material import ASTRONAUT, MONA_LISA, picture, shared

OWN = [MONA_LISA, ASTRONAUT]


def scaled_to(face: np.ndarray, pixels: float) -> np.ndarray:
    """The picture at the size at which its face has that many pixels."""
    ratio = pixels / box_of(portrait_face(face).points).side
    return cv2.resize(face, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)


def pasted(small: np.ndarray, side: int, x: int, y: int) -> np.ndarray:
    """A grey square with the picture in it."""
    whole = np.full((side, side, 3), 128, np.uint8)
    whole[y : y + small.shape[0], x : x + small.shape[1]] = small
    return whole


def turned(image: np.ndarray, quarters: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, quarters))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_the_face_is_found_and_upright(path):
    points = portrait_face(picture(path)).points
    assert points.shape == (478, 3)
    left, right = points[list(EYE_LEFT)].mean(0), points[list(EYE_RIGHT)].mean(0)
    assert left[0] < right[0]
    assert points[152, 1] > points[10, 1]


@pytest.mark.parametrize(
    "name", ["painting_pearl_earring.jpg", "painting_mona_lisa.jpg", "navy_grace_hopper.jpg"]
)
def test_portraits_of_many_kinds_work(name):
    portrait_face(picture(shared(f"portraits/{name}")))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_landmarks_hardly_depend_on_how_the_picture_is_cut(path):
    whole = picture(path)
    plain = portrait_face(whole).points
    cut = portrait_face(np.ascontiguousarray(whole[7:, 13:])).points + (13, 7, 0)
    eyes = np.linalg.norm(plain[33] - plain[263])
    assert np.linalg.norm(plain[:, :2] - cut[:, :2], axis=1).mean() < 0.01 * eyes


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_small_face_in_a_large_picture_is_found_with_a_warning(path):
    small = scaled_to(picture(path), 60)
    truth = portrait_face(small).points + (500, 300, 0)
    points, warnings = portrait_face(pasted(small, 1000, 500, 300))
    assert np.linalg.norm(points[:, :2] - truth[:, :2], axis=1).mean() < 1.5
    assert warnings == (
        "the face in the source picture is only 60 pixels high: the avatar will look soft; "
        "a picture in which it has at least 100 would be better",
    )


def test_a_face_of_forty_pixels_still_works():
    points, warnings = portrait_face(scaled_to(picture(ASTRONAUT), 40))
    assert box_of(points).side == pytest.approx(40, abs=2)
    assert "will look soft" in warnings[0]


def test_a_face_too_small_for_anything_is_refused_with_its_size():
    tiny = scaled_to(picture(ASTRONAUT), 24)
    with pytest.raises(ValueError, match=r"only 2\d pixels high: use a picture in which it has at least 100"):
        portrait_face(pasted(tiny, 200, 40, 40))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_picture_on_its_side_or_head_gets_the_right_advice(path, quarters):
    with pytest.raises(ValueError, match="turn the picture upright"):
        portrait_face(turned(picture(path), quarters))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_a_tilted_head_is_no_turned_picture(path, degrees):
    image = picture(path)
    height, width = image.shape[:2]
    tilt = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    portrait_face(cv2.warpAffine(image, tilt, (width, height), borderMode=cv2.BORDER_REFLECT))


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_faces_the_larger_is_taken_with_a_warning(order):
    large, small = scaled_to(picture(ASTRONAUT), 150), scaled_to(picture(MONA_LISA), 90)
    height = min(large.shape[0], small.shape[0])
    pair = [large[:height], small[:height]][::order]
    points, warnings = portrait_face(np.ascontiguousarray(np.hstack(pair)))
    assert warnings == (
        "there are 2 faces in the source picture: the largest is taken; crop the picture to the one you want",
    )
    assert box_of(points).side == pytest.approx(150, abs=8)
    assert len(find_faces(np.ascontiguousarray(np.hstack(pair)))) == 2


@pytest.mark.parametrize("value", [0, 128, 255])
def test_no_face(value):
    with pytest.raises(
        ValueError, match="no face found in the source picture: use one with a face"
    ) as caught:
        portrait_face(np.full((300, 400, 3), value, np.uint8))
    assert "\n" not in str(caught.value)


def test_no_face_in_noise():
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="no face found"):
        portrait_face(noise)
