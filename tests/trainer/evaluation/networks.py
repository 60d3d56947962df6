"""Networks whose figures are known beforehand, and a finder of landmarks that needs no face."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.contract import Controls, CropRule, Observation, Reenactor, Spec
from models.face_geometry import LANDMARKS_68
from trainer.evaluation.framing import framed
from trainer.evaluation.landmarks import Finder, Found
from trainer.evaluation.pairs import Pairs

SIDE = 32
CROP = CropRule(size=SIDE, scale=1.6)


class Structure(NamedTuple):
    picture: Tensor  # B×3×S×S, the driver's


class Appearance(NamedTuple):
    structure: Structure
    picture: Tensor  # 1×3×S×S


class Copier(Reenactor[Appearance, Structure]):
    """Draws the source, whatever the driver does."""

    spec = Spec(
        name="copier", reads=frozenset({"image"}), source=CROP, driving=CROP, controls=(), needs_weights=False
    )

    def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
        assert len(sources[0].image) == 1
        return Appearance(self.encode_structure(sources[0]), sources[0].image)

    def encode_structure(self, driving: Observation) -> Structure:
        return Structure(driving.image)

    def neutral(self, codes: Sequence[Structure]) -> Structure:
        return codes[0]

    def blend(self, a: Structure, b: Structure, t: Tensor) -> Structure:
        return a

    def transfer(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        assert not controls.relative.any(), "motion is to be absolute"
        return structure

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        return self.drawn(appearance, structure), torch.ones(len(structure.picture), 1, SIDE, SIDE)

    def drawn(self, appearance: Appearance, structure: Structure) -> Tensor:
        return appearance.picture


class Cheat(Copier):
    """Was told what is true of each driving picture."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self.known = {}
        for pair in pairs.pairs:
            clip = framed(pair, self.spec)
            for driving, truth in zip(clip.driving.image, clip.truth, strict=True):
                self.known[driving.numpy().tobytes()] = truth

    def drawn(self, appearance: Appearance, structure: Structure) -> Tensor:
        return torch.stack([self.known[one.numpy().tobytes()] for one in structure.picture])


class Dark(Copier):
    """Draws nothing."""

    def drawn(self, appearance: Appearance, structure: Structure) -> Tensor:
        return torch.zeros_like(structure.picture)


class Pretended(Finder):
    """Finds a face in every picture that isn't black: the mean face's points, moved by the picture's mean
    colour."""

    name = "nobody"

    def __call__(self, pictures: Tensor, where: Tensor) -> Found:
        assert len(pictures) == len(where)
        colour = pictures.float().mean((2, 3))[:, None, :2]
        line = torch.linspace(0.3, 0.6, len(LANDMARKS_68))
        points = torch.stack((line, line.flip(0)), 1) + 0.2 * colour
        return Found(points, pictures.flatten(1).amax(1) > 0)
