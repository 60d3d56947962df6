import torch

from trainer.data.synthetic.backdrop import Backdrop, backdrop, draw_backdrop
from trainer.data.synthetic.colour import LUMINANCE


def test_backdrops_are_the_same_in_any_batch() -> None:
    many = draw_backdrop(7, range(24))
    pictures = backdrop(many, 48)
    few = draw_backdrop(7, [3, 20])
    assert torch.equal(backdrop(few, 48), pictures[[3, 20]])
    alone = Backdrop(*(part[5:6] for part in many))
    assert torch.equal(backdrop(alone, 48)[0], pictures[5])
    assert not torch.equal(backdrop(draw_backdrop(8, [3]), 48)[0], pictures[3])


def test_backdrops_are_light_of_many_levels_and_never_negative() -> None:
    pictures = backdrop(draw_backdrop(0, range(120)), 32)
    assert pictures.shape == (120, 3, 32, 32)
    assert pictures.isfinite().all()
    assert pictures.min() >= 0
    level = torch.einsum("bchw,c->b", pictures, torch.tensor(LUMINANCE)) / 32**2
    assert level.quantile(0.1) < 0.08
    assert level.quantile(0.9) > 0.4
    # Of different colours and structure: no two are alike.
    apart = torch.cdist(pictures.flatten(1), pictures.flatten(1)) + 1e3 * torch.eye(120)
    assert apart.min() > 0.3


def test_nothing_in_a_backdrop_is_in_focus() -> None:
    """From one pixel of 256 to the next nothing changes by much of the whole range of its picture."""
    pictures = backdrop(draw_backdrop(1, range(40)), 256)
    span = pictures.amax((2, 3)) - pictures.amin((2, 3)) + 0.05
    across = pictures.diff(dim=3).abs().amax((2, 3))
    down = pictures.diff(dim=2).abs().amax((2, 3))
    assert (torch.maximum(across, down) / span).max() < 0.4


def test_a_backdrop_is_the_same_scene_at_any_size() -> None:
    drawn = draw_backdrop(2, range(12))
    small, large = backdrop(drawn, 64), backdrop(drawn, 256)
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert (small - shrunk).abs().mean() < 0.01 * small.mean()
