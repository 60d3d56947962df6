"""What surfaces are like: how they shine, and how much of the surroundings each place of the template
sees."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic import mouth
from trainer.data.synthetic.face import mean_landmarks
from trainer.data.synthetic.lighting import SKIN_WRAP, Light
from trainer.data.synthetic.mesh import Array, Indices, normals
from trainer.data.synthetic.shadow import shadow
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
    Surface.SKIN: (0.028, 18.0),
    Surface.LIPS: (0.05, 40.0),
    Surface.EYE: (0.10, 500.0),
    Surface.TEETH: (0.06, 80.0),
    Surface.WET: (0.04, 40.0),
    Surface.HAIR: (0.12, 60.0),
    Surface.CLOTH: (0.0, 4.0),
    Surface.GLASS: (0.06, 200.0),
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


def _surfaces(made: Template) -> Indices:
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
    for side in ("left", "right"):
        surface[made.triangle_ranges[f"socket_{side}"]] = Surface.LIPS  # moist
        # A row of lashes is no sheet of hair: it would mirror the light where a shut lid ends in a dark line.
        surface[made.triangle_ranges[f"lashes_{side}"]] = Surface.CLOTH
    return surface


def _occlusion(made: Template) -> Array:
    """The share of a cosine-weighted sky that each vertex sees past the bare head at rest, from many sides'
    shadows; in the mouth and behind the lids by hand, as they open."""
    points = np.concatenate([made.refinement.of(made.points), np.zeros((len(made.uv) - made.balls, 3))])
    seen = _sky(made, points)
    lips = float(mean_landmarks()[13, 2])

    def of(name: str) -> Indices:
        found: Indices = np.unique(made.triangles[made.triangle_ranges[name]])
        return found

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
    return seen


SIDES = 96  # of which a head is looked at to find what it hides of the sky
OPEN = 0.35  # of what is hidden, light comes all the same: from skin to skin


def _sky(made: Template, points: Array) -> Array:
    bare = [made.triangle_ranges[name] for name in ("skin", "ear_left", "ear_right", "neck", "chest")]
    triangles = torch.as_tensor(np.concatenate([made.triangles[part] for part in bare]))
    place = torch.as_tensor(points, dtype=torch.float32)[None]
    normal = normals(place, torch.as_tensor(made.triangles), torch.as_tensor(made.fans))
    turn = np.arange(SIDES) * np.pi * (3 - np.sqrt(5))
    up = 1 - 2 * (np.arange(SIDES) + 0.5) / SIDES
    around = np.sqrt(1 - up * up)
    sides = np.stack([around * np.cos(turn), -up, around * np.sin(turn)], 1)
    total, whole = torch.zeros(len(points)), torch.full((len(points),), 1e-6)
    nothing = torch.zeros(1, 9, 3)
    for side in torch.as_tensor(sides, dtype=torch.float32):
        light = Light(nothing, side[None], torch.ones(1, 3), torch.tensor([4.0]))
        seen = shadow(light, place, normal, triangles, torch.zeros(1, 3), radius=18.0)[0]
        facing = (normal[0] @ side).clamp(min=0)
        total += facing * seen
        whole += facing
    share = (total / whole).numpy().astype(np.float64)
    worn = np.unique(made.triangles[made.worn])
    share[worn] = 1.0
    return np.asarray(share + OPEN * (1 - share))


def ball_occlusion(away: Tensor) -> Tensor:
    """How much an eyeball's surface sees, for directions from its centre (…×3, unit length): the upper lid
    and the corners keep light off: …."""
    above = ((away[..., 1] + 0.62) / 0.5).clamp(0, 1)
    aside = ((0.98 - away[..., 0].abs()) / 0.5).clamp(0, 1)
    return 0.38 + 0.62 * above * above * (3 - 2 * above) * aside
