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

# Given the pictures, triangles (M each) and weights (M×3) of fragments: which of them are there (M bool).
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
    double_sided: T bool, those whose backs are drawn too; none without.
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
        vertices = torch.cat(((vertices[..., :2] * GRID).round() / GRID, vertices[..., 2:]), 2)
        which = _facing(vertices, triangles, (height, width), shown, double_sided, near)
        lines = _lines(vertices, triangles, which, (height, width), perspective)
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
            there = keep(place // (height * width), lines.triangle.index_select(0, line), weights)
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
    weight: Tensor  # L×4, linear: of the second and the third vertex, each at the first sample and its step

    def weights(self, line: Tensor, place: Tensor, depth: Tensor | None) -> Tensor:
        """Of samples `place` (M) of lines `line` (M): M×3. depth: M where there is perspective."""
        within = (place - self.place.index_select(0, line)).float()
        second, second_step, third, third_step = self.weight.index_select(0, line).unbind(1)
        second, third = second + within * second_step, third + within * third_step
        if depth is not None:
            second, third = second * depth, third * depth
        return torch.stack((1 - second - third, second, third), 1)


def _parts(key: Tensor) -> tuple[Tensor, Tensor]:
    """Line and depth."""
    return key & 0xFFFFFFFF, (key >> 32).to(torch.int32).view(torch.float32)


def _corners(vertices: Tensor, triangles: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and z of the triangles at places `which` (K) of B·T: 3×K each, vertex by vertex."""
    count = len(triangles)
    index = triangles.t().index_select(1, which % count) + (which // count) * vertices.shape[1]
    x, y, z = (vertices[..., axis].flatten().index_select(0, index.flatten()) for axis in range(3))
    return x.view(3, -1), y.view(3, -1), z.view(3, -1)


def _facing(
    vertices: Tensor,
    triangles: Tensor,
    limits: tuple[int, int],
    shown: Tensor | None,
    double_sided: Tensor | None,
    near: float,
) -> Tensor:
    """The triangles that may cover a sample, by their place in B·T, ascending."""
    height, width = limits
    count = len(triangles)
    if shown is None:
        which = torch.arange(len(vertices) * count, device=vertices.device)
    else:
        which = shown.flatten().nonzero().squeeze(1)
    x, y, z = _corners(vertices, triangles, which)
    left, right, top, bottom = x.amin(0), x.amax(0), y.amin(0), y.amax(0)
    # Numbers that aren't finite fail these, whichever they are.
    good = (z.amin(0) >= near) & (z.amax(0) < torch.inf)
    good &= (left > -FURTHEST) & (right < FURTHEST) & (top > -FURTHEST) & (bottom < FURTHEST)
    # Between whose ends, in both directions, the centre of one of the picture's samples lies.
    good &= (left - 0.5).ceil().clamp(min=0) < (right - 0.5).ceil().clamp(max=width)
    good &= (top - 0.5).ceil().clamp(min=0) < (bottom - 0.5).ceil().clamp(max=height)
    x, y = x.double(), y.double()
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    front = area > 0
    if double_sided is not None:
        front |= (area < 0) & double_sided.index_select(0, which % count)
    return which.masked_select(good & front)


def _lines(
    vertices: Tensor, triangles: Tensor, which: Tensor, limits: tuple[int, int], perspective: bool
) -> _Lines:
    """Of the triangles at places `which` (K) of B·T."""
    height, width = limits
    x, y, z = _corners(vertices, triangles, which)
    x, y = x.double(), y.double()
    linear = (z.reciprocal() if perspective else z).double()
    picture, triangle = which // len(triangles), which % len(triangles)

    # Weights of the second and the third vertex are linear in x and y, and so is the depth.
    x1, y1, x2, y2 = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    area = x1 * y2 - x2 * y1
    gradients = torch.stack((y2, -x2, -y1, x1)) / area  # second by x, by y, third by x, by y
    second_x, second_y, third_x, third_y = gradients
    rise_1, rise_2 = linear[1] - linear[0], linear[2] - linear[0]
    depth_x, depth_y = second_x * rise_1 + third_x * rise_2, second_y * rise_1 + third_y * rise_2
    if perspective:
        second_x, second_y, third_x, third_y = gradients * linear.repeat_interleave(2, 0)[2:]
    slopes_x = torch.stack((depth_x, second_x, third_x))
    slopes_y = torch.stack((depth_y, second_y, third_y))
    origin = -(x[0] - 0.5) * slopes_x - (y[0] - 0.5) * slopes_y  # at the centre of sample (0, 0)
    origin[0] += linear[0]

    # Corners from top to bottom. Edges: the long one, the one above the middle corner, the one below.
    y, order = y.sort(dim=0)
    x = x.gather(0, order)
    begin = (y - 0.5).ceil().clamp(0, height).long()  # the first row below each corner
    upper, lower = [0, 0, 1], [2, 1, 2]
    dx, dy = x[lower] - x[upper], y[lower] - y[upper]
    # An edge crosses the line at y where x - 0.5 = (start + y·dx) / dy. Both numbers are exact. The quotient
    # is rounded, but never lies so near to a whole number that this moves it there: its ceiling is exact.
    start = (x[upper] - 0.5) * dy - y[upper] * dx

    piece, within = _repeat(begin[2] - begin[0])  # one for each line, from here
    row = within + begin[0].index_select(0, piece)
    middle = row + 0.5
    short = piece + len(which) * (1 + (row >= begin[1].index_select(0, piece)).long())
    starts, dxs, dys = start.flatten(), dx.flatten(), dy.flatten()
    ends = [
        ((starts.index_select(0, edge) + middle * dxs.index_select(0, edge)) / dys.index_select(0, edge))
        for edge in (piece, short)
    ]
    left = torch.minimum(*ends).ceil().clamp(0, width)
    right = torch.maximum(*ends).ceil().clamp(0, width)
    steps = slopes_x.index_select(1, piece)
    first = origin.index_select(1, piece) + left * steps + row * slopes_y.index_select(1, piece)
    steps, first = steps.float(), first.float()
    return _Lines(
        samples=(right - left).long(),
        place=(picture.index_select(0, piece) * height + row) * width + left.long(),
        triangle=F.pad(triangle.index_select(0, piece), (0, 1), value=-1),
        depth=first[0],
        deeper=steps[0],
        weight=torch.stack((first[1], steps[1], first[2], steps[2]), 1),
    )


def _repeat(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Each index of `counts` as often as it says, and the how-manieth each is."""
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    index = torch.repeat_interleave(counts, output_size=total)
    begins = (ends - counts).index_select(0, index)
    return index, torch.arange(total, device=counts.device) - begins
