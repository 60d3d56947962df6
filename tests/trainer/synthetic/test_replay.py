"""Motion of real clips: recovered from landmarks that were made of it, and from real ones."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from models.face_geometry import LIP_CORNERS
from models.face_tracker import FaceTracker
from tests.material import GRID_CLIP, TRACKS, frames, track
from tests.trainer.synthetic.made_basis import made_basis
from trainer.data.synthetic.anatomy import AT, BLINKS, Array
from trainer.data.synthetic.bounded import bounded_ridge
from trainer.data.synthetic.motion import Motion, draw_motion, rotation_matrix
from trainer.data.synthetic.replay import FACE_ENDS, LIDS, LIPS, Basis, Replay, mean_basis, replay
from trainer.data.synthetic.seeds import rng

SQUARE = (320.0, 240.0, 400.0)  # of the picture, pixels


def stranger(seed: int) -> Tensor:
    """By how much somebody's face differs from the mean one, 478×3 cm: smooth, both sides nearly alike."""
    face, draws = made_basis().neutral, rng(seed, "test.stranger", 0)
    offset = torch.zeros_like(face)
    for _ in range(8):
        middle = face[draws.integers(468)]
        by = torch.from_numpy(draws.normal(0, 0.25, 3))
        for side in (torch.ones(3), torch.tensor([-1.0, 1.0, 1.0])):
            near = torch.exp(-((face - middle * side).norm(dim=1) ** 2) / (2 * 2.5**2))
            offset += near[:, None] * by * side
    return offset


def filmed(motion: Motion, who: Tensor, noise: float = 0.0) -> Array:
    """The landmarks of somebody with that motion, F×478×3 pixels, without perspective."""
    basis = made_basis()
    face = basis.neutral + who + torch.einsum("fk,kpc->fpc", motion.expression.double(), basis.shapes)
    yaw, pitch = motion.gaze.double().deg2rad().unbind(1)
    face[:, 468:] += 1.2 * torch.stack((yaw.sin(), -pitch.sin(), 0 * yaw), 1)[:, None]
    x, y, side = SQUARE
    height = float((basis.neutral[FACE_ENDS[1]] - basis.neutral[FACE_ENDS[0]]).norm())
    turned = face @ rotation_matrix(motion.rotation.double()).transpose(1, 2)
    turned *= (motion.scale.double() * side / 2 / height)[:, None, None]
    turned[..., :2] += motion.shift.double()[:, None] * side + torch.tensor([x, y]).double()
    seen: Array = turned.numpy()
    return seen + noise * rng(0, "test.noise", 0).standard_normal(seen.shape)


def gap_ratio(points: Array, pairs: tuple[tuple[int, int], ...]) -> Array:
    """Of pairs of landmarks, by the width of the mouth: F."""
    gaps = [np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1) for a, b in pairs]
    width = np.linalg.norm(points[:, LIP_CORNERS[0], :2] - points[:, LIP_CORNERS[1], :2], axis=1)
    return np.asarray(np.mean(gaps, axis=0) / width)


def column(replayed: Replay, name: str) -> Array:
    return replayed.motion.expression[:, AT[name]].double().numpy()


def alike(one: Array, other: Array) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def test_the_mean_person_at_rest_does_nothing() -> None:
    still = draw_motion(0, [0], 10, style="stills")
    still = Motion(*(torch.zeros_like(part) for part in still))._replace(scale=torch.ones(10))
    found = replay(filmed(still, torch.zeros(478, 3)), 25, made_basis(), square=SQUARE)
    for part, known in zip(found.motion[:5], still[:5], strict=True):
        torch.testing.assert_close(part, known, rtol=0, atol=1e-4)
    assert found.valid.all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("style", ["talking", "idle"])
def test_the_motion_of_an_unknown_person_is_recovered(style: str, seed: int) -> None:
    known = draw_motion(seed, [0], 120, style=style)
    found = replay(filmed(known, stranger(seed), noise=0.2), 25, made_basis(), square=SQUARE).motion
    apart = (known.expression - found.expression).abs()
    assert apart.mean() < 0.05
    assert apart[:, BLINKS].mean() < 0.03
    assert apart[:, BLINKS].max() < 0.3
    if style == "talking":
        assert alike(_of(known, "jawOpen"), _of(found, "jawOpen")) > 0.93
    # How a stranger's head is held at rest can't be told from its shape: only that is left open.
    turned = known.rotation - found.rotation
    assert turned.median(0).values.abs().max() < 6
    assert (turned - turned.median(0).values).abs().max() < 1
    assert (known.gaze - found.gaze)[:, 0].abs().median() < 1.5
    assert alike(known.gaze[:, 0].numpy(), found.gaze[:, 0].numpy()) > 0.95
    assert ((known.scale / found.scale) - 1).abs().max() < 0.08
    assert (known.shift - found.shift).abs().max() < 0.05


def test_who_it_is_does_not_get_into_the_motion() -> None:
    """The same motion of two people is replayed alike."""
    known = draw_motion(4, [0], 120, style="talking")
    one, other = (replay(filmed(known, stranger(seed)), 25, made_basis()).motion for seed in (1, 2))
    assert (one.expression - other.expression).abs().mean() < 0.02
    assert alike(_of(one, "jawOpen"), _of(other, "jawOpen")) > 0.99


def test_without_a_square_the_face_is_in_the_middle() -> None:
    known = draw_motion(1, [0], 60, style="listening")
    found = replay(filmed(known, stranger(0)), 25, made_basis()).motion
    assert found.shift.median(0).values.abs().max() < 1e-3
    assert abs(float(found.scale.median()) - 1) < 1e-3
    moved = known.shift - known.shift.median(0).values
    assert alike(moved[:, 0].numpy(), found.shift[:, 0].numpy()) > 0.9


def test_frames_without_a_face_are_held_and_marked() -> None:
    known = draw_motion(1, [0], 40, style="talking")
    points = filmed(known, stranger(0))
    gone = [0, 1, 20, 21, 22, 39]
    lost = points.copy()
    lost[gone] = np.nan
    found = replay(lost, 25, made_basis())
    assert (~found.valid).nonzero()[:, 0].tolist() == gone
    for part in found.motion:
        assert part.isfinite().all()
        assert torch.equal(part[[0, 1]], part[[2, 2]])
        assert torch.equal(part[[20, 21, 22]], part[[19, 19, 19]])
        assert torch.equal(part[39], part[38])


def test_one_frame_is_enough() -> None:
    found = replay(filmed(draw_motion(1, [0], 1), stranger(0)), 25, made_basis())
    assert found.motion.expression.shape == (1, 44)
    assert all(part.isfinite().all() for part in found.motion)


def test_what_is_no_track_is_refused() -> None:
    with pytest.raises(ValueError, match="no face was seen in any frame"):
        replay(np.full((5, 478, 3), np.nan), 25, made_basis())
    with pytest.raises(ValueError, match="expected frames × 478 × 3"):
        replay(np.zeros((5, 68, 2)), 25, made_basis())
    with pytest.raises(ValueError, match="above zero"):
        replay(np.zeros((5, 478, 3)), 0, made_basis())


@pytest.mark.parametrize("name", [name for name in TRACKS if name.startswith("grid")])
def test_real_mouths_open_as_they_did(name: str) -> None:
    real = track(name)
    found = replay(real.points, real.fps, mean_basis())
    assert alike(column(found, "jawOpen"), gap_ratio(real.points, LIPS)) > 0.9
    assert found.motion.rotation.abs().max() < 20  # people who look at the camera
    assert found.motion.gaze.abs().max() < 22


def test_a_smile_that_is_held_is_no_feature() -> None:
    def smile(name: str) -> float:
        """Of both sides, in four frames of five."""
        real = track(name)
        found = replay(real.points, real.fps, mean_basis())
        both = (column(found, "mouthSmileLeft") + column(found, "mouthSmileRight")) / 2
        return float(np.quantile(both, 0.2))

    assert smile("intel_head_pose_male") > 0.4  # he smiles from the first frame to the last
    for name in TRACKS:
        if name.startswith("grid"):
            assert smile(name) < 0.15, name


def test_drawn_talkers_are_as_lively_as_real_ones() -> None:
    """Speed of head and jaw, against four people who read a sentence."""

    def speeds(motions: list[Motion]) -> Tensor:
        moving = [torch.cat((one.rotation / 100, one.expression[:, [AT["jawOpen"]]]), 1) for one in motions]
        return torch.cat([one.diff(dim=0) * 25 for one in moving]).std(0)  # yaw, pitch, roll, jaw

    readers = [track(name) for name in TRACKS if name.startswith("grid")]
    real = speeds([replay(one.points, one.fps, mean_basis()).motion for one in readers])
    drawn = speeds([draw_motion(0, [index], 75, style="talking") for index in range(20)])
    assert len(readers) == 4
    assert ((drawn / real).log().abs() < math.log(2)).all()


@pytest.fixture(scope="module")
def spoken() -> tuple[Array, Replay]:
    with FaceTracker() as faces:
        points = np.array([faces.track(picture) for picture in frames(GRID_CLIP)])
    return points, replay(points, 25, mean_basis())


def test_a_real_clip_speaks_and_blinks_when_it_did(spoken: tuple[Array, Replay]) -> None:
    points, found = spoken
    assert found.valid.all()
    assert len(points) == len(found.valid) == 75
    assert alike(column(found, "jawOpen"), gap_ratio(points, LIPS)) > 0.85  # lips part without the jaw too
    for side, pairs in zip(("Left", "Right"), LIDS, strict=True):
        aperture, blink = gap_ratio(points, pairs), column(found, f"eyeBlink{side}")
        dip = int(aperture.argmin())
        assert abs(int(blink.argmax()) - dip) <= 1
        assert blink[dip] > 0.7
        assert (blink > 0.5).mean() < 0.3
        assert alike(blink, np.minimum(aperture, np.median(aperture))) < -0.9


def test_the_openings_are_matched_exactly(spoken: tuple[Array, Replay]) -> None:
    """The basis, moved as replayed, has the clip's lids and lips, by their ratios."""
    points, found = spoken
    basis = Basis(*(part.double() for part in mean_basis()))
    shown = basis.neutral + torch.einsum("fk,kpc->fpc", found.motion.expression.double(), basis.shapes)
    for pairs in LIDS:
        height = (shown[:, [b for _, b in pairs], 1] - shown[:, [a for a, _ in pairs], 1]).mean(1).numpy()
        real = np.mean([np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in pairs], axis=0)
        ratio, true = height / np.median(height), real / np.median(real)
        assert np.median(np.abs(ratio - true)) < 0.05
    lips = (shown[:, [b for _, b in LIPS], 1] - shown[:, [a for a, _ in LIPS], 1]).mean(1).numpy()
    width = float((basis.neutral[LIP_CORNERS[1]] - basis.neutral[LIP_CORNERS[0]]).norm())
    assert alike(lips / width, gap_ratio(points, LIPS)) > 0.97


def test_bounded_ridge_agrees_with_an_independent_solver() -> None:
    """scipy's, on the same problem with the ridge as further rows."""
    draws = rng(0, "test.bounded", 0)
    design, seen = draws.normal(size=(30, 6)), 2 * draws.normal(size=(4, 30))
    ridge = draws.uniform(0.1, 1, 6)
    found = bounded_ridge(*(torch.from_numpy(part) for part in (design, seen, ridge)))
    rows = np.concatenate((design, np.diag(np.sqrt(ridge))))
    for row, target in zip(found.numpy(), seen, strict=True):
        known = lsq_linear(rows, np.append(target, np.zeros(6)), (0, 1), tol=1e-12).x
        assert np.abs(row - known).max() < 1e-4


def _of(motion: Motion, name: str) -> Array:
    return motion.expression[:, AT[name]].double().numpy()
