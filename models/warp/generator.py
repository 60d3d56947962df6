"""`warp`: the source picture, bent by an operator that was solved once for it; nothing is learned, nothing downloaded."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import Controls, CropRule, Observation, Reenactor, Spec, cat_codes, map_code
from models.face_geometry import rigid_fit
from models.registry import register
from models.warp import layers, portrait
from models.warp.codes import EYE_SPAN, GRID, IRIS_SPAN, MOUTH, MOUTH_SPAN, SHADE, SIZE, Appearance, Structure
from models.warp.field import barycentric, cell_centres, displacement, head_ring, pulled_inside, solve_field
from models.warp.motion import Motion

INVERSIONS = 8  # fixed-point steps from the forward to the backward displacement
CONTOUR = (
    0.3  # how much the ring follows the face's oval, whose landmarks slide along with the visible contour
)
SHADE_SIGMA = 2.8  # pixels of the canonical face: over 3 % of the face's width
FINE_SIGMA = (
    1.3  # the same where driver and portrait look alike under the same light, as only one person does
)
ALIKE = (
    0.09,
    0.13,
)  # difference of their log shading, RMS: wholly alike below the first, not at all above the second
SHADE_FLOOR = 0.04  # added to luminance, so that black has no ratio
SHADE_LIMIT = 0.22  # |log| at most 1.25×, or highlights blow out
SKIN = (205, 425, 50, 280, 6)  # cheeks and nose bridge
DAB = 0.015  # × the crop's side: how far around a landmark its skin is looked at
MOUTH_WINDOW = (144, 160)  # pixels
HALF_MOUTH = (MOUTH[0] // 2, MOUTH[1] // 2)  # a drawn mouth has nothing finer to show
EYE_WINDOW = (64, 96)
EYE_REACH = 0.72  # half width of the eyes' layer, × the eye's width
LASHES = 0.06  # × the eye's width: the strip along a lid's edge that is not stretched
LID_RIM = 0.03  # × the eye's width: the lower landmarks lie that far inside the white
LIP_GROWTH = 2.0  # pixels that the mouth's layer reaches under the lips
OPENING = (0.03, 0.08)  # mouth gap / mouth width beyond the source's at which the layer starts, and is whole
MARGIN = 8  # pixels over which the avatar fades into the portrait at the crop's edge


@register
class Warp(Reenactor[Appearance, Structure]):
    """Relative motion bends the source. "Absolute" turns the head until it faces where the driver faces; expression stays
    relative to the neutral pose, because without training nobody knows a driver's expression but by comparison."""

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
        canonical = self.motion.mean[:, :2].numpy().astype(np.float64)
        canonical = canonical / (np.ptp(canonical[:, 1]) * 1.04) + 0.5
        self.canonical = canonical
        queries = pulled_inside(canonical, cell_centres(SHADE))
        index, weight, _ = barycentric(canonical, queries)
        border = (
            torch.minimum(torch.arange(SIZE) + 0.5, SIZE - 0.5 - torch.arange(SIZE)).div(MARGIN).clamp(max=1)
        )
        centres = (torch.arange(GRID) + 0.5) / GRID * 2 - 1
        fine = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
        self.shade_index: Tensor
        self.shade_weight: Tensor
        self.fine: Tensor
        self.coarse: Tensor
        self.alpha: Tensor
        self.cells: Tensor
        self.pixels: Tensor
        self.skin: Tensor
        self.dab: Tensor
        self.luminance: Tensor
        self.patch: Tensor
        self.half_patch: Tensor
        self.teeth: Tensor
        for name, value in {
            "shade_index": torch.from_numpy(index.reshape(-1)),
            "shade_weight": torch.from_numpy(weight.astype(np.float32)),
            "fine": _smoothing(FINE_SIGMA),  # SHADE×SHADE
            "coarse": _smoothing((SHADE_SIGMA**2 - FINE_SIGMA**2) ** 0.5),
            "alpha": torch.minimum(border.view(1, -1), border.view(-1, 1))[None, None],
            "cells": torch.stack(torch.meshgrid(centres, centres, indexing="xy"), 2)[None],  # 1×G×G×2
            "pixels": torch.stack(torch.meshgrid(fine, fine, indexing="xy"))[None],  # 1×2×SIZE×SIZE
            "skin": torch.tensor(SKIN),
            "dab": torch.cartesian_prod(*[torch.linspace(-DAB, DAB, 5)] * 2),  # 25×2, × the crop's side
            "luminance": torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1),
            "patch": layers.lattice(MOUTH, MOUTH_SPAN, torch.device("cpu")),
            "half_patch": layers.lattice(HALF_MOUTH, MOUTH_SPAN, torch.device("cpu")),
            "teeth": torch.tensor([0.86, 0.80, 0.72]),
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
        shade_at, shade_mask = portrait.shading_map(points, self.canonical)
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
        grey = F.avg_pool2d((image * self.luminance).sum(1, keepdim=True), 2)
        corners = crop.index_select(1, self.shade_index).view(crop.shape[0], -1, 3, 2)
        canonical = (corners * self.shade_weight.unsqueeze(2)).sum(2) / 2
        light = layers.sample(grey, canonical).view(-1, 1, SHADE, SHADE)
        around = (crop[:, self.skin].unsqueeze(2) + self.dab * side).flatten(1, 2)
        skin = layers.sample(image, around).mean(2)
        mouth = layers.sample(image, layers.from_upright(self.motion.mouth_frame(crop), self.patch))
        return Structure(
            points=points,
            shade=(_blurred(light.float(), self.fine) + SHADE_FLOOR).log(),
            skin=skin,
            mouth=mouth.view(-1, 3, *MOUTH),
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
        gap = self.motion.mouth_gap(source.points)
        points = self.motion.transfer(
            self._resting(structure, gap), self._resting(neutral, gap), source.points, controls
        )
        shading = (controls.shading * controls.gain_expression).view(-1, 1, 1, 1)
        shade = source.shade + shading * self._shading(
            structure.shade - neutral.shade, neutral.shade - source.shade
        )
        start, whole = OPENING
        more = self.motion.mouth_gap(points) - self.motion.mouth_gap(source.points)
        opened = ((more - start) / (whole - start)).clamp(0, 1)
        gain = ((source.skin + 0.03) / (neutral.skin + 0.03)).pow(0.9).clamp(0.5, 2)
        driver = self._fitted(structure, points) * gain.view(-1, 3, 1, 1)
        drawn = self._interior(points, source.skin)
        mouth = drawn + controls.mouth_pixels.view(-1, 1, 1, 1) * (driver.clamp(0, 1) - drawn)
        mouth = torch.where(opened.view(-1, 1, 1, 1) > 0, mouth, source.mouth)
        return Structure(
            points, shade, source.skin.expand(points.shape[0], -1), mouth, opened, torch.zeros_like(points)
        )

    def _shading(self, change: Tensor, difference: Tensor) -> Tensor:
        """The driver's change of shading, as fine as his likeness to the portrait allows. Both B×1×SHADE×SHADE.

        difference: of his neutral shading from the portrait's.
        """
        contrast = difference - difference.mean((2, 3), keepdim=True)
        unlike = contrast.square().mean((1, 2, 3)).sqrt()
        share = ((unlike - ALIKE[0]) / (ALIKE[1] - ALIKE[0])).clamp(0, 1)
        return torch.lerp(change, _blurred(change, self.coarse), share.view(-1, 1, 1, 1))

    def _resting(self, code: Structure, gap: Tensor) -> Tensor:
        """A code's points, B×478×3; a neutral's with its mouth opened again, at most as far as it was, and as the portrait's
        is (gap: B, in mouth widths). For where both are open there is nothing to take back: their mouths rest alike."""
        share = (gap / self.motion.mouth_gap(code.points + code.opening).clamp_min(1e-6)).clamp(max=1)
        return code.points + share.view(-1, 1, 1) * code.opening

    def _fitted(self, structure: Structure, points: Tensor) -> Tensor:
        """The driver's mouth, stretched upright to the avatar's opening."""
        heights = []
        for face in (structure.points, points):
            at = self.motion.mouth_frame(face)
            lips = torch.cat((face[:, self.motion.lip_upper, :2], face[:, self.motion.lip_lower, :2]), 1)
            heights.append(layers.to_upright(at, lips)[..., 1].square().mean(1).sqrt())
        stretch = (heights[0] / heights[1].clamp_min(1e-3)).clamp(0.6, 1.6).view(-1, 1)
        at_patch = torch.stack(
            (self.patch[..., 0].expand(points.shape[0], -1), self.patch[..., 1] * stretch), 2
        )
        return layers.sample_patch(structure.mouth, at_patch, MOUTH_SPAN).view_as(structure.mouth)

    def _interior(self, points: Tensor, skin: Tensor) -> Tensor:
        """A mouth's inside that is nobody's: upper teeth under the lip, darkness, a tongue. B×3×MOUTH."""
        at = self.motion.mouth_frame(points)
        upper, lower = (
            layers.to_upright(at, points[:, lips, :2])
            for lips in (self.motion.lip_upper, self.motion.lip_lower)
        )
        below, above = layers.depth(upper, lower, self.half_patch.expand(points.shape[0], -1, -1))
        aside = (self.half_patch[..., 0].abs() * 2).clamp(max=1)
        light = (skin * self.luminance.view(1, 3)).sum(1).view(-1, 1)
        teeth = (
            ((0.17 - below) / 0.03).clamp(0, 1)
            * (1 - aside.pow(4))
            * (0.55 + 0.45 * (below / 0.05).clamp(0, 1))
        )
        tongue = ((0.16 - above) / 0.12).clamp(0, 1) * (1 - aside.square()) * 0.5
        dark = skin * 0.16
        red = torch.stack((skin[:, 0] * 0.62, skin[:, 1] * 0.34, skin[:, 2] * 0.34), 1)
        colour = torch.lerp(dark.unsqueeze(2), red.unsqueeze(2), tongue.unsqueeze(1))
        white = self.teeth.view(1, 3, 1) * (light * 1.5).clamp(0.25, 0.95).unsqueeze(1)
        drawn = torch.lerp(colour, white, teeth.unsqueeze(1)).view(-1, 3, *HALF_MOUTH)
        return F.interpolate(drawn, size=MOUTH, mode="bilinear", align_corners=False)

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        source = appearance.structure.points
        picture = self._shaded(appearance, structure)
        scale, rotation, shift = rigid_fit(
            source[:, self.motion.rigid], structure.points[:, self.motion.rigid]
        )
        rigid = scale.view(-1, 1, 1) * appearance.ring @ rotation.transpose(1, 2) + shift.unsqueeze(1)
        moved = structure.points - source
        ring = torch.lerp(rigid - appearance.ring, moved[:, self.motion.oval], CONTOUR)
        motion = torch.cat((moved[:, self.motion.bending], ring), 1)[..., :2] * (2 / SIZE)
        forward = displacement(appearance.field, motion)
        backward = self._inverted(forward)
        flow = F.interpolate(backward, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        grid = (flow + self.pixels).permute(0, 2, 3, 1)
        rgb = F.grid_sample(picture, grid.to(picture.dtype), align_corners=False, padding_mode="border")
        rgb = self._eyes(rgb, picture, appearance, structure)
        rgb = self._mouth(rgb, structure)
        return rgb, self.alpha.expand(rgb.shape[0], -1, -1, -1)

    def _shaded(self, appearance: Appearance, structure: Structure) -> Tensor:
        """The picture under the change of the driver's shading."""
        change = (structure.shade - appearance.structure.shade).clamp(-SHADE_LIMIT, SHADE_LIMIT)
        change = F.grid_sample(change, appearance.shade_at, align_corners=False, padding_mode="border")
        ratio = (change * appearance.shade_mask).exp()
        ratio = F.interpolate(ratio, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        return (appearance.picture * ratio.to(appearance.picture.dtype)).clamp(max=1)

    def _inverted(self, forward: Tensor) -> Tensor:
        """B×2×G×G: the backward displacement b(x) = −f(x + b(x))."""
        backward = -forward
        for _ in range(INVERSIONS):
            grid = self.cells + backward.permute(0, 2, 3, 1)
            backward = -F.grid_sample(forward, grid, align_corners=False, padding_mode="border")
        return backward

    def _eyes(self, rgb: Tensor, picture: Tensor, appearance: Appearance, structure: Structure) -> Tensor:
        """Lids that close over eyeballs that stay round. The bent picture knows nothing of either: the lids are no
        control points of it, because a closing eye would fold it. picture: the shaded source. Both eyes of a batch
        are drawn as one batch of 2·B."""
        batch = rgb.shape[0]
        source = appearance.structure.points.expand(batch, -1, -1)
        at, source_at = self.motion.eye_frames(structure.points), self.motion.eye_frames(source)
        window = layers.window(at.centre, EYE_WINDOW, (SIZE, SIZE))
        pixels = layers.to_upright(at, window.points)
        x, y = pixels.unbind(2)
        width = at.along.square().sum(1, keepdim=True).sqrt()
        lines = [
            layers.to_upright(frame, points[:, self.motion.eye_edges].view(2 * batch, -1, 3)[..., :2])
            for frame, points in ((at, structure.points), (source_at, source))
        ]
        edges = layers.heights(torch.cat(lines, 1).view(2 * batch, 8, -1, 2), x)
        hollow, upper, lower, cheek, source_hollow, source_upper, source_lower, source_cheek = edges.unbind(1)
        above = layers.stretched(upper - y, upper - hollow, source_upper - source_hollow, LASHES)
        below = layers.stretched(y - lower, cheek - lower, source_cheek - source_lower, LASHES)
        origin = torch.where(y < (upper + lower) / 2, source_upper - above, source_lower + LID_RIM + below)
        from_source = layers.from_upright(source_at, torch.stack((x, origin), 2)).view(batch, -1, 2)
        skin = layers.sample(picture, from_source).view(batch, 3, 2, -1).transpose(1, 2).flatten(0, 1)

        radius = appearance.iris_radius.expand(batch, -1).reshape(-1, 1)
        iris_at = structure.points[:, self.motion.irises[:, 0], :2].reshape(-1, 1, 2)
        offset = pixels - layers.to_upright(at, iris_at)
        sclera = appearance.sclera.expand(batch, -1, -1, -1, -1).flatten(0, 1)
        iris = appearance.iris.expand(batch, -1, -1, -1, -1).flatten(0, 1)
        white = layers.sample_patch(sclera, pixels, EYE_SPAN)
        coloured = layers.sample_patch(iris, offset / radius.unsqueeze(2), 2 * IRIS_SPAN)
        disc = ((radius - offset.square().sum(2).sqrt()) * width / 1.5 + 0.5).clamp(0, 1)
        ball = white + disc.unsqueeze(1) * (coloured - white)

        beyond = (x.abs() - 0.5).clamp_min(0)
        ajar = ((torch.minimum(y - upper, lower - y) - beyond) * width / 1.5 + 0.3).clamp(0, 1)
        ajar = ajar * ((lower - upper) * width / 2).clamp(0, 1)  # lids that met leave no white line
        colour = skin + ajar.unsqueeze(1) * (ball - skin)
        inside = torch.minimum(torch.minimum(y - hollow, cheek - y), EYE_REACH - x.abs()) * width / 3
        opacity = inside.clamp(0, 1) * appearance.eyes_seen.expand(batch, -1).reshape(-1, 1)
        return layers.paste(rgb, window, colour, opacity)

    def _mouth(self, rgb: Tensor, structure: Structure) -> Tensor:
        at = self.motion.mouth_frame(structure.points)
        window = layers.window(at.centre, MOUTH_WINDOW, (SIZE, SIZE))
        pixels = layers.to_upright(at, window.points)
        upper, lower = (
            layers.to_upright(at, structure.points[:, lips, :2])
            for lips in (self.motion.lip_upper, self.motion.lip_lower)
        )
        below, above = layers.depth(upper, lower, pixels)
        width = at.along.square().sum(1, keepdim=True).sqrt()
        inside = ((torch.minimum(below, above) * width + LIP_GROWTH) / 3).clamp(0, 1)
        colour = layers.sample_patch(structure.mouth, pixels, MOUTH_SPAN)
        return layers.paste(rgb, window, colour, inside * structure.opened.view(-1, 1))


def _determinant(linear: Tensor) -> Tensor:
    """Of 2×2 matrices, B."""
    return linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]


def _smoothing(sigma: float) -> Tensor:
    """The matrix that smooths a row of the canonical face, its border repeated outside; sigma in pixels."""
    reach = round(3 * sigma)
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    columns = (torch.arange(SHADE).view(-1, 1) + offsets).clamp(0, SHADE - 1)
    matrix = torch.zeros(SHADE, SHADE)
    return matrix.scatter_add_(1, columns, (kernel / kernel.sum()).expand(SHADE, -1).contiguous())


def _blurred(picture: Tensor, smoothing: Tensor) -> Tensor:
    """B×1×SHADE×SHADE, smoothed both ways: two products are faster than a convolution with one channel."""
    return smoothing @ picture @ smoothing.T
