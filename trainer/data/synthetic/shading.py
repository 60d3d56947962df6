"""What surfaces are like: how they shine, and how much of the surroundings each place of the template sees."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic import head, mouth
from trainer.data.synthetic.face import mean_landmarks
from trainer.data.synthetic.lighting import SKIN_WRAP
from trainer.data.synthetic.mesh import Array
from trainer.data.synthetic.template import Label, Template


class Surface(IntEnum):
    """Kinds of surface that shine differently."""

    SKIN = 0
    LIPS = 1
    EYE = 2
    TEETH = 3
    WET = 4  # gums, tongue, the inside of cheeks
    HAIR = 5
    CLOTH = 6
    GLASS = 7


# Strength of the highlight (reflectance at a right angle, roughly) and its exponent, of each kind.
SHINE = {
    Surface.SKIN: (0.035, 18.0),
    Surface.LIPS: (0.05, 40.0),
    Surface.EYE: (0.10, 500.0),
    Surface.TEETH: (0.06, 80.0),
    Surface.WET: (0.04, 40.0),
    Surface.HAIR: (0.10, 30.0),
    Surface.CLOTH: (0.0, 4.0),
    Surface.GLASS: (0.12, 200.0),
}


class Looks(NamedTuple):
    """Of the template, on a device."""

    surface: Tensor  # T, a Surface
    strength: Tensor  # of each Surface
    exponent: Tensor
    wrap: Tensor  # V×3: how far light reaches round it
    occlusion: Tensor  # V: the share of the surroundings it sees at rest


def looks(made: Template, device: torch.device) -> Looks:
    surface = _surfaces(made)
    wrap = np.zeros((len(made.uv), 3))
    soft = np.isin(surface, [Surface.SKIN, Surface.LIPS, Surface.WET])
    wrap[made.triangles[soft].ravel()] = SKIN_WRAP
    hair = surface == Surface.HAIR
    wrap[made.triangles[hair].ravel()] = 0.4
    return Looks(
        torch.as_tensor(surface, dtype=torch.int64, device=device),
        torch.tensor([SHINE[kind][0] for kind in Surface], device=device),
        torch.tensor([SHINE[kind][1] for kind in Surface], device=device),
        torch.as_tensor(wrap, dtype=torch.float32, device=device),
        torch.as_tensor(_occlusion(made), dtype=torch.float32, device=device),
    )


def _surfaces(made: Template) -> Array:
    by_label = {
        Label.SKIN: Surface.SKIN,
        Label.HAIR: Surface.HAIR,
        Label.EYES: Surface.EYE,
        Label.MOUTH: Surface.WET,
        Label.LIPS: Surface.LIPS,
        Label.CLOTHES: Surface.CLOTH,
        Label.GLASSES: Surface.GLASS,
    }
    surface = np.array([by_label[Label(label)] for label in made.labels])
    for name in ("upper_teeth", "lower_teeth"):
        surface[made.triangle_ranges[name]] = Surface.TEETH
    for name in ("socket_left", "socket_right"):
        surface[made.triangle_ranges[name]] = Surface.LIPS  # moist
    return surface


def _occlusion(made: Template) -> Array:
    """By hand, where light comes badly: in the mouth, behind the lids, under the chin and hair."""
    points = np.concatenate([made.refinement.of(made.points), np.zeros((len(made.uv) - made.balls, 3))])
    seen = np.ones(len(points))
    lips = float(mean_landmarks()[13, 2])

    def of(name: str) -> Array:
        return np.unique(made.triangles[made.triangle_ranges[name]])

    depth = points[:, 2] - lips
    bag = of("bag")
    seen[bag] = np.interp(depth[bag], [0, 0.3, 1.0, 4.0], [0.9, 0.6, 0.25, 0.05])
    for name in ("upper_teeth", "lower_teeth"):
        teeth = of(name)
        seen[teeth] = np.interp(depth[teeth], [mouth.BEHIND_LIPS, 2.2, 4.5], [0.75, 0.4, 0.12])
    tongue = of("tongue")
    seen[tongue] = np.interp(depth[tongue], [1.0, 3.0, 7.0], [0.6, 0.35, 0.05])
    for side in ("left", "right"):
        socket = of(f"socket_{side}")
        front = points[socket, 2].min()
        seen[socket] = np.interp(points[socket, 2] - front, [0, 0.25, 0.8, 1.4], [0.95, 0.7, 0.4, 0.2])
    neck = of("neck")
    seen[neck] = np.interp(points[neck, 1], [head.NECK_TOP, 7.5, 11.0], [0.25, 0.45, 1.0])
    skin = of("skin")
    low = np.interp(points[skin, 1], [3.5, 7.0], [0.0, 1.0]) * np.interp(points[skin, 2], [-7.5, -3.0], [0.0, 1.0])
    seen[skin] = 1 - 0.5 * low
    return seen


def ball_occlusion(away: Tensor) -> Tensor:
    """How much an eyeball's surface sees, for directions from its centre (…×3, unit length): the upper lid and the
    corners keep light off: …."""
    above = ((away[..., 1] + 0.62) / 0.5).clamp(0, 1)
    aside = ((0.98 - away[..., 0].abs()) / 0.5).clamp(0, 1)
    return 0.25 + 0.75 * above * above * (3 - 2 * above) * aside
