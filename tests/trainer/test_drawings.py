"""Drawings show the numbers that they are given."""

import colorsys
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainer.drawings import (
    COLOURS,
    _axis,
    _shorten,
    attention_map,
    bar_plot,
    curve_plot,
    error_map,
    flow_wheel,
    panel,
    to_levels,
    viridis,
)

PURPLE, YELLOW = (68, 1, 84), (253, 231, 37)  # viridis' ends, as published

# The published map's colours at these of its 256 levels.
PUBLISHED = {
    0: PURPLE,
    32: (71, 45, 123),
    64: (59, 82, 139),
    96: (44, 114, 142),
    128: (33, 145, 140),
    160: (40, 174, 128),
    192: (94, 201, 98),
    224: (173, 220, 48),
    255: YELLOW,
}


def flat(*colour: float, size: tuple[int, int] = (4, 6)) -> Tensor:
    return torch.tensor(colour)[:, None, None].expand(-1, *size)


def colours(picture: Tensor) -> set[tuple[int, ...]]:
    """All that are in it, in levels."""
    return set(map(tuple, to_levels(picture).reshape(-1, 3).tolist()))


def rgb(word: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(word[1:]))


def where(picture: Tensor, word: str) -> Tensor:
    """Rows and columns of the pixels of exactly that colour: N×2."""
    return torch.from_numpy((to_levels(picture) == rgb(word)).all(2)).nonzero()


@pytest.mark.parametrize(("level", "colour"), PUBLISHED.items())
def test_viridis_is_the_published_map(level: int, colour: tuple[int, int, int]):
    (found,) = colours(viridis(torch.full((1, 1), level / 255)))
    assert max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= 1


def test_viridis_ends_where_the_numbers_do():
    assert colours(viridis(torch.tensor([[0.0, -3.0]]))) == {PURPLE}
    assert colours(viridis(torch.tensor([[1.0, 9.0]]))) == {YELLOW}
    assert colours(viridis(torch.tensor([[math.nan, math.inf]]))) == {(255, 0, 255)}


def test_viridis_grows_lighter_all_the_way():
    picture = viridis(torch.linspace(0, 1, 500)[None])
    lightness = (picture * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(0)[0]
    assert (lightness.diff() > 0).all()


def test_viridis_keeps_the_axes_before():
    values = torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    assert viridis(values).shape == (2, 5, 3, 3, 4)
    assert torch.equal(viridis(values)[1, 2], viridis(values[1, 2]))


def test_equal_pictures_have_no_error():
    picture = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))
    assert colours(error_map(picture, picture)) == {PURPLE}


def test_errors_of_96_levels_and_more_are_full():
    black = flat(0.0, 0.0, 0.0)
    for levels in ((96, 96, 96), (255, 255, 255), (255, 33, 0)):  # the last: 96 in the mean
        grey = flat(*(level / 255 for level in levels))
        assert colours(error_map(grey, black)) == colours(error_map(black, grey)) == {YELLOW}
    half = error_map(flat(48 / 255, 48 / 255, 48 / 255), black)
    assert torch.allclose(half, viridis(torch.full((4, 6), 0.5)), atol=1e-5)
    assert colours(error_map(flat(95 / 255, 95 / 255, 95 / 255), black)) != {YELLOW}


def test_errors_of_colours_do_not_cancel():
    assert colours(error_map(flat(0.6, 0.4, 0.5), flat(0.4, 0.6, 0.5))) != {PURPLE}


def test_rest_is_white_and_holes_are_black():
    flow = torch.zeros(2, 1, 3)
    flow[0, 0, 1] = math.nan
    levels = to_levels(flow_wheel(flow))[0].tolist()
    assert levels == [[255, 255, 255], [0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("right", "down", "hue"), [(1, 0, 0.0), (0, 1, 0.25), (-1, 0, 0.5), (0, -1, 0.75), (1, 1, 0.125)]
)
def test_hues_are_directions(right: float, down: float, hue: float):
    found = flow_wheel(torch.tensor([right, down]).reshape(2, 1, 1), 1.0).flatten()
    assert found.tolist() == pytest.approx(colorsys.hsv_to_rgb(hue, 1, 1), abs=1e-5)


@given(st.floats(0, math.tau), st.floats(0.05, 1))
def test_opposite_directions_have_opposite_hues(angle: float, length: float):
    """And the same saturation, which is the length."""
    one = length * torch.tensor([math.cos(angle), math.sin(angle)]).reshape(2, 1, 1)
    (a, sa, va), (b, sb, vb) = (
        colorsys.rgb_to_hsv(*flow_wheel(way, 1.0).flatten().tolist()) for way in (one, -one)
    )
    assert abs((a - b) % 1 - 0.5) < 1e-4
    assert sa == pytest.approx(length, abs=1e-5)
    assert sb == pytest.approx(length, abs=1e-5)
    assert (va, vb) == pytest.approx((1, 1))


def test_the_longest_flow_is_full_unless_told():
    flow = torch.tensor([[[2.0, 4.0]], [[0.0, 0.0]]])
    assert flow_wheel(flow)[:, 0].T.tolist() == [[1, 0.5, 0.5], [1, 0, 0]]
    assert flow_wheel(flow, 8.0)[:, 0].T.tolist() == [[1, 0.75, 0.75], [1, 0.5, 0.5]]
    assert flow_wheel(flow, 1.0)[:, 0].T.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert flow_wheel(flow[None].repeat(5, 1, 1, 1)).shape == (5, 3, 1, 2)


def test_attention_is_shown_up_to_the_greatest():
    weights = torch.tensor([0.0, 0.1, 0.2]).reshape(1, 1, 3)
    assert torch.equal(attention_map(weights), viridis(torch.tensor([[0.0, 0.5, 1.0]])))
    assert torch.equal(attention_map(weights, 0.4), viridis(torch.tensor([[0.0, 0.25, 0.5]])))
    several = attention_map(torch.stack([weights, 2 * weights]))
    assert several.shape == (2, 3, 1, 3)
    assert torch.equal(several[0], attention_map(weights, 0.4))  # one scale for all of them
    assert colours(attention_map(torch.zeros(1, 2, 2, dtype=torch.float16))) == {PURPLE}


def test_a_panel_has_the_size_of_what_is_on_it():
    picture = flat(0.0, 0.0, 1.0, size=(40, 60))
    bare = panel([[picture] * 2] * 3, ["a", "b"])
    height, width = bare.shape[1:]
    more = panel([[picture] * 3] * 4, ["a", "b", "c"])
    assert more.shape == (3, height + 42, width + 62)  # and two pixels between them
    twice = panel([[picture] * 2] * 3, ["a", "b"], enlarged=2)
    assert twice.shape == (3, height + 3 * 40, width + 2 * 60)
    beside = panel([[picture] * 2] * 3, ["a", "b"], ["first", "second", "third"])
    assert beside.shape[1] == height
    assert beside.shape[2] > width
    for page in (bare, beside):
        assert len(where(page, "#0000ff")) == 6 * 40 * 60  # no word and no picture lies over another


def test_a_panel_shows_pictures_where_they_belong():
    shades = [[flat(0.0, (1 + row) / 10, (1 + column) / 10) for column in range(3)] for row in range(2)]
    page = panel(shades, ["x", "a word wider than its picture", "y"])
    found = [[_middle(page, shades[row][column]) for column in range(3)] for row in range(2)]
    assert found[0][0][0] == found[0][1][0] == found[0][2][0] < found[1][0][0]
    assert found[0][0][1] == found[1][0][1] < found[0][1][1] < found[0][2][1]


def _middle(page: Tensor, picture: Tensor) -> tuple[float, float]:
    levels = tuple(to_levels(picture)[0, 0].tolist())
    at = where(page, "#" + bytes(levels).hex())
    assert len(at) == picture.shape[1] * picture.shape[2]
    return tuple(at.float().mean(0).tolist())


def test_what_does_not_fit_on_a_panel_is_told():
    picture = flat(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="one size"):
        panel([[picture, picture[:, :2]]], ["a", "b"])
    with pytest.raises(ValueError, match="but 1 words above"):
        panel([[picture] * 2], ["a"])
    with pytest.raises(ValueError, match="and 1 beside"):
        panel([[picture]] * 2, ["a"], ["x"])


def test_a_curve_falls_where_the_numbers_do():
    page = curve_plot({"loss": [(x, 100.0 - x) for x in range(101)]}, size=(300, 500))
    assert page.shape == (3, 300, 500)
    line = where(page, COLOURS[0])
    left, right = line[line[:, 1] < 120], line[(line[:, 1] > 300) & (line[:, 1] < 380)]
    assert len(left) > 0
    assert len(right) > 0
    assert left[:, 0].max() < right[:, 0].min()


def test_what_is_not_finite_breaks_a_curve():
    points = [(float(x), 1.0 if x % 2 else 2.0) for x in range(10)]
    whole = curve_plot({"loss": points})
    broken = [(x, math.nan if 4 <= x <= 5 else y) for x, y in points]
    assert 0 < len(where(curve_plot({"loss": broken}), COLOURS[0])) < len(where(whole, COLOURS[0]))
    with pytest.raises(ValueError, match="no point to plot"):
        curve_plot({"loss": [(0, math.nan)]})
    with pytest.raises(ValueError, match="and positive"):
        curve_plot({"loss": [(0, -1.0), (1, 0.0)]}, logarithmic=True)


def test_every_curve_has_its_colour():
    series = {str(row): [(0.0, float(row)), (1.0, float(row))] for row in range(len(COLOURS))}
    page = curve_plot(series)
    middles = [where(page, colour)[:, 0].float() for colour in COLOURS]
    assert all(len(found) > 300 for found in middles)
    with pytest.raises(ValueError, match="told apart"):
        curve_plot(series | {"more": [(0.0, 0.0)]})


def test_one_point_is_a_dot_and_level_lines_have_an_axis():
    assert len(where(curve_plot({"loss": [(3, 0.0)]}), COLOURS[0])) > 5
    curve_plot({"loss": [(0, 1e-12), (1e9, 1e-12)]}, logarithmic=True)


@pytest.mark.parametrize("logarithmic", [False, True])
@given(least=st.floats(1e-6, 1e6), ratio=st.floats(0, 1e4))
def test_axes_hold_their_values_and_have_a_few_ticks(logarithmic: bool, least: float, ratio: float):
    values = [least, least * (1 + ratio)]
    axis = _axis(values, logarithmic=logarithmic)
    assert all(-1e-9 <= axis.along(value) <= 1 + 1e-9 for value in values)
    assert 2 <= len(axis.ticks) <= 9
    assert axis.ticks == sorted(set(axis.ticks))


def test_ticks_are_round():
    assert _axis([0.3, 9.8]).ticks == [0, 2, 4, 6, 8, 10]
    assert _axis([0.3, 9.8], tight=True).ticks == [2, 4, 6, 8]
    assert _axis([0.02, 30.0], logarithmic=True).ticks == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert [_shorten(value) for value in (0, 0.25, 999, 12500, 3e6)] == ["0", "0.25", "999", "12.5k", "3M"]


def test_bars_are_as_long_as_their_numbers():
    page = bar_plot({"a": 1.0, "b": 4.0, "diverged": math.nan}, baseline=("copy", 2.0))
    bars = where(page, COLOURS[0])
    lengths = {row: int((bars[:, 0] == row).sum()) for row in bars[:, 0].tolist()}
    short, long = min(lengths.values()), max(lengths.values())
    assert abs(4 * short - long) <= 8  # the line takes two pixels of the longer
    assert len(where(page, COLOURS[1])) > 10
    with pytest.raises(ValueError, match="negative"):
        bar_plot({"a": -1.0})
    with pytest.raises(ValueError, match="at least one"):
        bar_plot({"a": math.nan})


def test_plots_too_small_for_their_words_are_told():
    with pytest.raises(ValueError, match="no room"):
        curve_plot({"a name as long as the page is wide" * 2: [(0, 1.0)]}, size=(200, 300))
    with pytest.raises(ValueError, match="no room"):
        bar_plot({"a name as long as the page is wide" * 2: 1.0}, width=300)
