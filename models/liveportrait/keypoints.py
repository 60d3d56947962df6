"""The arithmetic of key points: x = s·(x_c R + δ) + t (section 3.1). All of it is float32."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers import without_autocast

POINTS = 21
STEP, FIRST = 3.0, -97.5  # degrees a bin of an angle, and those of the first; the authors' code has them so
# The coordinates of δ that the authors take from the driver where motion is absolute, by point; the others
# tell more about whose head it is.
EXPRESSION = {
    **dict.fromkeys((1, 2, 6, *range(11, 21)), (0, 1, 2)),
    **dict.fromkeys((3, 4), (1,)),
    **dict.fromkeys((5, 8), (2,)),
    9: (1, 2),
}

# Points that mostly move with …
EYES, LIPS = (11, 13, 15, 16, 18), (6, 12, 14, 17, 19, 20)


class Motion(NamedTuple):
    """What M finds in a picture."""

    kp: Tensor  # B×21×3: x_c, the key points of the face at rest, seen from the front
    exp: Tensor  # B×21×3: δ, how expression moves them
    pitch: Tensor  # B×1, degrees; likewise yaw and roll
    yaw: Tensor
    roll: Tensor
    scale: Tensor  # B×1
    t: Tensor  # B×3; its z is never used

    @property
    def rotation(self) -> Tensor:
        """B×3×3."""
        return rotation(self.pitch, self.yaw, self.roll)

    @property
    def points(self) -> Tensor:
        """B×21×3: the key points where they are in the picture."""
        return placed(self.kp, self.rotation, self.exp, self.scale, self.t)


def degrees(bins: Tensor) -> Tensor:
    """B×1: the mean of an angle over its bins (B×66, before their softmax)."""
    share = bins.float().softmax(1)
    index = torch.arange(bins.shape[1], device=bins.device, dtype=torch.float32)
    return (share * index).sum(1, keepdim=True) * STEP + FIRST


def rotation(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """B×3×3, which multiplies rows of coordinates from the right: (R_z(roll) R_y(yaw) R_x(pitch))ᵀ. Angles:
    B×1, degrees.
    """
    (sx, sy, sz), (cx, cy, cz) = (
        [turn(torch.deg2rad(angle.squeeze(1))) for angle in (pitch, yaw, roll)]
        for turn in (torch.sin, torch.cos)
    )
    rows = (
        (cy * cz, cy * sz, -sy),
        (sx * sy * cz - cx * sz, sx * sy * sz + cx * cz, sx * cy),
        (cx * sy * cz + sx * sz, cx * sy * sz - sx * cz, cx * cy),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def placed(kp: Tensor, turned: Tensor, exp: Tensor, scale: Tensor, t: Tensor) -> Tensor:
    """B×21×3: s·(x_c R + δ) + t, without t's z."""
    shift = F.pad(t[:, :2], (0, 1)).unsqueeze(1)
    with without_autocast(kp.device.type):
        return scale.unsqueeze(2) * (kp @ turned + exp) + shift
