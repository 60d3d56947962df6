"""Who a head is: the modes in which heads differ, and their drawing.

Each mode is a field (fields.py) over the mean head. Their sizes are such that all real faces at hand lie
within what is drawn, as the landmark detector sees both, and that no length of the face spreads more than
twice as widely as among adults; docs/data.md has the outcome beside the published measurements.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.face import mean_landmarks
from trainer.data.synthetic.fields import EVERYWHERE, Blob, Vector, both_sides, displacement
from trainer.data.synthetic.mesh import Array
from trainer.data.synthetic.seeds import rng

MOST = 2.6  # standard deviations: what lies beyond is drawn again
# Of these modes a face has as much to one side as to the other on the mean, but never much.
FACE: Vector = (9.0, 9.0, 9.0)


class Shape(NamedTuple):
    """A head's coefficients."""

    coefficients: Tensor  # B×S, standard deviations


def draw_shape(seed: int, indices: Sequence[int]) -> Shape:
    """Independent normal coefficients, cut at MOST; the same for an index whatever it is drawn with."""
    names = list(modes())
    rows = []
    for index in indices:
        drawn = rng(seed, "shape", index)
        row = drawn.standard_normal(len(names))
        while (far := np.abs(row) > MOST).any():
            row[far] = drawn.standard_normal(int(far.sum()))
        rows.append(row)
    return Shape(torch.tensor(np.array(rows), dtype=torch.float32))


@cache
def modes() -> dict[str, tuple[Blob, ...]]:
    """The modes by name."""
    eye, eye_outer, eye_inner = (_right(473), _right(263), _right(362))
    brow = _right(334)
    nose_tip, wing, bridge, dorsum = _at(4), _right(327), _at(6), _at(195)
    zygoma, cheek = (5.6, -0.3, -4.0), (4.6, 3.6, -5.5)
    mouth, corner = _at(13), _right(291)
    chin, jaw = _at(199), (5.6, 4.6, -1.6)
    crown, occiput = (0.0, -12.0, 0.5), (0.0, -4.5, 9.0)
    neck, ear = (0.0, 11.0, 2.0), (7.3, -1.6, 1.3)
    wide: Vector = (1e6, 8.0, 1e6)  # a layer of the head
    return {
        # the whole
        "size": (Blob((0, 0, 0), EVERYWHERE, stretch=(0.022, 0.022, 0.022)),),
        "head_width": (Blob((0, -2, 0), (1e6, 11.0, 1e6), stretch=(0.038, 0, 0)),),
        "head_height": (Blob((0, -2, 0), (1e6, 9.0, 1e6), stretch=(0, 0.04, 0)),),
        "facial_index": (Blob((0, -2, 0), (1e6, 11.0, 1e6), stretch=(0.042, -0.05, 0)),),
        "head_depth": (Blob((0, -2, 0), (1e6, 11.0, 1e6), stretch=(0, 0, 0.03)),),
        # the skull
        "skull_width": (Blob((0, -8, 1), (1e6, 4.0, 1e6), stretch=(0.03, 0, 0)),),
        "skull_height": (Blob(crown, (9.0, 4.0, 9.0), push=(0, -0.55, 0)),),
        "skull_back": (Blob(occiput, (9.0, 8.0, 5.0), push=(0, 0, 0.6)),),
        "forehead_height": (Blob((0, -8.6, -7.5), (6.0, 2.4, 4.0), push=(0, -0.6, 0)),),
        "forehead_slope": (Blob((0, -8.2, -8.6), (6.0, 2.2, 3.5), push=(0, 0, 0.3)),),
        "forehead_width": both_sides(Blob((5.5, -6.8, -5.0), (2.2, 2.6, 3.0), push=(0.25, 0, 0))),
        "temples": both_sides(Blob((6.2, -4.2, -4.2), (1.5, 1.8, 2.0), push=(0.22, 0, 0))),
        # brows and eyes
        "brow_ridge": (Blob((0, -4.9, -9.2), (4.2, 0.8, 2.0), push=(0, 0, -0.2)),),
        "brow_height": both_sides(Blob(brow, (2.2, 0.9, 2.0), push=(0, -0.2, 0))),
        "brow_tilt": both_sides(
            Blob((5.0, -4.9, -7.0), (1.3, 0.9, 2.0), push=(0, -0.14, 0)),
            Blob((1.4, -4.8, -9.0), (1.0, 0.9, 2.0), push=(0, 0.08, 0)),
        ),
        "eye_spacing": both_sides(Blob(eye, (1.6, 1.2, 3.0), push=(0.15, 0, 0))),
        "eye_size": both_sides(Blob(eye, (1.3, 0.9, 2.0), stretch=(0.05, 0.07, 0))),
        "eye_opening": both_sides(Blob(eye, (1.5, 0.6, 2.0), stretch=(0, 0.16, 0))),
        "eye_width": both_sides(Blob(eye_outer, (0.6, 0.6, 1.5), push=(0.1, 0, 0))),
        "canthal_tilt": both_sides(
            Blob(eye_outer, (0.9, 0.7, 1.5), push=(0, -0.11, 0)),
            Blob(eye_inner, (0.6, 0.6, 1.5), push=(0, 0.04, 0)),
        ),
        "eye_depth": both_sides(Blob(eye, (1.7, 1.1, 2.5), push=(0, 0, 0.14))),
        "lid_fold": both_sides(Blob((3.3, -4.0, -7.9), (1.5, 0.4, 1.5), push=(0, 0.12, -0.1))),
        "inner_fold": both_sides(Blob(eye_inner, (0.45, 0.5, 1.2), push=(-0.07, 0.03, -0.1))),
        "eye_bags": both_sides(Blob((3.2, -1.9, -7.6), (1.3, 0.5, 1.5), push=(0, 0, -0.09))),
        # nose
        "nose_length": (
            Blob((0, 0.6, -10.5), (1.9, 1.7, 3.5), push=(0, 0.28, 0)),
            Blob((0, 2.8, -8.5), (5.0, 2.4, 4.0), push=(0, 0.46, 0)),  # the lips make room for it
        ),
        "nose_width": both_sides(Blob(wing, (0.9, 0.9, 1.6), push=(0.25, 0, 0))),
        "bridge_width": both_sides(Blob((0.9, -2.4, -8.8), (0.8, 1.6, 1.5), push=(0.08, 0, 0))),
        "bridge_height": (Blob(bridge, (0.9, 1.4, 2.0), push=(0, 0, -0.16)),),
        "nose_hump": (Blob(dorsum, (0.8, 0.8, 2.0), push=(0, 0, -0.11)),),
        "nose_projection": (Blob(nose_tip, (1.4, 1.4, 2.2), push=(0, 0, -0.2)),),
        "nose_tip_up": (Blob(nose_tip, (0.9, 0.8, 1.3), push=(0, -0.13, 0)),),
        "nose_tip_width": both_sides(Blob((0.6, 0.3, -11.6), (0.5, 0.7, 1.0), push=(0.07, 0, 0))),
        "nostril_flare": both_sides(Blob(wing, (0.7, 0.6, 1.2), push=(0.05, -0.09, 0))),
        # cheeks
        "cheekbone_width": both_sides(Blob(zygoma, (1.9, 1.9, 3.0), push=(0.45, 0, 0))),
        "cheekbone_forward": both_sides(Blob((4.0, 0.2, -7.0), (1.8, 1.5, 2.0), push=(0.05, 0, -0.2))),
        "cheek_fullness": both_sides(Blob(cheek, (1.9, 1.9, 2.6), push=(0.24, 0, -0.16))),
        "nasolabial": both_sides(Blob((2.6, 2.3, -8.6), (0.7, 1.1, 1.2), push=(0, 0, -0.09))),
        # mouth
        "philtrum": (
            Blob(mouth, (3.0, 1.0, 3.0), push=(0, 0.18, 0)),
            Blob(chin, (3.5, 1.6, 3.0), push=(0, 0.12, 0)),
        ),
        "mouth_width": both_sides(Blob(corner, (1.2, 1.0, 2.0), push=(0.26, 0, 0.02))),
        "upper_lip": (Blob(_at(0), (1.9, 0.42, 1.5), push=(0, -0.08, -0.06)),),
        "lower_lip": (Blob(_at(17), (1.8, 0.5, 1.5), push=(0, 0.10, -0.06)),),
        "lips_forward": (Blob(mouth, (2.2, 1.1, 2.0), push=(0, 0, -0.16)),),
        "mouth_corners": both_sides(Blob(corner, (0.8, 0.6, 1.5), push=(0, -0.06, 0))),
        "cupids_bow": both_sides(Blob(_right(267), (0.4, 0.35, 1.0), push=(0, -0.05, 0))),
        # chin and jaw
        "chin_length": (Blob((0, 8.2, -7.5), (4.5, 1.9, 4.0), push=(0, 0.55, 0)),),
        "chin_forward": (Blob(chin, (2.5, 1.7, 3.0), push=(0, 0, -0.3)),),
        "chin_width": both_sides(Blob((2.2, 7.4, -6.6), (1.6, 1.5, 2.5), push=(0.24, 0, 0))),
        "chin_cleft": (Blob((0, 7.3, -8.7), (0.35, 0.6, 1.0), push=(0, 0, 0.07)),),
        "jaw_width": both_sides(Blob(jaw, (1.7, 2.0, 3.2), push=(0.3, 0, 0))),
        "jaw_angle": both_sides(Blob(jaw, (1.8, 1.9, 2.5), push=(0, 0.35, 0.1))),
        "jaw_taper": (Blob((0, 6.5, -4), wide[:1] + (2.6,) + wide[2:], stretch=(0.05, 0, 0)),),
        "double_chin": (Blob((0, 8.6, -4.6), (3.2, 1.6, 2.4), push=(0, 0.32, -0.1)),),
        # neck, shoulders, ears
        "neck_width": (Blob(neck, (1e6, 4.5, 1e6), stretch=(0.07, 0, 0.04)),),
        "neck_length": (Blob((0, 22.0, 4.0), (1e6, 8.0, 1e6), push=(0, 0.7, 0)),),
        "shoulders": (Blob((0, 22.0, 4.0), (1e6, 5.5, 1e6), stretch=(0.06, 0, 0)),),
        "shoulder_slope": both_sides(Blob((17.0, 20.0, 4.5), (7.0, 5.0, 1e6), push=(0, 0.9, 0))),
        "ear_size": both_sides(Blob(ear, (1.6, 3.5, 2.6), stretch=(0, 0.07, 0.07))),
        "ear_out": both_sides(Blob((7.9, -1.8, 2.6), (0.9, 3.0, 1.3), push=(0.3, 0, -0.05))),
        "ear_height": both_sides(Blob(ear, (1.0, 3.5, 2.4), push=(0, 0.25, 0))),
        # no face is its own mirror image
        "nose_bend": (Blob((0, 0.2, -11.0), (1.6, 1.8, 3.0), push=(0.07, 0, 0)),),
        "mouth_shift": (Blob(mouth, (2.8, 1.6, 3.0), push=(0.06, 0, 0)),),
        "mouth_tilt": (
            Blob(corner, (1.2, 0.9, 2.0), push=(0, 0.05, 0)),
            Blob(_mirror(corner), (1.2, 0.9, 2.0), push=(0, -0.05, 0)),
        ),
        "chin_shift": (Blob((0, 7.5, -7.0), (3.5, 2.2, 4.0), push=(0.1, 0, 0)),),
        "eye_height": (
            Blob(eye, (1.6, 1.2, 2.5), push=(0, 0.04, 0)),
            Blob(_mirror(eye), (1.6, 1.2, 2.5), push=(0, -0.04, 0)),
        ),
        "lid_difference": (Blob(eye, (1.5, 0.6, 2.0), stretch=(0, 0.06, 0)),),
        "brow_difference": (Blob(brow, (2.2, 0.8, 2.0), push=(0, -0.06, 0)),),
        "cheek_difference": (Blob(cheek, (2.0, 2.0, 2.6), push=(0.1, 0, 0)),),
    }  # fmt: skip


def shape_modes(points: Array) -> Array:
    """How each mode moves points of the mean head: V×3 → S×V×3, cm for each standard deviation."""
    return np.stack([displacement(points, blobs) for blobs in modes().values()])


def _at(landmark: int) -> Vector:
    x, y, z = mean_landmarks()[landmark].tolist()
    return x, y, z


def _right(landmark: int) -> Vector:
    """Of the picture's right side."""
    x, y, z = _at(landmark)
    return abs(x), y, z


def _mirror(place: Vector) -> Vector:
    return -place[0], place[1], place[2]
