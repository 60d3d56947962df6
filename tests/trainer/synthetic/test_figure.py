"""Heads as geometry: shapes, poses, and how a camera sees them."""

import numpy as np
import pytest
import torch

from models.face_geometry import FACE_OVAL
from tests.trainer.synthetic.heads import moving, of_shape
from trainer.data.synthetic import head
from trainer.data.synthetic.eyes import iris_points
from trainer.data.synthetic.face import mean_landmarks, mirror_landmarks
from trainer.data.synthetic.figure import FACE_HEIGHT, camera_distance, make_figure, pose, project
from trainer.data.synthetic.identity import MOST, draw_shape, modes, shape_modes
from trainer.data.synthetic.mesh import Array
from trainer.data.synthetic.motion import draw_motion

ONE = torch.zeros(1, dtype=torch.long)
# Of these modes the two sides differ.
LOPSIDED = {"nose_bend", "mouth_shift", "mouth_tilt", "chin_shift", "eye_height", "lid_difference",
            "brow_difference", "cheek_difference"}  # fmt: skip


def pinhole(points: Array, rotation: Array, shift: Array, scale: float, fov: float) -> Array:
    """Head space to the picture, from the definitions, in float64: K×3 cm → K×2 picture widths."""
    yaw, pitch, roll = np.radians(rotation)
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn_yaw = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])  # −z goes to +x
    turn_pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])  # −z goes to −y
    turn_roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])  # +x goes to +y
    neck = np.array([0.0, 2.5, -1.0])
    half_width = np.tan(np.radians(fov) / 2)
    # The mean face is scale/2 of a picture that is 2 · half_width · distance high.
    distance = FACE_HEIGHT / (0.5 * scale) / (2 * half_width)
    width = 2 * half_width * distance
    turned = (points - neck) @ (turn_roll @ turn_yaw @ turn_pitch).T + neck
    placed = turned + np.array([shift[0] * width, shift[1] * width, distance + 8.0])
    return np.asarray(placed[:, :2] / placed[:, 2:] / (2 * half_width) + 0.5)


def test_landmarks_fall_where_a_pinhole_camera_puts_them():
    drawn = np.random.default_rng(0)
    figure = of_shape(draw_shape(1, [3]).coefficients)
    straight = pose(figure, ONE, moving(1))
    back = straight.head[0].double().numpy()
    points = (straight.landmarks[0].double().numpy() - back[:, 3]) @ back[:, :3]
    for _ in range(12):
        rotation, shift = drawn.uniform((-45, -30, -30), (45, 30, 30)), drawn.uniform(-0.15, 0.15, 2)
        scale, fov = drawn.uniform(0.7, 1.35), drawn.uniform(12, 60)
        posed = pose(figure, ONE, moving(1, rotation=rotation, shift=shift, scale=scale, fov=fov))
        found = project(posed.landmarks, posed.focal)[0].numpy()
        np.testing.assert_allclose(found, pinhole(points, rotation, shift, scale, fov), atol=2e-5)


@pytest.mark.parametrize("fov", [12.0, 30.0, 60.0])
def test_the_scale_is_the_mean_faces_height_whatever_the_lens(fov):
    for scale in (0.7, 1.0, 1.3):
        posed = pose(of_shape(), ONE, moving(1, scale=scale, fov=fov))
        height = FACE_HEIGHT / camera_distance(fov, scale) * posed.focal.item()
        assert height == pytest.approx(scale / 2, abs=1e-5)
        places = project(posed.landmarks, posed.focal)[0]
        seen = float(places[152, 1] - places[10, 1])
        assert seen == pytest.approx(scale / 2, rel=0.06)  # forehead and chin lie near the face's plane


def test_the_shift_is_in_picture_widths():
    at = torch.tensor([[0.0, 0.0], [0.1, -0.05]])
    for fov in (15.0, 50.0):
        posed = pose(of_shape(), torch.zeros(2, dtype=torch.long), moving(2, shift=at, fov=fov))
        middle = posed.head[:, :, 3]  # the origin of head space
        plane = middle - torch.tensor([0.0, 0.0, 8.0])
        moved = (plane[1, :2] / plane[1, 2] - plane[0, :2] / plane[0, 2]) * posed.focal[0]
        torch.testing.assert_close(moved, at[1], atol=1e-5, rtol=0)


def test_which_way_a_head_turns():
    turns = torch.tensor([[0.0, 0, 0], [20, 0, 0], [0, 20, 0], [0, 0, 20]])
    posed = pose(of_shape(), torch.zeros(4, dtype=torch.long), moving(4, rotation=turns))
    places = project(posed.landmarks, posed.focal)
    nose = places[:, 4] - places[:, list(FACE_OVAL)].mean(1)
    assert nose[1, 0] - nose[0, 0] > 0.05, "yaw > 0: the nose goes to the picture's right"
    assert nose[2, 1] - nose[0, 1] < -0.05, "pitch > 0: the nose goes up"
    eyes = places[3, 473] - places[3, 468]
    assert torch.rad2deg(torch.atan2(eyes[1], eyes[0])).item() == pytest.approx(20, abs=0.5)


def test_gaze_turns_the_irises_and_nothing_else():
    look = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 15.0]])
    posed = pose(of_shape(), torch.zeros(3, dtype=torch.long), moving(3, gaze=look))
    torch.testing.assert_close(posed.landmarks[1, :468], posed.landmarks[0, :468], atol=0, rtol=0)
    iris = posed.landmarks[:, [468, 473]] - posed.landmarks[:1, [468, 473]]
    assert (iris[1, :, 0] > 0.3).all()
    assert (iris[2, :, 1] < -0.2).all()


def test_a_pose_does_not_change_the_shape_of_a_head():
    motion = draw_motion(0, [5], 6, style="stills")
    figure, who = of_shape(draw_shape(0, [1]).coefficients), torch.zeros(6, dtype=torch.long)
    still = motion._replace(
        rotation=0 * motion.rotation, shift=0 * motion.shift, scale=torch.ones(6), fov=0 * motion.fov + 30
    )
    shapes = []
    for one in (motion, still):
        posed = pose(figure, who, one)
        shapes.append((posed.landmarks - posed.head[:, None, :, 3]) @ posed.head[:, :, :3])
    torch.testing.assert_close(shapes[0], shapes[1], atol=1e-4, rtol=0)


def test_a_shape_of_zeros_is_the_mean_face():
    posed = pose(of_shape(), ONE, moving(1))
    face = (posed.landmarks[0] - posed.head[0, :, 3])[:468].numpy()
    lids = np.linalg.norm(face - mean_landmarks()[:468], axis=1)
    assert np.median(lids) < 1e-4
    assert lids.max() < 0.3  # the eyeballs push lids out a little


def test_each_mode_moves_something_and_the_symmetric_ones_both_sides_alike():
    moved = dict(zip(modes(), shape_modes(mean_landmarks()), strict=True))
    assert len(moved) >= 40
    mirror = mirror_landmarks()
    for name, shape in moved.items():
        even = np.abs(shape[mirror] - shape * (-1, 1, 1)).max() < 1e-9
        assert even == (name not in LOPSIDED), name
    parts = (head.skin(), head.ear(False), head.neck(), head.chest())
    everything = np.concatenate([part.points for part in parts])
    for name, shape in zip(modes(), shape_modes(everything), strict=True):
        assert 0.02 < np.linalg.norm(shape, axis=1).max() < 2.5, name


def test_a_shape_is_drawn_for_its_own_number():
    alone, together = draw_shape(0, [7]).coefficients, draw_shape(0, [2, 7, 9]).coefficients
    assert torch.equal(alone[0], together[1])
    assert not torch.equal(alone, draw_shape(1, [7]).coefficients)
    many = draw_shape(0, range(300)).coefficients
    assert many.abs().max() <= MOST
    assert many.mean(0).abs().max() < 0.25
    assert (many.std(0) - 1).abs().max() < 0.2


def test_the_irises_rims_are_counted_as_the_detector_counts_them() -> None:
    """Right, top, left, bottom in the picture, of both eyes, as in the mean of measured faces."""
    mean = mean_landmarks()
    centres = torch.tensor([[[-3.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])
    points = iris_points(centres, torch.eye(3)[None])[0].double().numpy()
    for eye in (0, 5):
        measured = mean[469 + eye : 473 + eye, :2] - mean[468 + eye, :2]
        ours = points[eye + 1 : eye + 5, :2] - points[eye, :2]
        assert np.abs(ours - measured).max() < 0.06  # cm


def test_landmarks_are_the_same_on_coarse_skin_and_on_fine() -> None:
    shape = draw_shape(0, [3])
    motion = draw_motion(0, [1], 8, style="wild")
    who = torch.zeros(8, dtype=torch.long)
    coarse, fine = (pose(make_figure(shape, fine=fine), who, motion) for fine in (False, True))
    assert coarse.vertices.shape[1] < 0.7 * fine.vertices.shape[1]
    assert torch.equal(coarse.landmarks, fine.landmarks)
