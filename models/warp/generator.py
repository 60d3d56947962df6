"""`warp`: the source picture, bent by an operator that was solved once for it; nothing is learned, nothing
downloaded.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import (
    LANDMARKS,
    Controls,
    CropRule,
    Observation,
    Reenactor,
    Spec,
    cat_codes,
    faces_seen,
    map_code,
    middle,
)
from models.face_geometry import rigid_fit
from models.registry import register
from models.warp import portrait
from models.warp.codes import GRID, MOUTH, SIZE, Appearance, Structure
from models.warp.eyes import Eyes
from models.warp.features import FeatureReader, planar
from models.warp.field import RING, displacement, head_ring, solve_field, visible
from models.warp.layers import paste, sample
from models.warp.motion import Motion
from models.warp.mouth import Mouth
from models.warp.shading import Shading

# Shares of the fixed-point steps from the forward to the backward displacement. Whole steps alone diverge
# where a head doubles its size or a hidden cheek is spread out; half steps alone are slow where it shrinks.
RELAXATION = (1.0, 0.5, 0.7, 0.5, 1.0)
SMOOTHING = 5  # cells: smooths edges of the head, and cheeks that were hidden, where there is no inverse
SKIN = (205, 425, 50, 280, 6)  # cheeks and nose bridge
DAB = 0.015  # × the crop's side: how far around a landmark its skin is looked at
STEPS = SIZE // GRID  # rows of the picture for each of the field's
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
        driving=CropRule(size=320, scale=1.3, exact=True),  # pixels are looked up at landmarks
        controls=("relative", "gain_pose", "gain_expression", "eyes", "lips", "mouth_pixels", "shading"),
        needs_weights=False,
        appearance="host",
    )

    def __init__(self) -> None:
        super().__init__()
        self.reader = FeatureReader()
        self.motion = Motion(self.reader)
        self.shading = Shading(self.motion.mean)
        self.eyes = Eyes()
        self.mouth = Mouth(self.reader)
        ramp = (torch.arange(SIZE) + 0.5) / MARGIN
        border = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
        self.skin: Tensor
        self.dab: Tensor
        self.alpha: Tensor
        self.cells: Tensor
        self.pixels: Tensor
        self.steps: Tensor
        self.controls: Tensor
        for name, value in {
            "skin": torch.tensor(SKIN),
            "dab": torch.cartesian_prod(*[torch.linspace(-2 * DAB, 2 * DAB, 5)] * 2).T,  # 2×25
            "alpha": torch.minimum(border.view(1, -1), border.view(-1, 1))[None, None],
            "cells": _centres(GRID),
            "pixels": _centres(SIZE),
            "steps": ((torch.arange(STEPS) + 0.5) / STEPS).view(-1, 1),
            "controls": torch.cat((self.motion.bending, torch.arange(RING) + LANDMARKS)),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
        if len(sources) != 1:
            raise ValueError(f"warp takes one source picture, not {len(sources)}")
        source = sources[0]
        if source.points is None or not faces_seen(source):
            raise ValueError("warp needs a source picture with a face in it")
        points = source.points[0].cpu().numpy().astype(np.float64)
        person = None if source.person is None else source.person[0, 0].cpu().numpy()
        shown = visible(points, self.motion.mean.cpu().numpy().astype(np.float64))
        ring = head_ring(points, person)
        bending = self.motion.bending.cpu().numpy()
        shade_at, shade_mask = portrait.shading_map(points, self.shading.canonical)
        structure = self._structure(source, source.points * SIZE)
        outline = torch.from_numpy((ring * SIZE).astype(np.float32))[None].to(source.image.device)
        structure = structure._replace(head=outline[..., :2])
        sclera, iris, radius, seen = portrait.eyes(source.image, structure.points)
        device = source.image.device
        return Appearance(
            structure=structure,
            picture=source.image,
            ring=outline,
            features=self.reader.read(source.points * 2 - 1),
            field=map_code(
                lambda tensor: tensor.to(device),
                solve_field(points[bending], ring, GRID, person, shown[bending]),
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
        xy = torch.baddbmm(shift.unsqueeze(1), driving.points[..., :2], linear.transpose(1, 2))
        z = driving.points[..., 2:] * _determinant(linear).abs().sqrt()
        return self._structure(driving, torch.cat((xy, z), 2))

    def _structure(self, observation: Observation, points: Tensor) -> Structure:
        """points: B×478×3, in the pixels that the code is to be in."""
        assert observation.points is not None
        image, batch = observation.image, points.shape[0]
        at = observation.points[..., :2] * 2 - 1
        around = (planar(at)[:, :, self.skin].unsqueeze(3) + self.dab.unsqueeze(1)).flatten(2)
        found = sample(image, torch.cat((around, self.mouth.place(self.reader.frames(at))), 2))
        nothing = points.new_zeros(1)
        return Structure(
            points=points,
            head=nothing.expand(batch, RING, 2),
            shade=self.shading.encode(image, at),
            skin=found[:, :, : around.shape[2]].mean(2),
            mouth=found[:, :, around.shape[2] :].view(-1, 3, *MOUTH),
            opened=nothing.expand(batch),
            opening=nothing.expand_as(points),
        )

    def neutral(self, codes: Sequence[Structure]) -> Structure:
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        every = cat_codes(codes)
        rigid = self.motion.rigid
        mean = every.points.mean(0, keepdim=True)
        scale, rotation, shift = rigid_fit(every.points[:, rigid], mean.expand_as(every.points)[:, rigid])
        aligned = scale.view(-1, 1, 1) * every.points @ rotation.transpose(1, 2) + shift.unsqueeze(1)
        points = middle(aligned)
        closed = self.motion.closed(points)
        return Structure(
            points=closed,
            head=every.head[:1],
            shade=middle(every.shade),
            skin=middle(every.skin),
            mouth=every.mouth[:1],  # nobody looks at it
            opened=every.opened[:1],
            opening=points - closed,
        )

    def blend(self, a: Structure, b: Structure, t: Tensor) -> Structure:
        return map_code(lambda x, y: torch.lerp(x, y, t.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)), a, b)

    def transfer(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        source = appearance.structure
        unlike = self.shading.unlike(neutral, source)
        moved = self.motion.transfer(structure, neutral, source.points, appearance.ring, controls)
        amount = (controls.shading * controls.gain_expression).view(-1, 1, 1, 1)
        opened = self.mouth.opened(self.reader.openness(moved.points)[:, 2], moved.gap)
        mouth = self.mouth.inside(
            structure, neutral, appearance, moved.points, unlike, controls.mouth_pixels, moved.gap
        )
        nothing = opened.new_zeros(1)
        return Structure(
            points=moved.points,
            head=moved.head,
            shade=source.shade + amount * self.shading.change(structure, neutral, unlike),
            skin=source.skin.expand(opened.shape[0], -1),
            mouth=torch.where(opened.view(-1, 1, 1, 1) > 0, mouth, source.mouth),
            opened=opened,
            opening=nothing.expand_as(moved.points),
        )

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        source = appearance.structure
        moved = torch.cat(
            (structure.points[..., :2] - source.points[..., :2], structure.head - source.head), 1
        )
        motion = planar(moved.index_select(1, self.controls)) * (-2 / SIZE)
        backward = self._inverted(displacement(appearance.field, motion))
        grid = self._upsampled(backward).add_(self.pixels).permute(0, 2, 3, 1)
        ratio = self._upsampled(self.shading.ratio(appearance, structure))
        picture = (appearance.picture * ratio).clamp_(max=1)  # in float32, as the grid must be
        rgb = F.grid_sample(picture, grid, align_corners=False, padding_mode="border")
        features = self.reader.read(structure.points)
        own = map_code(lambda part: part.expand(rgb.shape[0], *part.shape[1:]), appearance.features)
        eyes = self.eyes.draw(picture, appearance, own, structure.points, features)
        mouth = self.mouth.draw(picture, own, structure, features)
        return paste(rgb, eyes, mouth), self.alpha.expand(rgb.shape[0], -1, -1, -1)

    def _inverted(self, towards: Tensor) -> Tensor:
        """B×2×G×G: the backward displacement b(x) = t(x + b(x)), where t is the forward one's negative."""
        backward = towards
        for share in RELAXATION:
            grid = (backward + self.cells).permute(0, 2, 3, 1)
            found = F.grid_sample(towards, grid, align_corners=False, padding_mode="border")
            backward = torch.lerp(backward, found, share)
        return _box(backward, SMOOTHING)

    def _upsampled(self, field: Tensor) -> Tensor:
        """B×C×G×G to B×C×SIZE×SIZE, bilinear, the same as `interpolate` both ways at a third of the time on a
        CPU.
        """
        wide = F.interpolate(field, size=(GRID, SIZE), mode="bilinear", align_corners=False)
        rows = torch.cat((wide[:, :, :1], wide, wide[:, :, -1:]), 2).unsqueeze(3)
        between = torch.lerp(rows[:, :, :-1], rows[:, :, 1:], self.steps).flatten(2, 3)
        return between[:, :, STEPS // 2 : -(STEPS // 2)]


def _box(field: Tensor, side: int) -> Tensor:
    """The mean over `side`×`side` cells, the border repeated outside. Sums of shifted fields take a fifth of
    the time of `avg_pool2d`.
    """
    wide = F.pad(field, (side // 2,) * 4, mode="replicate")
    rows = reduce(torch.add, (wide[:, :, i : i + field.shape[2]] for i in range(side)))
    return reduce(torch.add, (rows[..., i : i + field.shape[3]] for i in range(side))) / side**2


def _determinant(linear: Tensor) -> Tensor:
    """Of 2×2 matrices, B×1×1."""
    a, b, c, d = linear.flatten(1).unsqueeze(2).unsqueeze(3).unbind(1)
    return a * d - b * c


def _centres(side: int) -> Tensor:
    """1×2×side×side: the centres of a grid's cells, grid_sample's units."""
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"))[None]
