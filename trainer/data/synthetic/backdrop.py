"""What is behind a head, out of focus: walls, studios, rooms, greenery, cities at night.

A backdrop is made of layers, of which a kind uses some: a colour for each corner, a glow, noise of four
octaves, blurred boxes over one another, discs of light, and a vignette. Colours are linear light; lengths and
places are in picture sides, from the upper left corner.

    B pictures, K boxes, D discs
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.seeds import rng

SHARES = (0.22, 0.12, 0.33, 0.11, 0.11, 0.11)  # of walls, studios, rooms, greenery, nights, textures
BOXES, DISCS = 32, 40
OCTAVES = (3, 6, 12, 24)  # cells a side
SHARPNESS = 96  # samples a side: nothing in a backdrop is smaller than one

Array = npt.NDArray[np.float64]


class Backdrop(NamedTuple):
    """Of B pictures."""

    corners: Tensor  # B×3×2×2, colours
    glow: Tensor  # B×4: place (x, y), radius, by how much it is brighter there
    noise: Tensor  # B×1×n×n, one after another, flattened: each octave's grid, normal numbers
    grain: Tensor  # B×4×3, how strong each octave is in each colour, relative to what is there
    boxes: Tensor  # B×K×6: centre (x, y), half its size (x, y), blur, opacity; what comes later lies before
    box_colours: Tensor  # B×K×3
    discs: Tensor  # B×D×4: centre (x, y), radius, softness of the edge
    disc_colours: Tensor  # B×D×3, added
    vignette: Tensor  # B, how much of the light the corners lack


def draw_backdrop(seed: int, indices: Sequence[int]) -> Backdrop:
    """One for each identity or clip of `indices`, on the CPU."""
    drawn = [_Draft(rng(seed, "backdrop", index)).layers() for index in indices]
    return Backdrop(*(torch.from_numpy(np.stack(part)).float() for part in zip(*drawn, strict=True)))


def backdrop(drawn: Backdrop, size: int) -> Tensor:
    """B×3×size×size, linear light ≥ 0: the same blurred picture at any size."""
    with torch.no_grad():
        half = 0.5 / SHARPNESS
        line = torch.linspace(half, 1 - half, SHARPNESS, device=drawn.corners.device)  # samples' centres
        square = (SHARPNESS, SHARPNESS)
        picture = F.interpolate(drawn.corners, square, mode="bilinear", align_corners=True)

        begin = 0
        for octave, cells in enumerate(OCTAVES):
            grid = drawn.noise[:, begin : begin + cells**2].view(-1, 1, cells, cells)
            begin += cells**2
            waves = F.interpolate(grid, square, mode="bicubic", align_corners=True)
            picture = picture * (1 + drawn.grain[:, octave, :, None, None] * waves).clamp(min=0.2)
        x, y, radius, more = drawn.glow[:, :, None].unbind(1)
        near = _bell((line - x) / radius)[:, None] * _bell((line - y) / radius)[:, :, None]
        picture = picture * (1 + more[..., None] * near)[:, None]

        x, y, wide, high, blur, opacity = drawn.boxes[..., None].unbind(2)  # B×K×1 each
        across = torch.sigmoid((wide - (line - x).abs()) / blur) * opacity
        down = torch.sigmoid((high - (line - y).abs()) / blur)
        for box in range(int(drawn.boxes[..., 5].any(0).sum())):
            over = (down[:, box, :, None] * across[:, box, None])[:, None]
            picture = picture + over * (drawn.box_colours[:, box, :, None, None] - picture)

        lit = drawn.disc_colours.flatten(1).any(1).nonzero().squeeze(1)  # pictures that have discs
        x, y, radius, soft = drawn.discs[lit][..., None].unbind(2)
        distance = ((line - x).square()[:, :, None] + (line - y).square()[..., None]).sqrt()
        light = ((radius[..., None] - distance) / soft[..., None] + 0.5).clamp(0, 1)
        colours = drawn.disc_colours[lit].unbind(2)
        shine = [(light * colour[..., None, None]).sum(1) for colour in colours]
        picture = picture.index_add(0, lit, torch.stack(shine, 1))

        off = (line - 0.5).square()
        edge = (off + off[:, None]) / 0.5
        picture = picture * (1 - drawn.vignette[:, None, None] * edge)[:, None]
        return F.interpolate(picture, (size, size), mode="bicubic", antialias=size < SHARPNESS).clamp(min=0)


def _bell(distance: Tensor) -> Tensor:
    return torch.exp(-0.5 * distance.square())


class _Draft:
    """One backdrop while it is drawn."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.u = random.uniform
        self.corners = np.zeros((2, 2, 3))
        self.glow = np.array([0.5, 0.5, 1.0, 0.0])
        self.grain = np.zeros((4, 3))
        self.boxes: list[tuple[Array, Array]] = []
        self.discs: list[tuple[Array, Array]] = []
        self.vignette = self.u(0, 0.25)
        self.blur = float(np.exp(self.u(np.log(0.008), np.log(0.03))))

    def layers(self) -> tuple[Array, ...]:
        kinds = (self._wall, self._studio, self._room, self._greenery, self._night, self._texture)
        kinds[self.random.choice(len(kinds), p=SHARES)]()
        boxes, box_colours = np.zeros((BOXES, 6)), np.zeros((BOXES, 3))
        boxes[:, 4] = 1  # those that aren't there may not divide by nothing
        for at, (box, colour) in enumerate(self.boxes[:BOXES]):
            boxes[at], box_colours[at] = box, colour
        discs, disc_colours = np.ones((DISCS, 4)), np.zeros((DISCS, 3))
        for at, (disc, colour) in enumerate(self.discs[:DISCS]):
            discs[at], disc_colours[at] = disc, colour
        noise = self.random.normal(size=sum(cells**2 for cells in OCTAVES))
        return (
            *(np.moveaxis(self.corners, 2, 0), self.glow, noise, self.grain),
            *(boxes, box_colours, discs, disc_colours, np.array(self.vignette)),
        )

    def colour(self, level: float, saturation: float, hue: float | None = None) -> Array:
        """Of about this level; hue in [0, 1), red first, any if none is given."""
        hue = self.u() if hue is None else hue
        pure = 1 + np.cos(2 * np.pi * (hue - np.arange(3) / 3))
        mixed: Array = level * (1 - saturation + saturation * pure)
        return mixed

    def level(self, least: float, most: float) -> float:
        """Evenly in stops."""
        return float(np.exp(self.u(np.log(least), np.log(most))))

    def ground(self, base: Array, spread: float) -> None:
        """A colour that differs in level from corner to corner."""
        self.corners = base * np.exp(self.random.normal(0, spread, (2, 2, 1)))

    def box(self, x: float, y: float, wide: float, high: float, colour: Array, opacity: float = 1.0) -> None:
        self.boxes.append((np.array([x, y, wide / 2, high / 2, self.blur, opacity]), colour))

    def disc(self, x: float, y: float, radius: float, colour: Array) -> None:
        self.discs.append((np.array([x, y, radius, max(0.25 * radius, 0.012)]), colour))

    def _wall(self) -> None:
        self.ground(self.colour(self.level(0.05, 0.8), self.u(0, 0.35)), 0.2)
        self.glow = np.array([self.u(0, 1), self.u(0, 0.6), self.u(0.3, 0.8), self.u(0, 0.6)])
        self.grain[:2] = self.u(0, 0.06)
        if self.random.random() < 0.3:  # a shadow line, a dado or the edge of another wall
            self.box(self.u(0, 1), 0.5, self.u(0.3, 1.0), 3, self.colour(self.level(0.1, 0.6), 0.15), 0.6)

    def _studio(self) -> None:
        self.ground(self.colour(self.level(0.02, 0.75), self.u(0, 0.6) ** 2), 0.1)
        self.glow = np.array([self.u(0.3, 0.7), self.u(0.3, 0.7), self.u(0.2, 0.5), self.u(0.2, 1.5)])
        self.grain[:3] = self.random.choice([0.0, 0.05, 0.12])  # paper, or painted cloth
        self.vignette = self.u(0.1, 0.6)

    def _room(self) -> None:
        self.ground(self.colour(self.level(0.12, 0.6), self.u(0, 0.25)), 0.25)
        self.glow = np.array([self.u(0, 1), self.u(0, 0.5), self.u(0.2, 0.6), self.u(0, 0.8)])
        self.grain[:2] = self.u(0, 0.08)
        parts = (self._window, self._shelf, self._door, self._frames, self._lamp)
        for part in self.random.permutation(len(parts))[: 1 + self.random.integers(3)]:
            parts[part]()
        if self.random.random() < 0.4:  # furniture
            high = self.u(0.2, 0.6)
            self.box(
                self.u(0, 1), 1 - high / 2, self.u(0.3, 0.9), high, self.colour(self.level(0.03, 0.3), 0.3)
            )

    def _window(self) -> None:
        x, y, wide, high = self.u(-0.1, 1.1), self.u(0.1, 0.5), self.u(0.25, 0.6), self.u(0.4, 0.9)
        frame = self.colour(self.level(0.2, 0.6), 0.05)
        sky = self.colour(self.level(0.7, 1.6), 0.12, 0.6)
        self.box(x, y, wide + 0.05, high + 0.05, frame)
        self.box(x, y, wide, high, sky)
        self.box(x, y + 0.35 * high, wide, 0.3 * high, self.colour(self.level(0.1, 0.5), 0.4, 0.33), 0.8)
        self.box(x, y, 0.025, high, frame)
        self.box(x, y - 0.1 * high, wide, 0.025, frame)

    def _shelf(self) -> None:
        left, wide = self.u(-0.2, 0.7), self.u(0.35, 0.8)
        wood = self.colour(self.level(0.03, 0.35), self.u(0.1, 0.4), 0.07)
        top, step = self.u(-0.05, 0.3), self.u(0.16, 0.28)
        for row in range(3):
            foot = top + row * step
            at = left + self.u(0, 0.1)
            while at < left + wide - 0.05 and len(self.boxes) < BOXES - 6:
                thick, high = self.u(0.03, 0.1), step * self.u(0.45, 0.85)
                book = self.colour(self.level(0.03, 0.5), self.u(0, 0.7))
                self.box(at + thick / 2, foot - high / 2, thick, high, book)
                at += thick + self.random.choice([0.004, 0.004, 0.08])
            self.box(left + wide / 2, foot + 0.01, wide, 0.025, wood)

    def _door(self) -> None:
        x, wide = self.u(0, 1), self.u(0.25, 0.45)
        leaf = self.colour(self.level(0.05, 0.6), self.u(0, 0.4), 0.08)
        self.box(x, 0.6, wide + 0.04, 1.2, leaf * 1.3)
        self.box(x, 0.6, wide, 1.14, leaf)

    def _frames(self) -> None:
        for _ in range(self.random.integers(1, 4)):
            x, y, wide, high = self.u(0, 1), self.u(0.05, 0.5), self.u(0.1, 0.3), self.u(0.1, 0.3)
            self.box(x, y, wide, high, self.colour(self.level(0.02, 0.3), 0.2))
            self.box(x, y, wide - 0.03, high - 0.03, self.colour(self.level(0.1, 0.7), self.u(0, 0.5)))

    def _lamp(self) -> None:
        x, y, size = self.u(0, 1), self.u(0.05, 0.5), self.u(0.05, 0.12)
        self.box(x, y, size * 2, size * 1.5, self.colour(self.level(0.8, 2.0), 0.3, 0.08))
        self.glow = np.array([x, y, 0.25, self.u(0.6, 1.5)])

    def _greenery(self) -> None:
        green = self.colour(self.level(0.04, 0.25), self.u(0.35, 0.6), self.u(0.2, 0.36))
        sky = self.colour(self.level(0.25, 1.1), self.u(0.05, 0.3), 0.6)
        self.ground(green, 0.3)
        if self.random.random() < 0.5:
            self.corners[0] = sky
        self.grain[:] = self.u(0.08, 0.3, (4, 1)) * [[1.0], [0.9], [0.7], [0.4]] * np.array([1.0, 0.9, 0.7])
        size = self.u(0.012, 0.045)
        for _ in range(self.random.integers(8, DISCS)):
            hue, level = self.u(0.16, 0.36), self.level(0.01, 0.2)
            self.disc(self.u(0, 1), self.u(0, 1), size * self.u(0.7, 1.3), self.colour(level, 0.4, hue))
        if self.random.random() < 0.4:  # a trunk or a post
            self.box(self.u(0, 1), 0.5, self.u(0.05, 0.2), 2, self.colour(self.level(0.02, 0.12), 0.3, 0.07))

    def _night(self) -> None:
        self.ground(self.colour(self.level(0.01, 0.08), 0.3, self.u(0.5, 0.75)), 0.4)
        self.grain[:3] = 0.2
        size = self.u(0.015, 0.05)
        for _ in range(self.random.integers(10, DISCS)):
            hue = self.random.choice([0.06, 0.1, 0.12, 0.6, 0.0, 0.35])
            light = self.colour(self.level(0.05, 0.9), self.u(0.2, 0.8), hue)
            self.disc(self.u(0, 1), self.u(0.1, 0.9), size * self.u(0.6, 1.2), light)
        for _ in range(self.random.integers(0, 5)):
            high = self.u(0.2, 0.7)
            self.box(
                self.u(0, 1), 1 - high / 2, self.u(0.1, 0.4), high, self.colour(self.level(0.005, 0.04), 0.2)
            )

    def _texture(self) -> None:
        self.ground(self.colour(self.level(0.04, 0.6), self.u(0, 0.6)), 0.4)
        strength = self.u(0.08, 0.35) * np.array([1.0, 0.7, 0.5, 0.35])
        self.grain = strength[:, None] * (1 + self.random.normal(0, 0.25, (4, 3)))
