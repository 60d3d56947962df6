"""Random motion: human statistics, limits, and independence of its streams."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.signal import find_peaks, welch

from trainer.data.synthetic import motion as module
from trainer.data.synthetic.anatomy import AT, BLINKS, EXPRESSIONS, SIDES, anatomical, face
from trainer.data.synthetic.gaze import blinks
from trainer.data.synthetic.motion import (
    FOVS_DEG,
    LIMITS_DEG,
    RANGES,
    SCALES,
    SHIFT,
    STYLES,
    Motion,
    draw_motion,
    rotation_angles,
    rotation_matrix,
    style_of,
)
from trainer.data.synthetic.processes import bump, ease, wander
from trainer.data.synthetic.seeds import rng

Array = npt.NDArray[np.float64]
ALL = (*STYLES, *RANGES)
FINE = 500  # frames a second, to see saccades


def column(motion: Motion, name: str) -> Array:
    return motion.expression[:, AT[name]].double().numpy()


def equal(one: Motion, other: Motion) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def saccades(gaze: Array) -> list[tuple[int, int]]:
    """First and last frame of each stretch at `FINE` in which the eyes exceed 60 degrees a second."""
    fast = np.linalg.norm(np.diff(gaze, axis=0), axis=1) * FINE > 60
    edges = np.flatnonzero(np.diff(np.concatenate(([0], fast, [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def test_streams_are_their_own() -> None:
    drawn = rng(3, "hair", 7).random(4)
    assert np.array_equal(drawn, rng(3, "hair", 7).random(4))
    for other in (rng(4, "hair", 7), rng(3, "skin", 7), rng(3, "hair", 8)):
        assert not np.isin(other.random(4), drawn).any()


def test_there_are_44_expressions_in_order() -> None:
    assert len(EXPRESSIONS) == 44
    assert list(EXPRESSIONS) == sorted(EXPRESSIONS)
    assert len(SIDES) == 14
    assert face({"mouthSmile": 0.5})[[AT["mouthSmileLeft"], AT["mouthSmileRight"]]].tolist() == [0.5, 0.5]
    assert face({"jawLeft": 0.5}).sum() == 0.5


@pytest.mark.parametrize("style", ALL)
def test_same_seed_same_motion_alone_or_in_a_batch(style: str) -> None:
    both = draw_motion(5, [2, 9], 40, style=style)
    assert equal(both, draw_motion(5, [2, 9], 40, style=style))
    assert equal(Motion(*(part[40:] for part in both)), draw_motion(5, [9], 40, style=style))
    assert not torch.equal(both.rotation[:40], both.rotation[40:])


@pytest.mark.parametrize("style", ALL)
def test_a_longer_clip_begins_as_a_shorter_one(style: str) -> None:
    short, long = (draw_motion(1, [4], frames, style=style) for frames in (30, 300))
    for one, other in zip(short, long, strict=True):
        torch.testing.assert_close(one, other[:30], rtol=0, atol=1e-5)


@pytest.mark.parametrize("style", list(STYLES))
def test_the_frame_rate_does_not_change_the_motion(style: str) -> None:
    slow, fast = draw_motion(1, [4], 50, fps=25, style=style), draw_motion(1, [4], 100, fps=50, style=style)
    for one, other in zip(slow, fast, strict=True):
        torch.testing.assert_close(one, other[::2], rtol=0, atol=1e-5)


def test_one_stream_does_not_move_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever emotions draw, speech, blinks, gaze and pose stay as they were."""
    before = draw_motion(2, [0], 200, style="talking")

    def greedy(stream: np.random.Generator, times: Array, gap_s: float) -> Array:
        return np.zeros((len(times), 44)) * stream.random(1000).sum()

    monkeypatch.setattr(module, "emotions", greedy)
    after = draw_motion(2, [0], 200, style="talking")
    assert not torch.equal(before.expression, after.expression)
    assert equal(before._replace(expression=after.expression), after)
    assert np.array_equal(column(before, "eyeBlinkLeft"), column(after, "eyeBlinkLeft"))


@pytest.mark.parametrize("style", ALL)
def test_everything_is_in_its_range(style: str) -> None:
    found = draw_motion(0, range(20), 100, style=style)
    assert [len(part) for part in found] == [2000] * 6
    assert all(part.dtype == torch.float32 and part.isfinite().all() for part in found)
    assert found.expression.shape == (2000, 44)
    assert found.expression.min() >= 0
    assert found.expression.max() <= 1
    assert (found.rotation.abs() <= torch.tensor(LIMITS_DEG)).all()
    assert (found.gaze.abs() <= torch.tensor([32.0, 22.0])).all()
    assert found.shift.abs().max() <= SHIFT
    assert found.scale.min() >= SCALES[0] - 1e-6
    assert found.scale.max() <= SCALES[1] + 1e-6
    assert found.fov.min() >= FOVS_DEG[0]
    assert found.fov.max() <= FOVS_DEG[1]
    if style != "stills":  # a camera's lens stays the same, and differs between clips
        lenses = found.fov.view(20, 100)
        assert (lenses == lenses[:, :1]).all()
        assert len(lenses[:, 0].unique()) == 20


@pytest.mark.parametrize("style", ALL)
def test_anatomy_is_respected(style: str) -> None:
    found = draw_motion(0, range(20), 100, style=style)
    get = {name: column(found, name) for name in EXPRESSIONS}
    assert (get["mouthClose"] <= get["jawOpen"]).all()
    for left, right in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
        assert (np.minimum(get[left], get[right]) == 0).all()
    for side in ("Left", "Right"):
        assert (get[f"eyeWide{side}"][get[f"eyeBlink{side}"] >= 0.5] == 0).all()
    assert (get["jawOpen"] >= 0.4 * get["tongueOut"] - 1e-6).all()


def test_anatomy_leaves_possible_faces_alone() -> None:
    possible = np.stack([face({"mouthSmile": 0.7, "jawOpen": 0.4, "eyeBlink": 1}), face({"jawLeft": 1})])
    assert np.array_equal(anatomical(possible.copy()), possible)


@pytest.mark.parametrize(("style", "low", "high"), [("talking", 2.0, 4.0), ("listening", 2.7, 5.5)])
def test_blinks_come_every_few_seconds_and_last_as_long_as_blinks(
    style: str, low: float, high: float
) -> None:
    rate = 100
    times = np.arange(120 * rate) / rate
    gaps, lasts, closings, openings, depths = [], [], [], [], []
    for index in range(12):
        closed = blinks(rng(0, "motion.blinks", index), times, STYLES[style].blink_s, ())
        edges = np.flatnonzero(np.diff((closed > 0.02).astype(int)))
        starts, ends = edges[:-1:2] if closed[0] <= 0.02 else edges[1:-1:2], []
        for start in starts:
            end = start + 1 + int(np.argmax(closed[start + 1 :] <= 0.02))
            peak = start + int(np.argmax(closed[start:end]))
            closings.append((peak - start) / rate)
            openings.append((end - peak) / rate)
            depths.append(closed[peak])
            ends.append(end)
        lasts += [(end - start) / rate for start, end in zip(starts, ends, strict=True)]
        gaps += list(np.diff(starts) / rate)
    assert low < np.median(gaps) < high
    assert 2 < np.mean(gaps) < 6
    assert np.quantile(gaps, 0.02) > 0.5
    assert abs(np.log(gaps).mean() - np.log(np.median(gaps))) < 0.1  # log-normal
    assert np.quantile(lasts, 0.02) > 0.15
    assert np.quantile(lasts, 0.98) < 0.4
    assert 1.3 < np.mean(openings) / np.mean(closings) < 2.2
    assert 0.35 < np.mean(np.array(depths) > 0.97) < 0.65


def test_both_eyes_blink_together() -> None:
    found = draw_motion(0, [3], 2000, style="listening")
    left, right = (found.expression[:, side].double().numpy() for side in BLINKS)
    assert np.corrcoef(left, right)[0, 1] > 0.98
    assert left.max() > 0.9


def test_saccades_follow_the_main_sequence() -> None:
    found = draw_motion(0, [0], 60 * FINE, fps=FINE, style="idle")
    gaze = found.gaze.double().numpy()
    sizes, peaks = [], []
    for first, last in saccades(gaze):
        if last - first > 2 and last + 10 < len(gaze):
            part = gaze[max(first - 5, 0) : last + 6]
            sizes.append(np.linalg.norm(part[-1] - part[0]))
            peaks.append(np.linalg.norm(np.diff(part, axis=0), axis=1).max() * FINE)
    size, peak = np.array(sizes), np.array(peaks)
    assert len(size) > 60
    expected = 1.875 * size / (0.021 + 0.0022 * size)  # of the movement with the least jerk
    middle = size > 2
    assert np.median(np.abs(peak / expected - 1)[middle]) < 0.06
    assert np.quantile(size, 0.85) < 15
    assert peak.max() < 700


def test_fixations_last_some_hundreds_of_milliseconds() -> None:
    found = draw_motion(0, [1], 60 * FINE, fps=FINE, style="listening")
    starts = [first for first, _ in saccades(found.gaze.double().numpy())]
    gaps = np.diff(starts) / FINE
    assert 0.25 < np.median(gaps) < 0.75
    assert np.quantile(gaps, 0.95) < 2.5


def test_the_head_follows_large_shifts_of_gaze_later_and_slower() -> None:
    found = module.look(rng(0, "motion.gaze", 0), np.arange(60 * FINE) / FINE, 0.6)
    eye = np.linalg.norm(np.diff(found.world, axis=0), axis=1)
    head = np.linalg.norm(np.diff(found.head, axis=0), axis=1)
    assert eye.max() > 4 * head.max() > 0
    lags = np.arange(-150, 151)
    turn, follow = np.diff(found.world[:, 0]), np.diff(found.head[:, 0])
    match = [turn[200:-200] @ follow[200 + lag : len(follow) - 200 + lag] for lag in lags]
    assert 0.1 < lags[int(np.argmax(match))] / FINE < 0.3


def test_lids_follow_the_gaze_down_and_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "emotions", lambda stream, times, gap_s: np.zeros((len(times), 44)))
    found = draw_motion(0, range(10), 500, style="idle")
    pitch = found.gaze[:, 1].double().numpy()
    lid = column(found, "eyeBlinkLeft") - column(found, "eyeWideLeft")
    quiet = lid < 0.5  # no blink
    assert np.corrcoef(lid[quiet], pitch[quiet])[0, 1] < -0.7


def test_talking_opens_the_jaw_at_the_rate_of_syllables() -> None:
    peaks, speaking = [], []
    for index in range(8):
        spoken = module.speech(rng(0, "motion.speech", index), np.arange(0, 120, 0.02))
        jaw = spoken.expression[:, AT["jawOpen"]]
        frequency, power = welch(jaw, 50, nperseg=256)
        above = frequency > 1.5  # phrases lie below
        peaks.append(frequency[above][np.argmax(power[above])])
        assert power[(frequency > 3) & (frequency < 6)].sum() > 0.5 * power[above].sum()
        speaking.append((jaw > 0.04).mean())
    assert all(3 < peak < 6 for peak in peaks)
    assert np.std(peaks) > 0.1  # people differ
    assert 0.6 < np.mean(speaking) < 0.95


def test_only_talkers_talk() -> None:
    def syllables(style: str) -> int:
        jaw = column(draw_motion(0, range(5), 500, style=style), "jawOpen")
        return len(find_peaks(jaw, prominence=0.08)[0])

    assert syllables("talking") > 150
    assert syllables("idle") < 10


@pytest.mark.parametrize(("style", "speed", "change"), [("talking", 150, 3000), ("wild", 250, 4500)])
def test_heads_move_smoothly(style: str, speed: float, change: float) -> None:
    found = draw_motion(0, range(6), 6 * FINE, fps=FINE, style=style)
    for clip in found.rotation.double().view(6, -1, 3).numpy():
        velocity = np.gradient(clip, 1 / FINE, axis=0)
        assert np.abs(velocity).max() < speed
        smooth = np.abs(np.diff(clip[::10], 2, axis=0)).max() * (FINE / 10) ** 2
        assert smooth < change
    for part in (found.shift, found.scale.view(-1, 1)):
        clip = part.double().view(6, 6 * FINE, -1).numpy()
        assert np.abs(np.diff(clip, axis=1)).max() * FINE < 0.5


def test_eyes_stay_where_they_look_though_the_head_can_turn_no_further() -> None:
    """Those that are straight at rest: they can make up for all of the head's movement."""
    style = STYLES["listening"]._replace(rest=(30, 1, 1), sway=(8, 1, 1))
    times, turned = np.arange(250) / 25, 0
    for index in range(60):
        rest = rng(0, "motion.rest", index)
        held, at_camera = rest.normal(0, style.rest), rest.random() < 0.6
        if at_camera or abs(held[0]) < 30:
            continue
        found = module._clip(0, index, times, style)
        looked = module.look(rng(0, "motion.gaze", index), times, style.away).world[:, 0]
        head, eyes = found.rotation[:, 0].double().numpy(), found.gaze[:, 0].double().numpy()
        free = np.abs(eyes) < 15  # they have their limits too
        assert np.ptp((head + eyes - looked)[free]) < 0.5
        turned += 1
    assert turned > 3


def test_rare_things_are_seen_in_short_clips_as_often_as_in_long_ones() -> None:
    """Nods some forty seconds apart: of a clip of ten seconds, at its begin as at any time."""

    def share(begin: float) -> float:
        times = begin + np.arange(0, 10, 0.1)
        return float(
            np.mean([(module.nods(rng(0, "motion.nods", i), times, 40) != 0).any() for i in range(300)])
        )

    assert share(0) > 0.15
    assert abs(share(0) - share(300)) < 0.1


def test_heads_shake_to_either_side_and_nod_downwards() -> None:
    first: dict[int, list[float]] = {0: [], 1: []}
    for index in range(200):
        turned = module.nods(rng(0, "motion.nods", index), np.arange(0, 60, 0.02), 30)
        for axis, found in first.items():
            moved = turned[:, axis][np.abs(turned[:, axis]) > 0.2]
            found += np.sign(moved[:1]).tolist()
    assert len(first[0]) > 60
    assert abs(np.mean(first[0])) < 0.3
    assert np.mean(first[1]) < -0.4


def test_nods_swing_and_fade() -> None:
    turned = module.nods(rng(0, "motion.nods", 0), np.arange(0, 300, 0.02), 6)
    frequency, power = welch(turned.sum(1), 50, nperseg=512)
    assert 1 < (frequency * power).sum() / power.sum() < 4
    assert (turned == 0).all(1).mean() > 0.3
    assert 3 < np.abs(turned).max() < 14


def test_wild_clips_go_far() -> None:
    found = draw_motion(0, range(40), 250, style="wild")
    assert (found.rotation.amax(0) > 0.85 * torch.tensor(LIMITS_DEG)).all()
    assert (found.rotation.amin(0) < -0.85 * torch.tensor(LIMITS_DEG)).all()
    assert (found.expression.amax(0) > 0.6).all()


def test_who_sits_keeps_near_and_makes_the_same_faces() -> None:
    wide, near = (draw_motion(0, [3], 4000, style=style) for style in ("stills", "seated"))
    assert torch.equal(wide.expression, near.expression)
    asked = RANGES["seated"]
    for values, limit in ((near.rotation, asked.limits_deg), (near.shift, (asked.shift,) * 2)):
        most = values.abs().amax(0)
        assert (most <= torch.tensor(limit) + 1e-6).all()
        assert (most > 0.9 * torch.tensor(limit)).all()
    assert near.scale.min() >= asked.scales[0] - 1e-6
    assert near.scale.max() <= asked.scales[1] + 1e-6


def test_stills_cover_the_whole_range() -> None:
    found = draw_motion(0, [0], 4000, style="stills")
    assert (found.expression.amax(0) > 0.8).all()
    counts = (found.expression > 0.5).sum(0)
    assert counts.min() > 40, EXPRESSIONS[int(counts.argmin())]
    for values, limit in (
        (found.rotation, LIMITS_DEG),
        (found.gaze, (32.0, 22.0)),
        (found.shift, (SHIFT,) * 2),
    ):
        for axis, bound in enumerate(limit):
            filled, _ = np.histogram(values[:, axis].numpy(), 10, (-bound, bound))
            assert filled.min() > 100
    left, right = (found.expression[:, side] for side in zip(*SIDES, strict=True))
    same = ((left - right).abs() < 0.06).float().mean()
    assert 0.5 < same < 0.97
    step = found.rotation.diff(dim=0).abs().mean(0)  # nothing hangs together
    assert (step > 0.8 * found.rotation.std(0)).all()


def test_styles_are_drawn_by_their_shares() -> None:
    drawn = [style_of(0, index) for index in range(600)]
    for name, style in STYLES.items():
        assert abs(drawn.count(name) / 600 - style.share) < 0.06
    index = drawn.index("expressive")
    assert equal(draw_motion(0, [index], 20), draw_motion(0, [index], 20, style="expressive"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"style": "dancing"}, "unknown style of motion 'dancing': use one of talking"),
        ({"frames": 0}, "above zero"),
        ({"indices": []}, "above zero"),
        ({"fps": float("nan")}, "above zero"),
    ],
)
def test_impossible_clips_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw_motion(**{"seed": 0, "indices": [0], "frames": 4} | settings)  # type: ignore[arg-type]


def test_rotations_are_as_they_are_described() -> None:
    nose, right = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([1.0, 0.0, 0.0])
    yaw, pitch, roll = rotation_matrix(30 * torch.eye(3))
    half, most = 0.5, 3**0.5 / 2
    torch.testing.assert_close(nose @ yaw.T, torch.tensor([half, 0, -most]))
    torch.testing.assert_close(nose @ pitch.T, torch.tensor([0, -half, -most]))
    torch.testing.assert_close(right @ roll.T, torch.tensor([most, half, 0]))
    angles = torch.from_numpy(rng(0, "angles", 0).uniform(-80, 80, (50, 3)))
    torch.testing.assert_close(rotation_angles(rotation_matrix(angles)), angles)


def test_wandering_has_unit_variance_and_its_scale() -> None:
    times = np.arange(0, 4000, 0.1)
    paths = wander(rng(0, "wander", 0), times, 1.0, 3)
    assert np.abs(paths.std(0) - 1).max() < 0.08
    # Matérn's covariance at one length, ν = 5/2: (1 + √5 + 5/3)·exp(−√5).
    found = (paths[10:] * paths[:-10]).mean()
    assert abs(found - (1 + 5**0.5 + 5 / 3) * np.exp(-(5**0.5))) < 0.06


def test_eased_steps_and_bumps() -> None:
    assert ease(np.array([-1, 0, 0.5, 1, 2])).tolist() == [0, 0, 0.5, 1, 1]
    assert bump(np.array([0, 1, 2, 3, 5]), 1, 1, 1, 2).tolist() == [0, 0, 1, 1, 0]
