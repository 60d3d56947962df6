"""Samples in a mirror and in other colours."""

import numpy as np
import pytest
import torch

from models.face_geometry import EYE_LEFT, EYE_RIGHT, FLIP_68, IRIS_LEFT, IRIS_RIGHT, LANDMARKS_68
from trainer.data.samples import (
    LUMA,
    Augmentation,
    Sample,
    collate,
    colouring,
    mirror_landmarks,
    mirrored,
    recoloured,
)
from trainer.data.synthetic.anatomy import AT, EXPRESSIONS
from trainer.data.synthetic.motion import rotation_matrix


def sample(frames: int = 2, size: int = 8, seed: int = 0) -> Sample:
    generator = torch.Generator().manual_seed(seed)

    def levels(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    return Sample(
        picture=levels(frames, 3, size, size),
        points=torch.rand(frames, 478, 3, generator=generator),
        valid=torch.ones(frames, dtype=torch.bool),
        labels=levels(frames, size, size),
        frames=torch.arange(frames),
        maps={
            "flow": torch.randn(frames, 2, size, size, generator=generator),
            "depth": torch.rand(frames, 1, size, size, generator=generator),
            "normals": torch.randn(frames, 3, size, size, generator=generator),
        },
        parameters={},
        clip=f"clip {seed}",
        identity=f"person {seed}",
    )


def test_landmarks_in_a_mirror_are_the_same_parts_of_the_face() -> None:
    swap = mirror_landmarks()
    assert (swap[swap] == torch.arange(478)).all()
    marks = torch.tensor(LANDMARKS_68)
    assert (swap[marks] == marks[list(FLIP_68)]).all()
    assert set(swap[list(EYE_LEFT)].tolist()) == set(EYE_RIGHT)
    assert swap[IRIS_LEFT[0]] == IRIS_RIGHT[0]
    assert set(swap[list(IRIS_LEFT)].tolist()) == set(IRIS_RIGHT)
    assert (swap == torch.arange(478)).sum() == 28  # on the middle line


def test_a_mirror_keeps_the_mesh() -> None:
    """But for the seven edges that MediaPipe draws on one side only."""
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    swap = mirror_landmarks().tolist()
    edges = {frozenset(edge) for edge in FACEMESH_TESSELATION}
    assert sum(frozenset((swap[a], swap[b])) not in edges for a, b in edges) <= 7


def test_a_mirror_shows_all_of_it_turned_round() -> None:
    before = sample()
    after = mirrored(before)
    assert (after.picture == before.picture.flip(3)).all()
    assert (after.labels == before.labels.flip(2)).all()
    left, right = LANDMARKS_68[36], LANDMARKS_68[45]
    assert after.points[0, right].tolist() == pytest.approx(
        [1 - before.points[0, left, 0].item(), *before.points[0, left, 1:].tolist()]
    )
    # What lay 2 pixels to the right lies 2 to the left.
    assert (after.maps["flow"][:, 0] == -before.maps["flow"][:, 0].flip(2)).all()
    assert (after.maps["flow"][:, 1] == before.maps["flow"][:, 1].flip(2)).all()
    assert (after.maps["normals"][:, 0] == -before.maps["normals"][:, 0].flip(2)).all()
    assert (after.maps["normals"][:, 1:] == before.maps["normals"][:, 1:].flip(3)).all()
    assert (after.maps["depth"] == before.maps["depth"].flip(3)).all()


def test_a_mirror_s_mirror_shows_the_sample() -> None:
    before = sample()
    after = mirrored(mirrored(before))
    assert (after.picture == before.picture).all()
    assert torch.allclose(after.points, before.points, atol=1e-6)
    assert all((after.maps[name] == before.maps[name]).all() for name in before.maps)


def test_where_no_face_was_seen_no_points_come_up() -> None:
    before = sample()._replace(valid=torch.tensor([True, False]), points=torch.zeros(2, 478, 3))
    after = mirrored(before)
    assert (after.points[1] == 0).all()
    assert (after.points[0, :, 0] == 1).all()


def test_a_batch_is_mirrored_like_its_rows() -> None:
    rows = [sample(seed=seed) for seed in range(3)]
    whole, alone = mirrored(collate(rows)), collate([mirrored(row) for row in rows])
    assert (whole.points == alone.points).all()
    assert (whole.maps["flow"] == alone.maps["flow"]).all()


def test_every_other_sample_is_mirrored() -> None:
    once, rng = sample(), np.random.default_rng(0)
    turned = [not (Augmentation(mirror=True)(once, rng).picture == once.picture).all() for _ in range(400)]
    assert 160 < sum(turned) < 240


def test_no_change_of_colour_is_none() -> None:
    once = sample()
    assert (recoloured(once.picture, *colouring(np.ones(5))) == once.picture).all()
    assert Augmentation()(once, np.random.default_rng(0)) == once


def test_colours_change_as_they_are_told() -> None:
    picture = torch.tensor([100, 150, 200], dtype=torch.uint8).view(1, 3, 1, 1)

    def levels(*amounts: float) -> list[int]:
        return [int(level) for level in recoloured(picture, *colouring(np.array(amounts))).flatten()]

    assert levels(1.1, 1, 0.5, 1, 1) == [110, 150, 100]
    assert levels(1, 1, 1, 1.25, 1) == [93, 156, 218]  # about 127.5
    grey = round(float(np.dot(LUMA, [100, 150, 200])))
    assert levels(1, 1, 1, 1, 0) == [grey] * 3
    assert levels(2, 2, 2, 1, 1) == [200, 255, 255]


def test_all_frames_of_a_sample_change_their_colours_alike() -> None:
    once = sample()
    still = once._replace(picture=once.picture[:1].repeat(2, 1, 1, 1))
    changed = Augmentation(colour=0.3)(still, np.random.default_rng(1)).picture
    assert (changed[0] == changed[1]).all()
    assert not (changed == still.picture).all()


def test_what_can_not_be_done_is_refused() -> None:
    with pytest.raises(ValueError, match=r"colour 1: expected a number from 0 to below 1"):
        Augmentation(colour=1)
    known = sample()._replace(parameters={"gaze": torch.zeros(2, 2), "shape": torch.zeros(2, 66)})
    with pytest.raises(ValueError, match="samples with shape can't be mirrored: .*: expression, gaze, "):
        Augmentation(mirror=True)(known, np.random.default_rng(0))
    assert Augmentation()(known, np.random.default_rng(0)) == known


def test_parameters_say_what_a_mirror_shows() -> None:
    generator = torch.Generator().manual_seed(0)
    expression = torch.rand(2, len(EXPRESSIONS), generator=generator)
    camera = torch.randn(2, 478, 3, generator=generator) + torch.tensor([3.0, 0, 60])
    angles = torch.tensor([[30.0, -10, 20], [-5, 25, 0]])
    before = sample()._replace(
        points=torch.cat((0.5 + 2 * camera[..., :2] / camera[..., 2:], camera[..., 2:] / 20), 2),
        parameters={
            "expression": expression,
            "gaze": torch.tensor([[10.0, 5], [-3, 2]]),
            "rotation": angles,
            "shift": torch.tensor([[0.1, 0.05], [0, 0]]),
            "camera_points": camera,
            "age": torch.tensor([40.0, 40]),
        },
    )
    after = mirrored(before)
    found = after.parameters
    for left, right in (("eyeBlinkLeft", "eyeBlinkRight"), ("jawLeft", "jawRight"), ("jawOpen", "jawOpen")):
        assert (found["expression"][:, AT[left]] == expression[:, AT[right]]).all()
        assert (found["expression"][:, AT[right]] == expression[:, AT[left]]).all()
    assert found["gaze"].tolist() == [[-10, 5], [3, 2]]
    flip = torch.diag(torch.tensor([-1.0, 1, 1]))
    turned = flip @ rotation_matrix(angles) @ flip
    assert torch.allclose(rotation_matrix(found["rotation"]), turned, atol=1e-6)
    assert torch.allclose(found["shift"], torch.tensor([[-0.1, 0.05], [0, 0]]))
    there = found["camera_points"]
    assert torch.allclose(0.5 + 2 * there[..., :2] / there[..., 2:], after.points[..., :2], atol=1e-6)
    assert (found["age"] == 40).all()
    again = mirrored(after).parameters
    assert all(torch.allclose(again[name], value) for name, value in before.parameters.items())


def test_a_batch_holds_its_samples_in_order() -> None:
    rows = [sample(seed=seed) for seed in range(3)]
    batch = collate(rows)
    assert batch.picture.shape == (3, 2, 3, 8, 8)
    assert batch.identity == ["person 0", "person 1", "person 2"]
    for number, row in enumerate(rows):
        assert (batch.labels[number] == row.labels).all()
        assert (batch.maps["depth"][number] == row.maps["depth"]).all()
