from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contract import CropRule
from models.face_geometry import crop_to_frame, scale_of, to_crop_units
from models.face_tracker import FaceTracker, box_of
from models.liveportrait import LivePortrait
from models.observation import observe, to_unit
from models.warp import Warp
from realtime.filters import OneEuroFilter
from realtime.tracker import SMOOTHING, DriverTracker
from tests.material import GRID_CLIP, MONA_LISA, frames, picture

RULE = CropRule(size=256, scale=1.5)
WHOLE = replace(LivePortrait.spec.driving, size=64)
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
    assert seen.image.dtype == torch.uint8
    assert seen.points.dtype == seen.to_frame.dtype == torch.float32
    assert seen.image.max() > 127
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
            crops.append(to_unit(tracker.warm(frame)).image)
    assert (crops[0] - crops[1]).abs().mean() < 0.02


@pytest.mark.parametrize("rule", [Warp.spec.driving, CropRule(size=64, scale=1.3, inside=True)])
def test_a_rule_that_wants_the_exact_crop_gets_it_to_the_bit(rule):
    one_euro = OneEuroFilter(SMOOTHING)
    with DriverTracker(rule) as tracker, FaceTracker() as faces:
        for index, frame in enumerate(frames(GRID_CLIP, most=6)):
            points = faces.track(frame)
            points = one_euro.filter(points, index / 25, box_of(points).side)
            expected, seen = observe(frame, points, rule), tracker.observe(frame, index / 25)
            assert all(torch.equal(a, b) for a, b in zip(expected[:4], seen[:4], strict=True))


def test_without_smoothing_the_crop_is_the_rules():
    with DriverTracker(WHOLE, smoothing=None) as tracker:
        for index, frame in enumerate(frames(GRID_CLIP, most=6)):
            seen = tracker.observe(frame, index / 25)
            expected = crop_to_frame(frame_points(seen), WHOLE, 360, 288)
            assert np.abs(seen.to_frame[0].numpy() - expected).max() < 0.01


def test_a_steady_crop_moves_the_picture_and_leaves_the_landmarks():
    """Wherever the crop lies, image, landmarks and map to the frame agree."""
    clip = frames(GRID_CLIP, most=20)
    exact = replace(WHOLE, exact=True)
    with DriverTracker(WHOLE) as tracker, DriverTracker(exact) as other:
        for index, frame in enumerate(clip):
            calm, rough = tracker.observe(frame, index / 25), other.observe(frame, index / 25)
            assert np.abs(frame_points(calm) - frame_points(rough)).max() < 0.01
        assert (calm.to_frame - rough.to_frame).abs().max() > 0.5
        points = np.append(frame_points(calm), np.zeros((478, 1)), 1)
        where = calm.to_frame[0].double().numpy()
        again = observe(frame, points, WHOLE, to_frame=where)
        assert (to_unit(again).image - to_unit(calm).image).abs().max() < 0.01


def test_a_crop_that_lies_elsewhere_shows_what_lies_there():
    y, x = np.mgrid[:200, :240]
    ramps = np.stack([x, y, 0 * x], 2).astype(np.uint8)
    to_frame = np.array([[80.0, -60.0, 90.0], [60.0, 80.0, 40.0]])  # 100 pixels, turned
    points = np.random.default_rng(0).uniform(80, 120, (478, 3))
    seen = observe(ramps, points, CropRule(size=50, scale=1.5), to_frame=to_frame)
    assert np.abs(frame_points(seen) - points[:, :2]).max() < 1e-3
    units = (np.mgrid[:50, :50][::-1].reshape(2, -1) + 0.5) / 50
    expected = to_frame[:, :2] @ units + to_frame[:, 2:] - 0.5
    assert np.abs(seen.image[0, :2].reshape(2, -1).float().numpy() - expected).max() < 1


def test_the_crop_of_a_real_clip_is_the_rules_at_first_and_then_pulses_less():
    clip = frames(GRID_CLIP)

    def sides(rule: CropRule) -> np.ndarray:
        with DriverTracker(rule) as tracker:
            seen = [tracker.observe(frame, i / 25).to_frame[0].numpy() for i, frame in enumerate(clip)]
        return np.log([scale_of(to_frame) for to_frame in seen])

    rough, calm = sides(replace(WHOLE, exact=True)), sides(WHOLE)
    assert calm[0] == pytest.approx(rough[0], abs=1e-6)
    assert np.std(calm) < 0.5 * np.std(rough)
    assert np.std(np.diff(calm)) < 0.2 * np.std(np.diff(rough))


@pytest.mark.parametrize("between", ["no face", "warming up"])
def test_the_crop_starts_anew_after_a_loss_and_after_warming_up(between):
    here, *_, there = frames(GRID_CLIP, most=40)
    there = np.roll(there, 60, axis=1)
    with DriverTracker(WHOLE) as tracker:
        for index in range(5):
            tracker.observe(here, index / 25)
        first = tracker.observe(EMPTY, 0.2) if between == "no face" else tracker.warm(there)
        assert bool(first.valid[0]) == (between == "warming up")
        for seen in (first, tracker.observe(there, 0.24)):
            if bool(seen.valid[0]):
                expected = crop_to_frame(frame_points(seen), WHOLE, 360, 288)
                assert np.abs(seen.to_frame[0].numpy() - expected).max() < 0.01
