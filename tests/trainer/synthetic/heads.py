"""Heads to draw: bare ones of given shapes, painted by a formula, in even light."""

import math

import torch
from torch import Tensor

from trainer.data.synthetic.figure import Figure, make_figure, rest, tables
from trainer.data.synthetic.identity import Shape, modes
from trainer.data.synthetic.lens import perfect
from trainer.data.synthetic.lighting import HARMONICS, Light
from trainer.data.synthetic.motion import Motion
from trainer.data.synthetic.renderer import People, Scene

CPU = torch.device("cpu")


def moving(count: int, **parts: object) -> Motion:
    """Neutral faces but for those parts of the motion, each of a shape that broadcasts."""
    motion = rest(count)
    for name, value in parts.items():
        whole: Tensor = getattr(motion, name)
        motion = motion._replace(
            **{name: torch.as_tensor(value, dtype=torch.float32).expand_as(whole).clone()}
        )
    return motion


def of_shape(coefficients: Tensor | None = None) -> Figure:
    """The mean head, or heads of those coefficients (B×S)."""
    return make_figure(Shape(torch.zeros(1, len(modes())) if coefficients is None else coefficients))


def bare(figure: Figure, side: int = 256) -> People:
    """People without hair and clothes, in waves of colour that are smooth within each part of the atlas."""
    fixed, count = tables(CPU), len(figure.neutral)
    v, u = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
    waves = [0.5 + 0.3 * torch.sin(2 * math.pi * (a * u + b * v)) for a, b in ((9, 2), (-3, 8), (6, 7))]
    atlas = torch.stack([*waves, torch.full_like(u, 0.5)], -1)
    hidden = torch.zeros(count, fixed.worn.stop - fixed.worn.start, dtype=torch.bool)
    textures = atlas.expand(count, -1, -1, -1).contiguous()
    backs = fixed.two_sided.expand(count, -1)
    return People(figure, textures, fixed.all_shown(hidden), backs, torch.ones(count))


def even_light(count: int, size: int) -> Scene:
    """The same light from everywhere, no highlights, a perfect lens, black behind."""
    environment = torch.zeros(count, 9, 3)
    environment[:, 0] = 0.9 / (math.pi * HARMONICS[0])
    ahead = torch.tensor([[0.0, 0.0, -1.0]]).expand(count, 3)
    light = Light(environment, ahead, torch.zeros(count, 3), torch.full((count,), 10.0))
    return Scene(light, torch.zeros(count, 3, size, size), perfect(count))
