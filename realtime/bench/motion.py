"""How well an avatar moves as its driver does: measures of one track of landmarks against another.

All are pure functions of landmarks (FaceMesh's 478, pixels, z in the scale of x). Each face is measured in
its own terms, so that people of different build can be compared: head rotation against the face's own first
frame, openings in widths of the face's own eyes and mouth.

yaw, pitch, roll: degrees of rotation since the reference frame. Positive yaw turns the face to the picture's
    right, positive pitch raises the chin, positive roll tilts the head clockwise as seen in the picture.
mouth: gap between the inner lips, in widths of the mouth in the reference frame.
lids: gap between the lids, in widths of the eye in the reference frame; mean of the two eyes, each counted by
    how wide it shows, so that the far eye of a turned face counts little.
closing: the same gap as a share of its median: 1 open, towards 0 closed, whatever the eye's shape.
gaze: where the iris is between the eye's corners, in eye widths from the middle, positive to the picture's
    right.
jitter: root mean square of the landmarks' second difference in time, over √6 (which makes it the standard
    deviation of independent noise), in distances between the outer eye corners, over the quarter of the
    frames in which the driver moves least.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from models.face_geometry import IRIS_LEFT, IRIS_RIGHT, RIGID, rigid_fit

Array = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]

LIP_GAPS = ((82, 87), (13, 14), (312, 317))  # upper, lower; inner lips
MOUTH_CORNERS = (78, 308)
# Of each eye, in the picture's order: corners from left to right, pairs of upper and lower lid, the iris's
# centre.
EYES = (
    ((33, 133), ((160, 144), (159, 145), (158, 153)), IRIS_LEFT[0]),
    ((362, 263), ((385, 380), (386, 374), (387, 373)), IRIS_RIGHT[0]),
)
STILL_SHARE = 0.25  # of the frames, in which jitter is measured

QUANTITIES = ("yaw", "pitch", "mouth", "lids", "closing", "gaze")
# The least standard deviation of the driver's own motion at which comparing with it says something: three to
# five times the measurement's noise (0.15°, 0.17°, 0.01, 0.004, 0.012 and 0.003 on faces some 120 pixels
# wide).
FLOORS = {"yaw": 0.5, "pitch": 0.5, "mouth": 0.03, "lids": 0.02, "closing": 0.06, "gaze": 0.01}


class Motion(NamedTuple):
    """One value a frame (T); NaN where the face was lost."""

    yaw: Array
    pitch: Array
    roll: Array
    mouth: Array
    lids: Array
    closing: Array
    gaze: Array


class Agreement(NamedTuple):
    """How one quantity of the avatar follows the driver's."""

    correlation: float
    slope: float  # least squares: change of the avatar's for a unit of the driver's
    spread: float  # standard deviation of the driver's
    frames: int  # in which both faces were found


def as_track(faces: Sequence[Points | None]) -> Array:
    """One array T×478×3 of landmarks a frame; NaN where there was no face."""
    return np.stack([np.full((478, 3), np.nan) if points is None else points for points in faces])


def motion(track: Array, reference: Points | None = None) -> Motion:
    """The motion in a track T×478×3. reference: 478×3, the face at rest; by default the first frame with a
    face.

    Raises ValueError where no frame has a face.
    """
    seen = ~np.isnan(track[:, 0, 0])
    if not seen.any():
        raise ValueError("no face in any frame")
    faces = track[seen]
    rest = faces[0] if reference is None else reference
    scale, rotation, shift = _head(rest, faces)
    # The faces with the head's own motion taken out: what is left is expression, in the reference frame's
    # pixels.
    still = np.einsum("tki,tij->tkj", faces - shift[:, None], rotation) / scale[:, None, None]
    lids = _eye_opening(still, rest)
    values = {
        "yaw": np.degrees(np.arctan2(-rotation[:, 0, 2], rotation[:, 2, 2])),
        "pitch": np.degrees(np.arcsin(np.clip(rotation[:, 1, 2], -1, 1))),
        "roll": np.degrees(np.arctan2(rotation[:, 1, 0], rotation[:, 1, 1])),
        "mouth": _gap(still, LIP_GAPS) / np.linalg.norm(rest[MOUTH_CORNERS[0]] - rest[MOUTH_CORNERS[1]]),
        "lids": lids,
        "closing": lids / np.median(lids),
        "gaze": _gaze(faces),
    }
    return Motion(**{name: _spread_out(value, seen) for name, value in values.items()})


def _head(rest: Points, faces: Array) -> tuple[Array, Array, Array]:
    """Scale T, rotation T×3×3 and shift T×3 of the head since `rest`."""
    target = torch.from_numpy(faces[:, list(RIGID)].astype(np.float64))
    source = torch.from_numpy(rest[list(RIGID)].astype(np.float64)).expand_as(target)
    scale, rotation, shift = rigid_fit(source, target)
    return scale.numpy(), rotation.numpy(), shift.numpy()


def _gap(faces: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """Mean distance of the pairs in the picture plane, T."""
    above, below = np.array(pairs).T
    gaps: Array = np.linalg.norm(faces[:, above, :2] - faces[:, below, :2], axis=2).mean(1)
    return gaps


def _eye_opening(still: Array, rest: Points) -> Array:
    """Lid gap in eye widths, T: the mean of both eyes by how wide each shows in `rest`."""
    gaps, shown = [], []
    for (left, right), lids, _ in EYES:
        gaps.append(_gap(still, lids) / np.linalg.norm(rest[left] - rest[right]))
        shown.append(float(np.linalg.norm(rest[left, :2] - rest[right, :2])))
    opening: Array = np.average(gaps, axis=0, weights=shown)
    return opening


def _gaze(faces: Array) -> Array:
    """Place of the iris along the eye, in eye widths from its middle, T: the mean of both eyes by how wide
    each shows."""
    along, widths = [], []
    for (left, right), _, iris in EYES:
        axis = faces[:, right, :2] - faces[:, left, :2]
        width = np.linalg.norm(axis, axis=1)
        middle = (faces[:, right, :2] + faces[:, left, :2]) / 2
        along.append(((faces[:, iris, :2] - middle) * axis).sum(1) / width)
        widths.append(width)
    gaze: Array = np.sum(along, axis=0) / np.sum(widths, axis=0)
    return gaze


def _spread_out(values: Array, seen: npt.NDArray[np.bool_]) -> Array:
    whole = np.full(len(seen), np.nan)
    whole[seen] = values
    return whole


def agreement(driver: Array, avatar: Array) -> Agreement:
    """Compare one quantity over the frames in which both are known. Fewer than three such frames, or a driver
    that does not
    move at all, say nothing: NaN. An avatar that does not move follows nothing: 0."""
    both = ~(np.isnan(driver) | np.isnan(avatar))
    x, y = driver[both], avatar[both]
    if len(x) < 3 or x.std() == 0:
        return Agreement(float("nan"), float("nan"), float(x.std()) if len(x) else 0.0, len(x))
    covariance = float(((x - x.mean()) * (y - y.mean())).mean())
    correlation = covariance / float(x.std() * y.std()) if y.std() > 0 else 0.0
    return Agreement(correlation, covariance / float(x.var()), float(x.std()), len(x))


def jitter(driver: Array, avatar: Array) -> tuple[float, float]:
    """The driver's and the avatar's jitter over the driver's stillest frames; tracks T×478×3.

    NaN where there are not four frames whose neighbours show both faces.
    """
    seen = ~(np.isnan(driver[:, 0, 0]) | np.isnan(avatar[:, 0, 0]))
    middle = np.flatnonzero(seen[:-2] & seen[1:-1] & seen[2:]) + 1
    if len(middle) < 4:
        return float("nan"), float("nan")
    travel = np.square(driver[middle + 1, :, :2] - driver[middle - 1, :, :2]).sum(2).mean(1)
    still = middle[np.argsort(travel, kind="stable")[: max(4, round(STILL_SHARE * len(middle)))]]
    return _second_difference(driver, still), _second_difference(avatar, still)


def _second_difference(track: Array, frames: npt.NDArray[np.int64]) -> float:
    xy = track[:, :, :2]
    between = np.linalg.norm(xy[frames, 33] - xy[frames, 263], axis=1)
    bend = (xy[frames - 1] - 2 * xy[frames] + xy[frames + 1]) / between[:, None, None]
    return float(np.sqrt(np.square(bend).mean() / 6))
