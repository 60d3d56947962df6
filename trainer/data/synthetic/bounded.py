"""Least squares whose unknowns have bounds."""

import torch
from torch import Tensor

SWEEPS = 60
CLOSE = 1e-7  # the greatest change of an unknown in a sweep at which no more are needed


def bounded_ridge(design: Tensor, seen: Tensor, ridge: Tensor) -> Tensor:
    """The x in [0, 1] with the least ‖design·x − seen‖² + Σ ridge·x²: F×K, for each of F problems.

    design: M×K; seen: F×M; ridge: K, above 0. One unknown after the other is set to its best value within
    the bounds, which converges for any such problem since it is strictly convex (coordinate descent: D. P.
    Bertsekas, Nonlinear Programming, 2nd edition, 1999, section 2.7).
    """
    gram = design.T @ design + torch.diag(ridge)
    towards = seen @ design  # F×K
    found = torch.zeros_like(towards)
    for _ in range(SWEEPS):
        before = found.clone()
        for k in range(gram.shape[0]):
            missing = towards[:, k] - found @ gram[k]
            found[:, k] = (found[:, k] + missing / gram[k, k]).clamp(0, 1)
        if (found - before).abs().max() < CLOSE:
            break
    return found
