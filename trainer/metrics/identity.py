"""Is it still the same person? Distances between two pictures' identity vectors, B×D each; results B float64.

The first three are of vectors, whichever network they come from: published values can be compared with
only where that is the same network. Those called synthetic take our own, which learnt rendered people only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.identity_embedder import SIDE, IdentityEmbedder


def csim(vectors: Tensor, truth: Tensor) -> Tensor:
    """Cosine. Raises ValueError for a vector of zeros, too."""
    vectors, truth = _pair(vectors, truth)
    if not bool((vectors.ne(0).any(1) & truth.ne(0).any(1)).all()):
        raise ValueError("a vector of zeros has no direction: look for what made it so")
    return (F.normalize(vectors, dim=1) * F.normalize(truth, dim=1)).sum(1)


def aced_l1(vectors: Tensor, truth: Tensor) -> Tensor:
    """Sum of absolute differences: Duarte et al.'s average classifier embedding distance, section "Evaluation
    Protocol", theirs with a ResNet-50 trained on UMDFaces."""
    vectors, truth = _pair(vectors, truth)
    return (vectors - truth).abs().sum(1)


def aed_l2(vectors: Tensor, truth: Tensor) -> Tensor:
    """Euclidean distance. (The first-order motion model's script prints the mean of its squares.)"""
    vectors, truth = _pair(vectors, truth)
    return (vectors - truth).square().sum(1).sqrt()


@torch.no_grad()
def csim_synthetic(embedder: IdentityEmbedder, pictures: Tensor, truth: Tensor) -> Tensor:
    """`csim` by an embedder in evaluation mode that was trained on rendered people: a stand-in, not to be
    compared with any other CSIM. pictures and truth: B×3×96×96 in [0, 1], cropped as it was trained."""
    return csim(*_vectors(embedder, pictures, truth))


@torch.no_grad()
def aced_l1_synthetic(embedder: IdentityEmbedder, pictures: Tensor, sources: Tensor) -> Tensor:
    """`aced_l1` to the source's picture, by the same embedder, whose vectors have length 1: not to be
    compared with any other ACED."""
    return aced_l1(*_vectors(embedder, pictures, sources))


def _vectors(embedder: IdentityEmbedder, *shown: Tensor) -> list[Tensor]:
    for given in shown:
        if given.ndim != 4 or given.shape[1:] != (3, SIDE, SIDE):
            raise ValueError(f"pictures {tuple(given.shape)}: the embedder takes B×3×{SIDE}×{SIDE}")
    assert not embedder.training, "statistics of the batch would tell who is in the other pictures"
    return [embedder(given) for given in shown]


def _pair(vectors: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if vectors.ndim != 2 or vectors.shape != truth.shape:
        raise ValueError(
            f"vectors {tuple(vectors.shape)}, truth {tuple(truth.shape)}: both must be the same B×D"
        )
    return vectors.double(), truth.double()
