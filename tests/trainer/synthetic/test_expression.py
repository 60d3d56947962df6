"""What expressions move, and what they leave still."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.synthetic.heads import moving, of_shape
from trainer.data.synthetic.anatomy import AT, EXPRESSIONS, anatomical, face
from trainer.data.synthetic.expression import JAW_OPENS, jaw_moves, lid_closing
from trainer.data.synthetic.eyes import LID, LOWER, RADIUS, UPPER
from trainer.data.synthetic.face import LIP_RINGS, mean_landmarks
from trainer.data.synthetic.figure import pose
from trainer.data.synthetic.identity import draw_shape
from trainer.data.synthetic.motion import draw_motion

X, Y, _ = mean_landmarks()[:468].T
LIPS = [index for ring in LIP_RINGS for index in ring]
UPPER_FACE = [name for name in EXPRESSIONS if name.startswith(("brow", "eye", "cheekSquint"))]
SIDED = [name for name in EXPRESSIONS if name.endswith("Left") and name not in ("jawLeft", "mouthLeft")]


def faces(expression: Tensor, people: int = 1) -> Tensor:
    """Landmarks in head space of the first people of a draw with each of the expressions: B×N×478×3, cm."""
    figure, count = of_shape(draw_shape(0, range(people)).coefficients), len(expression)
    motion = moving(people * count)._replace(expression=expression.repeat(people, 1))
    posed = pose(figure, torch.arange(people).repeat_interleave(count), motion)
    return (posed.landmarks - posed.head[:, None, :, 3]).view(people, count, -1, 3)


def singly() -> Tensor:
    """At rest, then each expression at its most: 45×44."""
    alone = torch.tensor(anatomical(np.eye(len(EXPRESSIONS))), dtype=torch.float32)
    return torch.cat((torch.zeros(1, len(EXPRESSIONS)), alone))


@pytest.fixture(scope="module")
def moved() -> dict[str, np.ndarray]:
    """How far each expression alone moves each landmark of somebody's skin, cm."""
    found = faces(singly())[0, :, :468]
    away = (found[1:] - found[:1]).norm(dim=2).numpy()
    return dict(zip(EXPRESSIONS, away, strict=True))


def test_each_expression_moves_something(moved):
    still = {name for name, away in moved.items() if away.max() < 0.1}
    assert still == {"mouthClose"}  # which closes what the jaw has opened


def test_the_upper_and_the_lower_face_leave_each_other_still(moved):
    for name, away in moved.items():
        if name in UPPER_FACE:
            assert away[LIPS].max() < 1e-3, name
        elif name.startswith(("jaw", "mouth", "tongue")):
            assert away[Y < -2.5].max() < 0.05, name


@pytest.mark.parametrize("name", SIDED)
def test_one_side_leaves_the_other_still(name, moved):
    other = name.removesuffix("Left") + "Right"
    assert moved[name][X < -0.8].max() < 0.01
    assert moved[other][X > 0.8].max() < 0.01
    assert moved[name][X > 0].max() > 0.1


def test_lips_never_pass_through_each_other():
    inner = LIP_RINGS[-1]
    motion = draw_motion(0, range(3), 60)
    expressions = torch.cat((singly(), motion.expression))
    found = faces(expressions, people=6)
    gap = found[..., list(inner[:10:-1]), 1] - found[..., list(inner[1:10]), 1]
    assert gap.min() > -1e-4
    assert gap[:, 0].max() < 0.02, "mouths are shut at rest"


def test_closed_lids_meet_and_lie_on_the_ball():
    closed = torch.tensor(face({"eyeBlink": 1.0}), dtype=torch.float32)
    found = faces(torch.stack((closed, 0 * closed)), people=12)
    for upper, lower, iris in zip(UPPER, LOWER, (468, 473), strict=True):
        above, below = found[..., list(upper[1:-1]), :], found[..., list(lower[1:-1]), :]
        opening = (above - below).norm(dim=3)
        assert opening[:, 0].max() < 0.12, "they meet"
        assert opening[:, 1].amax(1).min() > 0.45, "at rest eyes are open"
        ball = found[:, :1, iris : iris + 1] + torch.tensor([0.0, 0.0, RADIUS])
        assert (above[:, :1] - ball).norm(dim=3).min() > RADIUS + LID - 1e-3


def test_together_lids_close_no_more_than_all_the_way():
    everything = torch.ones(1, len(EXPRESSIONS))
    everything[:, [AT["eyeWideLeft"], AT["eyeWideRight"]]] = 0
    torch.testing.assert_close(lid_closing(everything).sum(2), torch.ones(1, 2))
    assert lid_closing(torch.zeros(1, len(EXPRESSIONS))).abs().max() == 0


def test_the_jaw_turns_about_its_hinge():
    teeth = mean_landmarks()[[13]] + (0, 0, 1.0)
    moved = jaw_moves(teeth, "jawOpen")[0]
    reach = np.linalg.norm(teeth[0, 1:] - (-0.3, -0.8))
    assert np.linalg.norm(moved) == pytest.approx(2 * reach * np.sin(np.radians(JAW_OPENS) / 2))
    assert moved[1] > 0
    np.testing.assert_array_equal(jaw_moves(teeth, "jawLeft"), -jaw_moves(teeth, "jawRight"))
