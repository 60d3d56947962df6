"""A generator and an engine whose output tells which input it was made from. Needs torch and numpy only."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.contract import Controls, CropRule, Observation, Reenactor, Spec
from models.registry import register
from realtime.avatar import Avatar, Picture, Portrait
from realtime.engine import Engine, Request
from realtime.framing import Framing

FPS = 30
LEVELS = range(40, 200, 8)  # of portraits and drivers
SIZE = 64  # side of the fake generator's crops, pixels
DARK = 8  # a picture of a lower mean level shows no face
SEVERAL = "there are 2 faces in the source picture: the largest is taken"


class Crowded(NamedTuple):
    """A request, and what it has to come to."""

    request: Request
    portrait: int  # level: the frame's red
    driver: int  # level: its green


class FlatStructure(NamedTuple):
    """How bright a picture is."""

    level: Tensor  # B×1 in [0, 1]


class FlatAppearance(NamedTuple):
    """Which portrait this is: its brightness, and its mean red as an identity."""

    structure: FlatStructure
    red: Tensor  # B×1 in [0, 1]


@register
class Flat(Reenactor[FlatAppearance, FlatStructure]):
    """Draws one flat colour: red names the portrait, green is the structure's level, blue is zero."""

    spec = Spec(
        name="flat",
        reads=frozenset({"image"}),
        source=CropRule(size=SIZE, scale=1.0),
        driving=CropRule(size=SIZE, scale=1.0),
        controls=("relative", "gain_expression", "mouth_pixels", "shading"),
        needs_weights=False,
    )

    def encode_appearance(self, sources: Sequence[Observation]) -> FlatAppearance:
        if len(sources) != 1:
            raise ValueError("takes one picture")
        (source,) = sources
        return FlatAppearance(self.encode_structure(source), source.image[:, :1].mean((2, 3)))

    def encode_structure(self, driving: Observation) -> FlatStructure:
        return FlatStructure(driving.image.mean((2, 3)).mean(1, keepdim=True))

    def neutral(self, codes: Sequence[FlatStructure]) -> FlatStructure:
        if not codes:
            raise ValueError("no codes")
        return FlatStructure(torch.stack([code.level for code in codes]).median(0).values)

    def blend(self, a: FlatStructure, b: FlatStructure, t: Tensor) -> FlatStructure:
        return FlatStructure(torch.lerp(a.level, b.level, t[:, None]))

    def transfer(
        self, structure: FlatStructure, neutral: FlatStructure, appearance: FlatAppearance, controls: Controls
    ) -> FlatStructure:
        rest = appearance.structure.level
        origin = torch.lerp(rest, neutral.level, controls.relative[:, None])
        return FlatStructure(rest + controls.gain_expression[:, None] * (structure.level - origin))

    def decode(self, appearance: FlatAppearance, structure: FlatStructure) -> tuple[Tensor, Tensor]:
        colour = torch.cat((appearance.red, structure.level, torch.zeros_like(appearance.red)), 1)
        rgb = colour[:, :, None, None].expand(-1, -1, SIZE, SIZE).clamp(0, 1)
        return rgb, torch.ones_like(rgb[:, :1])


def flat_observation(picture: Picture, valid: bool = True) -> Observation:
    """What the fake tracker sees of a picture: its mean colour."""
    mean = torch.from_numpy(picture.mean((0, 1)).round().astype(np.uint8))
    return Observation(
        image=mean[None, :, None, None].expand(1, 3, SIZE, SIZE).contiguous(),
        points=torch.full((1, 478, 3), 0.5),
        to_frame=torch.tensor([[[float(picture.shape[1]), 0, 0], [0, float(picture.shape[0]), 0]]]),
        valid=torch.tensor([valid]),
    )


class FlatEngine(Engine):
    """The engine, with portraits that need no detector: any picture that is not dark shows a face, and one
    whose halves differ shows several."""

    def prepare(self, *pictures: Picture) -> Portrait:
        picture = pictures[0]
        if picture.mean() < DARK:
            raise ValueError("no face found in the source picture")
        source = flat_observation(picture)
        appearance = self.generator.encode_appearance([self._uploaded(source)])
        to_frame = source.to_frame[0].numpy().astype(np.float64)
        warnings = (SEVERAL,) if _halves_differ(picture) else ()
        return Portrait(appearance, Framing(picture, to_frame, SIZE, self.canvas, self.device), warnings)

    def as_driver(self, picture: Picture) -> Observation:
        return flat_observation(picture)


def _halves_differ(picture: Picture) -> bool:
    middle = picture.shape[1] // 2
    return bool(abs(picture[:, :middle].mean() - picture[:, middle:].mean()) > DARK)


def flat_picture(level: int | tuple[int, int, int], width: int = 96, height: int = 64) -> Picture:
    """A picture of one colour."""
    return np.full((height, width, 3), level, np.uint8)


def seen(level: int) -> Observation:
    return flat_observation(flat_picture(level))


UNSEEN = flat_observation(flat_picture(0), valid=False)


class Ill(Flat):
    """Gives no number where the driver's level is above 200."""

    def encode_structure(self, driving: Observation) -> FlatStructure:
        code = super().encode_structure(driving)
        return FlatStructure(torch.where(code.level > 200 / 255, torch.nan, code.level))


def level_of(structure: FlatStructure) -> int:
    level: Tensor = structure.level
    return round(255 * float(level))


def comings_and_goings(engine: FlatEngine, rounds: int, together: int) -> Iterator[list[Crowded]]:
    """Rounds of ten joins, leaves and new portraits each, and then a frame of some of those who are there,
    `together` at most. Drivers are shown as they stand."""
    chance = random.Random(1)
    wishes = Controls.default(1, engine.device, relative=0.0)
    portraits = {level: engine.prepare(flat_picture(level)) for level in LEVELS}
    there: list[tuple[Avatar, list[int]]] = []  # with the level of its portrait
    for step in range(rounds):
        for _ in range(10):
            kind, level = chance.random(), chance.choice(LEVELS)
            if kind < 0.35 or not there:
                there.append((Avatar(portraits[level], wishes), [level]))
            elif kind < 0.65:
                avatar, shown = chance.choice(there)
                avatar.portrait, shown[0] = portraits[level], level
            else:
                avatar, _ = there.pop(chance.randrange(len(there)))
                avatar.leave()
        some = chance.sample(there, min(len(there), chance.randint(1, together)))
        if not some:
            continue
        drivers = [chance.choice(LEVELS) for _ in some]
        yield [
            Crowded(Request(avatar, seen(driver), step / FPS), shown[0], driver)
            for (avatar, shown), driver in zip(some, drivers, strict=True)
        ]
