"""Rendered heads: pictures and their truth agree, and nothing shows that should be hidden."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.face_geometry import FACE_OVAL
from tests.trainer.synthetic.heads import bare, even_light, moving, of_shape
from trainer.data.synthetic.anatomy import EXPRESSIONS, anatomical, face
from trainer.data.synthetic.face import LIP_RINGS
from trainer.data.synthetic.identity import draw_shape
from trainer.data.synthetic.motion import Motion
from trainer.data.synthetic.renderer import Frame, render
from trainer.data.synthetic.template import Label

SIZE = 128
TURNS = torch.tensor([[-30.0, 0, 0], [0, 0, 0], [30, 0, 0]])


def drawn(people: int, motion: Motion, size: int = SIZE, maps: tuple[str, ...] = ()) -> Frame:
    """The first people of a draw, as many frames of each, in even light."""
    figure = of_shape(draw_shape(0, range(people)).coefficients)
    who = torch.arange(people).repeat_interleave(len(motion.scale) // people)
    return render(bare(figure), even_light(people, size), who, motion, size, maps)


def inside(polygon: Tensor, size: int = SIZE) -> np.ndarray:
    """Pixels whose middle lies in a closed line (K×2, picture widths), by the even-odd rule: S×S bool."""
    row, column = np.mgrid[:size, :size] + 0.5
    x, y = (polygon.double().numpy() * size).T
    odd = np.zeros((size, size), bool)
    for ax, ay, bx, by in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        if ay != by:
            odd ^= ((ay > row) != (by > row)) & (column < ax + (row - ay) * (bx - ax) / (by - ay))
    return odd


def widened(mask: np.ndarray, by: int) -> np.ndarray:
    whole = torch.from_numpy(mask)[None].float()
    return (F.max_pool2d(whole, 2 * by + 1, 1, by)[0] > 0).numpy()


def within(mask: Tensor, by: int = 2) -> Tensor:
    """What lies at least `by` pixels from a mask's edge: N×S×S bool."""
    return F.max_pool2d((~mask).float(), 2 * by + 1, 1, by) == 0


def said(*faces: dict[str, float]) -> Tensor:
    return torch.tensor(np.stack([face(one) for one in faces]), dtype=torch.float32)


def test_flow_leads_from_the_frame_to_the_neutral_picture():
    expression = said(
        {"mouthSmile": 1}, {"jawOpen": 0.7}, {}, {"browInnerUp": 1, "mouthPucker": 0.8}, {"browDown": 1}
    )
    turns = torch.tensor([[0.0, 0, 0], [15, 5, 0], [-30, 0, 8], [30, -10, 0], [0, 15, -5]])
    motion = moving(5, scale=1.3, rotation=turns, expression=expression)
    frame, neutral = drawn(5, motion, maps=("flow",)), drawn(5, moving(5), maps=("flow",))
    assert frame.flow is not None and neutral.flow is not None  # noqa: PT018
    assert neutral.flow.nan_to_num().abs().max() == 0
    assert (frame.flow.isnan().any(1) == (frame.labels == Label.BACKGROUND)).float().mean() > 0.98
    y, x = torch.meshgrid(*[torch.arange(SIZE) + 0.5] * 2, indexing="ij")
    place = (torch.stack((x, y)) + frame.flow).nan_to_num(-SIZE).permute(0, 2, 3, 1) / SIZE * 2 - 1
    warped = F.grid_sample(neutral.picture, place, mode="bicubic", align_corners=False)
    both = within(neutral.labels == Label.SKIN).float()[:, None]
    visible = F.grid_sample(both, place, mode="nearest", align_corners=False)[:, 0] > 0
    visible &= within(frame.labels == Label.SKIN)
    # What is no further out than the face's outline is hidden by nothing in the neutral picture.
    for at in range(5):
        shown = visible[at] & torch.from_numpy(inside(frame.points[at, list(FACE_OVAL), :2]))
        assert shown.sum() > 1500
        error = (warped[at] - frame.picture[at]).square().mean(0)[shown].mean()
        assert -10 * error.log10() > 30


def test_closed_eyes_are_closed_and_open_ones_open():
    turns = TURNS.repeat(2 * 10, 1)
    expression = torch.cat((said({"eyeBlink": 1}).expand(3, -1), said({}).expand(3, -1))).repeat(10, 1)
    frame = drawn(10, moving(60, scale=1.6, rotation=turns, expression=expression))
    seen = (frame.labels == Label.EYES).flatten(1).sum(1).view(10, 2, 3)
    assert seen[:, 0].sum() <= 6 and seen[:, 0].max() <= 2  # noqa: PT018
    assert seen[:, 1].min() > 40
    assert (frame.labels == Label.MOUTH).sum() == 0, "mouths are shut at rest"


def test_nothing_of_the_mouth_comes_through_lips_or_chin():
    alone = torch.tensor(anatomical(np.eye(len(EXPRESSIONS))), dtype=torch.float32)
    alone = alone[[name.startswith(("jaw", "mouth", "tongue", "cheekPuff")) for name in EXPRESSIONS]]
    for yaw in (0.0, 30.0):
        motion = moving(len(alone), scale=1.6, rotation=[yaw, 0, 0], expression=alone)
        frame = drawn(1, motion)
        for at in range(len(alone)):
            lips = widened(inside(frame.points[at, list(LIP_RINGS[0]), :2]), 2)
            assert ((frame.labels[at] == Label.MOUTH).numpy() & ~lips).sum() <= TONGUE_OUT * alone[at, -1]


TONGUE_OUT = 400  # pixels of a tongue that hangs over the lip


def test_the_open_mouths_inside_lies_between_the_lips():
    frame = drawn(3, moving(3, scale=1.6, expression=said({"jawOpen": 0.8})))
    for at in range(3):
        line = inside(frame.points[at, list(LIP_RINGS[-1]), :2])
        mouth = (frame.labels[at] == Label.MOUTH).numpy()
        assert mouth.sum() > 50
        assert not (mouth & ~widened(line, 1)).any()
        assert (mouth & line).sum() > 0.85 * line.sum()


def test_the_background_never_shows_through_a_head():
    turns = torch.tensor([[-45.0, 20, 0], [45, -25, 10], [0, 28, 0], [0, -28, -20]]).repeat(5, 1)
    frame = drawn(5, moving(20, scale=1.1, rotation=turns), maps=("normals", "depth"))
    for at in range(20):
        hole = (frame.labels[at] == Label.BACKGROUND).numpy()
        outline = inside(frame.points[at, list(FACE_OVAL), :2])
        assert not (hole & ~widened(~outline, 1)).any()
    assert frame.normals is not None and frame.depth is not None  # noqa: PT018
    covered = frame.labels != Label.BACKGROUND
    length = frame.normals.norm(dim=1)[covered]
    torch.testing.assert_close(length, torch.ones_like(length))
    assert frame.normals.isfinite().all()
    assert frame.depth[:, 0][covered].isfinite().all()


def test_landmarks_lie_where_they_are_drawn():
    size, turns = 256, torch.tensor([[0.0, 0, 0], [15, 8, 0]]).repeat(2, 1)
    motion = moving(4, scale=1.6, rotation=turns, expression=said({"jawOpen": 0.5}))
    frame = drawn(2, motion, size, ("depth", "normals"))
    assert frame.depth is not None and frame.normals is not None  # noqa: PT018
    places = (frame.points[..., :2] * size).long()
    for at in range(4):
        labels = frame.labels[at]
        for line, one, other in (
            ((160, 159, 158, 385, 386, 387, 144, 145, 153, 380, 374, 373), Label.EYES, Label.SKIN),
            ((82, 13, 312, 87, 14, 317), Label.MOUTH, Label.LIPS),
        ):
            for index in line:
                x, y = places[at, index].tolist()
                around = set(labels[y - 2 : y + 3, x - 2 : x + 3].flatten().tolist())
                assert {int(one), int(other)} <= around, index
        for index in (468, 473):
            x, y = places[at, index].tolist()
            assert labels[y, x] == Label.EYES
        x, y = places[at, 4].tolist()
        assert frame.depth[at, 0, y, x].item() == pytest.approx(frame.camera_points[at, 4, 2].item(), abs=0.3)
        assert frame.normals[at, 2, y, x] < -0.7, "the nose's tip faces the camera"


def test_a_frame_is_the_same_alone_and_among_others():
    figure, scene = of_shape(draw_shape(0, range(3)).coefficients), even_light(3, SIZE)
    motion = moving(3, rotation=TURNS, expression=said({"jawOpen": 0.4}))
    maps = ("flow", "depth", "normals")
    together = render(bare(figure), scene, torch.tensor([2, 0, 1]), motion, SIZE, maps)
    alone = render(
        bare(figure), scene, torch.tensor([0]), Motion(*(part[1:2] for part in motion)), SIZE, maps
    )
    for one, many in zip(alone, together, strict=True):
        assert torch.equal(one.nan_to_num(), many[1:2].nan_to_num())


def test_an_unknown_map_is_told_with_those_there_are():
    with pytest.raises(ValueError, match="no map 'heat': there are flow, depth, normals"):
        drawn(1, moving(1), 32, ("heat",))
