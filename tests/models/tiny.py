"""A network with weights and two sizes, small enough for any test: features that a token scales."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Controls, CropRule, Observation, Spec, cat_codes, middle
from models.directions import Directed
from models.registry import register
from models.tokens import CONTROLS, transferred

SIZES = {"narrow": 8, "wide": 16}  # channels
SIDE = 32  # of the pictures, pixels
TOKEN = 4


class TinyStructure(NamedTuple):
    token: Tensor  # B×TOKEN


class TinyAppearance(NamedTuple):
    structure: TinyStructure
    features: Tensor  # B×C×SIDE×SIDE


@register
class Tiny(Directed[TinyAppearance, TinyStructure]):
    spec = Spec(
        name="tiny",
        reads=frozenset({"image"}),
        source=CropRule(size=SIDE, scale=1.5),
        driving=CropRule(size=SIDE, scale=1.3, upright=True),
        controls=CONTROLS,
        max_sources=3,
        sizes=tuple(SIZES),
        size=next(iter(SIZES)),
    )

    def __init__(self, size: str = next(iter(SIZES))) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r} of model tiny; known: {', '.join(SIZES)}")
        self.spec = replace(type(self).spec, size=size)
        width = SIZES[size]
        self.features = nn.Conv2d(3, width, 3, padding=1)
        self.token = nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.BatchNorm2d(width), nn.ReLU())
        self.linear = nn.Linear(width, TOKEN)
        self.scale = nn.Linear(TOKEN, width)
        self.picture = nn.Conv2d(width, 3, 1)
        axis = (torch.arange(SIDE) + 0.5) / 2
        ramp = torch.minimum(axis, axis.flip(0)).clamp(max=1)
        self.alpha: Tensor
        self.register_buffer("alpha", torch.outer(ramp, ramp)[None, None], persistent=False)

    @property
    def code_shape(self) -> tuple[int, ...]:
        return (TOKEN,)

    def encode_appearance(self, sources: Sequence[Observation]) -> TinyAppearance:
        if not 1 <= len(sources) <= self.spec.max_sources:
            raise ValueError(f"tiny takes 1 to {self.spec.max_sources} source pictures, not {len(sources)}")
        every = cat_codes([source._replace(points=None, person=None) for source in sources])
        features = self.features(every.image.to(self.linear.weight.dtype)).mean(0, keepdim=True)
        return TinyAppearance(self.encode_structure(sources[0]), features)

    def encode_structure(self, driving: Observation) -> TinyStructure:
        picture = driving.image.to(self.linear.weight.dtype)
        return TinyStructure(self.linear(self.token(picture).mean((2, 3))).float())

    def neutral(self, codes: Sequence[TinyStructure]) -> TinyStructure:
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        return TinyStructure(middle(cat_codes(codes).token))

    def blend(self, a: TinyStructure, b: TinyStructure, t: Tensor) -> TinyStructure:
        return TinyStructure(torch.lerp(a.token, b.token, t.view(-1, 1)))

    def transfer(
        self, structure: TinyStructure, neutral: TinyStructure, appearance: TinyAppearance, controls: Controls
    ) -> TinyStructure:
        moved = transferred(structure.token, neutral.token, appearance.structure.token, controls)
        return TinyStructure(self.pushed(moved, controls))

    def decode(self, appearance: TinyAppearance, structure: TinyStructure) -> tuple[Tensor, Tensor]:
        scale = 1 + self.scale(structure.token.to(self.linear.weight.dtype)).unsqueeze(2).unsqueeze(3)
        rgb = torch.sigmoid(self.picture(F.relu(appearance.features * scale))).float()
        return rgb, self.alpha.float().expand(rgb.shape[0], -1, -1, -1)
