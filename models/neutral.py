"""Which frame of a clip shows its driver at rest."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.face_tracker import Points

# Landmarks: lip edges, lid edges, eye corners, nose tip, the face's edges beside it.
LIPS = ((13, 14), (82, 87), (312, 317))
LIDS = ((159, 145), (386, 374))
NOSE, CHEEKS = 1, (234, 454)
OUTER_CORNERS = (33, 263)
NO_FACE = "no face found in any frame of the driving footage: use a clip whose face is upright and well lit"

OPEN_QUANTILE = 0.8  # of the lids over the clip: what counts as open eyes


def most_neutral(track: Sequence[Points | None]) -> int:
    """The index of the frame whose mouth is the most closed, the eyes open, the head straight and still.

    track: landmarks of each frame, None where no face was seen. Raises ValueError where there is none at all.
    """
    seen = [index for index, points in enumerate(track) if points is not None]
    if not seen:
        raise ValueError(NO_FACE)
    points = np.array([track[index] for index in seen])  # K×478×3
    eyes = np.linalg.norm(points[:, OUTER_CORNERS[0]] - points[:, OUTER_CORNERS[1]], axis=1)  # K, pixels
    lids = _gaps(points, LIDS) / eyes
    shut = np.maximum(np.quantile(lids, OPEN_QUANTILE) - lids, 0)
    cost = 2 * _gaps(points, LIPS) / eyes + 4 * shut + _turn(points) / eyes + 4 * _speed(points, seen) / eyes
    return seen[int(np.argmin(cost))]


def _gaps(points: npt.NDArray[np.float64], pairs: Sequence[tuple[int, int]]) -> npt.NDArray[np.float64]:
    """Mean distance of the pairs, K."""
    gaps = [np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1) for a, b in pairs]
    return np.asarray(np.mean(gaps, axis=0))


def _turn(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far the nose is from the middle between the cheeks, and its height from the clip's usual one, K."""
    along = points[:, OUTER_CORNERS[1], :2] - points[:, OUTER_CORNERS[0], :2]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    aside = points[:, NOSE, :2] - points[:, CHEEKS, :2].mean(1)
    below = points[:, NOSE, :2] - points[:, OUTER_CORNERS, :2].mean(1)
    drop = (below * across).sum(1)
    return np.asarray(np.abs((aside * along).sum(1)) + np.abs(drop - np.median(drop)))


def _speed(points: npt.NDArray[np.float64], seen: Sequence[int]) -> npt.NDArray[np.float64]:
    """Mean motion of the landmarks to the frames before and after, K; no neighbour, no motion."""
    step = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=2).mean(1)
    step[np.diff(seen) > 1] = 0
    return np.asarray(np.maximum(np.append(step, 0), np.append(0, step)))
