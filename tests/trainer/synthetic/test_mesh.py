"""The template's mesh: how it is refined, and that the head has no holes but its own."""

from collections import Counter

import numpy as np
import pytest
import torch

from models.face_geometry import EYE_LEFT, EYE_RIGHT
from tests.trainer.synthetic.meshes import sphere
from trainer.data.synthetic import eyes, head, mouth
from trainer.data.synthetic.face import LIP_RINGS, SKIN_POINTS, mean_landmarks, mirror_landmarks
from trainer.data.synthetic.fields import EVERYWHERE, Blob, both_sides, displacement, weight
from trainer.data.synthetic.mesh import Indices, fans, grid, kept, linear_middles, normals, subdivide, summed
from trainer.data.synthetic.template import template


def boundary(triangles: Indices) -> list[list[int]]:
    """The closed lines of edges that only one triangle has."""
    sides = {(a, b) for t in triangles.tolist() for a, b in zip(t, (*t[1:], t[0]), strict=True)}
    following = {a: b for a, b in sides if (b, a) not in sides}
    loops = []
    while following:
        loop = [next(iter(following))]
        while (after := following.pop(loop[-1], None)) is not None:
            loop.append(after)
        assert loop[0] == loop.pop()
        loops.append(loop)
    return loops


def test_refinement_keeps_the_old_vertices_and_its_rows_sum_to_one():
    mesh = head.skin()
    triangles, fine = subdivide(mesh.triangles, len(mesh.points))
    assert len(triangles) == 4 * len(mesh.triangles)
    np.testing.assert_allclose(fine.weights.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(fine.of(mesh.points)[: len(mesh.points)], mesh.points)
    halves = linear_middles(mesh.triangles, len(mesh.points))
    assert halves.weights.shape[0] == fine.weights.shape[0]
    # Both number the new vertices alike: none is far from its edge's middle.
    assert np.linalg.norm(halves.of(mesh.points) - fine.of(mesh.points), axis=1).max() < 1.0


def test_a_linear_function_on_a_regular_plane_is_refined_exactly():
    triangles = grid(7, 9)
    row, column = np.divmod(np.arange(63), 9)
    points = np.stack([column + 0.5 * row, row, 2 * column - 3 * row + 1], 1).astype(np.float64)
    _, fine = subdivide(triangles, 63)
    refined = fine.of(points)
    expected = 2 * (refined[:, 0] - 0.5 * refined[:, 1]) - 3 * refined[:, 1] + 1
    np.testing.assert_allclose(refined[:, 2], expected, atol=1e-12)
    middles = linear_middles(triangles, 63).of(points)
    inside = ((middles[:, 1] > 0.9) & (middles[:, 1] < 5.1)).nonzero()[0]
    np.testing.assert_allclose(refined[inside, 1], middles[inside, 1], atol=1e-12)


def test_a_sphere_stays_round():
    points, triangles = sphere(1.0, 12, 16)
    _, fine = subdivide(triangles.numpy(), len(points))
    radius = np.linalg.norm(fine.of(points.numpy().astype(np.float64)), axis=1)
    assert abs(radius - 1).max() < 0.02
    coarse = np.linalg.norm(
        linear_middles(triangles.numpy(), len(points)).of(points.numpy().astype(np.float64)), axis=1
    )
    assert coarse.min() < radius.min()


def test_a_boundary_is_refined_by_itself_alone():
    triangles = grid(4, 6)
    _, fine = subdivide(triangles, 24)
    rows = [dict(zip(p, w, strict=True)) for p, w in zip(fine.parents.tolist(), fine.weights, strict=True)]
    row = next(row for row in rows[24:] if {v for v in row if abs(row[v]) > 0.3} == {2, 3})
    assert {v: w for v, w in row.items() if w} == pytest.approx(
        {1: -1 / 16, 2: 9 / 16, 3: 9 / 16, 4: -1 / 16}
    )


def test_two_refinements_are_one():
    triangles = grid(4, 4)
    once, first = subdivide(triangles, 16)
    _, second = subdivide(once, len(first.parents))
    values = np.random.default_rng(0).normal(size=(16, 3))
    np.testing.assert_allclose(first.then(second).of(values), second.of(first.of(values)), atol=1e-12)
    np.testing.assert_array_equal(kept(16).of(values), values)


def test_sums_and_normals_of_a_sphere():
    points, triangles = sphere(2.0, 24, 32)
    fan = torch.from_numpy(fans(triangles.numpy(), len(points)))
    both = torch.stack((points, points + torch.tensor([1.0, 2.0, 3.0])))
    found = normals(both, triangles, fan)
    assert (found * points / 2).sum(2).min() > 0.995
    torch.testing.assert_close(found.norm(dim=2), torch.ones(2, len(points)))
    rows = torch.arange(12.0).view(1, 4, 3)
    table, weights = torch.tensor([[0, 3], [1, 1]]), torch.tensor([[0.5, 2.0], [1.0, -1.0]])
    expected = torch.stack((0.5 * rows[:, 0] + 2 * rows[:, 3], torch.zeros(1, 3)), 1)
    torch.testing.assert_close(summed(rows, table, weights), expected)


def test_the_skin_is_closed_but_for_the_eyes_and_the_mouth():
    mesh = head.skin()
    fine, _ = subdivide(mesh.triangles, len(mesh.points))
    for triangles in (mesh.triangles, fine):
        sides = Counter((a, b) for t in triangles.tolist() for a, b in zip(t, (*t[1:], t[0]), strict=True))
        assert max(sides.values()) == 1, "an edge runs the same way in two triangles"
    loops = boundary(mesh.triangles)
    pole = [loop for loop in loops if min(loop) >= SKIN_POINTS]
    assert len(pole) == 1
    assert np.ptp(mesh.points[pole[0]], axis=0).max() < 1e-9
    expected = {frozenset(EYE_LEFT), frozenset(EYE_RIGHT), frozenset(LIP_RINGS[-1])}
    assert {frozenset(loop) for loop in loops if loop != pole[0]} == expected


@pytest.mark.parametrize("part", [head.neck(), head.chest()], ids=["neck", "chest"])
def test_neck_and_chest_have_no_seam(part):
    loops = boundary(part.triangles)
    assert sorted(len(loop) for loop in loops) == [head.NECK_COLUMNS] * 2, "open above and below only"


def test_the_nape_begins_within_the_skull():
    top = head.neck().points[: head.NECK_COLUMNS + 1]
    reach = (np.abs((top - head.SKULL_CENTRE) / head.SKULL_AXES) ** head.SKULL_SQUARE).sum(1)
    assert reach[top[:, 2] > 4].max() < 1


def test_the_face_is_its_own_mirror_image():
    mean, mirror = mean_landmarks(), mirror_landmarks()
    np.testing.assert_allclose(mean[mirror], mean * (-1, 1, 1), atol=1e-9)
    face = {frozenset(t) for t in head.face_triangles().tolist()}
    assert {frozenset(int(mirror[v]) for v in t) for t in face} == face


@pytest.mark.parametrize("part", ["bag", "socket_left", "socket_right"])
def test_what_grows_from_a_line_starts_with_it(part):
    followed = {
        "bag": mouth.bag,
        "socket_left": lambda: eyes.socket(False, ((0.0, 0.0),) * 478),
        "socket_right": lambda: eyes.socket(True, ((0.0, 0.0),) * 478),
    }[part]()
    ring = {"bag": set(LIP_RINGS[-1]), "socket_left": set(EYE_LEFT), "socket_right": set(EYE_RIGHT)}[part]
    first = followed.follows[: len(ring)]
    assert set(first.tolist()) == ring
    np.testing.assert_array_equal(followed.mesh.points[: len(ring)], mean_landmarks()[first])
    # Its refined edge is the skin's: a boundary's new points come from the boundary alone.
    made = template()
    vertices = made.refinement.of(made.points)
    skin = np.unique(made.triangles[made.triangle_ranges["skin"]])
    own = boundary(made.triangles[made.triangle_ranges[part]])
    edge = max(own, key=lambda loop: -vertices[loop][:, 2].mean())
    assert len(edge) == 2 * len(ring)
    away = np.linalg.norm(vertices[edge][:, None] - vertices[skin][None], axis=2).min(1)
    assert away.max() < 1e-6


def test_blobs_push_and_stretch():
    points = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 3.0], [-1.0, 2.0, 3.0]])
    one = Blob((1.0, 2.0, 3.0), (0.5, 1.0, 1.0), push=(0.1, 0.2, 0.3), stretch=(0.5, 0, 0))
    far = np.exp(-2.0)
    np.testing.assert_allclose(weight(points, one.centre, one.radius)[:2], [1, far])
    moved = displacement(points, [one])
    np.testing.assert_allclose(moved[:2], [[0.1, 0.2, 0.3], [far * 0.6, far * 0.2, far * 0.3]])
    whole = displacement(points, [Blob((0, 0, 0), EVERYWHERE, stretch=(1, 1, 1))])
    np.testing.assert_allclose(whole, points, rtol=1e-9)
    pair = displacement(points, both_sides(one))
    np.testing.assert_allclose(pair[2], pair[0] * (-1, 1, 1), atol=1e-12)
