"""What is in a code: can motion, or a person, be read off it?

Codes are n×D, any floating type. Results are float64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

RIDGES = tuple(10.0**power for power in range(-6, 4))  # a row, of standardised codes
FOLDS = 5
AT_ONCE = 1024  # rows whose neighbours are looked for together
EQUAL = 1e-9  # numbers of about 1 that differ by less are


class Probe(NamedTuple):
    """What a linear probe reads off codes of people that it never saw."""

    r2: Tensor  # T float64: of each target; at most 1, below 0 where the mean of the targets does better
    mean: float  # over the targets
    ridges: Tensor  # T float64: the strength that was chosen for each
    n_train: int
    n_test: int


class Retrieval(NamedTuple):
    """How often the nearest other row is of the same person."""

    share: float  # [0, 1]
    chance: float  # [0, 1]: of a neighbour that is drawn at random
    n: int


def linear_probe_r2(
    codes_train: Tensor,
    targets_train: Tensor,
    codes_test: Tensor,
    targets_test: Tensor,
    groups_train: Tensor | None = None,
    ridges: Sequence[float] = RIDGES,
) -> Probe:
    """R² of ridge regression from codes n×D to targets n×T, on codes that it was not fitted to:
    1 − Σ(y − ŷ)² / Σ(y − ȳ)², ȳ the mean of the test's own targets.

    Codes are standardised by the training rows. Each target's strength of the ridge is the one that predicts
    best in a five-fold trial within the training rows. groups_train, n: the person or clip of each training
    row, whose rows stay in one fold; else rows are dealt out at random with a fixed seed. That no person is
    both in train and in test is the caller's to see to. Raises ValueError where shapes don't fit, where
    there are fewer than five rows or two groups to fit, and for a target that doesn't vary in the test.
    """
    x, y = _matching(codes_train, targets_train, "training")
    x_test, y_test = _matching(codes_test, targets_test, "test")
    if x.shape[1] != x_test.shape[1] or y.shape[1] != y_test.shape[1]:
        raise ValueError("training and test have other numbers of codes' or targets' columns")
    spread = (y_test - y_test.mean(0)).square().sum(0)
    if not bool((spread > 0).all()):
        raise ValueError(f"target {int((spread <= 0).nonzero()[0])} doesn't vary in the test: leave it out")
    errors = torch.zeros(len(ridges), y.shape[1], dtype=y.dtype, device=y.device)
    fold = _folds(len(x), groups_train).to(x.device)
    for part in range(int(fold.max()) + 1):
        left_out = fold == part
        predicted = _ridge(x[~left_out], y[~left_out], x[left_out], ridges)
        errors += (predicted - y[left_out]).square().sum(1)
    best = errors.argmin(0)
    predicted = _ridge(x, y, x_test, ridges)
    chosen = predicted[best, :, torch.arange(y.shape[1], device=y.device)].T
    r2 = 1 - (chosen - y_test).square().sum(0) / spread
    strengths = torch.tensor(ridges, dtype=torch.float64, device=y.device)[best]
    return Probe(r2, float(r2.mean()), strengths, len(x), len(x_test))


def retrieval_at_1(codes: Tensor, identities: Tensor, clips: Tensor | None = None) -> Retrieval:
    """How often the nearest neighbour of a row among all others is of the same identity.

    Nearest is by cosine, of codes whose columns are standardised. Where several are equally near, the share
    of them that is right counts, so that codes that say nothing end exactly at chance. codes: n×D;
    identities: n int64. clips, n int64: rows of one clip are no neighbours of each other; without, frames of
    one clip find one another by their pose, whatever the code holds of the person. Raises ValueError where
    shapes don't fit, and for a row that has no other of its identity, or none of another, to be found.
    """
    if codes.ndim != 2 or identities.shape != codes.shape[:1]:
        raise ValueError(
            f"codes {tuple(codes.shape)}, identities {tuple(identities.shape)}: expected n×D and n"
        )
    own = torch.arange(len(codes), device=codes.device) if clips is None else clips
    if own.shape != identities.shape:
        raise ValueError(f"clips {tuple(own.shape)}: expected one for each of the {len(codes)} codes")
    x = _standardised(codes.double(), codes.double())
    x = torch.nn.functional.normalize(x, dim=1)
    hits, chances = [], []
    for start in range(0, len(x), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        other = own[rows, None] != own
        same = (identities[rows, None] == identities) & other
        right, among = same.sum(1), other.sum(1)
        if not bool(((right > 0) & (right < among)).all()):
            raise ValueError("each row needs another of its identity, in another clip, and one of another")
        chances.append(right.double() / among)
        cosine = (x[rows] @ x.T).masked_fill(~other, -2.0)
        nearest = cosine >= cosine.amax(1, keepdim=True) - EQUAL
        hits.append((nearest & same).sum(1).double() / nearest.sum(1))
    return Retrieval(float(torch.cat(hits).mean()), float(torch.cat(chances).mean()), len(x))


def swap_error(found: Tensor, wanted: Tensor, other: Tensor) -> Tensor:
    """B in [0, 1]: after two pictures' codes were exchanged, whose is what was drawn?

        |found − wanted| / (|found − wanted| + |found − other|)

    found: B×…, a code (or parameters) read off the picture that was drawn; wanted: that of the one whose it
    was to take; other: that of the other. 0: it is the wanted; ½: as far from both; 1: nothing was exchanged.
    Raises ValueError where shapes differ, and where found, wanted and other are all the same.
    """
    if not found.shape == wanted.shape == other.shape:
        raise ValueError("found, wanted and other must be of one shape")
    off, across = (
        (found.double() - one.double()).flatten(1).square().sum(1).sqrt() for one in (wanted, other)
    )
    if not bool((off + across > 0).all()):
        raise ValueError("what was exchanged is the same in both: choose pairs that differ")
    return off / (off + across)


def _matching(codes: Tensor, targets: Tensor, which: str) -> tuple[Tensor, Tensor]:
    if codes.ndim != 2 or targets.ndim != 2 or len(codes) != len(targets):
        raise ValueError(
            f"{which} codes {tuple(codes.shape)}, targets {tuple(targets.shape)}: expected n×D and n×T"
        )
    return codes.double(), targets.double()


def _folds(count: int, groups: Tensor | None) -> Tensor:
    """count int64: which fold each row is in."""
    if groups is None:
        groups = torch.arange(count)
    elif groups.shape != (count,):
        raise ValueError(f"groups {tuple(groups.shape)}: expected one for each of the {count} training rows")
    names, number = np.unique(groups.cpu().numpy(), return_inverse=True)
    found = len(names)
    if count < FOLDS or found < 2:
        raise ValueError(f"{count} training rows of {found} groups: at least {FOLDS} of 2 are needed")
    dealt = torch.randperm(found, generator=torch.Generator().manual_seed(0)) % min(FOLDS, found)
    return dealt[torch.from_numpy(number)]


def _ridge(x: Tensor, y: Tensor, x_new: Tensor, ridges: Sequence[float]) -> Tensor:
    """R×m×T: what is predicted with each strength. Minimises |Xw − y|² / n + ridge |w|²."""
    mean = y.mean(0)
    u, s, v = torch.linalg.svd(_standardised(x, x), full_matrices=False)
    inner = u.T @ (y - mean)
    onto = _standardised(x_new, x) @ v.T
    shrunk = [(s / (s**2 + len(x) * ridge))[:, None] * inner for ridge in ridges]
    return torch.stack([mean + onto @ weights for weights in shrunk])


def _standardised(x: Tensor, by: Tensor) -> Tensor:
    """Columns that don't vary in `by`, but for what rounding does, are 0."""
    spread = by.std(0, correction=0)
    varies = spread > EQUAL * by.abs().amax(0)
    return (x - by.mean(0)) / torch.where(varies, spread, torch.inf)
