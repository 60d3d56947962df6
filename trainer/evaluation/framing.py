"""What a network sees of a pair, and where the truth lies.

Networks that are trained here see every frame in its own square, and the truth is cut by its own, too: as in
training (`trainer.feed`).

Others (`warp`, `liveportrait`) bring a head's way through the picture along. A generator draws into the
source's crop: source and truth are therefore cut by one square, by the network's rule for sources, and the
driving frames by another, each the mean of the clip's K squares. Since both clips do the same, the driver's
head lies in his square where the truth's lies in its own, and a perfect network could draw the truth. Those
whose rule turns the crop, or asks to be exact, see each driving frame in its own square all the same.

A network that reads nothing but the driver's picture sees the driver by the rule for sources; others have
their own rule.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.contract import CropRule, Observation, Reenactor, Spec, map_code
from models.observation import observe, to_unit
from trainer import recipes
from trainer.data.samples import UNKNOWN, Sample
from trainer.data.views import Steady, Views, views_of
from trainer.evaluation.pairs import Pair

Network = Reenactor[Any, Any]
FACE = (1, 3, 4, 5, 7)  # labels of what a face shows: skin, eyes, mouth, lips, glasses
DIRECTIONS = 64  # in which a hull is measured


class Framed(NamedTuple):
    """A pair in a network's crops."""

    source: Observation  # 1
    rest: Observation  # 1, the driver's frame 0
    driving: Observation  # F
    truth: Tensor  # F×3×S×S
    mask: Tensor | None  # F×1×S×S bool: the face; absent where nobody knows
    points: Tensor  # F×N×3, the truth's, crop units
    valid: Tensor  # F bool: are they right


def steady_of(spec: Spec) -> Steady:
    """Whether a network's clips are cut by one square."""
    return "frame" if spec.name in recipes.MODULES else "clip"


def driving_rule(spec: Spec) -> CropRule:
    """By which a driver is cropped."""
    plain = not (spec.source.upright or spec.driving.upright or spec.driving.exact)
    if spec.reads == {"image"} and plain:
        return replace(spec.source, size=spec.driving.size)
    return spec.driving


def framed(pair: Pair, spec: Spec) -> Framed:
    """A pair as the network of that spec sees it, where the pair's pictures are."""
    steady = steady_of(spec)
    target, mask = _target(pair.target, spec.source, steady)
    driving = _driving(pair.driving, driving_rule(spec), steady)
    known = bool(pair.target.valid.any()) or mask is not None
    later = map_code(lambda tensor: tensor[1:], target)
    assert later.points is not None
    if known:
        hull = _hull(later.points, spec.source.size) | ~later.valid.view(-1, 1, 1)
        face = hull if mask is None else hull & mask[1:]
        mask = face.unsqueeze(1)
    return Framed(
        source=map_code(lambda tensor: tensor[:1], target),
        rest=map_code(lambda tensor: tensor[:1], driving),
        driving=map_code(lambda tensor: tensor[1:], driving),
        truth=later.image,
        mask=mask,
        points=later.points,
        valid=later.valid,
    )


def seen(sample: Sample, spec: Spec) -> Observation:
    """All K frames of a clip as the network sees a driver."""
    return _driving(sample, driving_rule(spec), steady_of(spec))


def seen_as_source(sample: Sample, spec: Spec) -> Observation:
    """All K frames of a clip as the network sees a source."""
    return _target(sample, spec.source, steady_of(spec))[0]


def _target(sample: Sample, rule: CropRule, steady: Steady) -> tuple[Observation, Tensor | None]:
    """The frames, and the labels' part of their face masks: K×S×S bool, absent without labels."""
    labelled = not bool((sample.labels == UNKNOWN).all())
    face = torch.isin(sample.labels, torch.tensor(FACE, device=sample.labels.device))
    if rule.upright:
        turned = _turned(sample, rule, face, still=True)
        assert turned.person is not None
        mask = turned.person[:, 0] > 0.5
        return turned._replace(person=None), mask if labelled else None
    views = _views(sample._replace(labels=face.to(torch.uint8)), rule, steady)
    assert views.labels is not None
    return _rows(views), views.labels[0].bool() if labelled else None


def _driving(sample: Sample, rule: CropRule, steady: Steady) -> Observation:
    if rule.upright:
        return _turned(sample, rule)
    return _rows(_views(sample, rule, "frame" if rule.exact else steady))


def _views(sample: Sample, rule: CropRule, steady: Steady) -> Views:
    one = sample._replace(
        picture=sample.picture[None],
        points=sample.points[None],
        valid=sample.valid[None],
        labels=sample.labels[None],
    )
    return views_of(one, rule, steady, labels=True)


def _rows(views: Views) -> Observation:
    """Of the only clip."""
    return Observation(views.image[0], views.points[0], views.to_frame[0], views.valid[0])


def _turned(sample: Sample, rule: CropRule, face: Tensor | None = None, still: bool = False) -> Observation:
    """Frame after frame in turned squares, each its own or, `still`, the first one's. face: K×H×W bool, cut
    alike as `person`."""
    side = sample.picture.shape[-1]
    found: list[Observation] = []
    for row in range(len(sample.picture)):
        picture = sample.picture[row].permute(1, 2, 0).contiguous().cpu().numpy()
        points = sample.points[row].double().mul(side).cpu().numpy() if bool(sample.valid[row]) else None
        person = None if face is None else face[row].float().cpu().numpy()
        first = found[0].to_frame[0].double().numpy() if still and found else None
        seen_here = observe(picture, points, rule, person, None if points is None else first)
        found.append(to_unit(seen_here))
    joined = Observation(*(None if part[0] is None else torch.cat(part) for part in zip(*found, strict=True)))  # type: ignore[arg-type]
    return map_code(lambda tensor: tensor.to(sample.picture.device), joined)


def _hull(points: Tensor, size: int) -> Tensor:
    """K×size×size bool: pixels inside the convex hull of each frame's landmarks (K×N×3, crop units), which is
    measured in `DIRECTIONS` directions: by a thousandth of its radius too large at most."""
    angle = torch.arange(DIRECTIONS, device=points.device) * (2 * np.pi / DIRECTIONS)
    across = torch.stack((angle.cos(), angle.sin()))  # 2×D
    reach = (points[..., :2].float() @ across).amax(1)  # K×D
    line = (torch.arange(size, device=points.device) + 0.5) / size
    along = line[:, None, None] * across[1] + line[None, :, None] * across[0]  # size×size×D
    return torch.stack([(along <= one).all(-1) for one in reach])  # all at once is gigabytes of a long clip
