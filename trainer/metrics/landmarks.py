"""How far a face's landmarks are from the true ones.

points and truth: B×N×≥2 in crop units, of which x and y count; results B float64. valid, B bool: was a face
found in the picture that is judged.

A row in which none was found is the worst case and never left out: all its points count as off by the width
and by the height of the box around the truth's points, or, where some found row of the same call is off by
more, by as much as that. So no row gains by not being found. Give all rows of an evaluation in one call.

All raise ValueError where shapes don't fit, and where points of a found row or of the truth are not finite.
"""

import torch
from torch import Tensor

SIDE = 256  # pixels of the picture whose pixels are counted, whatever the crop's own size
EYE_CORNERS = (36, 45)  # the outer ones, of 68 landmarks
EYE_CORNERS_478 = (33, 263)


def akd_l2_256(points: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean Euclidean distance in pixels of a 256² picture."""
    points, truth, valid = _checked(points, truth, valid)
    distances = torch.linalg.vector_norm(points - truth, dim=2).mean(1)
    return SIDE * _with_worst(distances, torch.linalg.vector_norm(_box(truth), dim=1), valid)


def akd_l1_256(points: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean absolute difference of a coordinate in pixels of a 256² picture, as the pose-evaluation scripts
    count it; those leave out frames without a face, which here are the worst case."""
    points, truth, valid = _checked(points, truth, valid)
    return SIDE * _with_worst((points - truth).abs().mean((1, 2)), _box(truth).mean(1), valid)


def akd_interocular(
    points: Tensor, truth: Tensor, valid: Tensor | None = None, corners: tuple[int, int] = EYE_CORNERS
) -> Tensor:
    """Mean Euclidean distance, percent of that between the outer corners of the truth's eyes. corners: their
    numbers; `EYE_CORNERS_478` for 478 landmarks. Also raises ValueError where both lie in one place."""
    points, truth, valid = _checked(points, truth, valid)
    if max(corners) >= truth.shape[1]:
        raise ValueError(f"{truth.shape[1]} points have no number {max(corners)}: give the eyes' corners")
    between = torch.linalg.vector_norm(truth[:, corners[0]] - truth[:, corners[1]], dim=1)
    if not bool((between > 0).all()):
        raise ValueError("the corners of the truth's eyes lie in one place: leave such rows out")
    distances = torch.linalg.vector_norm(points - truth, dim=2).mean(1) / between
    return 100 * _with_worst(distances, torch.linalg.vector_norm(_box(truth), dim=1) / between, valid)


def _checked(points: Tensor, truth: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """x and y in float64, and which rows were found."""
    if points.ndim != 3 or points.shape[:2] != truth.shape[:2] or min(points.shape[2], truth.shape[2]) < 2:
        raise ValueError(
            f"points {tuple(points.shape)}, truth {tuple(truth.shape)}: both must be B×N×2 with the same B, N"
        )
    if valid is None:
        valid = torch.ones(len(points), dtype=torch.bool, device=points.device)
    if valid.shape != points.shape[:1] or valid.dtype != torch.bool:
        raise ValueError(f"valid is {tuple(valid.shape)} {valid.dtype}: expected {len(points)} bool")
    points, truth = points[..., :2].double(), truth[..., :2].double()
    if not bool(truth.isfinite().all()):
        raise ValueError("the truth's points are not finite: leave rows without a true face out")
    if not bool(points[valid].isfinite().all()):
        raise ValueError("points of a found row are not finite: mark rows without a face as not valid")
    return points, truth, valid


def _box(points: Tensor) -> Tensor:
    """B×2: width and height of the box around each row's points."""
    return points.amax(1) - points.amin(1)


def _with_worst(errors: Tensor, bounds: Tensor, valid: Tensor) -> Tensor:
    """errors with the worst case where a row is not valid; all B."""
    found = errors[valid]
    worst = torch.maximum(bounds, found.max()) if len(found) else bounds
    return torch.where(valid, errors, worst)
