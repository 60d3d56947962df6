"""`liveportrait` behind the contract: key points and a volume of a portrait, which a driver's motion warps.

The authors cut all frames of a clip with one square. Ours follows the face and turns with it, which a live
camera needs; what it takes out of the motion is in the code's `to_frame`, and `transfer` puts it back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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
from models.face_geometry import LANDMARKS_68, length, rotation_between, rotation_power
from models.layers import faded_border, without_autocast
from models.liveportrait import motion
from models.liveportrait.appearance import DEPTH, AppearanceExtractor
from models.liveportrait.blocks import fine
from models.liveportrait.keypoints import EXPRESSION, EYES, LIPS, POINTS, placed
from models.liveportrait.motion import MotionExtractor
from models.liveportrait.spade import SpadeGenerator
from models.liveportrait.stitching import Stitching, openness
from models.liveportrait.warping import LEAST, LEVELS, MOST, WarpingNetwork
from models.registry import register

SIDE = 256  # of the pictures that the networks see, pixels
PASTE = 0.1  # × the picture's side: how far from its border it fades into the portrait
SCALES = (0.1, 10.0)  # of a driver against his rest; beyond, no face was seen
# Landmarks: a lid's edges and an eye's corners, left and right; the lips' inner edges and outer corners.
LEFT_EYE, RIGHT_EYE = ((159, 145), (33, 133)), ((386, 374), (362, 263))
MOUTH = ((13, 14), (61, 291))


@dataclass(frozen=True)
class Layout:
    """Shapes. Those of the public weights are the default."""

    side: int = SIDE  # pixels; the picture that is drawn has twice as many
    depth: int = DEPTH  # of the volume
    width: int = 64  # channels of F's first features
    depths: tuple[int, ...] = motion.DEPTHS  # blocks of M's stages
    widths: tuple[int, ...] = motion.WIDTHS  # and their channels
    least: int = LEAST  # channels of the dense motion's hourglass
    most: int = MOST
    levels: int = LEVELS  # its halvings
    label: int = 256  # channels that W gives and G is modulated by
    features: int = 512  # channels of G's first blocks


class Structure(NamedTuple):
    """Where a head is and what its face does, in the terms of its crop, of which −1 … 1 are the edges."""

    exp: Tensor  # B×21×3: δ, how expression moves the key points
    rotation: Tensor  # B×3×3: the head's, which multiplies rows
    scale: Tensor  # B×1
    t: Tensor  # B×2
    openness: Tensor  # B×3: of the left and the right eye and of the lips, height over width
    stitching: Tensor  # B×1 in [0, 1]: how much of the stitching is applied
    to_frame: Tensor  # B×2×3


class Appearance(NamedTuple):
    """A portrait."""

    structure: Structure
    kp: Tensor  # B×21×3: x_c, its key points at rest, seen from the front
    volume: Tensor  # B×32×16×64×64: f_s


@register
class LivePortrait(Reenactor[Appearance, Structure]):
    """layout: other shapes than those of the public weights.

    Crops are the authors' (`CropConfig` of their program, whose shifts are in sides of the square).
    """

    spec = Spec(
        name="liveportrait",
        reads=frozenset({"image", "points"}),
        source=CropRule(
            size=2 * SIDE,
            scale=2.3,
            shift=(0.0, -0.125 * 2.3),
            anchors=LANDMARKS_68,
            upright=True,
            level="face",
        ),
        driving=CropRule(
            size=SIDE, scale=2.2, shift=(0.0, -0.1 * 2.2), anchors=LANDMARKS_68, upright=True, level="face"
        ),
        controls=(
            "relative",
            "gain_pose",
            "gain_expression",
            "eyes",
            "lips",
            "face",
            "retarget",
            "stitching",
        ),
        weights_licence="MIT",
        half="fp16",  # as the authors run it
    )

    def __init__(self, layout: Layout = Layout()) -> None:
        super().__init__()
        self.spec = replace(
            type(self).spec,
            source=replace(type(self).spec.source, size=2 * layout.side),
            driving=replace(type(self).spec.driving, size=layout.side),
        )
        self.appearance = AppearanceExtractor(layout.width, layout.depth)
        self.motion = MotionExtractor(layout.depths, layout.widths)
        self.warping = WarpingNetwork(layout.label, layout.least, layout.most, layout.levels, layout.depth)
        self.generator = SpadeGenerator(layout.label, layout.features)
        self.stitching = Stitching()
        taken = torch.zeros(POINTS, 3, dtype=torch.bool)  # of a driver's expression as it stands
        for point, coordinates in EXPRESSION.items():
            taken[point, list(coordinates)] = True
        part = torch.full((POINTS,), 2)  # what each point is of: 0 eyes, 1 lips, 2 the rest of the face
        part[list(EYES)], part[list(LIPS)] = 0, 1
        self.taken: Tensor
        self.part: Tensor
        self.alpha: Tensor
        for name, value in {
            "taken": taken,
            "part": part,
            "alpha": faded_border(2 * layout.side, PASTE),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
        if len(sources) != 1:
            raise ValueError(f"liveportrait takes one source picture, not {len(sources)}")
        source = sources[0]
        if source.points is None or not faces_seen(source):
            raise ValueError("liveportrait needs a source picture with a face in it")
        picture = F.avg_pool2d(source.image.float(), 2)
        structure, kp = self._read(source._replace(image=picture))
        with fine(picture.device.type):
            return Appearance(structure, kp, self.appearance(self._cast(picture)))

    def encode_structure(self, driving: Observation) -> Structure:
        return self._read(driving)[0]

    def neutral(self, codes: Sequence[Structure]) -> Structure:
        """The median of each number in the crop of the first code; of rotations, the one that is nearest to
        the median of their entries.
        """
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        code = map_code(middle, _seen_in(cat_codes(codes), codes[0].to_frame[:1]))
        upright = torch.eye(3, device=code.rotation.device)[None]
        return code._replace(rotation=rotation_between(upright, code.rotation.transpose(1, 2)))

    def blend(self, a: Structure, b: Structure, t: Tensor) -> Structure:
        found = map_code(lambda x, y: torch.lerp(x, y, t.view(-1, *[1] * (x.dim() - 1))), a, b)
        with without_autocast(t.device.type):
            turned = rotation_power(b.rotation @ a.rotation.transpose(1, 2), t) @ a.rotation
        at_end = t.view(-1, 1, 1) >= 1  # where rounding would show
        return found._replace(rotation=torch.where(at_end, b.rotation, turned))

    def transfer(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        """Relative (section 3.4 and the authors' program): the source, moved as the driver is from his rest.
        Absolute: with the driver's pose, and of his expression what is listed in `EXPRESSION`.

        Both are one formula, whose origin is the driver at rest, or else the source. The turn is the head's
        in the frame; the expression, which M saw in an upright crop, turns along.
        """
        with without_autocast(structure.exp.device.type):
            return self._moved(structure, neutral, appearance, controls)

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        source = self.key_points(appearance, appearance.structure)
        driving = self.stitched(source, self.key_points(appearance, structure), structure.stitching)
        volume = appearance.volume.expand(driving.shape[0], -1, -1, -1, -1)
        rgb = self.generator(self.warping(volume, driving, source.expand_as(driving)))
        return rgb.float(), self.alpha.float().expand(rgb.shape[0], -1, -1, -1)

    def key_points(self, appearance: Appearance, structure: Structure) -> Tensor:
        """B×21×3: the portrait's, moved."""
        return placed(appearance.kp, structure.rotation, structure.exp, structure.scale, structure.t)

    def stitched(self, source: Tensor, driving: Tensor, amount: Tensor) -> Tensor:
        """B×21×3. source, driving: key points, B×21×3. amount: B×1."""
        corrected: Tensor = self.stitching(source.expand_as(driving), driving)
        return torch.lerp(driving, corrected, amount.unsqueeze(2))

    def _read(self, seen: Observation) -> tuple[Structure, Tensor]:
        """A face's code, and its key points at rest. The picture is of the networks' side."""
        assert seen.points is not None, "the tracker gives points to a generator that reads them"
        with fine(seen.image.device.type):
            found = self.motion(self._cast(seen.image))
        points = seen.points[..., :2].float()
        code = Structure(
            exp=found.exp,
            rotation=found.rotation,
            scale=found.scale,
            t=found.t[:, :2],
            openness=torch.cat([openness(points, *part) for part in (LEFT_EYE, RIGHT_EYE, MOUTH)], 1),
            stitching=torch.ones_like(found.scale),
            to_frame=seen.to_frame.float(),
        )
        return code, found.kp

    def _moved(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        source = map_code(lambda tensor: tensor.expand(structure.exp.shape[0], *tensor.shape[1:]), appearance)
        still = source.structure
        relative = controls.relative.view(-1, 1, 1) > 0.5
        origin = map_code(
            lambda rest, own: torch.where(relative if own.dim() == 3 else relative[:, 0], rest, own),
            neutral,
            still,
        )
        pose = controls.gain_pose
        driver = _seen_in(structure, origin.to_frame)
        rotation = rotation_power(driver.rotation @ origin.rotation.transpose(1, 2), pose) @ still.rotation

        shares = torch.stack((controls.eyes, controls.lips, controls.face), 1)
        strength = controls.gain_expression.unsqueeze(1)
        read = torch.cat((shares[:, :2] * (1 - controls.retarget.unsqueeze(1)), shares[:, 2:]), 1)
        gain = (strength * read.index_select(1, self.part)).unsqueeze(2)
        exp = torch.where(relative | self.taken, gain, 0.0) * (structure.exp - origin.exp)
        turn = rotation_power(_turn(structure.to_frame, origin.to_frame), pose)
        exp = (still.exp + exp) @ turn

        gains = strength * torch.cat((shares[:, :1], shares[:, :2]), 1)  # of each eye, and of the lips
        wanted = (still.openness + gains * (structure.openness - origin.openness)).clamp(min=0)
        asked = self._retargeted(source, wanted) * controls.retarget.view(-1, 1, 1)
        exp = exp + asked @ still.rotation.transpose(1, 2) @ rotation

        ratio = (driver.scale / origin.scale).clamp(*SCALES)
        shift = (driver.t - origin.t).unsqueeze(1) @ _turn(origin.to_frame, still.to_frame)[:, :2, :2]
        aside = (structure.t - still.t).unsqueeze(1)  # absolute: his place in the frame is no pose
        return Structure(
            exp=exp,
            rotation=rotation,
            scale=still.scale * torch.where(relative[:, 0], ratio.pow(pose.unsqueeze(1)), 1.0),
            t=still.t + pose.unsqueeze(1) * torch.where(relative, shift, aside).squeeze(1),
            openness=wanted,
            stitching=controls.stitching.unsqueeze(1),
            to_frame=still.to_frame,
        )

    def _retargeted(self, source: Appearance, wanted: Tensor) -> Tensor:
        """B×21×3: what is added to the source's expression so that eyes and lips are open as `wanted`
        (B×3); nothing where they are.
        """
        points = self.key_points(source, source.structure)
        own = source.structure.openness
        # Both answers of each network in one batch.
        points, own = points.repeat(2, 1, 1), own.repeat(2, 1)
        asked = torch.cat((wanted, source.structure.openness))
        lids = torch.cat((own[:, :2], asked[:, :2].mean(1, keepdim=True)), 1)
        shifts = self.stitching.eyes(points, lids)
        shifts = shifts + self.stitching.lips(points, torch.stack((own[:, 2], asked[:, 2]), 1))
        wished, rest = shifts.view(2, -1, POINTS, 3).unbind(0)
        return (wished - rest) / source.structure.scale.unsqueeze(2)

    def _cast(self, picture: Tensor) -> Tensor:
        return picture.to(self.warping.fourth.weight.dtype)


def _seen_in(code: Structure, to_frame: Tensor) -> Structure:
    """The same head, told in the terms of another crop of the same frame."""
    (half, axes, centre), (other, other_axes, other_centre) = _crop(code.to_frame), _crop(to_frame)
    turn = _turn(code.to_frame, to_frame)
    at = centre + half * (code.t.unsqueeze(1) @ axes.transpose(1, 2)).squeeze(1)
    return code._replace(
        exp=code.exp @ turn,
        rotation=code.rotation @ turn,
        to_frame=to_frame.expand_as(code.to_frame),
        scale=code.scale * half / other,
        t=((at - other_centre).unsqueeze(1) @ other_axes).squeeze(1) / other,
    )


def _crop(to_frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of a crop: half its side (B×1, pixels), its axes in the frame (columns of B×2×2), its middle (B×2)."""
    linear = to_frame[:, :, :2]
    side = length(linear, 1).clamp_min(1e-6)  # B×2, alike
    middle = to_frame[:, :, 2] + linear.sum(2) / 2
    return side[:, :1] / 2, linear / side.unsqueeze(1), middle


def _turn(before: Tensor, after: Tensor) -> Tensor:
    """B×3×3: from the axes of one crop to those of another, for rows of coordinates."""
    turn = _crop(before)[1].transpose(1, 2) @ _crop(after)[1]
    turn = F.pad(turn, (0, 1, 0, 1))
    depth = F.pad(torch.ones_like(turn[:, :1, :1]), (2, 0, 2, 0))
    return turn + depth
