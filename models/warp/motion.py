"""The driver's motion in the source's terms: pose, expression, lids, gaze, lips."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import LANDMARKS, Controls
from models.face_geometry import (
    FACE_OVAL,
    IRIS_LEFT,
    IRIS_RIGHT,
    LIP_LOWER,
    LIP_UPPER,
    LIPS_OUTER,
    RIGID,
    length,
    limiting,
    rigid_fit,
    rotation_power,
)
from models.warp.codes import Structure
from models.warp.features import (
    EYES,
    IRISES,
    LID_LOWER,
    LID_UPPER,
    FeatureReader,
    Frame,
    from_upright,
    parts,
    to_upright,
)

# The control points of the bent picture: all but irises and the lids' edges, which the eyes' own layer draws.
BENDING = tuple(
    sorted(
        set(range(LANDMARKS))
        - {i for lids in LID_UPPER + LID_LOWER for i in lids[1:-1]}
        - {i for iris in IRISES for i in iris}
    )
)

# How far the head may leave its place in the portrait, approached smoothly. Beyond, a picture that shows one
# side of a head only comes apart.
SHIFT_LIMIT = 0.8  # × the face's width
TURN_LIMIT = math.radians(35)
GROWTH_LIMIT = math.log(1.5)  # log of the head's size
GAZE_GAIN = 1.7  # landmarks show less of a gaze than there is
LID_GAIN = 1.8  # a closed eye's landmarks still lie apart
FOREIGN_LIPS = 0.2  # of the lips' motion is added on another's portrait, where it looks smaller than it is
SAME_HEAD = (
    0.009,
    0.014,
)  # × the face's width, RMS of the rigid points: one person's below the first, another's above the second
NARROWING = 0.18  # × the portrait's mouth: how much narrower it becomes at most
SCALES = (0.1, 10.0)  # of a driver against his neutral
REACH = 0.2  # × the face's width: how far around a feature its own gain acts
NEARLY = 0.8  # a portrait's mouth this much as open as its driver's neutral is as open
CONTOUR = (
    0.3  # how much the ring follows the face's oval, whose landmarks slide along with the visible contour
)


class Moved(NamedTuple):
    """A source in the driver's pose and expression, in the source's pixels."""

    points: Tensor  # B×478×3
    head: Tensor  # B×RING×2: the head's silhouette
    gap: Tensor  # B: of the source's own mouth, × its width


class Motion(nn.Module):
    """Arithmetic on landmarks (B×478×3), with the index tables as buffers, so that nothing is copied from the
    host.
    """

    def __init__(self, reader: FeatureReader) -> None:
        super().__init__()
        self.reader = reader
        with np.load(Path(__file__).parents[1] / "mean_face.npz") as file:
            mean, jaw = torch.from_numpy(file["points"]), torch.from_numpy(file["jaw"])
        self.mean: Tensor
        self.jaw: Tensor
        self.rigid: Tensor
        self.lid_upper: Tensor
        self.lid_lower: Tensor
        self.lip_upper: Tensor
        self.lip_lower: Tensor
        self.iris: Tensor
        self.irises: Tensor
        self.bending: Tensor
        self.oval: Tensor
        self.shares: Tensor
        inner = slice(1, -1)
        eyes = (*LID_UPPER[0], *LID_LOWER[0], *LID_UPPER[1], *LID_LOWER[1], *IRIS_LEFT, *IRIS_RIGHT)
        for name, value in {
            "mean": mean,  # 478×3, width 1
            "jaw": jaw,  # 478×3: how the mean face moves for each unit of gap between the lips
            "rigid": torch.tensor(RIGID),
            "lid_upper": torch.tensor([lid[inner] for lid in LID_UPPER]).flatten(),  # 14, left before right
            "lid_lower": torch.tensor([lid[inner] for lid in LID_LOWER]).flatten(),
            "lip_upper": torch.tensor(LIP_UPPER[inner]),  # 9
            "lip_lower": torch.tensor(LIP_LOWER[inner]),
            "iris": torch.tensor([iris[0] for iris in IRISES]),  # their centres
            "irises": torch.tensor(IRISES).flatten(),  # 10
            "bending": torch.tensor(BENDING),
            "oval": torch.tensor(FACE_OVAL),
            # 3×478: of all landmarks; 1 on the lips, 0 beyond REACH; likewise the eyes
            "shares": torch.stack((torch.ones(LANDMARKS), _share(mean, LIPS_OUTER), _share(mean, eyes))),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def closed(self, points: Tensor) -> Tensor:
        """The same face with its mouth closed: the mean face's way of opening, taken back by the gap there
        is.
        """
        _, turn, _ = rigid_fit(self.mean[self.rigid].expand(points.shape[0], -1, -1), points[:, self.rigid])
        middle = self.lip_upper.shape[0] // 2
        gap = length(points[:, self.lip_upper[middle]] - points[:, self.lip_lower[middle]], 1)
        opening = gap.view(-1, 1, 1) * self.jaw @ turn.transpose(1, 2)
        return self._lips_met(points - opening)

    def transfer(
        self, driver: Structure, neutral: Structure, source: Tensor, ring: Tensor, controls: Controls
    ) -> Moved:
        """The source under the driver's motion. source: B×478×3, its landmarks; ring: B×RING×3, its head's
        silhouette.

        The rigid fit of the driver against his own neutral is the pose; what is left is expression, scaled to
        the source's face and turned into its pose, so that the source keeps its own shape."""
        batch = driver.points.shape[0]
        source = source.expand(batch, -1, -1)
        closed = torch.stack((driver.points, neutral.points.expand(batch, -1, -1)))
        opening = torch.stack((driver.opening, neutral.opening.expand(batch, -1, -1)))
        seen = torch.cat(((closed + opening).flatten(0, 1), source))
        openness = self.reader.openness(seen).view(3, batch, 3)
        gap = openness[2, :, 2]
        # A mouth is opened again at most as far as it was, and as the portrait's is. For where both are open
        # there is nothing to take back: their mouths rest alike.
        share = (gap / openness[:2, :, 2].clamp_min(1e-6) / NEARLY).clamp(max=1)
        resting = (closed + share.view(2, batch, 1, 1) * opening).flatten(0, 1)
        faces = torch.cat((resting, source))  # the driver's, the neutral, the source's

        rigid = faces.index_select(1, self.rigid)
        centres = rigid.mean(1, keepdim=True)
        driver_at, neutral_at, source_at = parts(centres, 3)
        of_driver, of_neutral, of_source = parts(rigid, 3)
        # One batch of fits: neutral → driver, neutral → source, and how driver and source face.
        mean = self.mean[self.rigid].expand(2 * batch, -1, -1)
        scales, rotations, _ = rigid_fit(
            torch.cat((of_neutral, of_neutral, mean)), torch.cat((of_driver, of_source, of_driver, of_source))
        )
        scale, size = scales.view(4, batch, 1, 1)[:2]
        # Where no face was seen all points are one: numbers without meaning, but numbers.
        scale = scale.clamp(*SCALES)
        rotation, turn, facing, source_facing = parts(rotations, 4)

        turned_back = turn.transpose(1, 2) * size
        expression = torch.baddbmm(
            (faces[:batch] - driver_at) @ (rotation @ turned_back / scale),
            faces[batch : 2 * batch] - neutral_at,
            turned_back,
            alpha=-1,
        )
        low, high = source[..., 0].aminmax(dim=1)
        width = (high - low).view(-1, 1, 1)
        unlike = (of_neutral - neutral_at) @ turned_back - (of_source - source_at)
        foreign = self._foreign(unlike / width)
        wanted = expression * self._gains(controls, foreign).unsqueeze(2)
        face = torch.addcmul(source, wanted, self._unpursed(source, wanted).unsqueeze(2))
        eyes_gain = controls.gain_expression * controls.eyes
        closing = 1 - openness[0, :, :2] / openness[1, :, :2].clamp_min(1e-3)
        face = self._lids(face, source, closing * eyes_gain.unsqueeze(1))
        face = self._gaze(face, faces, eyes_gain)
        face = self._lips_apart(face, source)

        # Relative: as the driver turned since his neutral. Absolute: until the source faces where the driver
        # faces.
        turned = torch.where(
            controls.relative.view(-1, 1, 1) > 0.5,
            turn @ rotation @ turn.transpose(1, 2),
            facing @ source_facing.transpose(1, 2),
        )
        pose_gain = controls.gain_pose.view(-1, 1, 1)
        grown = _limited(scale.log() * pose_gain, GROWTH_LIMIT).exp()
        linear = rotation_power(turned, controls.gain_pose, TURN_LIMIT).transpose(1, 2) * grown
        shift = (size * pose_gain) * (driver_at - neutral_at)[..., :2]
        shift = F.pad(_limited(shift, SHIFT_LIMIT * width), (0, 1))
        resting_all = torch.cat((face, ring.expand(batch, -1, -1)), 1)
        moved = torch.baddbmm(source_at + shift, resting_all - source_at, linear)
        points, head = moved[:, :LANDMARKS], moved[:, LANDMARKS:, :2]
        contour = ring[..., :2] + (points - source)[:, self.oval, :2]
        return Moved(points, torch.lerp(head, contour, CONTOUR), gap)

    def _foreign(self, unlike: Tensor) -> Tensor:
        """B in [0, 1]: is the portrait another person's? By the shape of the head, never by the driver's
        colours, of which nothing may show. unlike: B×K×3, what the rigid fit of the two faces leaves.
        """
        rest: Tensor = length(unlike[..., :2], (1, 2)) / len(RIGID) ** 0.5
        return ((rest - SAME_HEAD[0]) / (SAME_HEAD[1] - SAME_HEAD[0])).clamp(0, 1)

    def _gains(self, controls: Controls, foreign: Tensor) -> Tensor:
        """B×478: how much of the driver's expression each landmark takes on."""
        every = controls.gain_expression
        lips = controls.lips * (1 + FOREIGN_LIPS * foreign)
        parts = torch.stack((every, every * (lips - 1), every * (controls.eyes - 1)), 1)
        return parts @ self.shares

    def _unpursed(self, source: Tensor, wanted: Tensor) -> Tensor:
        """B×478: how much of the wanted expression remains, so that no mouth becomes too narrow: to one who
        was calibrated with a grin, a relaxed mouth is a pursed one.
        """
        widths = length(self.reader.placing[-1:] @ torch.stack((source, source + wanted))[..., :2], 3)
        narrowed = (1 - widths[1] / widths[0].clamp_min(1e-6)).clamp_min(0)  # B×1
        return 1 - (1 - limiting(narrowed, NARROWING)) * self.shares[1]

    def _lids(self, face: Tensor, source: Tensor, closed: Tensor) -> Tensor:
        """The upper lids, brought down on the lower ones as far as the driver closed his. closed: B×2."""
        closed = closed.repeat_interleave(self.lid_upper.shape[0] // 2, 1).unsqueeze(2)
        share = (LID_GAIN * closed).clamp(max=1)
        sure = (closed / 0.25).clamp(0, 1)  # small changes are left to the landmarks themselves
        upper = face[:, self.lid_upper]
        apart = source[:, self.lid_upper] - source[:, self.lid_lower]
        lid = torch.addcmul(face[:, self.lid_lower], 1 - share, apart)
        return face.index_copy(1, self.lid_upper, torch.lerp(upper, lid, sure))

    def _gaze(self, face: Tensor, faces: Tensor, gain: Tensor) -> Tensor:
        """The irises, moved by the driver's gaze in the coordinates of the eye's corners. faces: the
        driver's, the neutral, the source's.
        """
        batch = face.shape[0]
        every = torch.cat((faces, face))
        at = self.reader.frames(every).of(EYES)
        centres = every[:, self.iris, :2].reshape(-1, 2, 1)
        driver, neutral, source, _ = parts(to_upright(at, centres), 4)
        own = Frame(*(part[-2 * batch :] for part in at))
        gain = (GAZE_GAIN * gain).repeat_interleave(2).view(-1, 1, 1)
        target = from_upright(own, source + gain * (driver - neutral)) - centres[-4 * batch : -2 * batch]
        rest = faces[-batch:, self.irises]
        moved = rest + F.pad(target.view(batch, 2, 2), (0, 1)).repeat_interleave(len(IRIS_LEFT), 1)
        return face.index_copy(1, self.irises, moved)

    def _lips_apart(self, face: Tensor, source: Tensor) -> Tensor:
        """Lips that met do not pass through each other further than they do in the source."""
        along = self.reader.placing[-1:] @ source[..., :2]  # B×1×2, from corner to corner
        x, y = (along / length(along, 2).unsqueeze(2).clamp_min(1e-6)).unbind(2)
        down = torch.stack((-y, x, torch.zeros_like(x)), 2)
        both = torch.stack((face, source))
        apart = ((both[:, :, self.lip_upper] - both[:, :, self.lip_lower]) * down).sum(3)
        overlap = (apart[0] - apart[1].clamp_min(0)).clamp_min(0)
        push = overlap.unsqueeze(2) * (down / 2)
        face = face.index_add(1, self.lip_upper, push, alpha=-1)
        return face.index_add(1, self.lip_lower, push)

    def _lips_met(self, face: Tensor) -> Tensor:
        """The lips' edges, brought together half-way."""
        middle = (face[:, self.lip_upper] + face[:, self.lip_lower]) / 2
        face = face.index_copy(1, self.lip_upper, middle)
        return face.index_copy(1, self.lip_lower, middle)


def _share(mean: Tensor, feature: tuple[int, ...]) -> Tensor:
    """478: 1 on a feature's landmarks, falling to 0 at REACH from them."""
    distance = torch.cdist(mean[:, :2], mean[list(feature), :2]).amin(1)
    return (1 - distance / REACH).clamp(0, 1)


def _limited(motion: Tensor, limit: Tensor | float) -> Tensor:
    """motion (B×1×K) shortened where it is long, so that it stays below `limit`; short ones hardly change."""
    return motion * limiting(length(motion, 2).unsqueeze(2), limit)
