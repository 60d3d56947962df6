"""How close an avatar's frames come to the frames they should have been: measures of pictures against
pictures.

All are pure functions. Pictures are H×W×3 uint8 RGB; landmarks are K×≥2 in pixels; a track is one K×≥2 array
a frame, or None where no face was found.

psnr: dB, over all three channels.
ssim: the structural similarity of Wang et al. (2004) with a uniform 7×7 window and sample covariances, per
channel, mean.
akd: mean distance of the first 468 landmarks, in percent of the distance between the outer eye corners.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

MESH = 468  # landmarks of the mesh; the irises are not counted
BOX = 1.4  # side of the face box / longer side of the landmarks' own box
WINDOW = 7  # of ssim, pixels
OUTER_CORNERS = (33, 263)  # of the eyes


class Fidelity(NamedTuple):
    """Means over a clip's frames, inside the face box."""

    psnr: float  # dB
    ssim: float
    akd: float  # percent of the distance between the outer eye corners
    face: float  # share of the frames in which the avatar's face was found


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio, dB; 90 for equal pictures."""
    error = np.square(a.astype(np.float64) - b).mean() / 255**2
    return float(-10 * np.log10(max(error, 1e-9)))


def ssim(a: Picture, b: Picture) -> float:
    """Structural similarity, at most 1. Raises ValueError where the pictures differ in size or are smaller
    than the window."""
    if a.shape != b.shape or min(a.shape[:2]) < WINDOW:
        raise ValueError(
            f"ssim wants two pictures of one size, at least {WINDOW} pixels wide: {a.shape}, {b.shape}"
        )
    x, y = a.astype(np.int64), b.astype(np.int64)
    count = WINDOW * WINDOW
    mean_x, mean_y = _window_sum(x) / count, _window_sum(y) / count
    sample = count / (count - 1)
    var_x = sample * (_window_sum(x * x) / count - mean_x * mean_x)
    var_y = sample * (_window_sum(y * y) / count - mean_y * mean_y)
    cov = sample * (_window_sum(x * y) / count - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    below = (mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2)
    return float((above / below).mean())


def _window_sum(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sums over every whole window, exact: H×W×C → (H-6)×(W-6)×C."""
    table = np.pad(values, ((1, 0), (1, 0), (0, 0))).cumsum(0).cumsum(1)
    n = WINDOW
    sums: npt.NDArray[np.int64] = table[n:, n:] - table[:-n, n:] - table[n:, :-n] + table[:-n, :-n]
    return sums


def face_box(points: Points, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of the square of `BOX` times the landmarks' size, cut at the picture's edges."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    centre, half = (low + high) / 2, BOX / 2 * (high - low).max()
    x0, y0 = np.clip((centre - half).astype(int), 0, (width - 1, height - 1))
    x1, y1 = np.clip((centre + half).astype(int), 1, (width, height))
    return slice(y0, y1), slice(x0, x1)


def akd(truth: Points, made: Points) -> float:
    """Mean landmark distance, percent of the truth's distance between the outer eye corners."""
    distance = np.linalg.norm(truth[:MESH, :2] - made[:MESH, :2], axis=1).mean()
    between = np.linalg.norm(truth[OUTER_CORNERS[0], :2] - truth[OUTER_CORNERS[1], :2])
    return float(100 * distance / between)


def fidelity(
    truth: Sequence[Picture],
    made: Sequence[Picture],
    truth_track: Sequence[Points | None],
    made_track: Sequence[Points | None],
) -> Fidelity:
    """Score one clip. Frames in which the truth shows no face are left out; a made frame without a face
    counts as one whose face had stayed where the truth's was first. Raises ValueError where the truth never
    shows a face."""
    first = next((points for points in truth_track if points is not None), None)
    if first is None:
        raise ValueError("no face in any frame of the driving clip")
    rows, found = [], 0
    for a, b, points, seen in zip(truth, made, truth_track, made_track, strict=True):
        if points is None:
            continue
        height, width = a.shape[:2]
        box = face_box(points[:MESH], width, height)
        found += seen is not None
        rows.append(
            (psnr(a[box], b[box]), ssim(a[box], b[box]), akd(points, first if seen is None else seen))
        )
    means = np.mean(rows, axis=0)
    return Fidelity(float(means[0]), float(means[1]), float(means[2]), found / len(rows))
