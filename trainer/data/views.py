"""What of a clip's frames a network sees: its own square of each picture.

B clips, K frames of each, S the crop's side in pixels, N = 478 landmarks
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import CropRule, Observation
from models.face_geometry import EYE_CORNERS, LIP_CORNERS
from trainer.data.samples import Sample

Steady = Literal["clip", "frame"]


class Views(NamedTuple):
    """Frames of B clips, cropped."""

    image: Tensor  # B×K×3×S×S in [0, 1]
    points: Tensor  # B×K×N×3 in crop units; nought where not valid
    valid: Tensor  # B×K bool: are the points right
    to_frame: Tensor  # B×K×2×3: crop units → units of the picture that the crop was taken from
    labels: Tensor | None = None  # B×K×S×S uint8, where they were asked for

    @property
    def device(self) -> torch.device:
        return self.image.device

    def frame(self, number: int) -> Observation:
        """One frame of each clip, as a generator takes it."""
        return Observation(
            self.image[:, number], self.points[:, number], self.to_frame[:, number], self.valid[:, number]
        )

    def parts(self, size: int) -> list["Views"]:
        """Of so many clips each, in order."""
        fields = [[None] * len(self.image) if one is None else torch.split(one, size) for one in self]
        return [Views(*found) for found in zip(*fields, strict=False)]


def views_of(sample: Sample, rule: CropRule, steady: Steady, labels: bool = False) -> Views:
    """A batch through the rule's square, on the batch's device.

    steady: `frame`, each frame's own, as a session's crop follows the driver. `clip`, one square for all
    frames of a clip, the mean of theirs: where the head moves to is motion. Frames without landmarks are seen
    as the clip's others are, and clips without any as whole pictures. Squares that are turned upright are
    each frame's own.
    """
    assert steady == "frame" or not rule.upright, "a clip's mean square isn't turned"
    axes = _axes(sample.points, sample.valid, rule)
    corner, side = _squares(sample.points[..., :2].float() @ axes, sample.valid, rule, steady)
    corner = (axes @ corner.unsqueeze(-1)).squeeze(-1)
    to_frame = torch.cat((axes * side[..., None, None], corner.unsqueeze(-1)), -1)
    return Views(
        image=cut(sample.picture, to_frame, rule.size),
        points=torch.where(
            sample.valid[..., None, None],
            torch.cat(
                (
                    (sample.points[..., :2] - corner.unsqueeze(2)) @ axes / side[..., None, None],
                    sample.points[..., 2:] / side[..., None, None],
                ),
                -1,
            ),
            0.0,
        ),
        valid=sample.valid,
        to_frame=to_frame,
        labels=nearest(sample.labels, to_frame, rule.size) if labels else None,
    )


def cut(pictures: Tensor, to_frame: Tensor, size: int) -> Tensor:
    """B×K×C×size×size in [0, 1]: squares of levels (B×K×C×H×H uint8); outside, the border is repeated.

    to_frame: B×K×2×3, crop units → picture sides.
    """
    flat = pictures.flatten(0, 1).float().div_(255)
    # Two samples a pixel each way, averaged: squares may be larger than the crop, up to twice.
    grid = _grid(to_frame, 2 * size)
    fine = F.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, 2).view(*pictures.shape[:3], size, size)


def nearest(labels: Tensor, to_frame: Tensor, size: int) -> Tensor:
    """B×K×size×size uint8: of the pixel that lies nearest. labels: B×K×H×H uint8; else as `cut`."""
    flat = labels.flatten(0, 1).unsqueeze(1).float()
    grid = _grid(to_frame, size)
    found = F.grid_sample(flat, grid, mode="nearest", padding_mode="border", align_corners=False)
    return found.to(torch.uint8).view(*labels.shape[:2], size, size)


def _grid(to_frame: Tensor, size: int) -> Tensor:
    """BK×size×size×2: where in the picture the crop's pixels lie, in [−1, 1]."""
    return F.affine_grid(_halves(to_frame), [len(to_frame.flatten(0, 1)), 1, size, size], align_corners=False)


def _halves(to_frame: Tensor) -> Tensor:
    """BK×2×3: the same map of places that count from −1 to 1, in the square and in the picture."""
    turned, corner = torch.split(to_frame.flatten(0, 1), [2, 1], -1)
    return torch.cat((turned, 2 * corner + turned.sum(-1, keepdim=True) - 1), -1)


def _axes(points: Tensor, valid: Tensor, rule: CropRule) -> Tensor:
    """B×K×2×2: each square's x and y axis in the picture, in columns. Frames without landmarks are level."""
    level = torch.eye(2, device=points.device).expand(*valid.shape, 2, 2)
    if not rule.upright:
        return level
    xy = points[..., :2].float()
    eyes = [xy[..., list(corners), :].mean(-2) for corners in (EYE_CORNERS[:2], EYE_CORNERS[2:])]
    if rule.level == "eyes":
        along = eyes[1] - eyes[0]
    else:
        down = xy[..., list(LIP_CORNERS), :].mean(-2) - (eyes[0] + eyes[1]) / 2
        along = torch.stack((down[..., 1], -down[..., 0]), -1)
    x, y = F.normalize(along, dim=-1).unbind(-1)
    turned = torch.stack((torch.stack((x, -y), -1), torch.stack((y, x), -1)), -2)
    return torch.where(valid[..., None, None], turned, level)


def _squares(xy: Tensor, valid: Tensor, rule: CropRule, steady: Steady) -> tuple[Tensor, Tensor]:
    """Corner (B×K×2) and side (B×K) of each frame's square, as `models.face_geometry.crop_to_frame` has it
    of one frame, in picture sides. xy: B×K×N×2, along the square's axes."""
    anchors = xy[..., list(rule.anchors), :] if rule.anchors else xy
    low, high = anchors.amin(2), anchors.amax(2)
    box = (high - low).amax(2)
    middle = (low + high) / 2 if rule.centre is None else xy[..., rule.centre, :]
    side = rule.scale * box
    centre = middle + xy.new_tensor(rule.shift) * box.unsqueeze(2)
    weight = valid.float()
    some = weight.sum(1, keepdim=True)  # B×1
    mean_side = (side * weight).sum(1, keepdim=True) / some.clamp(min=1)
    mean_centre = (centre * weight.unsqueeze(2)).sum(1, keepdim=True) / some.clamp(min=1).unsqueeze(2)
    own = valid if steady == "frame" else torch.zeros_like(valid)
    side = torch.where(own, side, mean_side)
    centre = torch.where(own.unsqueeze(2), centre, mean_centre)
    if rule.inside:
        least = torch.where(own, rule.min_scale / rule.scale * side, rule.min_scale / rule.scale * mean_side)
        side = torch.maximum(side.clamp(max=1), least)
        room = (1 - side).clamp(min=0).unsqueeze(2)
        corner = centre - side.unsqueeze(2) / 2
        corner = torch.where(side.unsqueeze(2) <= 1, torch.minimum(corner.clamp(min=0), room), corner)
    else:
        corner = centre - side.unsqueeze(2) / 2
    seen = some > 0  # B×1
    return torch.where(seen.unsqueeze(2), corner, 0.0), torch.where(seen, side, 1.0)
