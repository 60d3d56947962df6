"""Geometry of a face, on random heads and pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import face_geometry
from models.contract import CropRule
from models.face_geometry import (
    EYE_CORNERS,
    EYE_LEFT,
    EYE_RIGHT,
    FACE_OVAL,
    FLIP_68,
    LANDMARKS_68,
    LIP_LOWER,
    LIP_UPPER,
    LIPS_INNER,
    LIPS_OUTER,
    crop_to_frame,
    quaternion_to_rotation,
    rigid_fit,
    rotation_between,
    rotation_power,
    to_crop_units,
)
from tests.material import TRACKS, track

seeds = st.integers(0, 2**32 - 1)
angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 20)


def heads(seed: int, batch: int = 1, count: int = 26) -> torch.Tensor:
    """Random points, B×K×3, about as deep as they are wide."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, count, 3)))


def rotations(seed: int, batch: int = 1) -> torch.Tensor:
    q = torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, 4)))
    return quaternion_to_rotation(q / q.norm(dim=1, keepdim=True))


def landmarks(seed: int, width: int, height: int) -> np.ndarray:
    """478 points of a face somewhere in a picture, 478×3."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.05, 0.6) * min(width, height)
    centre = rng.uniform((0, 0), (width, height))
    points = rng.uniform(-0.5, 0.5, (478, 3)) * size
    points[list(EYE_CORNERS)] = (
        np.array([[-0.4, -0.1, 0], [-0.1, -0.1, 0], [0.1, -0.1, 0], [0.4, -0.1, 0]]) * size
    )
    turn = rng.uniform(-1.2, 1.2)
    points[:, :2] = points[:, :2] @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return points + np.array([*centre, 0.0])


def inverse(to_frame: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Frame pixels (N×2) as crop units."""
    return (frame - to_frame[:, 2]) @ np.linalg.inv(to_frame[:, :2]).T


@given(seed=seeds, scale=scales)
def test_rigid_fit_recovers_any_similarity(seed: int, scale: float) -> None:
    source, turn = heads(seed, 3), rotations(seed + 1, 3)
    shift = torch.from_numpy(np.random.default_rng(seed + 2).uniform(-100, 100, (3, 3)))
    target = scale * source @ turn.transpose(1, 2) + shift[:, None]
    found_scale, found_turn, found_shift = rigid_fit(source, target)
    assert torch.allclose(found_turn, turn, atol=1e-6)
    assert torch.allclose(found_scale, torch.full((3,), scale, dtype=torch.float64), rtol=1e-6)
    assert torch.allclose(found_shift, shift, atol=1e-5 * max(1, scale))


@given(seed=seeds)
def test_rigid_fit_never_returns_a_reflection(seed: int) -> None:
    """Even where a mirror image would fit best."""
    source = heads(seed, 4)
    target = source * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    target[2:] = heads(seed + 1, 2)  # and where nothing fits
    for points in (source, source * torch.tensor([1.0, 1.0, 1e-4], dtype=torch.float64)):
        turn = rotation_between(points - points.mean(1, keepdim=True), target - target.mean(1, keepdim=True))
        assert torch.allclose(
            turn @ turn.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(4, 3, 3), atol=1e-6
        )
        assert torch.allclose(torch.linalg.det(turn), torch.ones(4, dtype=torch.float64), atol=1e-6)


@given(seed=seeds)
def test_rigid_fit_is_as_good_as_the_singular_value_decomposition(seed: int) -> None:
    """On noisy heads the residual is the least there is, to within float noise."""
    source = heads(seed)
    target = 2 * source @ rotations(seed + 1).transpose(1, 2) + 0.1 * heads(seed + 2)
    scale, turn, shift = rigid_fit(source, target)
    ours = (scale.view(-1, 1, 1) * source @ turn.transpose(1, 2) + shift[:, None] - target).square().sum()
    a, b = source[0] - source[0].mean(0), target[0] - target[0].mean(0)
    u, s, vh = torch.linalg.svd(a.T @ b)
    sign = torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ vh).sign())], dtype=torch.float64)
    best = b.square().sum() - (s * sign).sum() ** 2 / a.square().sum()
    assert ours <= best * (1 + 1e-5) + 1e-9


@given(seed=seeds)
def test_rigid_fit_of_a_batch_is_that_of_its_rows(seed: int) -> None:
    source, target = heads(seed, 5).float(), heads(seed + 1, 5).float()
    whole = rigid_fit(source, target)
    for row in range(5):
        for part, alone in zip(whole, rigid_fit(source[row : row + 1], target[row : row + 1]), strict=True):
            assert torch.allclose(part[row : row + 1], alone, atol=1e-5)


def test_rigid_fit_of_one_point_repeated_stays_finite() -> None:
    for part in rigid_fit(torch.ones(1, 26, 3), torch.ones(1, 26, 3)):
        assert torch.isfinite(part).all()


@given(seed=seeds, first=st.floats(-0.9, 0.9), second=st.floats(-0.9, 0.9))
def test_powers_of_a_rotation_add_up(seed: int, first: float, second: float) -> None:
    turn = rotations(seed)
    powers = [
        rotation_power(turn, torch.tensor([p], dtype=torch.float64)) for p in (first, second, first + second)
    ]
    assert torch.allclose(powers[0] @ powers[1], powers[2], atol=1e-6)


@given(seed=seeds)
def test_powers_nought_and_one_of_a_rotation_are_its_ends(seed: int) -> None:
    turn, one = rotations(seed), torch.ones(1, dtype=torch.float64)
    assert torch.allclose(rotation_power(turn, 0 * one), torch.eye(3, dtype=torch.float64)[None], atol=1e-6)
    assert torch.allclose(rotation_power(turn, one), turn, atol=1e-6)


def test_a_crop_is_kept_on_whole_pixels_or_turned() -> None:
    with pytest.raises(ValueError, match="either"):
        CropRule(size=256, scale=2.0, inside=True, upright=True)


def test_a_limited_turn_stays_below_its_limit_and_keeps_the_order() -> None:
    angles = torch.linspace(0, 3, 100, dtype=torch.float64)
    about = torch.stack((torch.cos(angles / 2), *[torch.sin(angles / 2) / 3**0.5] * 3), 1)
    turned = rotation_power(quaternion_to_rotation(about), torch.ones_like(angles), limit=0.6)
    trace = turned.diagonal(dim1=1, dim2=2).sum(1)
    found = torch.acos(((trace - 1) / 2).clamp(-1, 1))
    assert float(found.max()) < 0.6
    assert bool((found[1:] > found[:-1]).all())
    small = angles < 0.2
    assert torch.allclose(found[small], angles[small], rtol=0.01)


rules = st.builds(
    CropRule,
    size=st.just(256),
    scale=st.floats(0.5, 4),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    anchors=st.sampled_from([(), FACE_OVAL, EYE_CORNERS]),
    upright=st.booleans(),
)


@given(seed=seeds, rule=rules)
def test_crop_units_and_frame_pixels_round_trip(seed: int, rule: CropRule) -> None:
    points = landmarks(seed, 640, 480)
    to_frame = crop_to_frame(points, rule, 640, 480)
    units = to_crop_units(points, to_frame)
    assert units[:, :2] @ to_frame[:, :2].T + to_frame[:, 2] == pytest.approx(points[:, :2], abs=1e-6)
    side = np.linalg.norm(to_frame[:, 0])
    assert units[:, 2] * side == pytest.approx(points[:, 2], abs=1e-6)


@given(seed=seeds, rule=rules)
def test_the_crop_is_a_square_of_the_rules_scale_and_never_mirrored(seed: int, rule: CropRule) -> None:
    points = landmarks(seed, 640, 480)
    linear = crop_to_frame(points, rule, 640, 480)[:, :2]
    side = np.linalg.norm(linear[:, 0])
    assert linear.T @ linear == pytest.approx(np.eye(2) * side**2, abs=1e-6 * side**2)
    assert np.linalg.det(linear) > 0
    anchors = points[list(rule.anchors) or slice(None), :2] @ (linear / side)
    assert side == pytest.approx(rule.scale * np.ptp(anchors, axis=0).max(), rel=1e-6)


@given(seed=seeds)
def test_without_a_shift_the_face_is_in_the_middle_of_its_crop(seed: int) -> None:
    points = landmarks(seed, 640, 480)
    units = to_crop_units(points, crop_to_frame(points, CropRule(256, 2.0), 640, 480))
    middle = (units[:, :2].min(0) + units[:, :2].max(0)) / 2
    assert middle == pytest.approx([0.5, 0.5], abs=1e-9)
    assert np.ptp(units[:, :2], axis=0).max() == pytest.approx(0.5)


@given(seed=seeds)
def test_upright_levels_the_eyes(seed: int) -> None:
    points = landmarks(seed, 640, 480)
    units = to_crop_units(points, crop_to_frame(points, CropRule(256, 2.0, upright=True), 640, 480))
    left, right = units[[33, 133], :2].mean(0), units[[263, 362], :2].mean(0)
    assert right[1] == pytest.approx(left[1], abs=1e-9)
    assert right[0] > left[0]


@given(seed=seeds)
def test_upright_by_the_face_puts_the_lips_below_the_eyes(seed: int) -> None:
    points = landmarks(seed, 640, 480)
    rule = CropRule(256, 2.0, upright=True, level="face")
    units = to_crop_units(points, crop_to_frame(points, rule, 640, 480))
    eyes, lips = units[[33, 133, 263, 362], :2].mean(0), units[[61, 291], :2].mean(0)
    assert lips[0] == pytest.approx(eyes[0], abs=1e-9)
    assert lips[1] > eyes[1]


@given(seed=seeds, scale=st.floats(0.5, 6), width=st.integers(40, 900), height=st.integers(40, 900))
def test_inside_keeps_to_whole_pixels_of_the_picture(
    seed: int, scale: float, width: int, height: int
) -> None:
    rule = CropRule(256, scale, inside=True)
    to_frame = crop_to_frame(landmarks(seed, width, height), rule, width, height)
    side, corner = to_frame[0, 0], to_frame[:, 2]
    assert to_frame[:, :2] == pytest.approx(np.eye(2) * side)
    assert np.array([side, *corner]) == pytest.approx(np.round([side, *corner]), abs=0)
    assert 1 <= side <= min(width, height)
    assert (corner >= 0).all()
    assert (corner + side <= (width, height)).all()


@given(seed=seeds)
def test_inside_reaches_over_the_border_rather_than_cut_the_face(seed: int) -> None:
    points = landmarks(seed, 200, 150)
    rule = CropRule(256, 3.0, inside=True, min_scale=1.9)
    side = crop_to_frame(points, rule, 200, 150)[0, 0]
    box = np.ptp(points[:, :2], axis=0).max()
    assert side >= round(1.9 * box)
    assert side == int(side)


@pytest.mark.parametrize(
    "outline",
    [FACE_OVAL, LIPS_INNER, LIPS_OUTER, EYE_LEFT, EYE_RIGHT, LIP_UPPER, LIP_LOWER, face_geometry.RIGID],
)
def test_outlines_name_points_of_the_mesh_once(outline: tuple[int, ...]) -> None:
    assert len(set(outline)) == len(outline)
    assert all(0 <= index < 468 for index in outline)


def test_the_lips_edges_meet_at_the_corners_and_make_up_the_inner_outline() -> None:
    assert (LIP_UPPER[0], LIP_UPPER[-1]) == (LIP_LOWER[0], LIP_LOWER[-1])
    assert set(LIP_UPPER) | set(LIP_LOWER) == set(LIPS_INNER)


def test_a_crop_may_be_centred_on_a_landmark() -> None:
    points = landmarks(3, 640, 480)
    for upright in (False, True):
        rule = CropRule(256, 2.0, centre=168, upright=upright)
        to_frame = crop_to_frame(points, rule, 640, 480)
        assert to_crop_units(points, to_frame)[168, :2] == pytest.approx([0.5, 0.5], abs=1e-9)
        plain = crop_to_frame(points, CropRule(256, 2.0, upright=upright), 640, 480)
        assert to_frame[:, :2] == pytest.approx(plain[:, :2], abs=1e-9)
        lower = crop_to_frame(points, CropRule(256, 2.0, (0.0, 0.2), centre=168, upright=upright), 640, 480)
        # The square went down by a fifth of the box, half its side: the landmark is that much higher in it.
        assert to_crop_units(points, lower)[168, :2] == pytest.approx([0.5, 0.4], abs=1e-9)


def mean_face() -> np.ndarray:
    """478×3, symmetric."""
    with np.load(Path(face_geometry.__file__).parent / "mean_face.npz") as file:
        return np.asarray(file["points"], np.float64)


def test_the_68_points_are_those_of_a_mirror_image_renamed() -> None:
    assert len(set(LANDMARKS_68)) == len(LANDMARKS_68) == len(FLIP_68) == 68
    assert all(0 <= index < 468 for index in LANDMARKS_68)
    assert [FLIP_68[other] for other in FLIP_68] == list(range(68))
    points = mean_face()[list(LANDMARKS_68)]
    assert points[list(FLIP_68)] == pytest.approx(points * [-1, 1, 1], abs=0.01)


def test_the_contour_of_the_68_lies_at_eighths_of_the_ovals_halves() -> None:
    """From the level of the eyes to the chin."""
    face = mean_face()[:, :2]
    half = FACE_OVAL[FACE_OVAL.index(152) : FACE_OVAL.index(127) + 1][::-1]
    steps = np.linalg.norm(np.diff(face[list(half)], axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)]) / steps.sum() * 8
    assert [half[np.abs(along - eighth).argmin()] for eighth in range(9)] == list(LANDMARKS_68[:9])
    assert set(LANDMARKS_68[:17]) <= set(FACE_OVAL)


@pytest.mark.parametrize("clip", TRACKS)
def test_the_68_points_lie_where_ibugs_do(clip: str) -> None:
    """In every frame of a real face, seen upright: x to the right, y down."""
    points = track(clip).points[:, list(LANDMARKS_68), :2]
    across = points[:, 45] - points[:, 36]
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    down = across[:, ::-1] * [-1, 1]
    from_bridge = points - points[:, 28:29]
    x, y = (np.einsum("fpi,fi->fp", from_bridge, axis) for axis in (across, down))

    slack = 0.03 * np.ptp(x, axis=1)

    contour = np.unwrap(np.arctan2(y[:, :17], x[:, :17]), axis=1)
    assert (np.diff(contour, axis=1) < 0).all(), "the contour runs around the face, left to right"
    assert (y[:, 8] > y[:, 6]).all()
    assert (y[:, 8] > y[:, 10]).all()
    assert (y[:, 8] > y[:, 57]).all(), "the chin is below the lips"
    for brow, eye in ((range(17, 22), range(36, 42)), (range(22, 27), range(42, 48))):
        assert (y[:, eye].mean(1) > y[:, brow].max(1)).all(), "eyes are below brows"
        assert (x[:, eye].min(1) > x[:, brow].min(1) - slack).all(), "and between their ends"
        assert (x[:, eye].max(1) < x[:, brow].max(1) + slack).all()
        assert (np.diff(x[:, brow], axis=1) > 0).all(), "brows run left to right"
    assert (x[:, 21] < x[:, 22]).all()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        assert (y[:, upper] < y[:, lower]).all(), "upper lids are above lower ones"
    for first, second in ((36, 39), (39, 42), (42, 45), (48, 54), (60, 64), (31, 35)):
        assert (x[:, first] < x[:, second]).all()
    assert (np.diff(y[:, 27:31], axis=1) > 0).all(), "the bridge runs down to the tip"
    assert (y[:, 33] > y[:, 30]).all(), "whose base lies below it"
    assert (np.diff(x[:, 31:36], axis=1) > 0).all()
    assert (y[:, 51] > y[:, 33]).all()
    assert (np.diff(x[:, 48:55], axis=1) > 0).all(), "lips run left to right above"
    assert (np.diff(x[:, 54:60], axis=1) < 0).all(), "and right to left below"
    assert (np.diff(x[:, 60:65], axis=1) > 0).all()
    assert (np.diff(x[:, 64:68], axis=1) < 0).all()
    for outer, inner in ((51, 62), (66, 57)):
        assert (y[:, outer] < y[:, inner]).all(), "lips have a thickness"
    assert (y[:, 62] <= y[:, 66] + slack).all()
