"""What DAE-GAN's two codes are asked for: an embedded face f̂ that pose does not change, and a pose code p̂
that finds pictures of the same pose (its paper's Figures 7 and 8).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Invariance(NamedTuple):
    """How much embedded faces differ, as mean Euclidean distances between pairs."""

    within: float  # of pictures of one video
    between: float  # of pictures of different videos

    @property
    def ratio(self) -> float:
        """0: a video's pictures all give the same; 1: they are no more alike than anybody's."""
        return self.within / self.between


class Ranking(NamedTuple):
    """All codes, the most similar first."""

    order: Tensor  # Q×N int64: their numbers
    cosine: Tensor  # Q×N float64, descending


def invariance(faces: Tensor, groups: Tensor) -> Invariance:
    """The spread of f̂ within a video and between videos.

    faces: n×…, each embedded from one picture; groups: n, the number of its video. Raises ValueError where
    there is no pair of one video or none of two, and where all faces are equal.
    """
    if groups.shape != faces.shape[:1]:
        raise ValueError(f"groups {tuple(groups.shape)}: expected one for each of the {len(faces)} faces")
    flat = faces.flatten(1).double()
    # Not by products, which lose what nearly equal faces differ by.
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = torch.ones_like(distances, dtype=torch.bool).triu(1)
    same = groups[:, None] == groups
    within, between = distances[pairs & same], distances[pairs & ~same]
    if not len(within) or not len(between):
        raise ValueError("faces of at least two videos, and at least two of one of them, are needed")
    if not bool((between > 0).any()):
        raise ValueError("all videos' faces are equal: their spread can't be compared")
    return Invariance(float(within.mean()), float(between.mean()))


def retrieve(query: Tensor, codes: Tensor) -> Ranking:
    """Rank codes N×D by their cosine to each query Q×D. Among equals the earlier comes first; a code of zeros
    has the cosine 0. Raises ValueError where shapes don't fit."""
    if query.ndim != 2 or codes.ndim != 2 or query.shape[1] != codes.shape[1]:
        raise ValueError(
            f"query {tuple(query.shape)}, codes {tuple(codes.shape)}: expected Q×D and N×D with one D"
        )
    cosine = F.normalize(query.double(), dim=1) @ F.normalize(codes.double(), dim=1).T
    sorted_, order = cosine.sort(dim=1, descending=True, stable=True)
    return Ranking(order, sorted_)
