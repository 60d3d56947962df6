"""The driver's motion in the source's terms: pose, expression, lids, gaze, lips."""

from pathlib import Path

import numpy as np
import torch
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
    rigid_fit,
    rotation_power,
)
from models.warp.field import HEAD_CENTRE
from models.warp.layers import Frame, frame, from_upright, to_upright

# The lids from the picture's left corner to the right one, the left eye's first.
LID_UPPER = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LID_LOWER = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
# The skin around the lids: the hollow above them and the edge of the cheek below, with the points beside the
# corners.
HOLLOW = ((226, 113, 225, 224, 223, 222, 221, 189, 244), (464, 413, 441, 442, 443, 444, 445, 342, 446))
CHEEK = ((226, 25, 110, 24, 23, 22, 26, 112, 244), (464, 341, 256, 252, 253, 254, 339, 255, 446))
IRISES = (IRIS_LEFT, IRIS_RIGHT)

# The control points of the bent picture: all but irises and the lids' edges, which the eyes' own layer draws.
BENDING = tuple(
    sorted(
        set(range(LANDMARKS))
        - {i for lids in LID_UPPER + LID_LOWER for i in lids[1:-1]}
        - {i for iris in IRISES for i in iris}
    )
)

SHIFT_LIMIT = 0.8  # × the face's width: how far the head may leave its place in the portrait
GAZE_GAIN = 1.7  # landmarks show less of a gaze than there is
LID_GAIN = 1.8  # a closed eye's landmarks still lie apart
REACH = 0.2  # × the face's width: how far around a feature its own gain acts


class Motion(nn.Module):
    """Arithmetic on landmarks (B×478×3), with the index tables as buffers, so that nothing is copied from the
    host.
    """

    def __init__(self) -> None:
        super().__init__()
        with np.load(Path(__file__).parents[1] / "mean_face.npz") as file:
            mean, jaw = torch.from_numpy(file["points"]), torch.from_numpy(file["jaw"])
        self.mean: Tensor
        self.jaw: Tensor
        self.rigid: Tensor
        self.lid_upper: Tensor
        self.lid_lower: Tensor
        self.lip_upper: Tensor
        self.lip_lower: Tensor
        self.eye_edges: Tensor
        self.lip_edges: Tensor
        self.irises: Tensor
        self.bending: Tensor
        self.oval: Tensor
        self.lips_share: Tensor
        self.eyes_share: Tensor
        for name, value in {
            "mean": mean,  # 478×3, width 1
            "jaw": jaw,  # 478×3: how the mean face moves for each unit of gap between the lips
            "rigid": torch.tensor(RIGID),
            "lid_upper": torch.tensor(LID_UPPER),  # 2×9
            "lid_lower": torch.tensor(LID_LOWER),
            "lip_upper": torch.tensor(LIP_UPPER),  # 11
            "lip_lower": torch.tensor(LIP_LOWER),
            "eye_edges": torch.tensor(_eye_edges()),  # 2×4×11: hollow, upper lid, lower lid, cheek
            "lip_edges": torch.tensor(
                _lip_edges()
            ),  # 4×13: upper lip's outer and inner edge, lower's inner and outer
            "irises": torch.tensor(IRISES),  # 2×5
            "bending": torch.tensor(BENDING),
            "oval": torch.tensor(FACE_OVAL),
            "lips_share": _share(mean, LIPS_OUTER),  # 478×1: 1 on the lips, 0 beyond REACH
            "eyes_share": _share(
                mean, (*LID_UPPER[0], *LID_LOWER[0], *LID_UPPER[1], *LID_LOWER[1], *IRIS_LEFT, *IRIS_RIGHT)
            ),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def openness(self, points: Tensor) -> Tensor:
        """B×2: the mean gap between the lids over the eye's width, left and right."""
        upper, lower = points[:, self.lid_upper, :2], points[:, self.lid_lower, :2]  # B×2×9×2
        gap = (upper - lower)[:, :, 1:-1].square().sum(3).sqrt().mean(2)
        return gap / (upper[:, :, 0] - upper[:, :, -1]).square().sum(2).sqrt().clamp_min(1e-6)

    def mouth_gap(self, points: Tensor) -> Tensor:
        """B: the mean gap between the lips' middles over the mouth's width."""
        upper, lower = points[:, self.lip_upper, :2], points[:, self.lip_lower, :2]
        gap = (upper - lower)[:, 3:8].square().sum(2).sqrt().mean(1)
        return gap / (upper[:, 0] - upper[:, -1]).square().sum(1).sqrt().clamp_min(1e-6)

    def mouth_frame(self, points: Tensor) -> Frame:
        """Upright coordinates of the mouth's opening, about the middle of its outline."""
        upper, lower = points[:, self.lip_upper, :2], points[:, self.lip_lower, :2]
        return frame(upper[:, 0], upper[:, -1], (upper.mean(1) + lower.mean(1)) / 2)

    def eye_frames(self, points: Tensor) -> Frame:
        """Of both eyes of each face, as a batch of 2·B: the first face's left and right, the second's
        left, …
        """
        corners = points[:, self.lid_upper[:, ::8], :2].view(-1, 2, 2)
        return frame(corners[:, 0], corners[:, 1])

    def closed(self, points: Tensor) -> Tensor:
        """The same face with its mouth closed: the mean face's way of opening, taken back by the gap there
        is.
        """
        _, turn, _ = rigid_fit(self.mean[self.rigid].expand(points.shape[0], -1, -1), points[:, self.rigid])
        middle = self.lip_upper.shape[0] // 2
        gap = (points[:, self.lip_upper[middle]] - points[:, self.lip_lower[middle]]).square().sum(1).sqrt()
        opening = gap.view(-1, 1, 1) * self.jaw @ turn.transpose(1, 2)
        return self._lips_met(points - opening)

    def transfer(self, driver: Tensor, neutral: Tensor, source: Tensor, controls: Controls) -> Tensor:
        """The source's landmarks under the driver's motion: B×478×3 in the source's pixels.

        driver, neutral: in the driver's pixels. The rigid fit of the driver against his own neutral is the
        pose; what is left is expression, scaled to the source's face and turned into its pose, so that the
        source keeps its own shape."""
        rigid = [p.index_select(1, self.rigid) for p in (driver, neutral, source)]
        driver_at, neutral_at, source_at = (p.mean(1, keepdim=True) for p in rigid)
        # One batch of fits: neutral → driver, neutral → source, and how driver and source face.
        mean = self.mean[self.rigid].expand_as(rigid[0])
        scales, rotations, _ = rigid_fit(
            torch.cat((rigid[1], rigid[1], mean, mean)), torch.cat((rigid[0], rigid[2], rigid[0], rigid[2]))
        )
        scale, size = scales.chunk(4)[:2]
        rotation, turn, facing, source_facing = rotations.chunk(4)

        unturned = (driver - driver_at) @ rotation / scale.view(-1, 1, 1)
        expression = size.view(-1, 1, 1) * (unturned - (neutral - neutral_at)) @ turn.transpose(1, 2)
        gain, lips, eyes = (
            g.view(-1, 1, 1) for g in (controls.gain_expression, controls.lips, controls.eyes)
        )
        face = source + gain * (1 + (lips - 1) * self.lips_share + (eyes - 1) * self.eyes_share) * expression
        eyes_gain = controls.gain_expression * controls.eyes
        face = self._lids(face, source, self.openness(driver), self.openness(neutral), eyes_gain)
        face = self._gaze(face, source, driver, neutral, eyes_gain)
        face = self._lips_apart(face, source)

        # Relative: as the driver turned since his neutral. Absolute: until the source faces where the driver
        # faces.
        turned = torch.where(
            controls.relative.view(-1, 1, 1) > 0.5,
            turn @ rotation @ turn.transpose(1, 2),
            facing @ source_facing.transpose(1, 2),
        )
        turned = rotation_power(turned, controls.gain_pose)
        grown = scale.pow(controls.gain_pose).view(-1, 1, 1)
        width = (source[..., 0].amax(1) - source[..., 0].amin(1)).view(-1, 1, 1)
        centre = torch.cat((source_at[..., :2], source_at[..., 2:] + HEAD_CENTRE * width), 2)
        moved = (face - centre) @ turned.transpose(1, 2) * grown + centre
        # The driver's head went by `shift`; turning about the head's centre has already moved the source's by
        # some of it.
        shift = (size * controls.gain_pose).view(-1, 1, 1) * (driver_at - neutral_at)[..., :2]
        already = ((source_at - centre) @ turned.transpose(1, 2) * grown + centre - source_at)[..., :2]
        shift = _limited(shift, SHIFT_LIMIT * width) - already
        return torch.cat((moved[..., :2] + shift, moved[..., 2:]), 2)

    def _lids(self, face: Tensor, source: Tensor, driver: Tensor, neutral: Tensor, gain: Tensor) -> Tensor:
        """The upper lids, brought down on the lower ones as far as the driver closed his. driver, neutral:
        openness, B×2.
        """
        closed = (1 - driver / neutral.clamp_min(1e-3)) * gain.unsqueeze(1)
        share = (LID_GAIN * closed).clamp(-0.5, 1).view(-1, 2, 1, 1)
        sure = (
            (closed / 0.25).clamp(0, 1).view(-1, 2, 1, 1)
        )  # small changes are left to the landmarks themselves
        upper, lower = self.lid_upper[:, 1:-1], self.lid_lower[:, 1:-1]
        lid = face[:, lower] + (1 - share) * (source[:, upper] - source[:, lower])
        lid = torch.lerp(face[:, upper], lid, sure)
        return face.index_copy(1, upper.flatten(), lid.flatten(1, 2))

    def _gaze(self, face: Tensor, source: Tensor, driver: Tensor, neutral: Tensor, gain: Tensor) -> Tensor:
        """The irises, moved by the driver's gaze in the coordinates of the eye's corners."""
        batch = face.shape[0]
        faces = torch.cat((driver, neutral, source.expand_as(face), face))
        at, iris = self.eye_frames(faces), faces[:, self.irises]  # 4·B×2×5×3
        looking = to_upright(at, iris[:, :, 0, :2].reshape(-1, 2, 1)).view(4, 2 * batch, 2, 1)
        gain = (GAZE_GAIN * gain).repeat_interleave(2).view(-1, 1, 1)
        target = from_upright(
            Frame(*(part[-2 * batch :] for part in at)), looking[2] + gain * (looking[0] - looking[1])
        )
        rest = iris[-2 * batch : -batch]  # the source's
        xy = rest[..., :2] - rest[:, :, :1, :2] + target.view(batch, 2, 1, 2)
        moved = torch.cat((xy, rest[..., 2:]), 3).flatten(1, 2)
        return face.index_copy(1, self.irises.flatten(), moved)

    def _lips_apart(self, face: Tensor, source: Tensor) -> Tensor:
        """Lips that met do not pass through each other further than they do in the source."""
        rest = source[:, self.lip_upper, :2]
        along = rest[:, -1] - rest[:, 0]
        down = torch.stack((-along[:, 1], along[:, 0]), 1)
        down = down / down.square().sum(1, keepdim=True).sqrt().clamp_min(1e-6)
        upper, lower = face[:, self.lip_upper], face[:, self.lip_lower]
        own = ((rest - source[:, self.lip_lower, :2]) * down.unsqueeze(1)).sum(2).clamp_min(0)
        overlap = (((upper - lower)[..., :2] * down.unsqueeze(1)).sum(2) - own).clamp_min(0)
        push = torch.nn.functional.pad(overlap.unsqueeze(2) * down.unsqueeze(1) / 2, (0, 1))
        inner = slice(1, -1)
        face = face.index_add(1, self.lip_upper[inner], -push[:, inner])
        return face.index_add(1, self.lip_lower[inner], push[:, inner])

    def _lips_met(self, face: Tensor) -> Tensor:
        """The lips' edges, brought together half-way."""
        inner = slice(1, -1)
        middle = (face[:, self.lip_upper] + face[:, self.lip_lower])[:, inner] / 2
        face = face.index_copy(1, self.lip_upper[inner], middle)
        return face.index_copy(1, self.lip_lower[inner], middle)


def _eye_edges() -> list[list[tuple[int, ...]]]:
    """For each eye the four edges that divide it, all from beside one corner to beside the other."""
    edges: list[list[tuple[int, ...]]] = []
    for hollow, upper, lower, cheek in zip(HOLLOW, LID_UPPER, LID_LOWER, CHEEK, strict=True):
        left, right = hollow[0], hollow[-1]
        # The outer edges have two points fewer: their ends are repeated.
        outer = [(left, *edge, right) for edge in (hollow, cheek)]
        edges.append([outer[0], (left, *upper, right), (left, *lower, right), outer[1]])
    return edges


def _lip_edges() -> list[tuple[int, ...]]:
    """The four edges of the lips, all from one outer corner of the mouth to the other."""
    left, right = LIPS_OUTER[0], LIPS_OUTER[10]
    above, below = LIPS_OUTER[:11], (left, *LIPS_OUTER[:10:-1], right)
    # The inner edges have two points more: the ends of the outer ones are repeated.
    return [
        (left, *above, right),
        (left, *LIP_UPPER, right),
        (left, *LIP_LOWER, right),
        (left, *below, right),
    ]


def _share(mean: Tensor, feature: tuple[int, ...]) -> Tensor:
    """478×1: 1 on a feature's landmarks, falling to 0 at REACH from them."""
    distance = torch.cdist(mean[:, :2], mean[list(feature), :2]).amin(1, keepdim=True)
    return (1 - distance / REACH).clamp(0, 1)


def _limited(shift: Tensor, limit: Tensor) -> Tensor:
    """shift (B×1×2) shortened smoothly where it is long, so that it stays below `limit`; short ones hardly
    change.
    """
    length = shift.square().sum(2, keepdim=True).sqrt() / limit
    return shift / (1 + length.pow(4)).pow(0.25)
