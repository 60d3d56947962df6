"""A generator that takes no time, for what the engine costs by itself."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.contract import Controls, CropRule, Observation, Reenactor, Spec

SIDE = 512  # of the source's crop, and so of the picture, pixels
DRIVING = 256  # of the driver's crop, pixels
POINTS = 21  # of a structure code
FEATURES = 32  # of an appearance code


class IdleStructure(NamedTuple):
    points: Tensor  # B×POINTS×3


class IdleAppearance(NamedTuple):
    structure: IdleStructure
    features: Tensor  # B×FEATURES


class Idle(Reenactor[IdleAppearance, IdleStructure]):
    """Hands on what was made once: little codes, and pictures that each have memory of their own, as those of
    a network would. It reads all of an observation, so that all of it is brought to it.

    most: how many rows a batch may have.
    """

    spec = Spec(
        name="idle",
        reads=frozenset({"image", "points"}),
        source=CropRule(size=SIDE, scale=1.6),
        driving=CropRule(size=DRIVING, scale=1.6),
        controls=("relative",),
        needs_weights=False,
    )

    def __init__(self, most: int) -> None:
        super().__init__()
        shade = torch.linspace(0, 1, SIDE)
        self.points: Tensor
        self.rgb: Tensor
        self.alpha: Tensor
        self.register_buffer("points", torch.full((most, POINTS, 3), 0.5))
        self.register_buffer("rgb", shade.expand(most, 3, SIDE, SIDE).clone())
        self.register_buffer("alpha", torch.outer(shade, shade).expand(most, 1, SIDE, SIDE).clone())

    def encode_appearance(self, sources: Sequence[Observation]) -> IdleAppearance:
        if len(sources) != 1:
            raise ValueError(f"idle takes one source picture, not {len(sources)}")
        return IdleAppearance(self.encode_structure(sources[0]), self.points.new_zeros(1, FEATURES))

    def encode_structure(self, driving: Observation) -> IdleStructure:
        return IdleStructure(self.points[: len(driving.image)])

    def neutral(self, codes: Sequence[IdleStructure]) -> IdleStructure:
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        return codes[0]

    def blend(self, a: IdleStructure, b: IdleStructure, t: Tensor) -> IdleStructure:
        return a

    def transfer(
        self, structure: IdleStructure, neutral: IdleStructure, appearance: IdleAppearance, controls: Controls
    ) -> IdleStructure:
        return structure

    def decode(self, appearance: IdleAppearance, structure: IdleStructure) -> tuple[Tensor, Tensor]:
        rows = len(structure.points)
        return self.rgb[:rows], self.alpha[:rows]
