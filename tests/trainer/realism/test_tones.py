import numpy as np
import pytest
import torch

from trainer.data.realism.tones import MONK, cheek_colours, chest_colours, lab, level_shares, linear, measure
from trainer.data.synthetic.people import draw_identity, make_people
from trainer.data.synthetic.skin import monk_reflectance


def test_lab_of_known_colours() -> None:
    """White, mid grey and pure red of sRGB, as colour tables have them."""
    light = linear(np.array([[1.0, 1, 1], [119 / 255] * 3, [1, 0, 0]]))
    assert lab(light) == pytest.approx(np.array([[100, 0, 0], [50.03, 0, 0], [53.24, 80.09, 67.2]]), abs=0.05)


def test_each_level_is_nearest_to_itself() -> None:
    codes = np.array([[int(code[at : at + 2], 16) for at in (0, 2, 4)] for code in MONK]) / 255
    assert level_shares(linear(codes)).tolist() == [10.0] * 10
    assert level_shares(linear(codes[[0, 0, 9, 9]])).tolist() == [50, *[0] * 8, 50]


def test_cheeks_are_looked_at_and_freckles_are_not() -> None:
    atlas = np.zeros((1, 128, 128, 4), np.float32)
    atlas[..., :3] = 0.3, 0.2, 0.1
    atlas[:, ::5, ::5, :3] = 0
    assert cheek_colours(atlas)[0] == pytest.approx([0.3, 0.2, 0.1])


def test_the_chest_has_the_tone_that_was_drawn() -> None:
    identity = draw_identity(0, range(12))
    with torch.inference_mode():
        found = lab(chest_colours(make_people(identity, 64).atlas.numpy()))
    drawn = lab(monk_reflectance(identity.skin.tone).double().numpy())
    assert np.linalg.norm(found - drawn, axis=1).mean() < 2


def test_rendered_people_have_all_tones_from_light_to_dark() -> None:
    shares = [one.value for one in measure(20, seed=0).readings]
    assert sum(shares) == pytest.approx(100)
    assert sum(shares[:3]) > 0
    assert sum(shares[7:]) > 0
