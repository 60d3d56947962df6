"""Who has which skin: tone, blood, marks, lines, beard, brows, lips, make-up, eyes and teeth, drawn at
random.

Correlated as in life (lines come with age, freckles with fair skin, stubble with men), but wide: what is rare
among people is not rare here, for what learns from the pictures must know it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.mesh import Array
from trainer.data.synthetic.seeds import rng

# The ten tones of the Monk Skin Tone scale as sRGB, from the palest: E. Monk, The Monk Skin Tone Scale
# (2019), published by Google at skintone.google (CC BY 4.0).
MONK = (
    0xF6EDE4, 0xF3E7DB, 0xF7EAD0, 0xEADABA, 0xD7BD96, 0xA07E56, 0x825C43, 0x604134, 0x3A312A, 0x292420,
)  # fmt: skip
GRAIN = 128  # numbers to a side of a table of noise
MOLES = 6
# Dark brown, brown, hazel, green, grey, blue: linear reflectance of the iris' fibres.
IRISES = (
    (0.022, 0.011, 0.006),
    (0.075, 0.032, 0.012),
    (0.130, 0.075, 0.022),
    (0.105, 0.120, 0.055),
    (0.130, 0.160, 0.175),
    (0.080, 0.150, 0.230),
)
LIPSTICKS = (
    (0.45, 0.02, 0.03),
    (0.55, 0.12, 0.14),
    (0.22, 0.02, 0.05),
    (0.40, 0.14, 0.10),
    (0.48, 0.05, 0.17),
)
SHADOWS = ((0.16, 0.09, 0.06), (0.05, 0.05, 0.06), (0.20, 0.13, 0.18), (0.10, 0.15, 0.22), (0.32, 0.20, 0.12))


class Skin(NamedTuple):
    """B people. Amounts are in [0, 1] unless said; colours are linear reflectance."""

    tone: Tensor  # B, on the Monk scale, [1, 10]
    undertone: Tensor  # B, -1 yellower … 1 redder
    blush: Tensor  # B, blood in cheeks, nose, chin and ears
    mottle: Tensor  # B, how uneven
    pores: Tensor  # B
    freckles: Tensor  # B
    moles: Tensor  # B×6×4: place in HEAD (u, v, of its side), radius (of its side; 0: none), darkness
    circles: Tensor  # B, dark beneath the eyes
    shine: Tensor  # B, oily … 0 matt
    age: Tensor  # B, years
    lines: Tensor  # B×6: forehead, frown, crow's feet, beneath the eyes, nasolabial, marionette
    beard: Tensor  # B×5, hair painted on lip, chin, cheeks, sideburns, throat: 0 shaved … 1 short beard
    brow: Tensor  # B×6: thickness (cm), arch (cm), length and gap (shares, ± about 0), density, darkness
    lips: Tensor  # B×3: blood, darkness of the seam, depth of their fine lines
    lipstick: Tensor  # B×4: colour, amount
    shadow: Tensor  # B×4: of the lids, colour, amount
    make_up: Tensor  # B×3: liner, foundation, rouge
    iris: Tensor  # B×6: colour at the rim, colour at the pupil
    eye: Tensor  # B×4: pupil (degrees), limbal ring, veins, yellowness of the white
    teeth: Tensor  # B×3: yellowness, gaps, gums' darkness
    lashes: Tensor  # B×2: length, density
    grain: Tensor  # B×3×128×128, standard normal: what all noise is read from

    def to(self, device: torch.device | str) -> "Skin":
        """The same on another device."""
        return Skin(*(value.to(device) for value in self))


def draw_sex(seed: int, indices: Sequence[int]) -> Tensor:
    """Between 0, a woman, and 1, a man, mostly near the ends: B."""
    return torch.tensor([_sex(seed, index) for index in indices], dtype=torch.float32)


def _sex(seed: int, index: int) -> float:
    return float(rng(seed, "sex", index).beta(0.25, 0.25))


def draw_skin(seed: int, indices: Sequence[int]) -> Skin:
    """Skins of identities (each ≥ 0). Identities 10·n … 10·n + 9 have one each of the ten Monk tones."""
    people = [_person(seed, index) for index in indices]
    return Skin(*(torch.from_numpy(np.stack(values)).float() for values in zip(*people, strict=True)))


def _person(seed: int, index: int) -> list[Array]:
    random = rng(seed, "skin", index)
    sex, man = _sex(seed, index), _sex(seed, index) > 0.5
    level = int(rng(seed, "tones", index // 10).permutation(10)[index % 10]) + 1
    tone = float(np.clip(level + random.uniform(-0.45, 0.45), 1, 10))
    fair = float(np.clip((7.0 - tone) / 4, 0, 1))
    age = float(16 + 64 * random.beta(1.3, 1.9))
    old = float(np.clip((age - 25) / 45, 0, 1.2))

    def some(share: float, low: float = 0.2, high: float = 1.0) -> float:
        """An amount that only a share of people have."""
        has, amount = random.random() < share, random.uniform(low, high)
        return amount if has else 0.0

    undertone, blush, mottle = random.uniform(-1, 1), random.beta(2, 3), random.beta(2, 3)
    pores, shine = random.beta(2, 2), random.beta(2, 2)
    freckles = some(0.05 + 0.3 * fair)
    moles = np.stack(
        [
            random.uniform(0.22, 0.78, MOLES),
            random.uniform(0.2, 0.82, MOLES),
            random.uniform(0.002, 0.005, MOLES) * (random.random(MOLES) < 0.3),
            random.uniform(0.4, 1.0, MOLES),
        ],
        1,
    )
    if random.random() < 0.04:  # a birthmark
        moles[0, 2:] = random.uniform(0.012, 0.035), random.uniform(0.2, 0.5)
    circles = random.beta(1.6, 3) * (0.7 + 0.5 * old)
    lines = np.clip(old * random.uniform(0.4, 1.3, 6) + random.uniform(0, 0.12, 6), 0, 1)
    return [
        np.asarray(value, np.float64)
        for value in (
            tone,
            undertone,
            blush,
            mottle,
            pores,
            freckles,
            moles,
            circles,
            shine,
            age,
            lines,
            _beard(random, sex),
            _brow(random, sex),
            np.array([random.beta(2, 2), random.beta(2, 2), np.clip(random.beta(2, 3) + 0.4 * old, 0, 1)]),
            np.append(_mixed(random, LIPSTICKS), some(0.03 if man else 0.4)),
            np.append(_mixed(random, SHADOWS), some(0.02 if man else 0.35)),
            np.array([some(0.02 if man else 0.4), some(0.03 if man else 0.4), some(0.02 if man else 0.35)]),
            _iris(random, fair),
            np.array(
                [random.uniform(7, 17), random.beta(2, 2), random.beta(1.5, 3), random.beta(1.5, 3) * old]
            ),
            np.array(
                [
                    np.clip(random.beta(1.5, 3) + 0.25 * old, 0, 1),
                    random.beta(2, 2),
                    1 - fair * random.beta(3, 1),
                ]
            ),
            np.array([random.uniform(0.4, 0.8) + 0.2 * (not man), random.uniform(0.5, 1)]),
            random.standard_normal((3, GRAIN, GRAIN)),
        )
    ]


def _beard(random: np.random.Generator, sex: float) -> Array:
    """On lip, chin, cheeks, sideburns and throat."""
    shapes = {
        "full": (1.0, 1.0, 1.0, 1.0, 0.8),
        "goatee": (1.0, 1.0, 0.15, 0.1, 0.1),
        "moustache": (1.0, 0.15, 0.15, 0.15, 0.1),
        "sideburns": (0.15, 0.15, 0.3, 1.0, 0.1),
        "chin": (0.2, 1.0, 0.2, 0.2, 0.2),
    }
    shape = np.array(list(shapes.values())[random.choice(5, p=(0.5, 0.18, 0.14, 0.08, 0.1))])
    has, amount = random.random() < 0.75, random.beta(1.0, 1.6)
    uneven = random.uniform(0.8, 1.2, 5)
    return np.asarray(np.clip(shape * uneven * amount, 0, 1) * (has and sex > 0.5))


def _brow(random: np.random.Generator, sex: float) -> Array:
    return np.array(
        [
            random.uniform(0.42, 0.78) + 0.22 * sex,
            random.uniform(-0.1, 0.14) + 0.06 * (1 - sex),
            random.uniform(-0.12, 0.1),
            random.uniform(-0.1, 0.14),
            np.clip(random.beta(4, 1.5) + 0.1 * sex, 0.4, 1),
            random.uniform(0.45, 0.9),
        ]
    )


def _iris(random: np.random.Generator, fair: float) -> Array:
    light = np.array([0.18, 0.22, 0.15, 0.12, 0.13, 0.2])
    dark = np.array([0.62, 0.3, 0.05, 0.01, 0.01, 0.01])
    colours = np.array(IRISES)
    one = colours[random.choice(6, p=light * fair + dark * (1 - fair))] * random.uniform(0.7, 1.35)
    # Towards the pupil light irises are browner; in dark ones little shows.
    inner = one + (colours[random.choice((1, 2))] - one) * random.beta(1.2, 2) * (0.25 + 0.75 * fair)
    return np.concatenate([one, inner])


def _mixed(random: np.random.Generator, colours: Sequence[Sequence[float]]) -> Array:
    one, other = (np.array(colours[at]) for at in random.integers(len(colours), size=2))
    return np.asarray(one + (other - one) * random.random() * 0.5)


def linear(colour: Tensor) -> Tensor:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055).clamp(min=0) ** 2.4)


def monk_reflectance(tone: Tensor) -> Tensor:
    """Linear reflectance of tones on the Monk scale, between its levels too: B → B×3."""
    codes = torch.tensor(MONK, device=tone.device)
    levels = linear(torch.stack([codes >> 16, (codes >> 8) & 255, codes & 255], 1) / 255)
    below = tone.floor().clamp(1, 9)
    share = (tone - below)[:, None]
    at = below.long() - 1
    return levels[at] * (1 - share) + levels[at + 1] * share
