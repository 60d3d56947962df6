"""Triangle meshes: parts that are joined to one, and their refinement as a linear map of control points.

A vertex of the refined mesh is a fixed sum of control points, so whatever is linear in those (shapes,
expressions) is linear in all vertices, and landmarks, which are control points, stay where they are.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Of one end of a regular edge: itself, the two triangles' third vertices, the next ones around it.
BUTTERFLY = (1 / 2, 1 / 16, 1 / 16, -1 / 16, -1 / 16)


class Mesh(NamedTuple):
    """V vertices, T triangles. Seen from outside, and with y downwards, a triangle's vertices run
    clockwise."""

    points: Array  # V×3, cm
    triangles: Indices  # T×3
    uv: Array  # V×2, places in the atlas, [0, 1]


class Refinement(NamedTuple):
    """How refined vertices come from the coarse ones: each is a sum of at most K of them."""

    parents: Indices  # V×K
    weights: Array  # V×K

    def of(self, values: Array) -> Array:
        """values: C×A → V×A."""
        return np.asarray(np.einsum("vk,vka->va", self.weights, values[self.parents]))

    def then(self, finer: "Refinement") -> "Refinement":
        """Both in turn, as one."""
        rows = []
        for parents, weights in zip(finer.parents, finer.weights, strict=True):
            row: dict[int, float] = defaultdict(float)
            for parent, weight in zip(parents, weights, strict=True):
                for grand, share in zip(self.parents[parent], self.weights[parent], strict=True):
                    row[int(grand)] += float(weight * share)
            rows.append(row)
        return _padded(rows)


def kept(count: int) -> Refinement:
    """The vertices as they are."""
    return Refinement(np.arange(count)[:, None], np.ones((count, 1)))


def subdivide(triangles: Indices, count: int) -> tuple[Indices, Refinement]:
    """Every triangle in four, by the modified butterfly scheme, which keeps the old vertices and is smooth.

    D. Zorin, P. Schröder, W. Sweldens, Interpolating Subdivision for Meshes with Arbitrary Topology (1996):
    the weights of regular, extraordinary and boundary edges. triangles: T×3, of `count` vertices; the new
    vertices come after the old ones, one an edge. Returns 4·T triangles.
    """
    opposite: dict[tuple[int, int], int] = {}
    for a, b, c in triangles.tolist():
        opposite.update({(a, b): c, (b, c): a, (c, a): b})
    ends = sorted({(min(edge), max(edge)) for edge in opposite})
    beside = _along_boundary(opposite)
    rows: list[dict[int, float]] = [{vertex: 1.0} for vertex in range(count)]
    middle: dict[tuple[int, int], int] = {}
    for a, b in ends:
        middle[a, b] = middle[b, a] = len(rows)
        rows.append(_edge_weights(a, b, opposite, beside))
    parts = []
    for a, b, c in triangles.tolist():
        ab, bc, ca = middle[a, b], middle[b, c], middle[c, a]
        parts += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.array(parts, np.int64), _padded(rows)


def linear_middles(triangles: Indices, count: int) -> Refinement:
    """Where `subdivide` puts new vertices if they lie half-way: for places in a texture, which must not
    wave."""
    edges = {
        (min(a, b), max(a, b)) for t in triangles.tolist() for a, b in zip(t, (*t[1:], t[0]), strict=True)
    }
    rows = [{vertex: 1.0} for vertex in range(count)] + [{a: 0.5, b: 0.5} for a, b in sorted(edges)]
    return _padded(rows)


def _along_boundary(opposite: dict[tuple[int, int], int]) -> dict[int, list[int]]:
    """The boundary's neighbours of each vertex that lies on it."""
    beside: dict[int, list[int]] = defaultdict(list)
    for a, b in opposite:
        if (b, a) not in opposite:
            beside[a].append(b)
            beside[b].append(a)
    return beside


def _edge_weights(
    a: int, b: int, opposite: dict[tuple[int, int], int], beside: dict[int, list[int]]
) -> dict[int, float]:
    row: dict[int, float] = defaultdict(float)
    if (a, b) not in opposite or (b, a) not in opposite:  # the boundary itself: the four-point scheme
        row[a] = row[b] = 0.5
        for near, far in ((a, b), (b, a)):
            others = [vertex for vertex in beside[near] if vertex != far]
            if len(others) == 1:
                row[near] += 1 / 16
                row[others[0]] -= 1 / 16
        return row
    stencils = [_around(a, b, opposite), _around(b, a, opposite)]
    if all(stencil is None for stencil in stencils):  # an edge that crosses from boundary to boundary
        row[a] = row[b] = 0.5
        return row
    whole = [(near, ring) for near, ring in zip((a, b), stencils, strict=True) if ring is not None]
    odd = [(near, ring) for near, ring in whole if len(ring) != 6]
    if not odd and len(whole) == 2:  # regular on both sides: the eight-point butterfly
        for near, ring in whole:
            for vertex, weight in zip((near, ring[1], ring[-1], ring[2], ring[-2]), BUTTERFLY, strict=True):
                row[vertex] += weight
        return row
    for near, ring in odd or whole:
        for vertex, weight in _star(near, ring).items():
            row[vertex] += weight / len(odd or whole)
    return row


def _around(near: int, far: int, opposite: dict[tuple[int, int], int]) -> list[int] | None:
    """The neighbours of `near` in order, `far` first; None where it lies on the boundary."""
    ring = [far]
    while True:
        following = opposite.get((near, ring[-1]))
        if following is None:
            return None
        if following == far:
            return ring
        ring.append(following)


def _star(near: int, ring: list[int]) -> dict[int, float]:
    """The weights of a vertex and its neighbours in the middle of the edge to the first of those."""
    count = len(ring)
    if count == 3:
        shares = [5 / 12, -1 / 12, -1 / 12]
    elif count == 4:
        shares = [3 / 8, 0.0, -1 / 8, 0.0]
    else:
        turns = 2 * np.pi * np.arange(count) / count
        shares = list((0.25 + np.cos(turns) + 0.5 * np.cos(2 * turns)) / count)
    row = {near: 1.0 - float(sum(shares))}
    row.update({vertex: float(share) for vertex, share in zip(ring, shares, strict=True)})
    return row


def _padded(rows: Sequence[dict[int, float]]) -> Refinement:
    rows = [{vertex: weight for vertex, weight in row.items() if abs(weight) > 1e-9} for row in rows]
    most = max(len(row) for row in rows)
    parents, weights = np.zeros((len(rows), most), np.int64), np.zeros((len(rows), most))
    for at, row in enumerate(rows):
        parents[at, : len(row)] = list(row)
        weights[at, : len(row)] = list(row.values())
    return Refinement(parents, weights)


def fans(triangles: Indices, count: int) -> Indices:
    """The triangles that meet in each vertex: V×M, filled up with T, the number of triangles."""
    meeting: list[list[int]] = [[] for _ in range(count)]
    for at, triangle in enumerate(triangles.tolist()):
        for vertex in triangle:
            meeting[vertex].append(at)
    table = np.full((count, max(map(len, meeting))), len(triangles), np.int64)
    for vertex, found in enumerate(meeting):
        table[vertex, : len(found)] = found
    return table


def normals(points: Tensor, triangles: Tensor, fan: Tensor) -> Tensor:
    """Unit normals of the vertices, outwards: N×V×3. points: N×V×3; triangles: T×3; fan: V×M, from `fans`.

    Triangles count by their area. Sums run over a table, not by scattering, so that they are the same each
    time.
    """
    a, b, c = (points.index_select(1, corner) for corner in triangles.unbind(1))
    faces = torch.linalg.cross(c - a, b - a)  # outwards, since they run clockwise: N×T×3
    faces = torch.cat((faces, faces.new_zeros(faces.shape[0], 1, 3)), 1)
    return functional.normalize(summed(faces, fan), dim=2, eps=1e-9)


def summed(rows: Tensor, table: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sums of rows: N×R×3, by a table V×M of row numbers, weighted (V×M) or not → N×V×3.

    All pictures' rows lie side by side, so that one pass over the table serves all of them.
    """
    beside = rows.transpose(0, 1).flatten(1)  # R×N·3
    total = functional.embedding_bag(table, beside, mode="sum", per_sample_weights=weights)
    return total.view(len(table), -1, 3).transpose(0, 1).contiguous()


def strip(inner: Indices, outer: Indices) -> Indices:
    """Triangles between two closed lines of as many points; `inner` runs clockwise as seen from outside."""
    a, b, c, d = inner, np.roll(inner, -1), np.roll(outer, -1), outer
    return np.concatenate([np.stack([a, c, b], 1), np.stack([a, d, c], 1)])


def grid(rows: int, columns: int, closed: bool = False) -> Indices:
    """Triangles of rows of points, each row after the other; clockwise where rows go down and columns
    right."""
    at = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        at = np.concatenate([at, at[:, :1]], 1)
    a, b, c, d = at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
