"""Have rendered people human proportions, and as varied ones as humans?

Ratios are measured on landmarks that are turned to the front by the rigid fit to the mean face:
    face width / height    234 to 454 / 10 to 152
    eye spacing            133 to 362, the inner corners / 33 to 263, the outer ones
    mouth width            61 to 291 / face width
    nose length            168 to 2 / face height

Lengths of neutral faces are compared with those of 3,997 adults, 2,543 men and 1,454 women, measured with
calipers: National Institute for Occupational Safety and Health, head-and-face anthropometric survey of U.S.
respirator users (2003), data set RD-10130-2020-0, in the public domain. They are plain means and standard
deviations of its records, which were gathered by age, sex and race so that no group is rare, as none is among
the rendered; Z. Zhuang and B. Bradtmiller, Journal of Occupational and Environmental Hygiene 2 (2005), weight
them to the population.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from models.face_geometry import RIGID, rigid_fit
from models.face_tracker import FaceTracker, settled_points
from trainer.data.realism.media import clips, portraits
from trainer.data.realism.readings import Findings, Reading
from trainer.data.realism.renders import draw_all, orders_of, portrait
from trainer.data.synthetic.face import mean_landmarks
from trainer.data.synthetic.figure import make_figure, pose, rest
from trainer.data.synthetic.people import draw_identity

PART = "anthropometry"
SIZE = 256
AT_ONCE = 50  # people
RATIO_LIMITS = (1.0, 99.0)  # percentiles
MOST_SPREAD = 2.0  # rendered / published

Array = npt.NDArray[np.float64]


class Group(NamedTuple):
    """Published: mean and standard deviation, mm."""

    men: tuple[float, float]
    women: tuple[float, float]

    @property
    def variation(self) -> float:
        """Standard deviation / mean of as many men as women, percent."""
        (a, s), (b, t) = self.men, self.women
        return 100 * float(np.sqrt((s**2 + t**2) / 2 + (a - b) ** 2 / 4) / ((a + b) / 2))


class Length(NamedTuple):
    """A length on the face, and what is published of it."""

    ends: tuple[int, int]  # landmarks
    published: Group


# The wings of the nose end at 48 and 278, judged by eye on frontal pictures: 129 and 358, further out, lie on
# the cheeks beside all but broad noses, 98 and 327 beneath the wings, 219 and 439 on them.
LENGTHS = {
    "face width (bizygomatic breadth)": Length((234, 454), Group((143.9, 6.9), (136.2, 6.5))),
    "face length (menton to sellion)": Length((168, 152), Group((123.2, 7.2), (114.2, 6.5))),
    "eye spacing (interpupillary distance)": Length((468, 473), Group((65.1, 3.8), (63.1, 4.0))),
    "mouth width (lip length)": Length((61, 291), Group((51.7, 4.3), (49.2, 4.5))),
    "nose length (subnasale to sellion)": Length((168, 2), Group((51.9, 4.1), (47.7, 3.8))),
    "nose width (nose breadth)": Length((48, 278), Group((37.8, 4.8), (35.8, 4.9))),
}

RATIOS: dict[str, Callable[[Array], Array]] = {
    "face width / height": lambda p: _apart(p, 234, 454) / _apart(p, 10, 152),
    "eye spacing": lambda p: _apart(p, 133, 362) / _apart(p, 33, 263),
    "mouth width": lambda p: _apart(p, 61, 291) / _apart(p, 234, 454),
    "nose length": lambda p: _apart(p, 168, 2) / _apart(p, 10, 152),
}


def measure(people: int, tracked: int, seed: int, workers: int, media: Path | None) -> Findings:
    """Of `people` by the truth, and of `tracked` of them by MediaPipe on a portrait of each."""
    truth = true_points(people, seed)
    facing = to_front(true_points(people, seed, smiling=True))
    seen = to_front(seen_points(tracked, seed, workers))
    readings = []
    for name, length in LENGTHS.items():
        value = variation(_apart(truth, *length.ends)) / length.published.variation
        words = f"spread of {name}, rendered / published"
        readings.append(Reading(PART, words, value, most=MOST_SPREAD))
        mean = 10 * float(_apart(truth, *length.ends).mean())
        readings.append(Reading(PART, f"… its mean (published: {_both(length.published)})", mean, "mm"))
    notes = [
        "anthropometry: spread is standard deviation / mean; of the published ones, of as many men as women",
        "anthropometry: lengths are those of faces at rest; some of those whose ratios are taken smile",
        "anthropometry: rendered ratios, 1st to 99th percentile, by the truth and as MediaPipe sees renders: "
        + "; ".join(f"{name} {_range(of(facing))}, {_range(of(seen))}" for name, of in RATIOS.items()),
    ]
    if media is None:
        return Findings(readings, [*notes, "anthropometry: no real faces, which --media DIR would name"])
    real = real_points(media)
    faces = to_front(np.stack(list(real.values())))
    for name, of in RATIOS.items():
        for words, rendered in (("the truth", facing), ("MediaPipe", seen)):
            inside = within(of(faces), of(rendered))
            share, goal = 100 * float(inside.mean()), 100.0 if words == "MediaPipe" else None
            label = f"real faces within the rendered {name}, by {words} (n={len(faces)})"
            readings.append(Reading(PART, label, share, "%", least=goal))
            if not inside.all():
                out = [f"{who} {x:.3f}" for who, x, ok in zip(real, of(faces), inside, strict=True) if not ok]
                notes.append(f"anthropometry: outside the rendered {name} by {words}: {', '.join(out)}")
    return Findings(readings, notes)


def true_points(people: int, seed: int, smiling: bool = False) -> Array:
    """True landmarks of faces at rest, or as people look in portraits: P×478×3 cm, in front of the camera."""
    found = []
    with torch.inference_mode():
        for first in range(0, people, AT_ONCE):
            indices = range(first, min(first + AT_ONCE, people))
            figure = make_figure(draw_identity(seed, indices).shape)
            motion = portrait(seed, indices) if smiling else rest(len(indices))
            found.append(pose(figure, torch.arange(len(indices)), motion).landmarks)
    return torch.cat(found).double().numpy()


def seen_points(people: int, seed: int, workers: int) -> Array:
    """What MediaPipe sees in a portrait of each: n×478×3 pixels. Raises ValueError where it sees no face in
    any."""
    found = []
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    with FaceTracker() as tracker:
        for shots in draw_all(orders_of(range(people), 1, portrait, SIZE, seed, stream=4), workers):
            tracker.track(blank)  # so that it forgets the last one
            points = settled_points(shots.picture[0], tracker)
            if points is not None:
                found.append(points)
    if not found:
        raise ValueError(f"MediaPipe sees no face in any of {people} portraits")
    return np.stack(found)


def real_points(media: Path) -> dict[str, Array]:
    """One face each of portraits and clips by name; of a clip the mean of its frames, turned to the front."""
    real: dict[str, Array] = {}
    for seen in portraits(media):
        assert seen.points[0] is not None
        real[seen.name] = to_front(seen.points[0][None])[0]
    for seen in clips(media):
        points = [one for one in seen.points if one is not None]
        if points:
            real[seen.name] = to_front(np.stack(points)).mean(0)
    if not real:
        raise ValueError(f"no faces are found in {media}")
    return real


def to_front(points: Array) -> Array:
    """Landmarks (N×478×3, any unit) turned and scaled to fit the mean face: N×478×3 cm."""
    found = torch.from_numpy(np.asarray(points, np.float64))
    mean = torch.from_numpy(np.asarray(mean_landmarks(), np.float64)).expand(len(found), -1, -1)
    scale, rotation, shift = rigid_fit(found[:, list(RIGID)], mean[:, list(RIGID)])
    turned = scale.view(-1, 1, 1) * found @ rotation.transpose(1, 2) + shift[:, None]
    return np.asarray(turned.numpy())


def within(values: Array, of: Array) -> npt.NDArray[np.bool_]:
    """Which values lie between the 1st and the 99th percentile of others."""
    low, high = np.percentile(of, RATIO_LIMITS)
    return np.asarray((values >= low) & (values <= high))


def variation(values: Array) -> float:
    """Standard deviation / mean, percent."""
    return 100 * float(values.std() / values.mean())


def _apart(points: Array, a: int, b: int) -> Array:
    """Across the picture plane for faces turned to the front: N."""
    return np.asarray(np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1))


def _range(values: Array) -> str:
    low, high = np.percentile(values, RATIO_LIMITS)
    return f"{low:.3f} to {high:.3f}"


def _both(group: Group) -> str:
    return f"{group.men[0]:g} and {group.women[0]:g}"
