import numpy as np
import pytest
import torch

from models.contract import CropRule
from models.face_geometry import to_crop_units
from models.face_tracker import FaceTracker
from realtime.tracker import DriverTracker
from tests.material import GRID_CLIP, MONA_LISA, frames, picture

RULE = CropRule(size=256, scale=1.5)
EMPTY = np.full((288, 360, 3), 90, np.uint8)


def raw_points(frame: np.ndarray) -> np.ndarray:
    with FaceTracker() as faces:
        return faces.track(frame)


def frame_points(observation) -> np.ndarray:
    """An observation's landmarks in pixels of its frame, 478×2."""
    to_frame = observation.to_frame[0].double().numpy()
    return observation.points[0, :, :2].double().numpy() @ to_frame[:, :2].T + to_frame[:, 2]


def test_an_observation_is_what_the_contract_says():
    frame = frames(GRID_CLIP, most=1)[0]
    with DriverTracker(RULE) as tracker:
        seen = tracker.observe(frame, 0.0)
    assert seen.image.shape == (1, 3, 256, 256)
    assert seen.image.dtype == seen.points.dtype == seen.to_frame.dtype == torch.float32
    assert seen.image.min() >= 0
    assert 0.5 < seen.image.max() <= 1
    assert seen.valid.tolist() == [True]
    expected = to_crop_units(raw_points(frame), seen.to_frame[0].double().numpy())
    assert np.abs(seen.points[0].numpy() - expected).max() < 1e-4
    assert np.abs(frame_points(seen) - raw_points(frame)[:, :2]).max() < 0.01


def test_without_a_face_the_observation_is_not_valid_and_finite():
    with DriverTracker(RULE) as tracker:
        seen = tracker.observe(EMPTY, 0.0)
    assert seen.valid.tolist() == [False]
    assert all(torch.isfinite(part).all() for part in (seen.image, seen.points, seen.to_frame))
    assert seen.image.shape == (1, 3, 256, 256)


def test_smoothing_starts_anew_when_a_lost_face_returns():
    """Or else the avatar would glide from where the face was lost to where it came back."""
    here, *_, there = frames(GRID_CLIP, most=40)
    there = np.roll(there, 60, axis=1)
    with DriverTracker(RULE) as tracker:
        for index in range(5):
            tracker.observe(here, index / 25)
        assert not bool(tracker.observe(EMPTY, 0.2).valid[0])
        back = tracker.observe(there, 0.24)
    assert np.abs(frame_points(back) - raw_points(there)[:, :2]).max() < 0.01


def test_smoothing_takes_jitter_out_of_a_real_clip_and_keeps_the_speech():
    clip = frames(GRID_CLIP)

    def points(**options) -> np.ndarray:
        with DriverTracker(RULE, **options) as tracker:
            return np.array([frame_points(tracker.observe(frame, i / 25)) for i, frame in enumerate(clip)])

    rough, smooth = points(smoothing=None), points()
    assert np.square(np.diff(smooth, 2, axis=0)).mean() < 0.8 * np.square(np.diff(rough, 2, axis=0)).mean()
    gap_rough, gap_smooth = (np.linalg.norm(p[:, 13] - p[:, 14], axis=1) for p in (rough, smooth))
    assert np.corrcoef(gap_rough, gap_smooth)[0, 1] > 0.98
    assert np.ptp(gap_smooth) > 0.93 * np.ptp(gap_rough)


def test_warming_up_settles_the_landmarks():
    """Wherever the search starts, the settled landmarks are the same."""
    frame = frames(GRID_CLIP, most=1)[0]

    def warmed(shift: int) -> np.ndarray:
        with DriverTracker(RULE) as tracker:
            return frame_points(tracker.warm(np.roll(frame, shift, axis=1))) - (shift, 0)

    def single(shift: int) -> np.ndarray:
        with DriverTracker(RULE) as tracker:
            return frame_points(tracker.observe(np.roll(frame, shift, axis=1), 0.0)) - (shift, 0)

    shifts = (0, 7, 15)
    scatter_warm = np.std([warmed(s) for s in shifts], axis=0).mean()
    scatter_single = np.std([single(s) for s in shifts], axis=0).mean()
    assert scatter_warm < 0.6 * scatter_single


def test_the_frame_after_warming_up_is_where_the_warm_one_was():
    frame = frames(GRID_CLIP, most=1)[0]
    with DriverTracker(RULE) as tracker:
        warm = frame_points(tracker.warm(frame))
        after = frame_points(tracker.observe(frame, 0.0))
    assert np.abs(warm - after).mean() < 0.15


def test_warming_up_without_a_face():
    with DriverTracker(RULE) as tracker:
        assert not bool(tracker.warm(EMPTY).valid[0])


@pytest.mark.parametrize("upright", [False, True])
def test_a_large_picture_is_cut_as_a_small_one(upright):
    """What a crop shows must not depend on the camera's resolution."""
    import cv2

    large = picture(MONA_LISA)
    rule = CropRule(size=64, scale=1.5, upright=upright)
    crops = []
    for ratio in (1.0, 0.5):
        frame = cv2.resize(large, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        with DriverTracker(rule) as tracker:
            crops.append(tracker.warm(frame).image)
    assert (crops[0] - crops[1]).abs().mean() < 0.02
