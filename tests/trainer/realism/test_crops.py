import math

import numpy as np
import torch

from models.face_tracker import Box
from trainer.data.realism.crops import (
    AROUND,
    Squares,
    as_square,
    cut,
    degraded,
    grey,
    into,
    jittered,
    out_of,
    squares_of,
)

RANDOM = 7


def squares(count: int = 4) -> Squares:
    dice = torch.Generator().manual_seed(RANDOM)
    centre = 0.4 + 0.2 * torch.rand(count, 2, generator=dice)
    return Squares(
        centre, 0.3 + 0.3 * torch.rand(count, generator=dice), torch.rand(count, generator=dice) - 0.5
    )


def test_points_go_into_crops_and_out_again() -> None:
    points = torch.rand(4, 68, 2, generator=torch.Generator().manual_seed(1))
    there = into(points, squares())
    assert torch.allclose(out_of(there, squares()), points, atol=1e-6)


def test_a_turned_crop_by_hand() -> None:
    """A quarter turn clockwise: the crop's x axis points down the picture."""
    one = Squares(torch.tensor([[0.5, 0.5]]), torch.tensor([0.5]), torch.tensor([math.pi / 2]))
    assert torch.allclose(into(torch.tensor([[[0.5, 0.75]]]), one), torch.tensor([[[1.0, 0.5]]]), atol=1e-6)
    assert torch.allclose(into(torch.tensor([[[0.75, 0.5]]]), one), torch.tensor([[[0.5, 0.0]]]), atol=1e-6)


def test_pictures_and_points_are_cropped_alike() -> None:
    """A blurred spot in the picture lies in the crop where its point says."""
    places = torch.tensor([(0.45, 0.52), (0.55, 0.45), (0.5, 0.58), (0.41, 0.44)])
    line = (torch.arange(128) + 0.5) / 128
    away = (line - places[:, :1, None]).square() + (line[:, None] - places[:, 1:, None]).square()
    crops = cut(torch.exp(-away / (2 * 0.012**2))[:, None], squares(), 96)[:, 0]
    grid = (torch.arange(96) + 0.5) / 96
    total = crops.sum((1, 2))
    middle = torch.stack(((crops.sum(1) * grid).sum(1), (crops.sum(2) * grid).sum(1)), 1) / total[:, None]
    assert torch.allclose(middle, into(places[:, None], squares())[:, 0], atol=0.004)


def test_a_detectors_box_in_a_wide_picture() -> None:
    one = squares_of([Box(100, 50, 40, 30)], 400, 200)
    assert torch.allclose(one.centre, torch.tensor([[120 / 400, 65 / 400]]))
    assert torch.allclose(one.side, torch.tensor([AROUND * 40 / 400]))
    square = as_square(np.full((200, 400, 3), 255, np.uint8))
    assert square.shape == (1, 3, 400, 400)
    assert square[:, :, :200].min() == 1
    assert square[:, :, 200:].max() == 0


def test_harm_stays_in_range_repeats_and_differs() -> None:
    crops = torch.full((6, 3, 32, 32), 0.5)
    one, again = (degraded(crops, torch.Generator().manual_seed(5)) for _ in range(2))
    other = degraded(crops, torch.Generator().manual_seed(6))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=0.05)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert degraded(crops[:, :1], torch.Generator().manual_seed(5)).shape == (6, 1, 32, 32)


def test_jitter_is_bounded() -> None:
    many = Squares(*(part.repeat_interleave(200, 0) for part in squares(1)))
    moved = jittered(many, torch.Generator().manual_seed(0))
    share = moved.side / many.side
    assert 1 / 1.2 <= float(share.min()) < 0.87
    assert 1.15 < float(share.max()) <= 1.2
    assert float(((moved.centre - many.centre).abs() / moved.side[:, None]).max()) <= 0.081


def test_grey_is_what_cameras_make_of_colours() -> None:
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])[:, :, None, None]
    assert torch.allclose(grey(colours).flatten(), torch.tensor([0.299, 0.587, 0.114, 1]))
