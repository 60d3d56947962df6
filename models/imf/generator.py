"""`imf`: the contract's calls."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Controls, CropRule, Observation, Spec, cat_codes, middle
from models.directions import Directed
from models.imf.alignment import Alignment, picture, places
from models.imf.alignment import align as attend
from models.imf.decoder import FrameDecoder
from models.imf.encoders import FeatureEncoder, TokenEncoder
from models.imf.motion import MotionDecoder
from models.imf.shape import LEVELS, SHAPES, Shape
from models.layers import faded_border, identity_grid
from models.registry import register
from models.tokens import CONTROLS, transferred

SIZES = tuple(SHAPES)
# Sources and drivers were frames of one clip, so both are framed alike: upright as the camera saw them, with
# hair, chin and some of the shoulders in view, as in the face boxes of CelebV-HQ and VFHQ. A source stays
# inside its picture, as a clip's crop does, rather than have its border repeated.
SCALE, LEAST_SCALE, SHIFT = 1.8, 1.5, (0.0, -0.08)


class Structure(NamedTuple):
    """The motion of a frame."""

    token: Tensor  # B×32, float32


class Keys(NamedTuple):
    """What is left of the source's motion maps for a driver's queries: B×N×C each."""

    k1: Tensor | None  # absent where level 1 does not attend
    k2: Tensor
    k3: Tensor
    k4: Tensor


class Features(NamedTuple):
    """The source's dense features, B×C×H×W each, of 256² pictures:"""

    f1: Tensor  # 64×64
    f2: Tensor  # 32×32
    f3: Tensor  # 16×16
    f4: Tensor  # 8×8


class Appearance(NamedTuple):
    """What of a portrait does not depend on the driver."""

    structure: Structure  # the source's own token
    features: Features
    keys: Keys


@register
class Imf(Directed[Appearance, Structure]):
    """shape: widths other than the size's. Raises ValueError for an unknown size."""

    spec = Spec(
        name="imf",
        reads=frozenset({"image"}),
        source=CropRule(
            size=SHAPES[SIZES[0]].side, scale=SCALE, shift=SHIFT, inside=True, min_scale=LEAST_SCALE
        ),
        driving=CropRule(size=SHAPES[SIZES[0]].side, scale=SCALE, shift=SHIFT),
        controls=CONTROLS,
        sizes=SIZES,
        size=SIZES[0],
    )

    def __init__(self, size: str = SIZES[0], shape: Shape | None = None) -> None:
        super().__init__()
        if size not in SHAPES:
            raise ValueError(f"unknown size {size!r} of model imf; known: {', '.join(SIZES)}")
        self.shape = shape = shape or SHAPES[size]
        self.spec = replace(
            self.spec,
            size=size,
            source=replace(self.spec.source, size=shape.side),
            driving=replace(self.spec.driving, size=shape.side),
        )
        self.token = TokenEncoder(shape)
        self.features = FeatureEncoder(shape)
        self.motion = MotionDecoder(shape)
        self.alignments = nn.ModuleList(
            Alignment(
                shape.aligned_width(level),
                shape.width_of(level),
                shape.side_of(level),
                shape.blocks,
                shape.heads[level - 1],
                shape.growth,
            )
            for level in range(shape.finest, LEVELS + 1)
        )
        self.frame = FrameDecoder(shape)
        self.alpha: Tensor
        self.register_buffer("alpha", faded_border(shape.side), persistent=False)

    @property
    def code_shape(self) -> tuple[int, ...]:
        return (self.shape.token,)

    def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
        if len(sources) != 1:
            raise ValueError(f"imf takes one source picture, not {len(sources)}")
        structure = self.encode_structure(sources[0])
        features = self.features(self._picture(sources[0]))
        motions = self.motion(self._token(structure))
        keys: list[Tensor] = [
            cast(Alignment, one).keys(motion) for one, motion in zip(self.alignments, motions, strict=True)
        ]
        found = Keys(*keys) if len(keys) == LEVELS else Keys(None, *keys)
        return Appearance(structure, Features(*features), found)

    def encode_structure(self, driving: Observation) -> Structure:
        return Structure(self.token(self._picture(driving)).float())

    def neutral(self, codes: Sequence[Structure]) -> Structure:
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        return Structure(middle(cat_codes(codes).token))

    def blend(self, a: Structure, b: Structure, t: Tensor) -> Structure:
        return Structure(torch.lerp(a.token, b.token, t.view(-1, 1).to(a.token.dtype)))

    def transfer(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        moved = transferred(structure.token, neutral.token, appearance.structure.token, controls)
        return Structure(self.pushed(moved, controls))

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        rgb = self.frame(self.aligned(appearance, structure)).float()
        return rgb, self.alpha.float().expand(rgb.shape[0], -1, -1, -1)

    def aligned(self, appearance: Appearance, structure: Structure) -> list[Tensor]:
        """The source's features where the driver's motion has them, B×C×H×W each, levels 1 to 4."""
        motions = self.motion(self._token(structure))
        features, keys = list(appearance.features), [key for key in appearance.keys if key is not None]
        found = []
        skipped = self.shape.finest - 1
        for index, (align, motion, key) in enumerate(zip(self.alignments, motions, keys, strict=True)):
            values = features[skipped + index]
            if index == 0 and skipped:
                # The finest map takes along the 2×2 pixels of f¹ that lie in each of its places.
                values = torch.cat((values, F.pixel_unshuffle(features[0], 2)), 1)
            level, along = align(motion, key, values)
            if index == 0 and skipped:
                found.append(F.pixel_shuffle(along, 2))
            found.append(level)
        return found

    def flow(self, source: Structure, driving: Structure) -> Tensor:
        """B×2×H×W, x before y, in halves of the picture's width and height: how far away each place of the
        driver's finest motion map that attends finds its features in the source's, on average."""
        align = cast(Alignment, self.alignments[0])
        theirs, ours = (self.motion(self._token(one))[0] for one in (source, driving))
        side = ours.shape[2]
        grid = identity_grid(side, side, ours).expand(len(ours), -1, -1, -1)
        found = attend(align.queries(ours), align.keys(theirs), places(grid.to(ours.dtype)))
        return picture(found, side).float() - grid

    def _picture(self, observation: Observation) -> Tensor:
        """In [−1, 1], as precise as the weights are."""
        return observation.image.to(self.motion.constant.dtype) * 2 - 1

    def _token(self, structure: Structure) -> Tensor:
        return structure.token.to(self.motion.constant.dtype)
