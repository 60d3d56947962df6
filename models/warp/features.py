"""Eyes and mouth of a face: where each lies, how far it is open, and the edges that divide it.

Upright coordinates of a feature have its two corners a unit apart on the x axis and y downwards. All of a
face's features are read together, and sums over landmarks are products with constant matrices: on small
tensors the number of operations is what costs.
"""

from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.contract import LANDMARKS
from models.face_geometry import IRIS_LEFT, IRIS_RIGHT, LIP_LOWER, LIP_UPPER, LIPS_OUTER, length

# The lids from the picture's left corner to the right one, the left eye's first.
LID_UPPER = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LID_LOWER = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
# The skin around the lids: the hollow above them and the edge of the cheek below, with the points beside the
# corners.
HOLLOW = ((226, 113, 225, 224, 223, 222, 221, 189, 244), (464, 413, 441, 442, 443, 444, 445, 342, 446))
CHEEK = ((226, 25, 110, 24, 23, 22, 26, 112, 244), (464, 341, 256, 252, 253, 254, 339, 255, 446))
IRISES = (IRIS_LEFT, IRIS_RIGHT)

EYES, MOUTH = slice(0, 2), slice(2, 3)  # of a face's three features
# An eye's hollow, upper lid, lower lid and cheek; the lips' outer, inner, inner and outer edge.
EDGES = 4
KNOTS = 13  # points of each edge, from left to right

TABLE_HALF = 0.75  # upright x at which the tables of heights end
TABLE_STEPS = 64


class Frame(NamedTuple):
    """The upright coordinates of features in a picture: pixel = axes @ upright + centre. F features a face,
    or with both dimensions joined; in the units of the landmarks.
    """

    centre: Tensor  # B×F×2×1
    axes: Tensor  # B×F×2×2; the columns lead from corner to corner, and as far down
    inverse: Tensor  # B×F×2×2
    width: Tensor  # B×F×1: from corner to corner

    def of(self, features: slice) -> "Frame":
        """Of these features alone, as one batch: the first dimension is B·F."""
        return Frame(*(part[:, features].flatten(0, 1) for part in self))


class Features(NamedTuple):
    """All that is drawn of a face's eyes and mouth."""

    frame: Frame
    edges: Tensor  # B×F×2×EDGES×KNOTS, upright
    heights: Tensor  # B×F×EDGES×TABLE_STEPS: the edges' y at x from −TABLE_HALF to TABLE_HALF


def frame(centre: Tensor, along: Tensor) -> Frame:
    """Of features about `centre` whose corners lie `along` apart, both B×F×2."""
    x, y = along.unsqueeze(3).unbind(2)  # B×F×1 each
    axes = torch.stack((x, -y, y, x), 2).view(*along.shape, 2)
    square = along.square().sum(2, keepdim=True)
    inverse = axes.transpose(2, 3) / square.clamp_min(1e-6).unsqueeze(3)
    return Frame(centre.unsqueeze(3), axes, inverse, square.sqrt())


def to_upright(at: Frame, points: Tensor) -> Tensor:
    """Picture to upright coordinates, N×2×K; `at` of N features."""
    return at.inverse @ (points - at.centre)


def from_upright(at: Frame, points: Tensor) -> Tensor:
    """Upright coordinates to the picture's, N×2×K or 1×2×K; `at` of N features."""
    return torch.baddbmm(at.centre, at.axes, points.expand(at.axes.shape[0], -1, -1))


def planar(points: Tensor) -> Tensor:
    """Landmarks B×K×≥2 as B×2×K: arithmetic on interleaved pairs is several times slower."""
    return points[..., :2].transpose(1, 2)


def parts(joined: Tensor, count: int) -> tuple[Tensor, ...]:
    """The batches of one size that were joined to one. Unlike `chunk`, this can be exported for any size."""
    return joined.view(count, -1, *joined.shape[1:]).unbind()


def heights(lines: Tensor, x: Tensor) -> Tensor:
    """N×L×K: the y of L polylines (N×2×L×J, from left to right) at x (N×K or 1×K).

    A polyline goes on level beyond its ends. Its x are put in order first, as a turned head may fold them.
    """
    knots = _in_order(lines[:, 0]).unsqueeze(3)
    start = knots[:, :, :-1]
    width = (knots[:, :, 1:] - start).clamp_min(1e-4)
    passed = ((x.unsqueeze(1).unsqueeze(1) - start) / width).clamp(0, 1)  # of each segment, N×L×(J−1)×K
    y = lines[:, 1]
    rise = (y[:, :, 1:] - y[:, :, :-1]).unsqueeze(2)
    return y[:, :, :1] + (rise @ passed).squeeze(2)


def _in_order(x: Tensor) -> Tensor:
    """N×L×J: along each line the largest so far. ONNX has no operator for it."""
    if torch.compiler.is_exporting():
        return torch.stack(list(accumulate(x.unbind(2), torch.maximum)), 2)
    return x.cummax(2).values


class FeatureReader(nn.Module):
    """Reads features from landmarks (B×478×≥2); x and y alone count."""

    def __init__(self) -> None:
        super().__init__()
        self.placing: Tensor
        self.parting: Tensor
        self.averaging: Tensor
        self.outlines: Tensor
        self.table_x: Tensor
        lids = list(zip(LID_UPPER, LID_LOWER, strict=True))
        corners = [(upper[0], upper[-1]) for upper, _ in lids] + [(LIP_UPPER[0], LIP_UPPER[-1])]
        # Eyes lie between their corners, the mouth in the middle of its outline.
        around = [*corners[:2], (*LIP_UPPER, *LIP_LOWER)]
        parted = [pair for lid in lids for pair in list(zip(*lid, strict=True))[1:-1]]
        parted += list(zip(LIP_UPPER, LIP_LOWER, strict=True))[3:8]
        share = torch.zeros(len(parted), 3)
        for feature, pairs in enumerate((slice(0, 7), slice(7, 14), slice(14, 19))):
            share[pairs, feature] = 1 / (pairs.stop - pairs.start)
        along = _mean_of([(b,) for _, b in corners]) - _mean_of([(a,) for a, _ in corners])
        apart = _mean_of([(b,) for _, b in parted]) - _mean_of([(a,) for a, _ in parted])
        for name, value in {
            "placing": torch.cat((_mean_of(around), along)),  # 6×478: centres, vectors from corner to corner
            "parting": torch.cat((along, apart)),  # 22×478: the vectors again, and between lids and lips
            "averaging": share,  # 19×3
            "outlines": torch.tensor(_outlines()).flatten(),  # of each feature, of each edge, each knot
            "table_x": ((torch.arange(TABLE_STEPS) + 0.5) / TABLE_STEPS * 2 - 1)[None] * TABLE_HALF,
        }.items():
            self.register_buffer(name, value, persistent=False)

    def frames(self, points: Tensor) -> Frame:
        """Upright coordinates of the left eye, the right eye and the mouth."""
        placed = self.placing @ points[..., :2]
        return frame(placed[:, :3], placed[:, 3:])

    def openness(self, points: Tensor) -> Tensor:
        """B×3: the mean gap between lids and between the lips' middles, over the feature's width."""
        xy = points[..., :2]
        lengths = length(self.parting @ xy, 2)
        return (lengths[:, 3:] @ self.averaging) / lengths[:, :3].clamp_min(1e-6)

    def edges(self, points: Tensor) -> tuple[Frame, Tensor]:
        """The upright coordinates of each feature, and the edges that divide it (B×3×2×EDGES×KNOTS)."""
        at = self.frames(points)
        outlines = (
            points.index_select(1, self.outlines)[..., :2].view(-1, 3, EDGES * KNOTS, 2).transpose(2, 3)
        )
        return at, (at.inverse @ (outlines - at.centre)).view(-1, 3, 2, EDGES, KNOTS)

    def read(self, points: Tensor) -> Features:
        """All that is drawn of the features."""
        at, edges = self.edges(points)
        tables = heights(edges.flatten(0, 1), self.table_x)
        return Features(at, edges, tables.view(-1, 3, EDGES, TABLE_STEPS))


def _mean_of(groups: list[tuple[int, ...]]) -> Tensor:
    """Groups×478: the product with landmarks is each group's mean."""
    rows = torch.zeros(len(groups), LANDMARKS)
    for row, group in zip(rows, groups, strict=True):
        for index in group:
            row[index] += 1 / len(group)
    return rows


def _outlines() -> list[list[tuple[int, ...]]]:
    """The edges of each feature, from left to right; the shorter ones repeat their ends."""
    outlines = []
    for hollow, upper, lower, cheek in zip(HOLLOW, LID_UPPER, LID_LOWER, CHEEK, strict=True):
        left, right = hollow[0], hollow[-1]  # all four meet beside the eye's corners
        outlines.append([_padded((left, *edge, right)) for edge in (hollow, upper, lower, cheek)])
    left, right = LIPS_OUTER[0], LIPS_OUTER[10]
    above, below = LIPS_OUTER[:11], (left, *LIPS_OUTER[:10:-1], right)
    outlines.append([_padded((left, *edge, right)) for edge in (above, LIP_UPPER, LIP_LOWER, below)])
    return outlines


def _padded(edge: tuple[int, ...]) -> tuple[int, ...]:
    missing = KNOTS - len(edge)
    return (*[edge[0]] * (missing // 2), *edge, *[edge[-1]] * (missing - missing // 2))
