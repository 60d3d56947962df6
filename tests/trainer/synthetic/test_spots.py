import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.data.synthetic.rasteriser import Raster, interpolate, rasterise
from trainer.data.synthetic.spots import NEAR, SIDE, spots

PICTURES, SIZE = 2, 12
SIDES = PICTURES, SIZE * SIDE, SIZE * SIDE


class Drawn:
    """Flat sheets of eight triangles each, at any depth, in two pictures."""

    def __init__(self, seed: int, piece: int | None = None) -> None:
        rng = np.random.default_rng(seed)
        grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 3)] * 2), 2).reshape(-1, 2)
        cells = np.array([0, 1, 3, 4])
        quads = cells[:, None] + np.array([[0, 1, 4], [0, 4, 3]]).reshape(1, 6)
        corners = quads.reshape(-1, 3)
        places, triangles = [], []
        for sheet in range(3):
            place = rng.uniform(-4, 0.6 * SIDES[1], (PICTURES, 1, 2)) + grid * rng.uniform(
                8, 30, (PICTURES, 1, 2)
            )
            slope = rng.uniform(-0.4, 0.4, (PICTURES, 1, 2))
            depth = rng.uniform(40, 60, (PICTURES, 1, 1)) + (place * slope).sum(2, keepdims=True)
            places.append(np.concatenate((place, depth), 2))
            triangles.append(corners + 9 * sheet)
        self.vertices = torch.tensor(np.concatenate(places, 1), dtype=torch.float32)
        self.triangles = torch.tensor(np.concatenate(triangles))
        sheets = torch.arange(3).repeat_interleave(len(corners))
        self.pieces = sheets if piece is None else torch.full_like(sheets, piece)
        # Each sheet's own place in the textures, with its triangles near one another.
        self.uv = torch.tensor(np.tile(0.3 * NEAR * grid, (3, 1)), dtype=torch.float32)
        self.uv += torch.arange(3).repeat_interleave(9)[:, None] * 0.3
        self.raster = rasterise(self.vertices, self.triangles, *SIDES[1:], perspective=False)
        self.spots = spots(self.raster, self.triangles, self.pieces, self.uv)


def mean_of_samples(raster: Raster, values: Tensor) -> Tensor:
    """Values of samples (M×C) → N×C×S×S, the mean of each pixel's, where nothing is 0."""
    samples = torch.zeros(raster.triangle.numel(), values.shape[1]).index_copy(0, raster.covered, values)
    grid = samples.view(PICTURES, SIZE, SIDE, SIZE, SIDE, -1)
    return grid.mean((2, 4)).permute(0, 3, 1, 2)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_pixels_are_the_mean_of_their_samples(seed: int) -> None:
    drawn = Drawn(seed)
    found, raster = drawn.spots, drawn.raster
    attributes = torch.cat((drawn.vertices, drawn.vertices.flip(1) / 7), 2)
    expected = mean_of_samples(raster, interpolate(raster, attributes, drawn.triangles))
    assert torch.allclose(found.pixels(found.values(attributes)), expected, atol=2e-3)
    shared = mean_of_samples(raster, interpolate(raster, drawn.uv, drawn.triangles))
    assert torch.allclose(found.pixels(found.values(drawn.uv)), shared, atol=NEAR)
    covered = (raster.triangle >= 0).float().view(PICTURES, 1, SIZE, SIDE, SIZE, SIDE).mean((3, 5))
    assert torch.equal(found.share(), covered)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_spots_are_where_they_say(seed: int) -> None:
    drawn = Drawn(seed)
    found = drawn.spots
    place = found.values(drawn.vertices[..., :2].contiguous()) / (SIZE * SIDE) - 0.5
    assert torch.allclose(place, found.across, atol=2e-4)  # corners lie on a grid
    eighths = ((found.across + 0.5) * SIZE * 8).round() % 8  # of a pixel
    assert (eighths[: len(found.whole)] == 4).all()
    assert torch.isin(eighths[len(found.whole) :], torch.tensor([2.0, 6.0])).all()
    expected = drawn.raster.triangle.view(PICTURES, -1).flatten()
    at = ((found.across + 0.5) * SIZE * SIDE).floor().long()
    single = slice(len(found.whole), None)
    rows = (found.frame[single] * SIDES[1] + at[single, 1]) * SIDES[2] + at[single, 0]
    assert torch.equal(expected[rows], found.triangle[single])


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_edges_keep_all_their_samples(seed: int) -> None:
    drawn = Drawn(seed)
    found = drawn.spots
    four = (
        drawn.raster.triangle.view(PICTURES, SIZE, SIDE, SIZE, SIDE)
        .permute(0, 1, 3, 2, 4)
        .reshape(-1, SIDE**2)
    )
    inner = four[found.whole]
    assert (inner >= 0).all()
    sheets = drawn.pieces[inner]
    assert (sheets == sheets[:, :1]).all()
    assert len(found.slots) == int((four[found.mixed] >= 0).sum())
    assert len(found.whole) + len(found.mixed) == int((four >= 0).any(1).sum())
    one_sheet = (four >= 0).all(1) & (drawn.pieces[four.clamp(min=0)].diff(dim=1) == 0).all(1)
    assert len(found.whole) == int(one_sheet.sum()), "what one piece fills is worked out once"


def test_what_shines_too_sharply_has_all_its_samples() -> None:
    drawn = Drawn(3, piece=-1)
    assert not len(drawn.spots.whole)
    assert len(drawn.spots.slots) == len(drawn.raster.covered)


def test_folds_of_a_piece_are_told_apart_by_their_textures() -> None:
    folded, flat = Drawn(3, piece=0), Drawn(3)
    assert torch.equal(folded.spots.whole, flat.spots.whole)


@pytest.mark.parametrize("shown", [True, False])
def test_nothing_covered_is_nothing_to_light(shown: bool) -> None:
    vertices = torch.tensor([[[0.0, 0, 5], [8, 0, 5], [8, 8, 5]]])
    if not shown:
        vertices[..., 0] += 1000
    triangles = torch.tensor([[0, 1, 2]])
    raster = rasterise(vertices, triangles, 8, 8, perspective=False)
    found = spots(raster, triangles, torch.zeros(1, dtype=torch.int64), torch.zeros(3, 2))
    assert (len(found.frame) > 0) == shown
    assert (found.share() > 0).any() == shown
    assert found.pixels(found.values(vertices)).shape == (1, 3, 4, 4)
