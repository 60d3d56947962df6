"""From control points to a dense displacement: a linear operator, prepared once for each portrait on the
host.

The control points are the face's 478 landmarks and a ring of 36 that lies on the head's silhouette and moves
rigidly with the head. Inside the ring the displacement is interpolated over triangles; outside it is the
solution of a screened Laplace equation that is zero on the crop's border."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.face_geometry import FACE_OVAL, RIGID

Array = npt.NDArray[np.float64]

RING = len(FACE_OVAL)
CAP_ABOVE, CAP_BELOW = (
    1.8,
    1.12,
)  # how far the ring may lie from the face's oval, × its radius: above the ears, at the chin
FLOOR = 1.04
UNMASKED = 1.2  # the ring's radius where there is no person mask
EDGE = 1e-9  # by how much a point may lie outside a triangle that it lies in
# Screening per grid cell² makes a displacement die out faster than a harmonic one.
BODY_SCREENING, BACKGROUND_SCREENING = 0.0005, 0.006
SCREENING = 0.003  # where nobody knows what is body and what background
CROSSING = 0.1  # how much of a displacement passes over the person's outline
SHOWN = (
    0.4  # area of a landmark's best triangle, × what it is seen from the front, from which on it is visible
)
SLIVER = 1e-5  # area of a triangle of the mean face (of width 1) that says nothing
TOP, CHIN = 10, 152
HEAD_CENTRE = 0.25  # depth of the head's centre behind the face, × the face's width
SIDE_DEPTH = 0.4  # depth of the ring beside the face; above it, where the skull is nearer, it is HEAD_CENTRE


class Field(NamedTuple):
    """A portrait's operator on a G×G grid over its crop. N control points, the last `RING` of them the
    ring.
    """

    vertices: Tensor  # 1×(3·G²) int64: of each cell's triangle, all first corners first; any outside
    weight: Tensor  # 1×3×G²: their weights; 0 outside
    outside: Tensor  # 1×RING×G²: weights of the ring's points; 0 inside


def displacement(field: Field, motion: Tensor) -> Tensor:
    """B×2×G×G: the displacement of each cell's centre. motion: B×2×N, in any unit."""
    inside = interpolated(motion, field.vertices, field.weight)
    moved = torch.baddbmm(inside, motion[..., -RING:], field.outside.expand(motion.shape[0], -1, -1))
    side = round(moved.shape[2] ** 0.5)
    return moved.view(-1, 2, side, side)


def interpolated(values: Tensor, vertices: Tensor, weight: Tensor) -> Tensor:
    """B×2×Q: values (B×2×N) at the corners of triangles (B×(3·Q) or 1×(3·Q), all first corners first), by
    their weights (B×3×Q or 1×3×Q).
    """
    corners = values.gather(2, vertices.unsqueeze(1).expand(values.shape[0], 2, -1))
    return (corners.view(-1, 2, 3, weight.shape[2]) * weight.unsqueeze(1)).sum(2)


def cell_centres(side: int) -> Array:
    """side²×2: the centres of a grid's cells over the unit square, row by row."""
    axis = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(axis, axis)
    return np.stack([x.ravel(), y.ravel()], 1)


def barycentric(points: Array, queries: Array) -> tuple[npt.NDArray[np.int64], Array, npt.NDArray[np.bool_]]:
    """For each query (Q×2) the three points (of K×2) that span the Delaunay triangle it lies in, their
    weights (Q×3), and whether it lies in any; both are zero where it does not.
    """
    from scipy.spatial import Delaunay

    # Only the triangles are scipy's. Its own search solves a small system with LAPACK for each of them, whose
    # threads, on a machine with other work to do, wait for each other for seconds.
    simplices = Delaunay(points).simplices.astype(np.int64)
    corners = points[simplices]  # T×3×2
    order = np.argsort(queries[:, 1])
    heights = queries[order, 1]
    first = np.searchsorted(heights, corners[:, :, 1].min(1) - EDGE)
    count = np.searchsorted(heights, corners[:, :, 1].max(1) + EDGE) - first
    # Every triangle with every query as high as it is.
    triangle = np.repeat(np.arange(len(simplices)), count)
    query = order[np.arange(len(triangle)) + np.repeat(first - np.cumsum(count) + count, count)]
    a, b, c = (corners[triangle, corner] for corner in range(3))
    area = _cross(b - a, c - a)
    of_b = _cross(queries[query] - a, c - a) / area
    of_c = _cross(b - a, queries[query] - a) / area
    shares = np.stack([1 - of_b - of_c, of_b, of_c], 1)
    within = shares.min(1) >= -EDGE
    index = np.zeros((len(queries), 3), np.int64)
    weight = np.zeros((len(queries), 3))
    inside = np.zeros(len(queries), bool)
    found = query[within]
    index[found], weight[found], inside[found] = simplices[triangle[within]], shares[within], True
    return index, weight, inside


def pulled_inside(points: Array, queries: Array) -> Array:
    """The queries (Q×2), those outside the hull of the points (K×2) drawn towards its centre until they lie
    in it.
    """
    from scipy.spatial import ConvexHull

    centre = points.mean(0)
    edges = ConvexHull(points).equations  # normal and offset: below 0 inside
    depth = edges[:, :2] @ centre + edges[:, 2]  # of the centre, below 0
    further = (queries - centre) @ edges[:, :2].T  # what each query adds to it
    share = (depth / np.minimum(depth, -further)).min(1, keepdims=True)
    return np.asarray(centre + (queries - centre) * share)


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def visible(points: Array, mean: Array) -> npt.NDArray[np.bool_]:
    """Which landmarks (478×3) the picture shows: those of which some triangle of the mean face (478×3) is
    seen at an angle, not edge-on or from behind. On the far side of a turned face the others lie on top of
    each other, and a turn of the head would fold them.
    """
    from scipy.spatial import Delaunay

    triangles = Delaunay(mean[:, :2]).simplices
    own, flat = (_areas(face[triangles, :2]) for face in (mean, points))
    height, own_height = (np.linalg.norm(face[TOP] - face[CHIN]) for face in (points, mean))
    upright = np.where(np.abs(own) > SLIVER, flat / own / (height / own_height) ** 2, -np.inf)
    best = np.full(len(points), -np.inf)
    for corner in triangles.T:
        np.maximum.at(best, corner, upright)
    return best >= SHOWN


def _areas(triangles: Array) -> Array:
    """Twice the signed areas of triangles (T×3×2)."""
    a, b, c = triangles.transpose(1, 0, 2)
    return _cross(b - a, c - a)


def head_ring(points: Array, person: npt.NDArray[np.float32] | None) -> Array:
    """RING×3: the head's silhouette. points: 478×3, crop units; person: H×W in [0, 1].

    Each point marches outwards from the face's centre through its point of the oval until the person ends.
    """
    centre = points[list(RIGID)].mean(0)
    rays = points[list(FACE_OVAL)] - centre
    radius = np.full(RING, UNMASKED)
    if person is not None:
        steps = np.arange(1.0, CAP_ABOVE + 0.3, 0.02)
        along = centre[:2] + rays[:, None, :2] * steps[:, None]  # RING×steps×2
        height, width = person.shape
        pixel = np.floor(along * (width, height)).astype(int)
        visible = ((pixel >= 0) & (pixel < (width, height))).all(2)
        pixel = np.clip(pixel, 0, (width - 1, height - 1))
        head = visible & (person[pixel[..., 1], pixel[..., 0]] >= 0.5)
        radius = steps[np.where(head.all(1), len(steps) - 1, head.argmin(1))]
    up = -rays[:, 1] / np.linalg.norm(rays[:, :2], axis=1)  # 1 above the face, −1 below
    cap = CAP_BELOW + (CAP_ABOVE - CAP_BELOW) * np.clip((up + 0.35) / 0.35, 0, 1)
    radius = np.clip(radius, FLOOR, cap)
    radius = np.median([np.roll(radius, shift) for shift in range(-2, 3)], axis=0)
    radius = (np.roll(radius, 1) + 2 * radius + np.roll(radius, -1)) / 4
    ring = centre + rays * radius[:, None]
    depth = SIDE_DEPTH + (HEAD_CENTRE - SIDE_DEPTH) * np.clip(up, 0, 1)
    ring[:, 2] = centre[2] + depth * np.ptp(points[:, 0])
    return np.asarray(ring)


def solve_field(
    points: Array,
    ring: Array,
    side: int,
    person: npt.NDArray[np.float32] | None,
    shown: npt.NDArray[np.bool_],
) -> Field:
    """The operator of a portrait. points: N×≥2 and ring: RING×≥2 in crop units; side: G; person: H×W in
    [0, 1], whole multiples of G; shown: N, which of the points are visible: the others have no say.

    Over the person's neck, shoulders and hair a displacement reaches far, over the background it soon dies
    out, and little of it crosses from one to the other.
    """
    import scipy.sparse as sparse
    from scipy.sparse.linalg import splu

    controls = np.concatenate([points[:, :2], ring[:, :2]])
    used = np.flatnonzero(np.append(shown, np.ones(RING, bool)))
    index, weight, inside = barycentric(controls[used], cell_centres(side))
    index = used[index]
    cells = side * side
    unknown = np.flatnonzero(~inside)
    number = np.full(cells, -1)
    number[unknown] = np.arange(len(unknown))
    if person is None:
        body, screening = np.zeros(cells), np.full(cells, SCREENING)
    else:
        blocks = person.reshape(side, person.shape[0] // side, side, person.shape[1] // side)
        body = blocks.mean((1, 3)).ravel().astype(np.float64)
        screening = BACKGROUND_SCREENING + (BODY_SCREENING - BACKGROUND_SCREENING) * body
    row, column = np.divmod(unknown, side)
    diagonal = screening[unknown]
    edges, boundary = [], []
    for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        r, c = row + down, column + right
        within = (r >= 0) & (r < side) & (c >= 0) & (c < side)
        neighbour = np.where(within, r * side + c, 0)
        passing = np.where(within, 1 - (1 - CROSSING) * np.abs(body[unknown] - body[neighbour]), 1.0)
        diagonal = diagonal + passing
        free, known = within & ~inside[neighbour], within & inside[neighbour]
        edges.append((number[unknown[free]], number[neighbour[free]], passing[free]))
        boundary.append((number[unknown[known]], neighbour[known], passing[known]))
    rows, columns, weights = (np.concatenate(part) for part in zip(*edges, strict=True))
    size = (len(unknown), len(unknown))
    laplace = sparse.diags(diagonal) - sparse.csc_matrix((weights, (rows, columns)), size)
    # The cells just inside the hull lie in triangles whose outer corners are the ring's; the ring alone
    # speaks for them.
    share = np.where(index >= len(points), weight, 0)
    share /= np.maximum(share.sum(1, keepdims=True), 1e-9)
    of_ring = np.maximum(index - len(points), 0)
    right_side = np.zeros((len(unknown), RING))
    for targets, sources, passing in boundary:
        for corner in range(3):
            at = targets, of_ring[sources, corner]
            np.add.at(right_side, at, share[sources, corner] * passing)
    outside = np.zeros((cells, RING))
    factors = splu(laplace.tocsc())
    for ring_point in range(
        RING
    ):  # one at a time: a block goes to threaded BLAS, which stalls as LAPACK does
        outside[unknown, ring_point] = factors.solve(right_side[:, ring_point])
    return Field(
        vertices=torch.from_numpy(index.T.reshape(1, -1).copy()),
        weight=torch.from_numpy(weight.T.astype(np.float32).copy())[None],
        outside=torch.from_numpy(outside.T.astype(np.float32).copy())[None],
    )
