"""People: the same from a seed, and none of what they wear moves the truth."""

import torch

from trainer.data.synthetic.figure import tables
from trainer.data.synthetic.identity import Shape, modes
from trainer.data.synthetic.motion import Motion, draw_motion
from trainer.data.synthetic.people import Identity, draw_identity, draw_scene, make_people
from trainer.data.synthetic.renderer import Frame, render

SIZE = 64


def clip(seed: int, indices: list[int], motion: Motion | None = None, number: int = 0) -> Frame:
    """A frame of each of those people."""
    if motion is None:
        motion = draw_motion(seed, indices, 1)
    people = make_people(draw_identity(seed, indices), SIZE)
    scene = draw_scene(seed, indices, SIZE, clip=number)
    return render(people, scene, torch.arange(len(indices)), motion, SIZE, ("flow", "depth", "normals"))


def test_the_same_seed_gives_the_same_picture_alone_or_in_a_batch():
    batch, alone = clip(3, [4, 9]), clip(3, [9])
    for one, many in zip(alone, batch, strict=True):
        assert torch.equal(one.nan_to_num(), many[1:].nan_to_num())
    again = clip(3, [9])
    assert torch.equal(alone.picture, again.picture)


def test_another_seed_is_another_person_and_another_clip_another_scene():
    motion = draw_motion(0, [1], 1)
    first = clip(0, [1], motion)
    assert not torch.equal(clip(1, [1], motion).points, first.points)
    other = clip(0, [1], motion, number=1)
    assert torch.equal(other.points, first.points)
    assert torch.equal(other.labels, first.labels)
    assert not torch.equal(other.picture, first.picture)


def test_only_the_shape_and_the_motion_move_landmarks():
    indices, motion = [0, 1, 2], draw_motion(0, [5, 6, 7], 1)
    drawn, who = draw_identity(0, indices), torch.arange(3)
    same = Shape(torch.zeros(3, len(modes())).fill_(0.5))
    scene = draw_scene(0, indices, SIZE)
    frames = []
    for order in ([0, 1, 2], [1, 2, 0]):
        others = draw_identity(0, [indices[at] for at in order])
        people = make_people(others._replace(shape=same), SIZE)
        frames.append(render(people, scene, who, motion, SIZE))
    assert torch.equal(frames[0].points, frames[1].points)
    assert torch.equal(frames[0].camera_points, frames[1].camera_points)
    assert not torch.equal(frames[0].picture, frames[1].picture)
    assert not torch.equal(drawn.shape.coefficients[0], drawn.shape.coefficients[1])


def flat(drawn: object) -> list[torch.Tensor]:
    if isinstance(drawn, torch.Tensor):
        return [drawn]
    assert isinstance(drawn, tuple)
    return [tensor for part in drawn for tensor in flat(part)]


def test_everything_about_a_person_is_drawn_for_their_own_number():
    alone: Identity = draw_identity(0, [12])
    together = draw_identity(0, [3, 12, 40])
    for one, many in zip(flat(alone), flat(together), strict=True):
        assert torch.equal(one[0], many[1])
    motion = zip(draw_motion(0, [12], 4), draw_motion(0, [3, 12], 4), strict=True)
    assert all(torch.equal(one, many[4:]) for one, many in motion)


def test_the_backs_that_are_left_out_are_hidden():
    indices = list(range(16))
    motion = draw_motion(5, indices, 1)
    people, scene = make_people(draw_identity(5, indices), SIZE), draw_scene(5, indices, SIZE)
    every = tables(torch.device("cpu"), people.figure.fine).two_sided.expand(len(indices), -1)
    assert people.backs.sum() < 0.8 * every.sum()
    labels = [
        render(people._replace(backs=backs), scene, torch.arange(16), motion, SIZE).labels
        for backs in (people.backs, every)
    ]
    differ = (labels[0] != labels[1]).float().mean((1, 2))
    assert differ.mean() < 0.002
    assert differ.max() < 0.01
