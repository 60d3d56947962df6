"""Which triangle is seen at each sample: a z-buffer for batches of pictures, in plain torch.

Triangles become rows, rows become samples, each step by `repeat_interleave`: what is worked on is exactly
what is covered, never a bounding box. There is no loop over triangles or pictures. A triangle's ends in a row
come from its edges, whose corners lie on a grid of 1/256 of a sample: in float64 these are exact, so that
neighbours neither overlap nor leave a crack. The nearest fragment of a sample has the least of 64-bit keys,
depth above line: no order of execution changes it.

    B pictures, V vertices, T triangles of one topology, K of all B·T that may be seen, N samples covered
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

GRID = 256  # steps of a sample, to which corners are rounded
FURTHEST = 2.0**17  # samples; up to here the ends of rows are exact in float64
INFINITE = 0x7F800000  # the bits of an infinite float32

# Given the places in the flattened B·H·W, the triangles (M each) and the weights (M×3) of fragments: which
# of them are there (M bool).
Keep = Callable[[Tensor, Tensor, Tensor], Tensor]


class Raster(NamedTuple):
    """What is seen in B pictures of H×W samples."""

    triangle: Tensor  # B×H×W int64, -1 where there is none
    depth: Tensor  # B×H×W, in the unit of the vertices' z; infinite where there is none
    covered: Tensor  # N int64: where in the flattened B·H·W something is seen, ascending
    weights: Tensor  # N×3 of these samples: perspective-correct, of the triangle's three vertices in order


def rasterise(
    vertices: Tensor,
    triangles: Tensor,
    height: int,
    width: int,
    *,
    shown: Tensor | None = None,
    double_sided: Tensor | None = None,
    cutout: Tensor | None = None,
    keep: Keep | None = None,
    near: float = 1.0,
    perspective: bool = True,
) -> Raster:
    """Draw a mesh, the same triangles in every picture.

    vertices: B×V×3 float32: x and y in samples, where sample (0, 0) has its centre at (0.5, 0.5) and y points
    down; z is the distance along the camera's axis, positive.
    triangles: T×3 int64. The front is where the vertices run clockwise as seen in the picture.
    shown: B×T bool, which triangles a picture has; all without.
    double_sided: T bool, or B×T, those whose backs are drawn too; none without.
    cutout, keep: T bool, those with holes, and a function that says of their fragments which are there. It is
    asked only about those that no other triangle hides.
    near: triangles that reach nearer than this are dropped; so are those that reach further than 131,072
    samples from the origin.
    perspective: depth and weights are linear in space; in the picture if not, as an orthographic camera sees.

    A sample exactly on an edge belongs to the triangle at its right, or below. Of equal depths the triangle
    of lower index is seen. Raises ValueError for a `cutout` without `keep` or the reverse.
    """
    if (cutout is None) != (keep is None):
        raise ValueError("cutout and keep go together")
    with torch.no_grad():
        faces = _faces(vertices, triangles, (height, width), shown, double_sided, near)
        lines = _lines(faces, (height, width), perspective)
        line, within = _repeat(lines.samples)  # one for each fragment, from here
        place = lines.place.index_select(0, line) + within
        depth = lines.depth.index_select(0, line) + within * lines.deeper.index_select(0, line)
        if perspective:
            depth = depth.reciprocal()
        key = (depth.view(torch.int32).long() << 32) | line

        nothing = (INFINITE << 32) | len(lines.place)
        seen = torch.full((len(vertices) * height * width,), nothing, device=vertices.device)
        if cutout is None or keep is None:
            seen.scatter_reduce_(0, place, key, "amin")
        else:
            holed = cutout.index_select(0, lines.triangle[:-1]).index_select(0, line)
            seen.scatter_reduce_(0, place.masked_select(~holed), key.masked_select(~holed), "amin")
            place, key = place.masked_select(holed), key.masked_select(holed)
            before = (key < seen.index_select(0, place)).nonzero().squeeze(1)
            place, key = place.index_select(0, before), key.index_select(0, before)
            line, depth = _parts(key)
            weights = lines.weights(line, place, depth if perspective else None)
            there = keep(place, lines.triangle.index_select(0, line), weights)
            seen.scatter_reduce_(0, place.masked_select(there), key.masked_select(there), "amin")

        line, depth = _parts(seen)
        covered = (depth < torch.inf).nonzero().squeeze(1)
        nearest = depth.index_select(0, covered) if perspective else None
        shape = (len(vertices), height, width)
        return Raster(
            lines.triangle.index_select(0, line).view(shape),
            depth.view(shape),
            covered,
            lines.weights(line.index_select(0, covered), covered, nearest),
        )


def interpolate(raster: Raster, attributes: Tensor, triangles: Tensor) -> Tensor:
    """Values at the samples that are covered.

    attributes: B×V×A, or V×A where all pictures have the same; triangles: T×3, those that were drawn.
    Returns N×A, in the order of `raster.covered`.
    """
    with torch.no_grad():
        index = raster.triangle.flatten().index_select(0, raster.covered)
        corners = triangles.index_select(0, index)  # N×3
        if attributes.ndim == 3:
            size = raster.triangle[0].numel()
            corners = corners + ((raster.covered // size) * attributes.shape[1])[:, None]
        # The sum over three weighted rows of a table, in one pass: five times as fast as to gather and add.
        return F.embedding_bag(
            corners, attributes.flatten(0, -2), mode="sum", per_sample_weights=raster.weights.to(attributes)
        )


class _Lines(NamedTuple):
    """The L rows of samples that triangles cover, triangle after triangle. What is called linear is so in the
    picture: with perspective the reciprocal of the depth, and weights divided by the depth."""

    samples: Tensor  # L int64, how many
    place: Tensor  # L int64, of the first sample in the flattened B·H·W
    triangle: Tensor  # L+1 int64; the last is -1, for samples without a line
    depth: Tensor  # L, linear, at the first sample
    deeper: Tensor  # L, from a sample to the next
    second: Tensor  # L, the linear weight of the second vertex, at the first sample
    second_step: Tensor  # L
    third: Tensor  # L, of the third vertex
    third_step: Tensor  # L

    def weights(self, line: Tensor, place: Tensor, depth: Tensor | None) -> Tensor:
        """Of samples `place` (M) of lines `line` (M): M×3. depth: M where there is perspective."""
        within = (place - self.place.index_select(0, line)).float()
        second = self.second.index_select(0, line) + within * self.second_step.index_select(0, line)
        third = self.third.index_select(0, line) + within * self.third_step.index_select(0, line)
        if depth is not None:
            second, third = second * depth, third * depth
        weights = place.new_empty((len(place), 3), dtype=torch.float32)
        weights[:, 0], weights[:, 1], weights[:, 2] = 1 - second - third, second, third
        return weights


def _parts(key: Tensor) -> tuple[Tensor, Tensor]:
    """Line and depth."""
    return key & 0xFFFFFFFF, (key >> 32).to(torch.int32).view(torch.float32)


class _Faces(NamedTuple):
    """The K triangles that may be seen, picture after picture. Of each vertex a tensor of its own: to gather
    numbers that lie together costs least."""

    picture: Tensor  # K int64
    triangle: Tensor  # K int64
    x: list[Tensor]  # 3 × K float64, samples, on the grid
    y: list[Tensor]
    z: list[Tensor]


def _faces(
    vertices: Tensor,
    triangles: Tensor,
    limits: tuple[int, int],
    shown: Tensor | None,
    double_sided: Tensor | None,
    near: float,
) -> _Faces:
    height, width = limits
    batch, count = len(vertices), len(triangles)
    if shown is None:
        which = torch.arange(batch * count, device=vertices.device)
    else:
        which = shown.flatten().nonzero().squeeze(1)
    picture = torch.div(which, count, rounding_mode="floor")
    triangle = which - picture * count
    first = picture * vertices.shape[1]
    corners = [triangles[:, vertex].index_select(0, triangle) + first for vertex in range(3)]
    xy = (vertices[..., :2] * GRID).round() / GRID
    parts = (xy[..., 0].flatten(), xy[..., 1].flatten(), vertices[..., 2].flatten())
    x, y, z = ([part.index_select(0, corner) for corner in corners] for part in parts)

    (left, right), (top, bottom), (nearest, furthest) = (_range(part) for part in (x, y, z))
    # Numbers that aren't finite fail these, whichever they are.
    good = (nearest >= near) & (furthest < torch.inf)
    good &= (left > -FURTHEST) & (right < FURTHEST) & (top > -FURTHEST) & (bottom < FURTHEST)
    # Between whose ends, in both directions, the centre of one of the picture's samples lies.
    good &= (left - 0.5).ceil().clamp(min=0) < (right - 0.5).ceil().clamp(max=width)
    good &= (top - 0.5).ceil().clamp(min=0) < (bottom - 0.5).ceil().clamp(max=height)
    x, y = [part.double() for part in x], [part.double() for part in y]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    facing = area > 0
    if double_sided is not None:
        backs = double_sided.flatten().index_select(0, triangle if double_sided.ndim == 1 else which)
        facing |= (area < 0) & backs
    seen = (good & facing).nonzero().squeeze(1)
    x, y, z = ([part.index_select(0, seen) for part in parts] for parts in (x, y, z))
    return _Faces(picture.index_select(0, seen), triangle.index_select(0, seen), x, y, z)


def _range(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    first, second, third = parts
    return (
        torch.minimum(torch.minimum(first, second), third),
        torch.maximum(torch.maximum(first, second), third),
    )


def _lines(faces: _Faces, limits: tuple[int, int], perspective: bool) -> _Lines:
    height, width = limits
    picture, triangle, x, y, z = faces
    linear = [(part.reciprocal() if perspective else part).double() for part in z]

    # The weights of the second and the third vertex are linear, and so is the depth.
    x1, y1, x2, y2 = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    per_area = (x1 * y2 - x2 * y1).reciprocal()
    second_x, second_y, third_x, third_y = y2 * per_area, -x2 * per_area, -y1 * per_area, x1 * per_area
    rise_1, rise_2 = linear[1] - linear[0], linear[2] - linear[0]
    depth_x, depth_y = second_x * rise_1 + third_x * rise_2, second_y * rise_1 + third_y * rise_2
    if perspective:
        second_x, second_y = second_x * linear[1], second_y * linear[1]
        third_x, third_y = third_x * linear[2], third_y * linear[2]
    left, up = x[0] - 0.5, y[0] - 0.5  # of the first vertex from the centre of sample (0, 0)
    depth = linear[0] - left * depth_x - up * depth_y
    second, third = -left * second_x - up * second_y, -left * third_x - up * third_y

    # Corners from top to bottom. Edges: the long one, the one above the middle corner, the one below.
    top, middle, bottom = _ordered([*zip(y, x, strict=True)])
    begin = [(corner[0] - 0.5).ceil().clamp(0, height) for corner in (top, middle, bottom)]  # first row below
    edges = [_edge(top, bottom), _edge(top, middle), _edge(middle, bottom)]
    starts, runs, falls = (torch.cat(part) for part in zip(*edges, strict=True))

    piece, within = _repeat((begin[2] - begin[0]).long())  # one for each line, from here
    row = within + begin[0].index_select(0, piece)
    below = (row >= begin[1].index_select(0, piece)).long()
    ends = [
        (starts.index_select(0, edge) + (row + 0.5) * runs.index_select(0, edge))
        / falls.index_select(0, edge)
        for edge in (piece, piece + len(triangle) * (1 + below))
    ]
    left, right = (end.ceil().clamp(0, width) for end in _range([*ends, ends[0]]))

    def at_first(origin: Tensor, along: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        step = along.index_select(0, piece)
        value = origin.index_select(0, piece) + row * down.index_select(0, piece) + left * step
        return value.float(), step.float()

    return _Lines(
        (right - left).long(),
        ((picture * height).index_select(0, piece) + row.long()) * width + left.long(),
        F.pad(triangle.index_select(0, piece), (0, 1), value=-1),
        *at_first(depth, depth_x, depth_y),
        *at_first(second, second_x, second_y),
        *at_first(third, third_x, third_y),
    )


Corner = tuple[Tensor, Tensor]  # y and x


def _ordered(corners: list[Corner]) -> list[Corner]:
    """From top to bottom."""
    for upper, lower in ((0, 1), (1, 2), (0, 1)):
        (y0, x0), (y1, x1) = corners[upper], corners[lower]
        swap = y0 > y1
        corners[upper] = torch.minimum(y0, y1), torch.where(swap, x1, x0)
        corners[lower] = torch.maximum(y0, y1), torch.where(swap, x0, x1)
    return corners


def _edge(upper: Corner, lower: Corner) -> tuple[Tensor, Tensor, Tensor]:
    """It crosses the line at y where x - 0.5 = (start + y·run) / fall: start, run, fall.

    All three are exact. The quotient is rounded, but never lies so near to a whole number that this moves it
    there: its ceiling is exact.
    """
    (y0, x0), (y1, x1) = upper, lower
    run, fall = x1 - x0, y1 - y0
    return (x0 - 0.5) * fall - y0 * run, run, fall


def _repeat(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Each index of `counts` as often as it says, and the how-manieth each is."""
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    index = torch.repeat_interleave(counts, output_size=total)
    begins = (ends - counts).index_select(0, index)
    return index, torch.arange(total, device=counts.device) - begins
