"""`dae_gan` behind the contract: a person's pictures become one embedded face, a frame a pose code."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from models import tokens
from models.contract import Controls, CropRule, Observation, Spec, cat_codes, map_code, middle
from models.dae_gan.embedders import FaceEmbedder, PoseEmbedder
from models.dae_gan.synthesis import Generator
from models.directions import Directed
from models.layers import faded_border
from models.registry import register

MOST_SOURCES = 8  # more pictures than this say little that is new, and each takes its time


@dataclass(frozen=True)
class Layout:
    """Shapes of a size. Those by default are the paper's: the pictures' side and the code are named in it
    (section 4), widths are pix2pixHD's, for it names none."""

    side: int = 256  # pixels, a power of two
    code: int = 128  # numbers of a pose code
    width: int = 64  # channels of the first features, of the embedders …
    drawing: int | None = None  # … and of the generator; None: as many
    widest: int = 1024  # channels that the generator's halvings double up to
    downs: int = 4  # halvings in the generator
    blocks: int = 9  # residual blocks in its middle


SIZES = {
    "paper": Layout(),
    # For live use. Most parameters and half of a frame's arithmetic are in the generator's middle.
    "light": Layout(width=32, widest=256, blocks=8),
    # For training on two processor cores.
    "tiny": Layout(side=64, code=64, width=16, drawing=12, widest=64, downs=3, blocks=3),
}
FIRST = next(iter(SIZES))


class Structure(NamedTuple):
    """What of a face moves: pose, expression and all else that differs between frames of one video."""

    pose: Tensor  # B×code float32: p̂


class Appearance(NamedTuple):
    """What of a person stays. Batch 1 when it is made, however many the pictures were."""

    structure: Structure  # the first picture's: the one that the avatar is put into
    face: Tensor  # B×3×S×S in [−1, 1]: f̂
    features: Tensor  # B×C×h×w: what the generator makes of f̂ before a pose comes in


@register
class DaeGan(Directed[Appearance, Structure]):
    """size: one of `SIZES`. layout: other shapes than that size's own. Raises ValueError for any other size,
    naming those that there are.

    The frames are cropped as VoxCeleb1's are, about half as wide again as the face and not turned upright
    (section 4): the pose code then tells how the head is inclined.
    """

    spec = Spec(
        name="dae_gan",
        reads=frozenset({"image"}),
        source=CropRule(size=SIZES[FIRST].side, scale=1.6, shift=(0.0, -0.05)),
        driving=CropRule(size=SIZES[FIRST].side, scale=1.6, shift=(0.0, -0.05)),
        controls=tokens.CONTROLS,
        max_sources=MOST_SOURCES,
        sizes=tuple(SIZES),
        size=FIRST,
    )

    def __init__(self, size: str = FIRST, layout: Layout | None = None) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r} of dae_gan; known: {', '.join(SIZES)}")
        layout = layout or SIZES[size]
        self.spec = replace(
            type(self).spec,
            size=size,
            source=replace(type(self).spec.source, size=layout.side),
            driving=replace(type(self).spec.driving, size=layout.side),
        )
        self.face = FaceEmbedder(layout.side, layout.width)
        self.pose = PoseEmbedder(layout.side, layout.width, layout.code)
        drawing = layout.drawing or layout.width
        self.generator = Generator(layout.code, drawing, layout.downs, layout.blocks, layout.widest)
        self.alpha: Tensor
        self.register_buffer("alpha", faded_border(layout.side), persistent=False)

    @property
    def code_shape(self) -> tuple[int, ...]:
        return (self.pose.encoder.linear.out_features,)

    def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
        """Of 1 … 8 pictures of one person, their order making no difference but to whose pose is the
        source's: the first's.
        """
        if not 1 <= len(sources) <= self.spec.max_sources:
            most = self.spec.max_sources
            raise ValueError(f"dae_gan takes 1 to {most} source pictures, not {len(sources)}")
        pictures = torch.cat([self._signed(source.image) for source in sources])
        face = self.face(pictures.unsqueeze(0)).face
        return Appearance(
            structure=self.encode_structure(sources[0]), face=face, features=self.generator.encode(face)
        )

    def encode_structure(self, driving: Observation) -> Structure:
        return Structure(self.pose.encode(self._signed(driving.image)).float())

    def neutral(self, codes: Sequence[Structure]) -> Structure:
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        return map_code(middle, cat_codes(codes))

    def blend(self, a: Structure, b: Structure, t: Tensor) -> Structure:
        return Structure(torch.lerp(a.pose, b.pose, t.view(-1, 1).to(a.pose.dtype)))

    def transfer(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        moved = tokens.transferred(structure.pose, neutral.pose, appearance.structure.pose, controls)
        return Structure(self.pushed(moved, controls))

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        features = appearance.features
        picture = self.generator.decode(features, structure.pose.to(features.dtype))
        rgb = (picture.float() + 1) / 2
        return rgb, self.alpha.float().expand(rgb.shape[0], -1, -1, -1)

    def _signed(self, image: Tensor) -> Tensor:
        """[0, 1] → [−1, 1], in the weights' type."""
        return (image.float() * 2 - 1).to(self.pose.encoder.linear.weight.dtype)
