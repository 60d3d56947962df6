from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import pytest

from models.contract import CropRule
from models.face_geometry import RIGID, crop_to_frame, to_crop_units
from models.face_tracker import FaceTracker, box_of
from models.liveportrait import LivePortrait
from realtime.filters import OneEuroFilter
from realtime.steady_crop import STEADY, SteadyCrop
from realtime.tracker import SMOOTHING
from tests.material import GRID_CLIP, TRACKS, frames, track

# As networks for pictures have them: turned upright, with room around 68 landmarks; level and tight.
WIDE = LivePortrait.spec.driving
TIGHT = CropRule(size=256, scale=1.6, shift=(0.0, -0.05))
SIZE = 640, 480
FACE = 100.0  # pixels

with np.load(str(files("models") / "mean_face.npz")) as face:
    MEAN, JAW = face["points"].astype(np.float64), face["jaw"].astype(np.float64)


class Crops(NamedTuple):
    """Where the crops of some frames lie."""

    centre: np.ndarray  # T×2, pixels
    side: np.ndarray  # T, log of pixels
    angle: np.ndarray  # T, radians, continuous
    margin: float  # crop units, from the outermost landmark to the crop's edge; negative outside


class Steadiness(NamedTuple):
    """How far crops go astray."""

    side: float  # standard deviation of log side
    side_step: float  # from frame to frame, RMS
    centre: float  # in mean sides
    centre_step: float
    angle: float  # radians
    angle_step: float
    mouth: float  # correlation of log side with the mouth's opening
    zoom: float  # by how much log side goes with the mouth over the whole range of its opening


def crops(points: np.ndarray, to_frames: list[np.ndarray]) -> Crops:
    every = np.array(to_frames)
    along = every[:, :, 0]
    margins = [to_crop_units(p, t)[:, :2] for p, t in zip(points, to_frames, strict=True)]
    return Crops(
        every @ (0.5, 0.5, 1),
        np.log(np.linalg.norm(along, axis=1)),
        np.unwrap(np.arctan2(along[:, 1], along[:, 0])),
        min(min(units.min(), 1 - units.max()) for units in margins),
    )


def by_rule(points: np.ndarray, rule: CropRule = WIDE) -> Crops:
    return crops(points, [crop_to_frame(p, rule, *SIZE) for p in points])


def steady(points: np.ndarray, rule: CropRule = WIDE, fps: float = 30) -> Crops:
    crop = SteadyCrop(rule)
    return crops(points, [crop.to_frame(p, *SIZE, i / fps) for i, p in enumerate(points)])


def steadiness(found: Crops, points: np.ndarray) -> Steadiness:
    def step(values: np.ndarray) -> float:
        return float(np.sqrt(np.square(np.diff(values, axis=0)).sum() / (len(values) - 1)))

    side = np.exp(found.side.mean())
    gap = np.linalg.norm(points[:, 13] - points[:, 14], axis=1)
    gap = gap / np.linalg.norm(points[:, 33] - points[:, 263], axis=1)
    return Steadiness(
        float(found.side.std()),
        step(found.side),
        float(np.sqrt(found.centre.var(0).sum()) / side),
        step(found.centre) / side,
        float(found.angle.std()),
        step(found.angle),
        float(np.corrcoef(found.side, gap)[0, 1]),
        float(np.polyfit(gap, found.side, 1)[0] * np.ptp(gap)),
    )


def rotation(axis: str, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    i, j = {"pitch": (1, 2), "yaw": (0, 2), "roll": (0, 1)}[axis]
    turn = np.eye(3)
    turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return turn


def head(
    scale: float = 1.0, x: float = 0.0, y: float = 0.0, opened: float = 0.0, **angles: float
) -> np.ndarray:
    """478×3, pixels: the mean face, its mouth open, turned about each axis (degrees), scaled, and moved by so
    many face widths."""
    points = MEAN + opened * JAW
    for axis, angle in angles.items():
        points = points @ rotation(axis, np.radians(angle)).T
    return FACE * (scale * points + (x, y, 0)) + (*np.array(SIZE) / 2, 0)


def acted(pose: Callable[[float], np.ndarray], seconds: float = 4, fps: float = 30) -> np.ndarray:
    return np.array([pose(i / fps) for i in range(round(seconds * fps))])


def eased(t: float, begin: float, lasts: float) -> float:
    """0 until `begin`, 1 once it is over; smooth in between."""
    share = min(max((t - begin) / lasts, 0), 1)
    return share**2 * (3 - 2 * share)


def smoothed(name: str) -> tuple[np.ndarray, float]:
    """A real clip's landmarks as the tracker smooths them, and its rate."""
    if name == GRID_CLIP.stem:
        with FaceTracker() as faces:
            points, fps = np.array([faces.track(frame) for frame in frames(GRID_CLIP)]), 25.0
    else:
        points, fps, _ = track(name)
    one_euro = OneEuroFilter(SMOOTHING)
    return np.array([one_euro.filter(p, i / fps, box_of(p).side) for i, p in enumerate(points)]), fps


@pytest.mark.parametrize("rule", [WIDE, TIGHT])
def test_a_speaking_mouth_does_not_zoom(rule):
    talk = acted(lambda t: head(opened=0.1 * (1 - np.cos(2 * np.pi * 3 * t))))
    rough, calm = by_rule(talk, rule), steady(talk, rule)
    assert np.ptp(rough.side) > 0.03
    assert np.abs(np.diff(calm.side)).max() < 0.05 * np.abs(np.diff(rough.side)).max()
    assert np.ptp(calm.side[-60:]) < 0.15 * np.ptp(rough.side)
    assert np.ptp(calm.centre[-60:], axis=0).max() < 0.15 * np.ptp(rough.centre, axis=0).max()


def test_the_rule_is_kept_to_in_the_mean():
    """Somebody who begins with an open mouth is not shown small for ever."""
    first_open = acted(lambda t: head(opened=0.2 * (t < 0.5)), seconds=20)
    gap = steady(first_open).side - by_rule(first_open).side
    assert gap[0] == pytest.approx(0, abs=1e-12)
    assert gap[20] > 0.035
    assert abs(gap[-1]) < 0.002


def test_the_rule_s_own_axis_is_kept_to():
    """Which is not the line through the eyes where a head is turned and bowed."""
    bowed = acted(lambda t: head(yaw=35, pitch=20, roll=10))
    by_eyes = by_rule(bowed, replace(WIDE, level="eyes"))
    calm, rough = steady(bowed), by_rule(bowed)
    assert np.degrees(np.abs(rough.angle - by_eyes.angle)).min() > 2
    assert np.degrees(np.abs(calm.angle - rough.angle)).max() < 0.01


@pytest.mark.parametrize("rule", [WIDE, TIGHT])
def test_jitter_at_rest_is_damped(rule):
    noise = np.random.default_rng(0).normal(0, 0.003 * FACE, (150, 478, 3))
    still = head() + noise
    rough, calm = (steadiness(found, still) for found in (by_rule(still, rule), steady(still, rule)))
    assert calm.side_step < 0.2 * rough.side_step
    assert calm.centre_step < 0.3 * rough.centre_step
    if rule.upright:
        assert calm.angle_step < 0.2 * rough.angle_step
    else:
        assert calm.angle_step == 0


MOTIONS = {
    "leans in": lambda t: head(scale=2 ** eased(t, 1, 1)),
    "leans back": lambda t: head(scale=0.5 ** eased(t, 1, 0.5)),
    "sways": lambda t: head(x=0.7 * np.sin(2 * np.pi * max(t - 1, 0))),
    "ducks": lambda t: head(y=eased(t, 1, 0.3)),
    "rolls": lambda t: head(roll=40 * np.sin(2 * np.pi * t)),
    "shakes": lambda t: head(yaw=45 * np.sin(2 * np.pi * 0.7 * t)),
    "turns away": lambda t: head(yaw=60 * eased(t, 1, 0.5)),
    "nods": lambda t: head(pitch=25 * np.sin(2 * np.pi * t)),
    "cuts": lambda t: head(x=2.0 * (t >= 1)),
    "cuts to a close-up": lambda t: head(scale=1 + 1.5 * (t >= 1)),
}


@pytest.mark.parametrize("rule", [WIDE, TIGHT])
@pytest.mark.parametrize("motion", MOTIONS)
def test_a_moving_head_is_followed(motion, rule):
    moves = acted(MOTIONS[motion])
    rough, calm = by_rule(moves, rule), steady(moves, rule)
    assert calm.margin > 0.7 * rough.margin > 0.1
    stray = np.linalg.norm(calm.centre - rough.centre, axis=1) / np.exp(rough.side)
    assert stray.max() < 0.09


def test_who_leans_in_is_followed_in_size():
    lean = acted(MOTIONS["leans in"])
    gap = steady(lean).side - by_rule(lean).side
    assert np.abs(gap).max() < 0.05
    assert abs(gap[-1]) < 0.005


def test_turning_the_head_does_not_zoom():
    shake = acted(MOTIONS["shakes"])
    assert np.ptp(steady(shake).side) < 0.01


def test_the_angle_goes_on_through_half_a_turn():
    round_once = acted(lambda t: head(roll=90 * t))
    calm = steady(round_once)
    assert np.degrees(np.ptp(calm.angle)) == pytest.approx(360, abs=6)
    assert np.degrees(np.abs(calm.angle - by_rule(round_once).angle)).max() < 6
    assert np.ptp(calm.side) < 0.02


def test_a_level_crop_stays_level():
    assert not steady(acted(MOTIONS["rolls"]), TIGHT).angle.any()


def test_the_frame_rate_does_not_change_the_crop():
    def pose(t: float) -> np.ndarray:
        opened = 0.1 * (1 - np.cos(2 * np.pi * 2 * t))
        return head(
            scale=1.5 ** eased(t, 1, 1), x=eased(t, 0.5, 1), roll=20 * eased(t, 1.2, 1), opened=opened
        )

    slow, usual, fast = (steady(acted(pose, fps=fps), fps=fps) for fps in (15, 30, 60))
    for other, step in ((slow, 1), (fast, 4)):
        assert np.abs(other.side[::step] - usual.side[::2]).max() < 0.015
        assert np.degrees(np.abs(other.angle[::step] - usual.angle[::2]).max()) < 1.5
        away = np.linalg.norm(other.centre[::step] - usual.centre[::2], axis=1) / np.exp(usual.side[::2])
        assert away.max() < 0.02


def test_the_first_crop_and_the_one_after_a_reset_are_the_rules_own():
    crop = SteadyCrop(WIDE)
    here, there = head(), head(scale=1.2, x=0.5, roll=20, opened=0.1)
    assert np.abs(crop.to_frame(here, *SIZE, 0.0) - crop_to_frame(here, WIDE, *SIZE)).max() < 1e-9
    assert np.abs(crop.to_frame(there, *SIZE, 0.03) - crop_to_frame(there, WIDE, *SIZE)).max() > 1
    crop.reset()
    assert np.abs(crop.to_frame(there, *SIZE, 0.06) - crop_to_frame(there, WIDE, *SIZE)).max() < 1e-9


def test_the_points_that_it_hangs_on_do_not_move_with_the_mouth():
    assert len(STEADY) > 5
    assert set(STEADY) <= set(RIGID)
    assert not JAW[list(STEADY)].any()


@pytest.mark.parametrize("name", [GRID_CLIP.stem, *TRACKS])
def test_crops_of_real_clips_neither_pulse_nor_jitter(name):
    """The figures of BENCHMARKS.md; pytest's -rP shows them."""
    points, fps = smoothed(name)
    rough, calm = by_rule(points), steady(points, fps=fps)
    before, after = steadiness(rough, points), steadiness(calm, points)
    stray = np.linalg.norm(calm.centre - rough.centre, axis=1) / np.exp(rough.side)
    print(name)
    print("before", *(f"{value:.5f}" for value in before), f"margin {rough.margin:.3f}")
    print("after ", *(f"{value:.5f}" for value in after), f"margin {calm.margin:.3f} stray {stray.max():.4f}")
    assert after.side < 0.65 * before.side
    assert after.side_step < 0.25 * before.side_step
    assert after.centre_step < 0.55 * before.centre_step
    assert after.angle_step < 0.45 * before.angle_step
    if name.startswith("grid"):  # the other one does not speak
        assert before.zoom > 0.01
        assert abs(after.zoom) < 0.6 * before.zoom
    assert stray.max() < 0.02
    assert calm.margin > rough.margin - 0.02
