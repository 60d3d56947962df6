"""`warp`: the source picture, bent by an operator that was solved once for it; nothing is learned, nothing
downloaded.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import Controls, CropRule, Observation, Reenactor, Spec, cat_codes, map_code
from models.face_geometry import rigid_fit
from models.registry import register
from models.warp import layers, portrait
from models.warp.codes import GRID, SIZE, Appearance, Structure
from models.warp.eyes import draw_eyes
from models.warp.field import displacement, head_ring, solve_field
from models.warp.motion import Motion
from models.warp.mouth import Mouth
from models.warp.shading import Shading

INVERSIONS = 8  # fixed-point steps from the forward to the backward displacement
CONTOUR = (
    0.3  # how much the ring follows the face's oval, whose landmarks slide along with the visible contour
)
SKIN = (205, 425, 50, 280, 6)  # cheeks and nose bridge
DAB = 0.015  # × the crop's side: how far around a landmark its skin is looked at
NEARLY = 0.8  # a portrait's mouth this much as open as its driver's neutral is as open
FOREIGN_LIPS = 0.2  # of the lips' motion is added on another's portrait, where it looks smaller than it is
MARGIN = 8  # pixels over which the avatar fades into the portrait at the crop's edge


@register
class Warp(Reenactor[Appearance, Structure]):
    """Relative motion bends the source. "Absolute" turns the head until it faces where the driver faces;
    expression stays relative to the neutral pose: without training, a driver's expression is known by
    comparison only.
    """

    spec = Spec(
        name="warp",
        reads=frozenset({"image", "points"}),
        source=CropRule(size=SIZE, scale=2.4, shift=(0.0, -0.05), inside=True, min_scale=1.9),
        driving=CropRule(size=320, scale=1.3),
        controls=Controls._fields,
        needs_weights=False,
        appearance="host",
    )

    def __init__(self) -> None:
        super().__init__()
        self.motion = Motion()
        self.shading = Shading(self.motion.mean)
        self.mouth = Mouth(self.motion)
        ramp = (torch.arange(SIZE) + 0.5) / MARGIN
        border = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
        self.skin: Tensor
        self.dab: Tensor
        self.alpha: Tensor
        self.cells: Tensor
        self.pixels: Tensor
        for name, value in {
            "skin": torch.tensor(SKIN),
            "dab": torch.cartesian_prod(*[torch.linspace(-DAB, DAB, 5)] * 2),  # 25×2, × the crop's side
            "alpha": torch.minimum(border.view(1, -1), border.view(-1, 1))[None, None],
            "cells": _centres(GRID),
            "pixels": _centres(SIZE),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
        if len(sources) != 1:
            raise ValueError(f"warp takes one source picture, not {len(sources)}")
        source = sources[0]
        if source.points is None or not bool(source.valid.all()):
            raise ValueError("warp needs a source picture with a face in it")
        points = source.points[0].cpu().numpy().astype(np.float64)
        person = None if source.person is None else source.person[0, 0].cpu().numpy()
        ring = head_ring(points, person)
        shade_at, shade_mask = portrait.shading_map(points, self.shading.canonical)
        structure = self._structure(source, source.points * SIZE)
        sclera, iris, radius, seen = portrait.eyes(source.image, structure.points)
        device = source.image.device
        return Appearance(
            structure=structure,
            picture=source.image,
            ring=torch.from_numpy((ring * SIZE).astype(np.float32))[None].to(device),
            field=map_code(
                lambda tensor: tensor.to(device),
                solve_field(points[self.motion.bending.cpu().numpy()], ring, GRID),
            ),
            shade_at=shade_at.to(device),
            shade_mask=shade_mask.to(device),
            sclera=sclera,
            iris=iris,
            iris_radius=radius,
            eyes_seen=seen,
        )

    def encode_structure(self, driving: Observation) -> Structure:
        assert driving.points is not None, "the tracker gives points to a generator that reads them"
        linear, shift = driving.to_frame[:, :, :2], driving.to_frame[:, :, 2]
        xy = driving.points[..., :2] @ linear.transpose(1, 2) + shift.unsqueeze(1)
        z = driving.points[..., 2:] * _determinant(linear).abs().sqrt().view(-1, 1, 1)
        return self._structure(driving, torch.cat((xy, z), 2))

    def _structure(self, observation: Observation, points: Tensor) -> Structure:
        """points: B×478×3, in the pixels that the code is to be in."""
        assert observation.points is not None
        image = observation.image
        side = image.shape[3]
        crop = observation.points[..., :2] * side
        around = (crop[:, self.skin].unsqueeze(2) + self.dab * side).flatten(1, 2)
        return Structure(
            points=points,
            shade=self.shading.encode(image, crop),
            skin=layers.sample(image, layers.planar(around)).mean(2),
            mouth=self.mouth.encode(image, crop),
            opened=torch.zeros_like(points[:, 0, 0]),
            opening=torch.zeros_like(points),
        )

    def neutral(self, codes: Sequence[Structure]) -> Structure:
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        every = cat_codes(codes)
        rigid = self.motion.rigid
        middle = every.points.mean(0, keepdim=True)
        scale, rotation, shift = rigid_fit(
            every.points[:, rigid], middle.expand(len(every.points), -1, -1)[:, rigid]
        )
        aligned = scale.view(-1, 1, 1) * every.points @ rotation.transpose(1, 2) + shift.unsqueeze(1)
        points = aligned.median(0, keepdim=True).values
        closed = self.motion.closed(points)
        quietest = self.motion.mouth_gap(every.points).argmin()
        return Structure(
            points=closed,
            shade=every.shade.median(0, keepdim=True).values,
            skin=every.skin.median(0, keepdim=True).values,
            mouth=every.mouth[quietest : quietest + 1],
            opened=torch.zeros_like(every.opened[:1]),
            opening=points - closed,
        )

    def blend(self, a: Structure, b: Structure, t: Tensor) -> Structure:
        return map_code(lambda x, y: torch.lerp(x, y, t.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)), a, b)

    def transfer(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        source = appearance.structure
        unlike = self.shading.unlike(neutral, source)
        gap = self.motion.mouth_gap(source.points)
        spoken = controls._replace(lips=controls.lips * (1 + FOREIGN_LIPS * unlike))
        points = self.motion.transfer(
            self._resting(structure, gap), self._resting(neutral, gap), source.points, spoken
        )
        amount = (controls.shading * controls.gain_expression).view(-1, 1, 1, 1)
        opened = self.mouth.opened(points, source.points)
        mouth = self.mouth.inside(structure, neutral, source, points, unlike, controls.mouth_pixels)
        return Structure(
            points=points,
            shade=source.shade + amount * self.shading.change(structure, neutral, unlike),
            skin=source.skin.expand(points.shape[0], -1),
            mouth=torch.where(opened.view(-1, 1, 1, 1) > 0, mouth, source.mouth),
            opened=opened,
            opening=torch.zeros_like(points),
        )

    def _resting(self, code: Structure, gap: Tensor) -> Tensor:
        """A code's points, B×478×3; a neutral's with its mouth opened again, at most as far as it was, and as
        the portrait's is (gap: B, in mouth widths). For where both are open there is nothing to take back:
        their mouths rest alike.
        """
        share = (gap / self.motion.mouth_gap(code.points + code.opening).clamp_min(1e-6) / NEARLY).clamp(
            max=1
        )
        return code.points + share.view(-1, 1, 1) * code.opening

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        source = appearance.structure.points
        scale, rotation, shift = rigid_fit(
            source[:, self.motion.rigid], structure.points[:, self.motion.rigid]
        )
        rigid = scale.view(-1, 1, 1) * appearance.ring @ rotation.transpose(1, 2) + shift.unsqueeze(1)
        moved = structure.points - source
        ring = torch.lerp(rigid - appearance.ring, moved[:, self.motion.oval], CONTOUR)
        motion = layers.planar(torch.cat((moved[:, self.motion.bending], ring), 1)) * (2 / SIZE)
        forward = displacement(appearance.field, motion)
        backward = self._inverted(forward)
        at = self.cells + backward.permute(0, 2, 3, 1)
        ratio = F.grid_sample(
            self.shading.ratio(appearance, structure), at, align_corners=False, padding_mode="border"
        )
        fine = F.interpolate(
            torch.cat((backward, ratio), 1), size=(SIZE, SIZE), mode="bilinear", align_corners=False
        )
        grid = fine[:, :2].permute(0, 2, 3, 1) + self.pixels
        picture = appearance.picture.expand(grid.shape[0], -1, -1, -1)
        rgb = F.grid_sample(picture, grid.to(picture.dtype), align_corners=False, padding_mode="border")
        rgb = draw_eyes(self.motion, rgb, appearance, structure)
        rgb = self.mouth.draw_lips(rgb, appearance, structure)
        rgb = rgb.mul_(fine[:, 2:].to(rgb.dtype)).clamp_(max=1)
        rgb = self.mouth.draw_inside(rgb, structure)
        return rgb, self.alpha.expand(rgb.shape[0], -1, -1, -1)

    def _inverted(self, forward: Tensor) -> Tensor:
        """B×2×G×G: the backward displacement b(x) = −f(x + b(x))."""
        backward = -forward
        for _ in range(INVERSIONS):
            grid = self.cells + backward.permute(0, 2, 3, 1)
            backward = -F.grid_sample(forward, grid, align_corners=False, padding_mode="border")
        return backward


def _determinant(linear: Tensor) -> Tensor:
    """Of 2×2 matrices, B."""
    return linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]


def _centres(side: int) -> Tensor:
    """1×side×side×2: the centres of a grid's cells, grid_sample's units."""
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), 2)[None]
