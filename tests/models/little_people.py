"""Drawn faces: what a person looks like is a few colours, what the face does is real landmarks. So it is
known what a picture of one person with another's face should look like.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from models.contract import CropRule, Observation, cat_codes
from models.face_geometry import EYE_LEFT, EYE_RIGHT, FACE_OVAL, IRIS_LEFT, IRIS_RIGHT, LIPS_INNER, LIPS_OUTER
from models.observation import observe, to_unit
from tests.material import track

Colour = tuple[int, int, int]
FINER = 4  # drawn so many times larger, for smooth edges
BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))


class Looks(NamedTuple):
    """What a person is here."""

    wall: Colour
    hair: Colour
    skin: Colour
    lips: Colour
    iris: Colour


PEOPLE = (
    Looks((60, 90, 150), (40, 25, 20), (235, 190, 160), (190, 70, 80), (70, 50, 30)),
    Looks((215, 205, 140), (120, 40, 30), (150, 105, 80), (90, 20, 60), (40, 110, 60)),
)


def draw(looks: Looks, points: npt.NDArray[np.floating], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """H×W×3 RGB. points: 478×≥2, pixels; size: width and height."""
    at = points[:, :2] * FINER
    picture = Image.new("RGB", (size[0] * FINER, size[1] * FINER), looks.wall)
    canvas = ImageDraw.Draw(picture)

    def fill(outline: tuple[int, ...], colour: Colour, grown: float = 1.0) -> None:
        around = at[list(outline)]
        middle = around.mean(0)
        canvas.polygon([tuple(p) for p in middle + grown * (around - middle)], fill=colour)

    fill(FACE_OVAL, looks.hair, 1.25)
    fill(FACE_OVAL, looks.skin)
    width = np.ptp(at[list(FACE_OVAL), 0])
    for brow in BROWS:
        canvas.line([tuple(p) for p in at[list(brow)]], fill=looks.hair, width=round(0.04 * width))
    canvas.line([tuple(at[6]), tuple(at[4]), tuple(at[98])], fill=looks.hair, width=round(0.02 * width))
    for eye, iris in ((EYE_LEFT, IRIS_LEFT), (EYE_RIGHT, IRIS_RIGHT)):
        fill(eye, (245, 245, 245))
        fill(iris[1:], looks.iris)
    fill(LIPS_OUTER, looks.lips)
    fill(LIPS_INNER, (30, 10, 10))
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


class Pose(NamedTuple):
    """A frame of a clip, and how the head is turned further."""

    frame: int
    yaw: float  # degrees
    roll: float


POSES = (Pose(0, -30, 0), Pose(22, 0, -25), Pose(47, 25, 10), Pose(60, 5, 30))


def turned(clip: str, pose: Pose) -> npt.NDArray[np.float64]:
    """478×3, pixels of the clip's frames."""
    points = track(clip).points[pose.frame]
    middle = points.mean(0)
    yaw, roll = np.radians((pose.yaw, pose.roll))
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return (points - middle) @ (about_z @ about_y).T + middle


def observed(looks: Looks, clip: str, rule: CropRule, poses: tuple[Pose, ...] = POSES) -> Observation:
    """A batch: somebody with the face and in the pose of each of `poses`, in the rule's crop."""
    size = track(clip).size
    points = [turned(clip, pose) for pose in poses]
    return cat_codes([to_unit(observe(draw(looks, at, size), at, rule)) for at in points])


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """dB, of each row of pictures in [0, 1]."""
    return -10 * (a - b).square().flatten(1).mean(1).log10()


def stands_out(drawn: Tensor, every: Tensor, right: int) -> tuple[float, float]:
    """How like the picture `right` a drawn one (3×S×S) is, and how much more than like any other, dB."""
    near = psnr(drawn.expand_as(every), every)
    others = torch.cat((near[:right], near[right + 1 :]))
    return float(near[right]), float(near[right] - others.max())


def nearest(drawn: Tensor, candidates: list[Tensor]) -> Tensor:
    """Which of the candidates each row of `drawn` is most like."""
    return torch.stack([psnr(drawn, candidate) for candidate in candidates]).argmax(0)
