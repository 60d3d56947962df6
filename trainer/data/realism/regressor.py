"""Do renders teach what real faces look like? A regressor of 68 points learns from nothing else, and is tried
on real clips.

Both kinds of face are cropped by the detector's box. A real face's truth is what MediaPipe sees, which the
regressor has never been told.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.face_geometry import EYE_CORNERS, FLIP_68, LANDMARKS_68
from models.face_tracker import FaceDetector, Picture, Points, box_of
from models.landmark_regressor import SIDE, LandmarkRegressor
from trainer.data.realism.crops import (
    Squares,
    as_square,
    as_tensor,
    cut,
    degraded,
    grey,
    into,
    jittered,
    squares_of,
)
from trainer.data.realism.detection import REGIONS
from trainer.data.realism.media import clips
from trainer.data.realism.readings import Findings, Reading
from trainer.data.realism.renders import Shots, close, draw_all, orders_of

PART = "regressor"
SIZE = 128  # of the renders, pixels
FRAMES = 8  # of each person
BATCH, RATE = 48, 3e-3
HELD_OUT = 0.05  # of the people, at least one: for the curve
LOOKS = 8  # at the curve
OUTER = tuple(LANDMARKS_68.index(corner) for corner in (EYE_CORNERS[0], EYE_CORNERS[3]))


class Faces(NamedTuple):
    """Rendered faces that the detector found."""

    pictures: Tensor  # N×1×S×S uint8, grey
    points: Tensor  # N×68×2, picture sides
    squares: Squares


def measure(people: int, steps: int, seed: int, workers: int, media: Path | None) -> Findings:
    """With `people` × FRAMES renders, in `steps` steps of BATCH."""
    learnt, held = faces_of(people, seed, workers)
    network, curve = train(learnt, held, steps, seed)
    notes = [
        f"regressor: {len(learnt.pictures)} renders at {SIZE}², {steps} steps of {BATCH}; mean error on "
        f"{len(held.pictures)} renders of {_held_out(people)} other people, by step: "
        + ", ".join(f"{step}: {error:.1f} %" for step, error in curve),
        "regressor: interocular distance is that of the eyes' outer corners, as MediaPipe sees real clips",
    ]
    readings = [Reading(PART, "error on other people's renders", curve[-1][1], "%")]
    if media is None:
        notes.append("regressor: not tried on real clips, which --media DIR would name")
        return Findings(readings, notes, network)
    found = {seen.name: clip_errors(network, seen.pictures, seen.points) for seen in clips(media)}
    every = torch.cat(list(found.values()))
    name = f"mean error on real clips, % of the interocular distance ({len(every)} frames)"
    readings.append(Reading(PART, name, float(every.mean()), "%", most=6))
    readings += [Reading(PART, f"… {name}", float(one.mean()), "%") for name, one in found.items()]
    for region, rows in REGIONS.items():
        readings.append(Reading(PART, f"… {region}", float(every[:, list(rows)].mean()), "%"))
    return Findings(readings, notes, network)


def faces_of(people: int, seed: int, workers: int) -> tuple[Faces, Faces]:
    """Faces to learn from, and some of other people."""
    orders = orders_of(range(people), FRAMES, close, SIZE, seed, stream=1)
    with FaceDetector() as detector:
        found = [_detected(shots, detector) for shots in draw_all(orders, workers)]
    last = people - _held_out(people)
    return _joined(found[:last]), _joined(found[last:])


def train(
    learnt: Faces, held: Faces, steps: int, seed: int
) -> tuple[LandmarkRegressor, list[tuple[int, float]]]:
    """The network, in evaluation mode, and its mean error (%) on the held-out faces by step. The loss is the
    mean distance, in interocular distances; the rate rises and falls once: L. Smith, N. Topin,
    "Super-convergence", 2018."""
    torch.manual_seed(seed)
    network = LandmarkRegressor()
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=max(steps, 2), pct_start=0.1)
    curve = [(0, _held_error(network, held))]
    every = max(math.ceil(steps / LOOKS), 1)
    for step in range(1, steps + 1):
        rows = torch.randint(len(learnt.pictures), (BATCH,), generator=random)
        pictures, points = _lesson(learnt, rows, random)
        network.train()
        loss = _errors(network(pictures), points).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % every == 0 or step == steps:
            curve.append((step, _held_error(network, held)))
    return network.eval(), curve


@torch.no_grad()
def clip_errors(network: LandmarkRegressor, pictures: list[Picture], truth: list[Points | None]) -> Tensor:
    """Of each frame in which both the detector and the tracker find the face: F×68 %."""
    found = []
    with FaceDetector() as detector:
        for picture, points in zip(pictures, truth, strict=True):
            boxes = [
                box for box in detector.detect(picture) if points is not None and box.overlaps(box_of(points))
            ]
            if points is None or not boxes:
                continue
            height, width = picture.shape[:2]
            square = squares_of(boxes[:1], width, height)
            said = network(cut(grey(as_square(picture)), square, SIDE))
            true = torch.from_numpy(points[list(LANDMARKS_68), :2] / max(height, width)).float()
            found.append(100 * _errors(said, into(true[None], square)))
    return torch.cat(found) if found else torch.full((1, len(LANDMARKS_68)), math.nan)


def _lesson(learnt: Faces, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some faces, jittered, degraded, and every other one mirrored: pictures and points in crop units."""
    squares = jittered(Squares(*(part[rows] for part in learnt.squares)), random)
    crops = cut(learnt.pictures[rows].float() / 255, squares, SIDE)
    points = into(learnt.points[rows], squares)
    mirror = torch.rand(len(rows), generator=random) < 0.5
    crops = torch.where(mirror[:, None, None, None], crops.flip(3), crops)
    other = torch.stack((1 - points[..., 0], points[..., 1]), 2)[:, list(FLIP_68)]
    return degraded(crops, random), torch.where(mirror[:, None, None], other, points)


@torch.no_grad()
def _held_error(network: LandmarkRegressor, held: Faces) -> float:
    """Percent."""
    network.eval()
    errors = []
    for rows in torch.split(torch.arange(len(held.pictures)), BATCH):
        squares = Squares(*(part[rows] for part in held.squares))
        said = network(cut(held.pictures[rows].float() / 255, squares, SIDE))
        errors.append(_errors(said, into(held.points[rows], squares)))
    return 100 * float(torch.cat(errors).mean())


def _errors(said: Tensor, true: Tensor) -> Tensor:
    """B×68 distances, in the truth's interocular distance. Both: B×68×2."""
    between = (true[:, OUTER[0]] - true[:, OUTER[1]]).norm(dim=1)
    errors: Tensor = (said - true).norm(dim=2) / between[:, None]
    return errors


def _detected(shots: Shots, detector: FaceDetector) -> Faces:
    """The frames in which the detector finds the face."""
    side = shots.picture.shape[1]
    rows, boxes = [], []
    for row, (picture, points) in enumerate(zip(shots.picture, shots.points, strict=True)):
        around = box_of(points.astype(np.float64) * side)
        if found := [box for box in detector.detect(picture) if box.overlaps(around)]:
            rows.append(row)
            boxes.append(found[0])
    squares = squares_of(boxes, side, side) if boxes else Squares(torch.zeros(0, 2), *torch.zeros(2, 0))
    points = torch.from_numpy(shots.points[rows][:, list(LANDMARKS_68), :2])
    pictures = (255 * grey(as_tensor(shots.picture[rows]))).round().to(torch.uint8)
    return Faces(pictures, points, squares)


def _joined(faces: list[Faces]) -> Faces:
    squares = Squares(*(torch.cat(parts) for parts in zip(*(one.squares for one in faces), strict=True)))
    return Faces(
        torch.cat([one.pictures for one in faces]), torch.cat([one.points for one in faces]), squares
    )


def _held_out(people: int) -> int:
    return max(round(people * HELD_OUT), 1)
