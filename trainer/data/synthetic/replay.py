"""Motion of a real clip: what a tracker saw of somebody, as the motion of anybody.

    # points: F×478×3 pixels, NaN where no face was seen
    replayed = replay(points, fps=25, basis=mean_basis())
    replayed.motion, replayed.valid

Who the person is must not get into the motion: everything is measured against the person's own face at rest,
as it is in the clip's calmest frames. Of an expression that is held through these a smile is told from the
person's features, by what faces differ in; any other counts as the person's own.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from models.contract import LANDMARKS
from models.face_geometry import EYE_CORNERS, IRIS_LEFT, IRIS_RIGHT, LIP_CORNERS, RIGID, rigid_fit
from trainer.data.synthetic.anatomy import (
    BLINKS,
    CLOSE,
    EXPRESSIONS,
    JAW,
    TONGUE,
    TONGUE_GAP,
    WIDES,
    anatomical,
)
from trainer.data.synthetic.bounded import bounded_ridge
from trainer.data.synthetic.face import SKIN_POINTS
from trainer.data.synthetic.figure import make_figure, pose, rest, tables
from trainer.data.synthetic.gaze import REACH_DEG
from trainer.data.synthetic.identity import Shape, modes
from trainer.data.synthetic.motion import LIMITS_DEG, Motion, rotation_angles

# Landmarks, upper and lower edge. The picture's right eye is the person's left one.
LIPS = ((13, 14), (82, 87), (312, 317))
LIDS = (
    ((386, 374), (385, 380), (387, 373)),
    ((159, 145), (160, 144), (158, 153)),
)  # the person's left, right
FACE_ENDS = (10, 152)  # top and chin
IRISES = (*IRIS_LEFT, *IRIS_RIGHT)

EYEBALL_CM = 1.2
DEPTH_WEIGHT = 0.3  # of the tracker's z against x and y: it is a guess of the tracker's
RIDGE = 1.0  # of an expression, times the median energy of all: what trackers see is far from exact
# These look like others, and are believed only where the others don't do.
DOUBTFUL = 15.0
CERTAIN = ("browInnerUp", "eyeBlink", "jawOpen", "mouthSmile", "mouthPucker", "browDown", "browOuterUp")
# Held through a clip, they can be told from features.
SMILE = ("mouthSmile", "mouthUpperUp", "mouthLowerDown")
HELD_USUALLY = 0.15  # standard deviation of how strongly an expression is held
UNKNOWN_CM = 0.15  # of what neither features nor expressions explain
REST_SHARE, REST_FRAMES = 0.1, 3  # of the frames, and at least so many, show the person at rest
SMOOTHING_S = 0.02  # of pose and slow expressions
BLINKING = 0.5  # of the own opening: below it the iris can't be trusted
FOV_DEG = 25.0


class Basis(NamedTuple):
    """A mean person's landmarks in head space, cm."""

    neutral: Tensor  # 478×3
    shapes: Tensor  # 44×478×3, what each of EXPRESSIONS adds at full strength
    modes: Tensor  # S×478×3, how people differ, one standard deviation; where S = 0 no smile is told


@cache
def mean_basis() -> Basis:
    """Of the head that is rendered, of mean shape: what each expression makes of it at full strength, lids
    sliding over the eyeballs and lips that meet included."""
    count = len(EXPRESSIONS)
    expression = torch.cat((torch.zeros(1, count), torch.eye(count)))
    expression[1 + CLOSE, JAW] = 1  # lips close over a jaw that is open
    figure = make_figure(Shape(torch.zeros(1, len(modes()))), fine=False)
    motion = rest(count + 1)._replace(expression=expression)
    posed = pose(figure, torch.zeros(count + 1, dtype=torch.long), motion, shaded=False)
    faces = (posed.landmarks - posed.head[:, None, :, 3]) @ posed.head[:, :, :3]
    shapes = faces[1:] - faces[0]
    shapes[CLOSE] -= shapes[JAW]
    differ = torch.zeros(len(modes()), LANDMARKS, 3)
    fixed = tables(torch.device("cpu"), fine=False)
    differ[:, :SKIN_POINTS] = fixed.modes.view(len(differ), -1, 3)[:, :SKIN_POINTS]
    return Basis(faces[0], shapes, differ)


class Replay(NamedTuple):
    motion: Motion  # F frames
    valid: Tensor  # F bool; where False nothing was seen, and the motion is that of the last frame that was


def replay(
    points: npt.NDArray[np.floating[Any]],
    fps: float,
    basis: Basis,
    square: tuple[float, float, float] | None = None,
    fov: float = FOV_DEG,
) -> Replay:
    """The motion in landmarks F×478×3 (pixels, z in the scale of x; NaN where no face was seen).

    square: x, y of the middle and side of the picture that the motion is meant for, in pixels; by default the
    one in which the clip's median face is in the middle and of scale 1. fov: degrees, goes into the motion.
    Blinks and the opening of the mouth are matched exactly, as far as the basis can: eyelid aperture / the
    own open one, lip gap / mouth width. At rest the eyes are taken to look neither up nor down.

    Raises ValueError where no face was seen at all, the landmarks have another shape, or
    `fps` is not above zero.
    """
    if points.ndim != 3 or points.shape[1:] != (478, 3):
        raise ValueError(f"landmarks of shape {points.shape}: expected frames × 478 × 3")
    if not fps > 0:
        raise ValueError(f"{fps} frames a second: must be above zero")
    seen = np.isfinite(points).all((1, 2))
    if not seen.any():
        raise ValueError("no face was seen in any frame: use a clip whose face is upright and well lit")
    basis = Basis(*(part.detach().cpu().double() for part in basis))
    pixels = torch.from_numpy(np.asarray(points[seen], np.float64))

    local, own = _own_face(pixels, basis)
    scale, rotation, shift = rigid_fit(_rigid(own).expand(len(pixels), -1, -1), pixels[:, RIGID])
    expression = _expression(local - own, basis) + _held(own, basis)
    gaps = _gaps(local, own, basis)
    frames = np.flatnonzero(seen)
    held = np.maximum(np.searchsorted(frames, np.arange(len(points)), side="right") - 1, 0)

    def smooth(values: Tensor) -> Tensor:
        """Along the frames that were seen."""
        sigma = SMOOTHING_S * fps
        return torch.from_numpy(gaussian_filter1d(values.numpy(), sigma, axis=0, mode="nearest", truncate=3))

    matched = _matched(torch.from_numpy(anatomical(smooth(expression).numpy())), gaps, basis)
    height = float((basis.neutral[FACE_ENDS[1]] - basis.neutral[FACE_ENDS[0]]).norm())
    if square is None:
        middle, side = shift[:, :2].median(0).values, float(scale.median()) * height * 2
    else:
        middle, side = torch.tensor(square[:2], dtype=torch.float64), square[2]
    limits = torch.tensor(LIMITS_DEG, dtype=torch.float64)
    motion = Motion(
        matched,
        _gaze(local, own, gaps.lids, basis),
        smooth(rotation_angles(rotation)).clamp(-limits, limits),
        smooth((shift[:, :2] - middle) / side),
        smooth(scale * height * 2 / side),
        torch.full((len(pixels),), float(fov)),
    )
    return Replay(Motion(*(part[held].float() for part in motion)), torch.from_numpy(seen))


class _Gaps(NamedTuple):
    """What the model's gaps shall be, cm, in F frames."""

    lids: Tensor  # F×2 of the own open aperture, person's left and right
    lips: Tensor  # F


def _rigid(face: Tensor) -> Tensor:
    return face[RIGID, :][None]


def _own_face(pixels: Tensor, basis: Basis) -> tuple[Tensor, Tensor]:
    """The landmarks in head space, as large as the mean face (F×478×3), and the person's at rest (478×3)."""
    local, own = _upright(pixels, basis.neutral), basis.neutral
    for _ in range(3):
        own = _typical(local, _unrest(local, pixels), basis)
        local = _upright(pixels, own)
    return local, own


def _typical(local: Tensor, unrest: Tensor, basis: Basis) -> Tensor:
    """The median of the calmest of some frames, 478×3, in the mean face's pose and size."""
    count = min(len(local), max(REST_FRAMES, round(REST_SHARE * len(local))))
    face = local[unrest.topk(count, largest=False).indices].median(0).values
    size, turned, moved = rigid_fit(_rigid(basis.neutral), _rigid(face))
    own: Tensor = (face - moved[0]) / size @ turned[0]
    return own


def _upright(pixels: Tensor, face: Tensor) -> Tensor:
    """Landmarks in head space, by their rigid fit to a face (478×3)."""
    scale, rotation, shift = rigid_fit(_rigid(face).expand(len(pixels), -1, -1), pixels[:, RIGID])
    upright: Tensor = (pixels - shift[:, None]) / scale[:, None, None] @ rotation
    return upright


def _unrest(local: Tensor, pixels: Tensor) -> Tensor:
    """How far each frame's mouth is open, the eyes shut, the head turned and moving: F."""
    width = _width(local).median()
    lids = torch.stack([_gap(local, pairs) for pairs in LIDS], 1).mean(1)
    shut = (lids.quantile(0.8) - lids).clamp_min(0)
    still = torch.zeros(len(local), dtype=torch.float64)
    if len(local) > 1:
        step = local.diff(dim=0).norm(dim=2).mean(1)
        still[1:], still[:-1] = step, torch.maximum(still[:-1], step)
    usual = local.median(0).values
    turn = rigid_fit(_rigid(usual).expand(len(local), -1, -1), pixels[:, RIGID])[1]
    turned = torch.linalg.vector_norm(rotation_angles(turn)[:, :2], dim=1)
    unrest: Tensor = (2 * _gap(local, LIPS) + 4 * shut + 4 * still) / width + turned / 30
    return unrest


def _gap(face: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    """Mean height of the pairs' gaps in head space, …×478×3 → …; linear in the face."""
    upper, lower = (list(edge) for edge in zip(*pairs, strict=True))
    gap: Tensor = (face[..., lower, 1] - face[..., upper, 1]).mean(-1)
    return gap


def _width(face: Tensor) -> Tensor:
    """Of the mouth, …×478×3 → …"""
    width: Tensor = (face[..., LIP_CORNERS[1], :] - face[..., LIP_CORNERS[0], :]).norm(dim=-1)
    return width


def _expression(moved: Tensor, basis: Basis) -> Tensor:
    """Coefficients F×44 of displacements F×478×3 from the own face at rest."""
    weight = _weight()
    design, seen = (basis.shapes * weight).flatten(1).T, (moved * weight).flatten(1)  # 1434×44, F×1434
    doubt = torch.tensor([1.0 if name.startswith(CERTAIN) else DOUBTFUL for name in EXPRESSIONS]).double()
    ridge = RIDGE * design.square().sum(0).median() * doubt
    return bounded_ridge(design, seen, ridge)


def _held(own: Tensor, basis: Basis) -> Tensor:
    """The coefficients (44) of a smile in a face at rest (478×3): what people's features don't explain."""
    if not len(basis.modes):
        return torch.zeros(len(EXPRESSIONS), dtype=torch.float64)
    weight = _weight()
    design = (basis.shapes * weight).flatten(1).T
    features = torch.linalg.svd((basis.modes * weight).flatten(1).T, full_matrices=False)
    known = 1 - UNKNOWN_CM / (features.S.square() + UNKNOWN_CM**2).sqrt()

    def unexplained(columns: Tensor) -> Tensor:
        """With the likely features taken out: 1434×N."""
        left: Tensor = columns - features.U @ (known[:, None] * (features.U.T @ columns))
        return left

    ridge = torch.full((len(EXPRESSIONS),), (UNKNOWN_CM / HELD_USUALLY) ** 2, dtype=torch.float64)
    away = ((own - basis.neutral) * weight).flatten()[:, None]
    found = bounded_ridge(unexplained(design), unexplained(away).T, ridge)[0]
    found[[not name.startswith(SMILE) for name in EXPRESSIONS]] = 0
    return found


def _weight() -> Tensor:
    """Of each landmark's coordinates, 478×3."""
    weight = torch.ones(LANDMARKS, 3, dtype=torch.float64)
    weight[:, 2] = DEPTH_WEIGHT
    weight[IRISES, :] = 0
    return weight


def _gaps(local: Tensor, own: Tensor, basis: Basis) -> _Gaps:
    lids = torch.stack([_gap(local, pairs) / _gap(own, pairs) for pairs in LIDS], 1).clamp_min(0)
    # Lips that are never closed are no trait of the person's: how far they are apart counts as it is.
    return _Gaps(lids, _gap(local, LIPS) * _width(basis.neutral) / _width(own))


def _matched(expression: Tensor, gaps: _Gaps, basis: Basis) -> Tensor:
    """The expression (F×44) with blinks and jaw such that the model's lids and lips are as far apart as they
    shall be."""
    matched = expression.clone()
    for eye, (blink, wide, pairs) in enumerate(zip(BLINKS, WIDES, LIDS, strict=True)):
        rest, by = _gap(basis.neutral, pairs), _gap(basis.shapes, pairs)
        matched[:, [blink, wide]] = 0
        missing = gaps.lids[:, eye] * rest - rest - matched @ by
        matched[:, blink] = _share(missing, by[blink])
        matched[:, wide] = _share(missing, by[wide])
    rest, by = _gap(basis.neutral, LIPS), _gap(basis.shapes, LIPS)
    opens = by > 0
    opens[JAW] = False
    for _ in range(3):  # lips close over a jaw no further than it is open, nor does a tongue come out
        matched[:, JAW] = 0
        missing = gaps.lips - rest - matched @ by
        # What else opens the mouth gives way where it opens it too far already.
        opened = (matched * by)[:, opens].sum(1)
        keep = 1 - _share(missing.clamp_max(0), -opened.clamp_min(1e-9))
        matched[:, opens] = matched[:, opens] * keep[:, None]
        matched[:, JAW] = _share(gaps.lips - rest - matched @ by, by[JAW])
        matched[:, CLOSE] = torch.minimum(matched[:, CLOSE], matched[:, JAW])
        matched[:, TONGUE] = torch.minimum(matched[:, TONGUE], matched[:, JAW] / TONGUE_GAP)
    return torch.from_numpy(anatomical(matched.numpy()))


def _share(missing: Tensor, by: Tensor) -> Tensor:
    """How much of something that adds `by` is missing, [0, 1]."""
    return (missing / by).nan_to_num(0, 0, 0).clamp(0, 1)


def _gaze(local: Tensor, own: Tensor, lids: Tensor, basis: Basis) -> Tensor:
    """F×2 degrees, from where the irises lie between the corners of the eyes, both eyes together."""
    irises, corners = [IRIS_LEFT[0], IRIS_RIGHT[0]], list(EYE_CORNERS)

    def place(face: Tensor) -> Tensor:
        return face[..., irises, :2].mean(-2) - face[..., corners, :2].mean(-2)

    # Faces are alike on both sides: aside, eyes are straight where the mean face's are. How high they lie
    # between the corners differs.
    straight = torch.stack((place(basis.neutral)[0], place(own)[1]))
    sine = (place(local) - straight) / EYEBALL_CM
    degrees = (sine.clamp(-0.9, 0.9).asin() * (180 / math.pi)).numpy() * (1, -1)
    sees = np.flatnonzero((lids.mean(1) > BLINKING).numpy())
    if len(sees):  # through a blink, from the direction before to that after
        frames = np.arange(len(degrees))
        degrees = np.stack([np.interp(frames, sees, axis[sees]) for axis in degrees.T], 1)
    limit = np.array(REACH_DEG)
    return torch.from_numpy(degrees.clip(-limit, limit))
