"""`landmark_gan`: Kassapis, Verdenius and Ondrag, *DeepFaceImageSynthesis*: a U-Net that redraws a picture of
a face to the 68 landmarks of another.

The structure code is the points, so that relative transfer is arithmetic on points; heat maps are drawn of
them when the picture is. B batch, P = 68 points in iBUG's order, S the picture's side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import (
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
from models.face_geometry import LANDMARKS_68, RIGID, length, rigid_fit, rotation_power
from models.layers import SLOPE, faded_border
from models.registry import register

POINTS = len(LANDMARKS_68)  # section 3, Training
INPUTS = 3 + POINTS  # the source picture and one heat map for each target landmark
DOWNSAMPLINGS = 4  # section 2, U-Net Generator
WIDTH = 64  # channels at full size; each downsampling doubles them, to 1024; open in the paper
PATCH_WIDTH = 32  # of the discriminator at full size: section 2, PatchGAN Discriminator
PATCH_DOWNSAMPLINGS = 3  # likewise

WINDOW = 7  # pixels that a Gaussian is drawn over (section 3, Task and Data)
VARIANCE = 1 / 3  # pixels² (section 3, Training: "over 7 pixels with a mean of 0 and a variance of 1/3")
CODE_SIGMA = 1.0  # pixels: the authors' program takes 1/3 of half the window, whose 7 taps span [−1, 1]
CODE_OVERSIZE = 2  # it draws at 128² for pictures of 64², and shrinks


Heat = Literal["paper", "code"]


@dataclass(frozen=True)
class Layout:
    """Shapes of a size."""

    side: int  # of the pictures, pixels: a multiple of 16
    width: int = WIDTH  # of the U-Net, at full size
    heat: Heat = "paper"  # how heat maps are drawn


SIZES = {
    "64": Layout(64),  # the paper's (section 3, Task and Data)
    "64-code": Layout(64, heat="code"),  # as the authors' program draws heat maps
    "128": Layout(128),
    "256": Layout(256),
    "light": Layout(256, width=32),  # for live use
    "tiny": Layout(64, width=8),  # for training on two processor cores
}
FIRST = next(iter(SIZES))

CENTRE = LANDMARKS_68[28]  # on the nose bridge; counted from 0
CROP = CropRule(size=SIZES[FIRST].side, scale=2.5, anchors=LANDMARKS_68, centre=CENTRE)
# Of the 68: what neither expression nor speech moves much.
STABLE = tuple(index for index, landmark in enumerate(LANDMARKS_68) if landmark in RIGID)
EYES = range(36, 48)
LIPS = range(48, 68)
SCALES = (0.1, 10.0)  # of a driver against his neutral; beyond, no face was seen


class Structure(NamedTuple):
    """Where the landmarks are. Every driving frame has a crop of its own: motion is measured in the frame."""

    points: Tensor  # B×68×3 float32, crop units; z, in the scale of x, tells how the head is turned
    to_frame: Tensor  # B×2×3: crop units → pixels of the uncropped frame


class Appearance(NamedTuple):
    """The source picture, as the network sees it."""

    structure: Structure
    picture: Tensor  # B×3×S×S in [0, 1]


class HeatMaps(nn.Module):
    """One map for each point: a Gaussian of height one around it, or nothing where the point lies outside the
    picture.

    `paper`: of `VARIANCE`, around the very point. `code`: as the authors' program draws it, around the pixel
    that the point falls in of a picture twice as large, which is then shrunk.
    """

    def __init__(self, size: int, kind: Heat = "paper") -> None:
        super().__init__()
        if kind not in ("paper", "code"):
            raise ValueError(f"unknown heat maps {kind!r}; known: paper, code")
        self.size, self.kind = size, kind
        self.variance = VARIANCE if kind == "paper" else CODE_SIGMA**2
        self.axis: Tensor  # whole numbers, which stay exact where weights are cast
        axis = torch.arange(size if kind == "paper" else size * CODE_OVERSIZE)
        self.register_buffer("axis", axis, persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """B×P×S×S in [0, 1], float32. points: B×P×≥2, crop units."""
        at = points[..., :2].float()
        inside = ((at >= 0) & (at < 1)).all(2)
        at = at * self.axis.shape[0]
        at = at - 0.5 if self.kind == "paper" else at.floor()
        offset = self.axis - at.unsqueeze(3)  # B×P×2×side, pixels
        line = (offset.square() / (-2 * self.variance)).exp()
        line = torch.where(offset.abs() <= WINDOW / 2, line, 0.0)
        line = torch.where(inside.view(*inside.shape, 1, 1), line, 0.0)
        if self.kind == "code":  # shrinking lines is shrinking their product
            line = line.reshape(*line.shape[:3], self.size, CODE_OVERSIZE).mean(4)
        x, y = line.unbind(2)
        return y.unsqueeze(3) * x.unsqueeze(2)


class Step(nn.Sequential):
    """A convolution, normalised by instance, and what comes after it."""

    def __init__(self, convolution: nn.Conv2d, *after: nn.Module) -> None:
        super().__init__(convolution, nn.InstanceNorm2d(convolution.out_channels, affine=True), *after)


class ResidualBlock(nn.Module):
    """The bottleneck."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            Step(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.LeakyReLU(SLOPE)),
            Step(nn.Conv2d(width, width, 3, padding=1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.steps(x))


class UNet(nn.Module):
    """G(I; e): section 2. The features of each level are added to those that come back up to it.

    The first and last convolutions are not normalised, or the picture's own colours would be lost.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(DOWNSAMPLINGS + 1)]
        self.enter = nn.Sequential(nn.Conv2d(INPUTS, width, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.down = nn.ModuleList(
            Step(nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False), nn.LeakyReLU(SLOPE))
            for a, b in pairwise(widths)
        )
        self.bottleneck = ResidualBlock(widths[-1])
        self.up = nn.ModuleList(
            Step(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.LeakyReLU(SLOPE))
            for a, b in pairwise(reversed(widths))
        )
        self.leave = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, picture: Tensor, maps: Tensor) -> Tensor:
        """B×3×S×S in [−1, 1]. picture: B×3×S×S in [−1, 1], maps: B×68×S×S in [0, 1]; S a multiple of 16."""
        x = self.enter(torch.cat((picture, maps), 1))
        levels = []
        for down in self.down:
            levels.append(x)
            x = down(x)
        x = self.bottleneck(x)
        for up in self.up:
            x = up(F.interpolate(x, scale_factor=2.0)) + levels.pop()
        return torch.tanh(self.leave(x))


class Discriminator(nn.Module):
    """PatchGAN that sees the target landmarks too: section 2. Gives logits; the mean over the patches is
    taken after the loss.
    """

    def __init__(self, width: int = PATCH_WIDTH) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(PATCH_DOWNSAMPLINGS + 1)]
        self.enter = nn.Sequential(nn.Conv2d(INPUTS, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE))
        self.steps = nn.Sequential(
            *[
                Step(
                    nn.Conv2d(a, b, 4, stride=1 if b == widths[-1] else 2, padding=1, bias=False),
                    nn.LeakyReLU(SLOPE),
                )
                for a, b in pairwise(widths)
            ]
        )
        self.leave = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, picture: Tensor, maps: Tensor) -> Tensor:
        """B×1×h×w logits, one for each patch. picture: B×3×S×S in [−1, 1], maps: B×68×S×S in [0, 1]."""
        return self.features(picture, maps)[-1]

    def features(self, picture: Tensor, maps: Tensor) -> list[Tensor]:
        """What each layer makes of it, the logits last."""
        found = [self.enter(torch.cat((picture, maps), 1))]
        for layer in (*self.steps, self.leave):
            found.append(layer(found[-1]))
        return found


@register
class LandmarkGan(Reenactor[Appearance, Structure]):
    """size: one of `SIZES`; heat and width: other than that size's own.

    Raises ValueError for sizes and heat maps that there are not.
    """

    spec = Spec(
        name="landmark_gan",
        reads=frozenset({"points"}),
        source=CROP,
        driving=CROP,
        controls=("relative", "gain_pose", "gain_expression", "eyes", "lips"),
        sizes=tuple(SIZES),
        size=FIRST,
    )

    def __init__(self, size: str = FIRST, heat: Heat | None = None, width: int | None = None) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r} of landmark_gan; known: {', '.join(SIZES)}")
        layout = SIZES[size]
        crop = replace(CROP, size=layout.side)
        self.spec = replace(type(self).spec, source=crop, driving=crop, size=size)
        self.heat = HeatMaps(layout.side, heat or layout.heat)
        self.generator = UNet(width or layout.width)
        share = torch.zeros(2, POINTS)  # of the lips' and of the eyes' own gain, in each point
        share[0, LIPS], share[1, EYES] = 1, 1
        self.landmarks: Tensor
        self.stable: Tensor
        self.share: Tensor
        self.alpha: Tensor
        for name, value in {
            "landmarks": torch.tensor(LANDMARKS_68),
            "stable": torch.tensor(STABLE),
            "share": share,
            "alpha": faded_border(layout.side),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
        if len(sources) != 1:
            raise ValueError(f"landmark_gan takes one source picture, not {len(sources)}")
        source = sources[0]
        if source.points is None or not faces_seen(source):
            raise ValueError("landmark_gan needs a source picture with a face in it")
        return Appearance(self.encode_structure(source), source.image.float())

    def encode_structure(self, driving: Observation) -> Structure:
        assert driving.points is not None, "the tracker gives points to a generator that reads them"
        return Structure(driving.points.float().index_select(1, self.landmarks), driving.to_frame.float())

    def neutral(self, codes: Sequence[Structure]) -> Structure:
        """The median face, in the crop of the first code, after each was laid on their mean."""
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        every = cat_codes(codes)
        faces = _in_frame(every)
        mean = faces.mean(0, keepdim=True)
        scale, rotation, shift = rigid_fit(
            faces[:, self.stable], mean.expand_as(faces).index_select(1, self.stable)
        )
        laid = scale.view(-1, 1, 1) * faces @ rotation.transpose(1, 2) + shift.unsqueeze(1)
        return _in_crop(middle(laid), every.to_frame[:1])

    def blend(self, a: Structure, b: Structure, t: Tensor) -> Structure:
        return map_code(lambda x, y: torch.lerp(x, y, t.view(-1, 1, 1)), a, b)

    def transfer(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        """Relative: the source, moved as the driver is from his neutral face. Absolute: moved as the driver
        is from the source, both in their crops; at gains of one that is the driver's own code, which is what
        the authors draw.

        A similarity fitted to the stable points is the pose; what it leaves is expression, scaled to the
        source's face and turned into its pose.
        """
        source = appearance.structure.points
        relative = controls.relative.view(-1, 1, 1) > 0.5
        driver = torch.where(relative, _in_frame(structure), structure.points)
        rest = torch.where(relative, _in_frame(neutral), source)
        source = source.expand_as(driver)
        stable = torch.stack((driver, source, rest)).index_select(2, self.stable)
        driver_at, source_at, rest_at = stable.mean(2, keepdim=True).unbind(0)
        # One batch of fits: rest → driver and rest → source.
        scales, rotations, _ = rigid_fit(stable[2].repeat(2, 1, 1), stable[:2].flatten(0, 1))
        scale, size = scales.view(2, -1, 1, 1).unbind(0)
        scale = scale.clamp(*SCALES)
        rotation, turn = rotations.view(2, -1, 3, 3).unbind(0)

        expression = (driver - driver_at) @ rotation / scale - (rest - rest_at)
        expression = self._gains(controls).unsqueeze(2) * (size * expression @ turn.transpose(1, 2))
        gain = controls.gain_pose.view(-1, 1, 1)
        turned = rotation_power(turn @ rotation @ turn.transpose(1, 2), controls.gain_pose)
        linear = (scale.log() * gain).exp() * turned.transpose(1, 2)
        # Written as a change, so that nothing moves at gains of nought.
        still = torch.eye(3, device=linear.device, dtype=linear.dtype)
        points = source + (source - source_at) @ (linear - still) + expression @ linear
        points = points + gain * size * (driver_at - rest_at)
        return Structure(points, appearance.structure.to_frame.expand(points.shape[0], -1, -1))

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        batch, dtype = structure.points.shape[0], self.generator.leave.weight.dtype
        picture = (appearance.picture * 2 - 1).expand(batch, -1, -1, -1)
        drawn = self.generator(picture.to(dtype), self.heat(structure.points).to(dtype))
        return (drawn.float() + 1) / 2, self.alpha.float().expand(batch, -1, -1, -1)

    def _gains(self, controls: Controls) -> Tensor:
        """B×68: how much of the driver's expression each point takes on."""
        own = torch.stack((controls.lips, controls.eyes), 1) - 1
        return controls.gain_expression.unsqueeze(1) * (1 + own @ self.share.to(own.dtype))


def _in_frame(code: Structure) -> Tensor:
    """B×68×3: the points in pixels of the frame."""
    linear, shift = code.to_frame[:, :, :2], code.to_frame[:, :, 2]
    xy = torch.baddbmm(shift.unsqueeze(1), code.points[..., :2], linear.transpose(1, 2))
    return torch.cat((xy, code.points[..., 2:] * _enlarging(linear)), 2)


def _in_crop(points: Tensor, to_frame: Tensor) -> Structure:
    """The code of points (B×68×3) in pixels of the frame."""
    linear, shift = to_frame[:, :, :2], to_frame[:, :, 2]
    (a, b), (c, d) = (row.unbind(1) for row in linear.unbind(1))
    back = torch.stack((d, -b, -c, a), 1).view(-1, 2, 2) / (a * d - b * c).view(-1, 1, 1)
    xy = (points[..., :2] - shift.unsqueeze(1)) @ back.transpose(1, 2)
    return Structure(torch.cat((xy, points[..., 2:] / _enlarging(linear)), 2), to_frame)


def _enlarging(linear: Tensor) -> Tensor:
    """B×1×1: by how much 2×2 similarities enlarge."""
    return length(linear[:, :, 0], 1).view(-1, 1, 1)
