"""Skin: its tone and what lies on it, drawn for each identity. skin_paint.py makes textures of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.mesh import Array
from trainer.data.synthetic.seeds import rng

# E. Monk, The Monk Skin Tone Scale (2022), skintone.google: stored sRGB values of the ten levels.
MONK = (
    "f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420",
)  # fmt: skip
LEVELS = len(MONK)
BETWEEN = 0.35  # of the way to the next level, at most, that a tone lies off its own
GRAIN = (6, 64, 64)  # numbers that make one skin's spots differ from another's: kinds, rows, columns

# Linear reflectance near the pupil and at the iris's edge, and how often in percent.
IRISES = np.array(
    [
        [(0.060, 0.030, 0.012), (0.022, 0.011, 0.006)],  # dark brown
        [(0.140, 0.070, 0.025), (0.060, 0.030, 0.014)],  # brown
        [(0.200, 0.120, 0.040), (0.085, 0.075, 0.035)],  # hazel
        [(0.170, 0.140, 0.055), (0.100, 0.130, 0.075)],  # green
        [(0.200, 0.210, 0.190), (0.120, 0.165, 0.210)],  # blue-grey
        [(0.190, 0.240, 0.290), (0.085, 0.150, 0.270)],  # blue
        [(0.240, 0.250, 0.250), (0.170, 0.185, 0.195)],  # grey
    ]
)
DARK_EYES = np.array((0.62, 0.30, 0.05, 0.01, 0.01, 0.005, 0.005))  # shares among dark skins
LIGHT_EYES = np.array((0.10, 0.24, 0.18, 0.13, 0.16, 0.13, 0.06))  # and among light ones


class Brows(NamedTuple):
    """B each."""

    thickness: Tensor  # cm, where they are thickest
    arch: Tensor  # cm
    begin: Tensor  # share of the usual length at which they begin, from the nose
    end: Tensor
    density: Tensor  # [0, 1]
    darkness: Tensor  # by how much they are darker than the hair, [0, 1]
    thinning: Tensor  # [0, 1]: how much thinner their ends are


class MakeUp(NamedTuple):
    """B each, or B×3 linear reflectance; strengths are 0 for who wears none."""

    lipstick: Tensor  # B×3
    lips: Tensor  # how much it covers
    shadow: Tensor  # B×3
    lids: Tensor
    liner: Tensor
    rouge: Tensor


class Eyes(NamedTuple):
    iris: Tensor  # B×2×3, near the pupil and outside
    ring: Tensor  # B, the dark line around the iris, [0, 1]
    pupil: Tensor  # B, in iris radii
    red: Tensor  # B, [0, 1]
    white: Tensor  # B×3
    lashes: Tensor  # B, how dense, [0, 1]


class Skin(NamedTuple):
    """B people."""

    level: Tensor  # B int64, 1…10 of the Monk scale
    colour: Tensor  # B×3, linear reflectance
    age: Tensor  # B in [0, 1], about 18 to 80 years
    blood: Tensor  # B: how red cheeks, nose and ears are
    lip_blood: Tensor  # B: how much redder lips are than the skin
    mottling: Tensor  # B
    pores: Tensor  # B
    freckles: Tensor  # B in [0, 1]
    moles: Tensor  # B×4×3: places (x, y in cm of the mean face) and sizes (cm, 0 for none)
    circles: Tensor  # B: dark rings under the eyes
    shine: Tensor  # B: how oily, about 1
    lines: Tensor  # B×5: of the forehead, between the brows, beside the eyes, under them, from nose to mouth
    stubble: Tensor  # B in [0, 1]
    brows: Brows
    makeup: MakeUp
    eyes: Eyes
    teeth: Tensor  # B×3
    gum: Tensor  # B×3
    uneven: Tensor  # B, teeth
    grain: Tensor  # B×6×64×64 in [0, 1]


def draw_sex(seed: int, indices: Sequence[int]) -> Tensor:
    """B in [0, 1]: 0 woman … 1 man; most lie near the ends."""
    drawn = [rng(seed, "sex", index).beta(0.25, 0.25) for index in indices]
    return torch.tensor(drawn, dtype=torch.float32)


def tone_level(seed: int, index: int) -> int:
    """Its level on the Monk scale, 1…10: every ten identities in a row have all ten."""
    deck = rng(seed, "tones", index // LEVELS).permutation(LEVELS)
    return int(deck[index % LEVELS]) + 1


def monk_reflectance() -> Array:
    """Linear reflectance of the ten levels: 10×3."""
    stored = np.array([[int(code[at : at + 2], 16) for at in (0, 2, 4)] for code in MONK]) / 255
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def draw_skin(seed: int, indices: Sequence[int]) -> Skin:
    """The skins of those identities, on the CPU. What depends on sex and tone does so loosely, as in life."""
    sexes = draw_sex(seed, indices).tolist()
    rows = [_draw(seed, index, sex) for index, sex in zip(indices, sexes, strict=True)]

    def joined(parts: Sequence[object]) -> object:
        first = parts[0]
        if isinstance(first, tuple):
            return type(first)(*(joined(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]
        array = np.stack([np.asarray(part) for part in parts])
        return torch.from_numpy(array if array.dtype == np.int64 else array.astype(np.float32))

    skin = joined(rows)
    assert isinstance(skin, Skin)
    return skin


def _draw(seed: int, index: int, sex: float) -> Skin:
    """One person, whose fields are numbers and arrays."""
    random = rng(seed, "skin", index)
    u = random.uniform

    def some(share: float, low: float, high: float) -> float:
        """In a share of people something between, in others nothing; drawn alike, so that streams stay in step."""
        value, has = u(low, high), u() < share
        return value if has else 0.0

    level = tone_level(seed, index)
    table = np.log(monk_reflectance())
    at = np.clip(level - 1 + u(-BETWEEN, BETWEEN), 0, LEVELS - 1)
    below = min(int(at), LEVELS - 2)
    colour = np.exp(table[below] + (at - below) * (table[below + 1] - table[below]))
    colour = colour * np.exp(random.normal(0, 1, 3) * (0.02, 0.025, 0.04))
    light = 1 - (level - 1) / (LEVELS - 1)
    woman = 1 - sex
    age = random.beta(1.4, 2.2)
    old = np.clip((age - 0.25) / 0.75, 0, 1)
    moles = np.zeros((4, 3))
    for mole in moles:
        mole[:] = u(-6, 6), u(-7, 8), some(0.3, 0.05, 0.16)
    paint = u() < 0.55 * woman
    hue = np.array([(0.30, 0.02, 0.03), (0.22, 0.03, 0.06), (0.35, 0.10, 0.09), (0.10, 0.01, 0.03)])
    shades = np.array(
        [(0.10, 0.06, 0.05), (0.05, 0.05, 0.06), (0.08, 0.06, 0.12), (0.30, 0.20, 0.14), (0.05, 0.10, 0.12)]
    )
    makeup = MakeUp(
        hue[random.integers(len(hue))] * np.exp(random.normal(0, 0.3, 3)),
        some(0.75, 0.25, 0.95) * paint,
        shades[random.integers(len(shades))] * np.exp(random.normal(0, 0.3)),
        some(0.6, 0.15, 0.75) * paint,
        some(0.6, 0.3, 1.0) * paint,
        some(0.5, 0.1, 0.6) * paint,
    )
    eyes_shares = DARK_EYES + (LIGHT_EYES - DARK_EYES) * np.clip((light - 0.45) / 0.4, 0, 1)
    iris = IRISES[random.choice(len(IRISES), p=eyes_shares / eyes_shares.sum())]
    eyes = Eyes(
        iris * np.exp(random.normal(0, 0.2) + random.normal(0, 0.08, (2, 3))),
        u(0.2, 0.9),
        u(0.24, 0.52),
        u(0, 1) ** 2 * 0.7,
        np.array((0.66, 0.63, 0.58)) * np.exp(random.normal(0, 0.08) - 0.12 * age),
        u(0.1, 0.5) + 0.5 * makeup.liner + 0.15 * woman,
    )
    brows = Brows(
        u(0.38, 0.72) * (0.75 + 0.4 * sex),
        random.normal(0.0, 0.10) + 0.10 * woman,
        u(-0.12, 0.12),
        u(0.88, 1.12),
        u(0.35, 1.0) * (0.8 + 0.2 * sex) * (1 - 0.3 * old),
        u(0.0, 0.8),
        u(0.3, 0.9),
    )
    return Skin(
        np.int64(level),
        colour,
        age,
        u(0.15, 1.0),
        u(0.45, 1.25) * (0.7 + 0.3 * light),
        u(0.2, 1.0),
        u(0.3, 1.0),
        some(0.35 * light**2, 0.2, 1.0),
        moles,
        u(0.0, 0.7) + 0.3 * old,
        u(0.3, 1.5),
        np.clip(random.normal(0, 0.14, 5) + 0.08 + old * u(0.3, 1.1, 5), 0, 1.2),
        some(0.7 * sex**2, 0.15, 1.0),
        brows,
        makeup,
        eyes,
        np.array((0.66, 0.60, 0.47))
        * np.exp(random.normal(0, 0.10) + np.array((0, 0, 1)) * random.normal(0, 0.12)),
        np.array((0.36, 0.13, 0.12)) * np.exp(random.normal(0, 0.15) - 0.45 * (1 - light) * u()),
        u(0.1, 1.0),
        random.random(GRAIN),
    )  # type: ignore[arg-type]
