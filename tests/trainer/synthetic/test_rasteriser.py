import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.trainer.synthetic.meshes import seen, sphere
from trainer.data.synthetic.rasteriser import GRID, interpolate, rasterise

SEEDS = st.integers(0, 2**31)


def scattered(seed: int, batch: int = 2, count: int = 30, size: int = 24) -> tuple[Tensor, Tensor]:
    """Triangles of all sizes and both windings that intersect, share vertices, and reach out of the picture.
    Many vertices lie on samples' centres and at their borders."""
    rng = np.random.default_rng(seed)
    where = rng.uniform(-size / 4, size * 5 / 4, (batch, count, 2))
    where = np.where(rng.random((batch, count, 1)) < 0.5, np.round(where * 2) / 2, where)
    depth = rng.uniform(2, 80, (batch, count, 1))
    triangles = np.stack([rng.permutation(count)[:3] for _ in range(3 * count)])
    return torch.tensor(np.concatenate((where, depth), 2), dtype=torch.float32), torch.tensor(triangles)


def reference(
    vertices: Tensor, triangles: Tensor, size: tuple[int, int], double_sided: bool, perspective: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edge functions of every triangle at every sample of one picture, in float64: the nearest triangle's
    index, its depth, its weights. What lies on an edge is inside where the edge is a left or an upper one."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    triangle = np.full(size, -1)
    nearest, weights = np.full(size, np.inf), np.zeros((*size, 3))
    for index, corners in enumerate(triangles.tolist()):
        x, y, z = vertices[corners].double().numpy().T
        x, y = np.round(x * GRID) / GRID, np.round(y * GRID) / GRID
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        if area == 0 or (area < 0 and not double_sided):
            continue
        inside, parts = np.ones(size, dtype=bool), []
        for a, b in ((1, 2), (2, 0), (0, 1)):
            dx, dy = (x[b] - x[a]) * np.sign(area), (y[b] - y[a]) * np.sign(area)
            side = dx * (rows - y[a]) - dy * (columns - x[a])
            inside &= (side > 0) | ((side == 0) & ((dy < 0) or (dy == 0 and dx > 0)))
            parts.append(side / abs(area))
        part = np.stack(parts, -1)
        if perspective:
            part = part / z
            depth = 1 / part.sum(-1)
            part = part * depth[..., None]
        else:
            depth = part @ z
        inside &= depth < nearest
        triangle[inside], nearest[inside], weights[inside] = index, depth[inside], part[inside]
    return triangle, nearest, weights


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("double_sided", [True, False])
@settings(max_examples=20)
@given(seed=SEEDS)
def test_random_triangles_are_drawn_as_by_brute_force(
    seed: int, double_sided: bool, perspective: bool
) -> None:
    vertices, triangles = scattered(seed)
    size = (20, 24)
    raster = rasterise(
        vertices,
        triangles,
        *size,
        double_sided=torch.full((len(triangles),), double_sided),
        perspective=perspective,
    )
    weights = torch.zeros(2, *size, 3).flatten(0, 2)
    weights[raster.covered] = raster.weights
    for one in range(2):
        triangle, depth, expected = reference(vertices[one], triangles, size, double_sided, perspective)
        # Where two surfaces meet, as at a vertex on a sample, float32 may see the other; nowhere else.
        same = raster.triangle[one].numpy() == triangle
        there = raster.depth[one].numpy()
        assert np.array_equal(np.isfinite(there), triangle >= 0)
        np.testing.assert_allclose(there[triangle >= 0], depth[triangle >= 0], rtol=2e-4)
        assert same.mean() > 0.95
        got = weights.view(2, *size, 3)[one].numpy()
        np.testing.assert_allclose(got[same], expected[same], atol=3e-3)


@settings(max_examples=20)
@given(seed=SEEDS)
def test_each_triangle_covers_exactly_its_samples(seed: int) -> None:
    """One in each picture: none hides another."""
    vertices, triangles = scattered(seed, batch=1)
    count, size = len(triangles), (20, 24)
    raster = rasterise(
        vertices.expand(count, -1, -1), triangles, *size, shown=torch.eye(count, dtype=torch.bool)
    )
    for one in range(count):
        expected = reference(vertices[0], triangles[one : one + 1], size, False, True)[0] >= 0
        assert np.array_equal(raster.triangle[one].numpy() >= 0, expected)
        assert set(raster.triangle[one].unique().tolist()) <= {-1, one}


@settings(max_examples=20)
@given(seed=SEEDS, scale=st.floats(0.02, 3.0))
def test_a_closed_surface_has_no_cracks_and_no_overlaps(seed: int, scale: float) -> None:
    """A sphere, shaken: each sample inside its outline lies on as many fronts as backs, however small the
    triangles, and somewhere on one at least."""
    size = 32
    vertices, triangles = sphere(9.0)
    rng = np.random.default_rng(seed)
    vertices = vertices * torch.tensor(scale * rng.uniform(0.8, 1.2, 3), dtype=torch.float32)
    vertices = seen(vertices + torch.tensor(rng.normal(0, 0.05, vertices.shape), dtype=torch.float32), size)
    count = len(triangles)
    alone = rasterise(
        vertices.expand(count, -1, -1),
        triangles,
        size,
        size,
        shown=torch.eye(count, dtype=torch.bool),
        double_sided=torch.ones(count, dtype=torch.bool),
    )
    front = rasterise(
        vertices.expand(count, -1, -1), triangles, size, size, shown=torch.eye(count, dtype=torch.bool)
    )
    sheets = (alone.triangle >= 0).sum(0)
    fronts = (front.triangle >= 0).sum(0)
    assert torch.equal(sheets, 2 * fronts)
    together = rasterise(vertices[None], triangles, size, size)
    assert torch.equal(together.triangle[0] >= 0, fronts > 0)


def test_a_convex_surface_is_drawn_once_in_front_and_is_as_deep_as_a_ray_finds_it() -> None:
    size, radius = 96, 9.0
    points, triangles = sphere(radius, 96, 128)
    raster = rasterise(seen(points, size)[None], triangles, size, size)
    behind = rasterise(seen(points, size)[None], triangles[:, (0, 2, 1)], size, size)
    assert torch.equal(raster.triangle >= 0, behind.triangle >= 0)
    # A ray d through the sample meets |t·d - c| = r where t² |d|² - 2 t c·d + c² - r² = 0.
    rows, columns = np.mgrid[:size, :size] + 0.5
    ray = np.stack(
        ((columns - size / 2) / (2.5 * size), (rows - size / 2) / (2.5 * size), np.ones((size, size))), 2
    )
    half, square = 60.0, (ray**2).sum(2)
    inside = half**2 - square * (60.0**2 - radius**2)
    inner = inside > 40  # where the ray is not nearly tangential
    for got, sign in ((raster, -1), (behind, 1)):
        depth = (half + sign * np.sqrt(inside[inner])) / square[inner]
        np.testing.assert_allclose(got.depth[0].numpy()[inner], depth, atol=0.03)
    assert not (raster.triangle[0].numpy() >= 0)[inside < 0].any()


def test_interpolation_is_linear_in_space_not_in_the_picture() -> None:
    """The coordinates of a plane that recedes steeply, as functions of its own points."""
    size = 40
    points = torch.tensor([[-8.0, -8, -30], [8, -8, -30], [8, 8, 200], [-8, 8, 200]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    raster = rasterise(seen(points, size)[None], triangles, size, size)
    assert len(raster.covered) > 100
    got = interpolate(raster, points[None], triangles)
    rows, columns = raster.covered // size + 0.5, raster.covered % size + 0.5
    expected = torch.stack((columns, rows, raster.depth.flatten()[raster.covered]), 1)
    torch.testing.assert_close(seen(got, size), expected, atol=2e-3, rtol=1e-5)
    torch.testing.assert_close(raster.weights.sum(1), torch.ones(len(got)))


def test_interpolation_takes_the_values_of_its_picture() -> None:
    vertices, triangles = scattered(3)
    raster = rasterise(vertices, triangles, 20, 24)
    own = torch.arange(2.0)[:, None, None].expand(2, vertices.shape[1], 1)
    torch.testing.assert_close(
        interpolate(raster, own, triangles)[:, 0], (raster.covered // (20 * 24)).float()
    )
    shared = interpolate(raster, vertices[0], triangles)
    both = interpolate(raster, vertices[:1].expand(2, -1, -1), triangles)
    assert torch.equal(shared, both)


def test_pictures_are_the_same_alone_and_in_a_batch() -> None:
    vertices, triangles = scattered(5, batch=5, count=60)
    shown = torch.from_numpy(np.random.default_rng(5).random((5, len(triangles))) < 0.7)
    together = rasterise(vertices, triangles, 24, 24, shown=shown)
    again = rasterise(vertices, triangles, 24, 24, shown=shown)
    assert all(torch.equal(one, other) for one, other in zip(together, again, strict=True))
    begin = 0
    for one in range(5):
        alone = rasterise(vertices[one : one + 1], triangles, 24, 24, shown=shown[one : one + 1])
        end = begin + len(alone.covered)
        assert torch.equal(alone.triangle[0], together.triangle[one])
        assert torch.equal(alone.depth[0], together.depth[one])
        assert torch.equal(alone.covered + one * 24 * 24, together.covered[begin:end])
        assert torch.equal(alone.weights, together.weights[begin:end])
        begin = end
    assert begin == len(together.covered)


def card(depth: float) -> Tensor:
    """Two triangles that fill a picture of 8×8."""
    return torch.tensor([[0.0, 0, depth], [8, 0, depth], [8, 8, depth], [0, 8, depth]])


CARD = torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_of_equal_depths_the_first_triangle_is_seen() -> None:
    triangles = torch.cat((CARD, CARD))
    raster = rasterise(card(5.0)[None], triangles, 8, 8)
    assert raster.triangle.unique().tolist() == [0, 1]
    assert rasterise(card(5.0)[None], triangles.flip(0), 8, 8).triangle.unique().tolist() == [0, 1]


def test_nearer_surfaces_hide_others_whatever_their_order() -> None:
    for near, far in ((0, 1), (1, 0)):
        vertices = torch.zeros(2, 4, 3)
        vertices[near], vertices[far] = card(5.0), card(5.01)
        raster = rasterise(vertices.view(1, 8, 3), torch.cat((CARD, CARD + 4)), 8, 8)
        assert torch.equal(raster.triangle[0] // 2, torch.full((8, 8), near))
        torch.testing.assert_close(raster.depth, torch.full((1, 8, 8), 5.0))


def test_holes_show_what_is_behind_and_only_seen_fragments_are_asked_about() -> None:
    """A front with a hole on its left half, of two cards with holes; a third card lies before all in the
    upper half, so that nothing is asked about there."""
    vertices = torch.cat((card(9.0), card(5.0), card(4.0) * torch.tensor([1, 0.5, 1])))[None]
    triangles = torch.cat((CARD, CARD + 4, CARD + 8))
    cutout = torch.tensor([False, False, True, True, False, False])
    asked: list[Tensor] = []

    def keep(place: Tensor, triangle: Tensor, weights: Tensor) -> Tensor:
        assert set(triangle.tolist()) == {2, 3}
        points = (weights[:, :, None] * vertices[0][triangles[triangle]]).sum(1)
        assert torch.equal(points[:, 0].floor().long(), place % 8)
        assert torch.equal(points[:, 1].floor().long(), place // 8)
        asked.append(points)
        return points[:, 0] > 4

    raster = rasterise(vertices, triangles, 8, 8, cutout=cutout, keep=keep)
    expected = torch.full((8, 8), 2)
    expected[4:, :4], expected[4:, 4:] = 0, 1
    assert torch.equal(raster.triangle[0] // 2, expected)
    assert asked[0][:, 1].min() > 4
    assert len(asked[0]) == 32


def test_what_is_too_near_too_far_or_not_a_number_is_dropped() -> None:
    for row, value in ((2, 0.5), (2, -3.0), (0, torch.nan), (1, torch.inf), (2, torch.nan), (0, 2.0**18)):
        vertices = card(5.0)
        vertices[1, row] = value  # of the first triangle only
        raster = rasterise(vertices[None], CARD, 8, 8, near=1.0)
        assert raster.triangle.unique().tolist() == [-1, 1], (row, value)


def test_an_empty_picture_is_empty() -> None:
    raster = rasterise(card(5.0)[None] + 100, CARD, 8, 8)
    assert (raster.triangle == -1).all()
    assert torch.isinf(raster.depth).all()
    assert raster.weights.shape == (0, 3)
    assert interpolate(raster, torch.zeros(1, 4, 5), CARD).shape == (0, 5)


def test_holes_need_somebody_who_knows_them() -> None:
    with pytest.raises(ValueError, match="go together"):
        rasterise(card(5.0)[None], CARD, 8, 8, cutout=torch.tensor([True, False]))
