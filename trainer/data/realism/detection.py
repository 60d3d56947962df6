"""Does MediaPipe take renders for faces, and do its landmarks lie where they truly are?

Errors are in percent of the interocular distance: that of the eyes' outer corners in the picture, by the
truth.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.face_geometry import EYE_CORNERS, LANDMARKS_68, LIP_CORNERS
from models.face_tracker import Box, FaceDetector, FaceTracker, Points, box_of, settled_points
from trainer.data.realism.readings import Findings, Reading
from trainer.data.realism.renders import Draw, Order, draw_all, frontal, orders_of, turned

PART = "detection"
SIZE = 256
FRONTAL = 10.0  # degrees of yaw and of pitch
FRAMES = 2  # of each person

Array = npt.NDArray[np.float64]

# Of the 68 points.
REGIONS = {
    "contour": range(17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "mouth": range(48, 68),
}
LIDS = ((159, 145), (386, 374))  # middle of the upper and of the lower lid, the picture's left eye first


class Look(NamedTuple):
    """A render, and what was seen in it. Pixels."""

    angles: Array  # 3 degrees
    truth: Points
    found: bool  # by the detector, where the face is
    points: Points | None  # the tracker's


def measure(count: int, seed: int, workers: int) -> Findings:
    """Of `count` renders at 256², half of them nearly frontal, half within ±30° of yaw and ±20° of pitch."""
    looks = list(looks_at(count, seed, workers))
    facing = [one for one in looks if is_frontal(one.angles)]
    seen = [one for one in looks if one.points is not None]
    readings = [
        Reading(PART, f"faces found, within ±30° of yaw (n={len(looks)})", _share(looks), "%", least=95),
        Reading(PART, f"faces found, frontal (n={len(facing)})", _share(facing), "%", least=99),
    ]
    if not seen:
        return Findings(readings, ["detection: no landmarks were found, so there is no error to tell"])
    errors = 100 * np.stack([landmark_errors(_points(one), one.truth) for one in seen])  # n×478
    name = f"landmarks' mean error, % of the interocular distance (n={len(seen)})"
    readings.append(Reading(PART, name, float(errors.mean()), "%", most=5))
    for region, rows in REGIONS.items():
        value = errors[:, [LANDMARKS_68[row] for row in rows]].mean()
        readings.append(Reading(PART, f"… {region}, of the 68", float(value), "%"))
    near = np.array([is_frontal(one.angles) for one in seen])
    for words, those in (("frontal", near), ("turned", ~near)):
        if those.any():
            readings.append(Reading(PART, f"… {words} faces", float(errors[those].mean()), "%"))
    for words, ratio in (("mouth", mouth_opening), ("eye", eye_opening)):
        values = np.array([(ratio(_points(one)), ratio(one.truth)) for one in seen])
        value = correlation(values[:, 0], values[:, 1])
        readings.append(Reading(PART, f"correlation of {words} opening", value, least=0.95))
    bias = signed_bias(seen)
    worst = ", ".join(f"{region} {x:+.1f} {y:+.1f}" for region, (x, y) in bias.items())
    return Findings(
        readings,
        [
            "detection: interocular distance: of the eyes' outer corners in the picture, by the truth; "
            "the error is the mean over 478 landmarks and the renders in which the tracker sees a face",
            f"detection: found minus true, % of that distance to the right and down: {worst}",
        ],
    )


def looks_at(count: int, seed: int, workers: int) -> Iterator[Look]:
    """Renders, as the detector and the tracker see them; a fresh person every FRAMES."""
    people = -(-count // (2 * FRAMES))
    orders: list[Order] = []
    drawn: list[tuple[int, Draw]] = [(0, frontal), (people, turned)]
    for first, motion in drawn:
        orders += orders_of(range(first, first + people), FRAMES, motion, SIZE, seed)
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    with FaceDetector() as detector, FaceTracker() as tracker:
        for shots in draw_all(orders, workers):
            for picture, points, angles in zip(shots.picture, shots.points, shots.angles, strict=True):
                truth = points.astype(np.float64) * SIZE
                there = is_found(detector.detect(picture), truth)
                tracker.track(blank)  # so that it forgets the last picture's face
                yield Look(angles.astype(np.float64), truth, there, settled_points(picture, tracker))


def is_found(boxes: list[Box], truth: Points) -> bool:
    """Is one of the boxes the face's?"""
    return any(box.overlaps(box_of(truth)) for box in boxes)


def is_frontal(angles: Array) -> bool:
    """angles: yaw, pitch, …, degrees."""
    return bool((np.abs(angles[:2]) < FRONTAL).all())


def interocular(points: Array) -> float:
    """Between the eyes' outer corners in the picture, in its units. points: 478×≥2."""
    return float(np.linalg.norm(points[EYE_CORNERS[0], :2] - points[EYE_CORNERS[3], :2]))


def landmark_errors(points: Array, truth: Array) -> Array:
    """How far each point lies from the truth, in the truth's interocular distance: 478."""
    return np.asarray(np.linalg.norm(points[:, :2] - truth[:, :2], axis=1) / interocular(truth))


def mouth_opening(points: Array) -> float:
    """Height of the gap between the lips / width of the mouth, in the picture."""
    return _apart(points, 13, 14) / _apart(points, *LIP_CORNERS)


def eye_opening(points: Array) -> float:
    """Height of the gap between the lids / width of the eye, in the picture: the mean of both eyes."""
    corners = (EYE_CORNERS[:2], EYE_CORNERS[2:])
    return (
        sum(_apart(points, *lid) / _apart(points, *ends) for lid, ends in zip(LIDS, corners, strict=True)) / 2
    )


def correlation(a: Array, b: Array) -> float:
    """Pearson's; NaN where either doesn't vary."""
    if len(a) < 2 or not a.std() or not b.std():
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def signed_bias(seen: list[Look]) -> dict[str, tuple[float, float]]:
    """Mean of found minus true, percent of the interocular distance, for each region of the 68."""
    rows = list(LANDMARKS_68)
    shifts = [(_points(one) - one.truth)[rows, :2] / interocular(one.truth) for one in seen]
    mean = 100 * np.mean(shifts, axis=0)
    return {
        name: (float(mean[list(part), 0].mean()), float(mean[list(part), 1].mean()))
        for name, part in REGIONS.items()
    }


def _points(look: Look) -> Points:
    assert look.points is not None
    return look.points


def _apart(points: Array, a: int, b: int) -> float:
    return float(np.linalg.norm(points[a, :2] - points[b, :2]))


def _share(looks: list[Look]) -> float:
    """Percent found."""
    return 100 * float(np.mean([one.found for one in looks])) if looks else float("nan")
