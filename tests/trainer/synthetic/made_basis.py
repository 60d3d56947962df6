"""A mean person of the tests' own making: the mean face, and expressions that push at the landmarks around a
few places."""

from functools import cache

import torch
from torch import Tensor

from models.describe import FACE, FRAME, mean_face
from models.face_geometry import EYE_LEFT, EYE_RIGHT, FACE_OVAL, LIPS_INNER, LIPS_OUTER
from trainer.data.synthetic.anatomy import EXPRESSIONS
from trainer.data.synthetic.replay import Basis

FACE_CM = 14.0  # width
PLACES = {  # landmark on the picture's left (the person's right), direction in cm, reach in cm
    "browDown": (105, (0.1, 0.6, 0), 1.3),
    "browInnerUp": (107, (0, -0.8, 0), 1.2),
    "browOuterUp": (70, (0, -0.8, 0), 1.2),
    "cheekPuff": (205, (-0.5, 0, -0.5), 1.5),
    "cheekSquint": (118, (0, -0.4, -0.2), 1.0),
    "jawForward": (152, (0, 0, -0.8), 3.0),
    "mouthDimple": (61, (-0.2, 0, 0.5), 0.8),
    "mouthFrown": (61, (0, 0.8, 0), 0.9),
    "mouthFunnel": (0, (0, -0.3, -0.8), 1.2),
    "mouthLowerDown": (181, (0, 0.6, 0), 0.7),
    "mouthPress": (84, (0, -0.2, 0.3), 0.6),
    "mouthPucker": (61, (1.2, 0, -0.8), 1.0),
    "mouthRollLower": (17, (0, -0.3, 0.5), 0.6),
    "mouthRollUpper": (0, (0, 0.3, 0.5), 0.6),
    "mouthShrugLower": (18, (0, -0.5, -0.3), 1.0),
    "mouthShrugUpper": (164, (0, -0.4, -0.2), 0.9),
    "mouthSmile": (61, (-0.9, -0.8, 0.2), 1.6),
    "mouthStretch": (61, (-0.8, 0.2, 0.2), 1.2),
    "mouthUpperUp": (39, (0, -0.6, 0), 0.7),
    "noseSneer": (48, (0, -0.5, 0), 0.9),
}


@cache
def made_basis() -> Basis:
    # mean_face is in pixels, about the middle of a picture, its lips a little open.
    face = torch.from_numpy((mean_face(-0.04) - [FRAME / 2, FRAME / 2, 0]) / FACE) * FACE_CM
    face = face - torch.tensor([0.0, 0.0, float(face[[234, 454], 2].mean())]).double()
    return Basis(face, torch.stack([_shape(name, face) for name in EXPRESSIONS]), torch.zeros(0, 478, 3))


def _shape(name: str, face: Tensor) -> Tensor:
    right = name.endswith("Left")  # the person's left is the picture's right
    if name.startswith(("eyeBlink", "eyeWide", "eyeSquint")):
        return _lids(name, face, EYE_RIGHT if right else EYE_LEFT)
    if name.startswith(("jawOpen", "mouthClose", "tongueOut", "jawLeft", "jawRight")):
        return _jaw(name, face)
    if name in ("mouthLeft", "mouthRight"):
        return _push(face, 13, (0.8 if name == "mouthLeft" else -0.8, 0.0, 0.0), 1.5)
    stem = name.removesuffix("Left").removesuffix("Right")
    place, (x, y, z), reach = PLACES[stem]
    one = _push(face, place, (x, y, z), reach)
    other = _mirrored(one, face)
    if name == stem:
        return one + other if x or float(face[place, 0].abs()) > 0.2 else one
    return other if right else one


def _mirrored(shape: Tensor, face: Tensor) -> Tensor:
    """The same on the other side, by the nearest landmark of the mirrored face."""
    flip = torch.tensor([-1.0, 1.0, 1.0]).double()
    partner = torch.cdist(face * flip, face).argmin(1)
    return shape[partner] * flip


def _push(face: Tensor, place: int, by: tuple[float, float, float], reach: float) -> Tensor:
    near = torch.exp(-((face - face[place]).norm(dim=1) ** 2) / (2 * reach**2))
    near[468:] = 0  # irises stay
    return near[:, None] * torch.tensor(by).double()


def _lids(name: str, face: Tensor, eye: tuple[int, ...]) -> Tensor:
    """The upper lid goes to the lower one, or both up a little."""
    half = len(eye) // 2
    lower, upper = list(eye[1:half]), list(eye[half + 1 :])[::-1]
    shape = torch.zeros_like(face)
    way = (face[lower] - face[upper]) * torch.tensor([0.0, 1.0, 0.3]).double()
    if name.startswith("eyeBlink"):
        shape[upper] = way
    elif name.startswith("eyeWide"):
        shape[upper] = -0.35 * way
    else:
        shape[lower] = -0.3 * way
    return shape


def _jaw(name: str, face: Tensor) -> Tensor:
    """The lower lip, the chin and the contour beside it."""
    lower = [*LIPS_INNER[11:], *LIPS_OUTER[11:]]
    below = ((face[:, 1] - face[14, 1]) / (face[152, 1] - face[14, 1])).clamp(0, 1)
    below[lower] = 1
    below[468:] = 0
    assert below[list(FACE_OVAL[:10])].max() < 0.8
    by = {
        "jawOpen": (0.0, 2.4, 0.5),
        "jawLeft": (0.9, 0.0, 0.0),
        "jawRight": (-0.9, 0.0, 0.0),
    }
    if name in by:
        return below[:, None] * torch.tensor(by[name]).double()
    shape = torch.zeros_like(face)
    if name == "mouthClose":
        shape[lower, 1] = -2.4
    else:
        shape[lower, 2] = -0.6
    return shape
