import cv2
import numpy as np
import pytest

from models.face_tracker import CHECK_EVERY, CHECKS, Box, FaceTracker, box_of, person_mask
from tests.material import ASTRONAUT, GRID_CLIP, MONA_LISA, frames, picture


def face_of(path, pixels: int) -> np.ndarray:
    """A square with a face of about that size in its middle."""
    image = picture(path)
    with FaceTracker() as tracker:
        points = tracker.track(image)
    box = box_of(points)
    cut = image[box.grown(2.0, image.shape[1], image.shape[0])]
    return cv2.resize(cut, None, fx=pixels / box.side, fy=pixels / box.side, interpolation=cv2.INTER_AREA)


def scene(*faces: tuple[np.ndarray, int]) -> np.ndarray:
    """640×480 with those pictures, each centred at that x."""
    whole = np.full((480, 640, 3), 110, np.uint8)
    for face, x in faces:
        height, width = face.shape[:2]
        whole[240 - height // 2 :, x - width // 2 :][:height, :width] = face
    return whole


def middle(points: np.ndarray | None) -> float:
    assert points is not None
    return box_of(points).x + box_of(points).width / 2


def test_of_two_faces_the_larger_is_taken():
    large, small = face_of(ASTRONAUT, 150), face_of(MONA_LISA, 90)
    for left, right, expected in ((large, small, 160), (small, large, 480)):
        with FaceTracker() as tracker:
            looks = [middle(tracker.track(scene((left, 160), (right, 480)))) for _ in range(4)]
        assert looks == pytest.approx([expected] * 4, abs=30)


def test_faces_of_like_size_do_not_take_turns():
    """The other face is a little larger for the whole time, and is never followed."""
    small, large = face_of(ASTRONAUT, 130), face_of(MONA_LISA, 140)
    with FaceTracker() as tracker:
        tracker.track(scene((small, 160)))
        looks = [middle(tracker.track(scene((small, 160), (large, 480)))) for _ in range(4 * CHECK_EVERY)]
    assert max(looks) < 240


def test_a_much_larger_face_is_taken_after_a_while():
    small, large = face_of(ASTRONAUT, 90), face_of(MONA_LISA, 160)
    with FaceTracker() as tracker:
        tracker.track(scene((small, 130)))
        both = scene((small, 130), (large, 470))
        looks = [middle(tracker.track(both)) for _ in range(CHECK_EVERY * CHECKS + 5)]
    assert max(looks[: CHECK_EVERY * CHECKS - 1]) < 240
    assert min(looks[CHECK_EVERY * CHECKS :]) > 400


def test_a_passer_by_is_not_taken():
    small, large = face_of(ASTRONAUT, 90), face_of(MONA_LISA, 160)
    alone, both = scene((small, 130)), scene((small, 130), (large, 470))
    with FaceTracker() as tracker:
        tracker.track(alone)
        looks = []
        for _ in range(CHECKS + 1):
            looks += [middle(tracker.track(both)) for _ in range(CHECK_EVERY)]
            looks += [middle(tracker.track(alone)) for _ in range(CHECK_EVERY)]
    assert max(looks) < 240


def test_a_lost_face_is_found_again_on_the_first_frame_that_shows_it():
    face, empty = face_of(ASTRONAUT, 120), scene()
    with FaceTracker() as tracker:
        assert middle(tracker.track(scene((face, 160)))) == pytest.approx(160, abs=20)
        assert [tracker.track(empty) for _ in range(3)] == [None] * 3
        assert middle(tracker.track(scene((face, 470)))) == pytest.approx(470, abs=20)


def test_a_face_that_leaps_is_found_on_the_same_frame():
    face = face_of(ASTRONAUT, 120)
    with FaceTracker() as tracker:
        for x in (160, 460, 170):
            assert middle(tracker.track(scene((face, x)))) == pytest.approx(x, abs=20)


def test_every_frame_of_a_clip_has_a_face():
    with FaceTracker() as tracker:
        points = np.array([tracker.track(frame) for frame in frames(GRID_CLIP)])
    eyes = np.linalg.norm(points[:, 33] - points[:, 263], axis=1)
    gap = np.linalg.norm(points[:, 13] - points[:, 14], axis=1) / eyes
    lids = np.linalg.norm(points[:, 159] - points[:, 145], axis=1) / eyes
    assert np.ptp(gap) > 0.15
    assert np.ptp(lids) > 0.08


@pytest.mark.parametrize("path", [ASTRONAUT, MONA_LISA], ids=lambda path: path.stem)
def test_the_person_is_told_from_the_background(path):
    image = picture(path)
    mask = person_mask(image)
    assert mask.shape == image.shape[:2]
    assert mask.min() >= 0
    assert mask.max() <= 1
    with FaceTracker() as tracker:
        box = box_of(tracker.track(image))
    assert mask[int(box.y + box.height / 2), int(box.x + box.width / 2)] > 0.9
    assert mask[5, -5] < 0.2


def test_a_box_knows_what_it_holds():
    box = Box(10, 20, 30, 40)
    assert box.overlaps(Box(0, 0, 60, 80))
    assert not box.overlaps(Box(100, 100, 10, 10))
    assert box.grown(2.0, 1000, 1000) == (slice(0, 80), slice(0, 65))
    assert box.grown(100.0, 50, 60) == (slice(0, 60), slice(0, 50))
