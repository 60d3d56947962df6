"""Hair and beard: style, shape and colour of each identity."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.synthetic.beard import Beard, draw_beard
from trainer.data.synthetic.seeds import rng

STYLES = (
    "bald", "buzz", "cropped", "side part", "quiff", "short curly", "afro", "bob", "long straight",
    "long wavy", "long curly", "fringe", "bun", "ponytail", "thinning",
)  # fmt: skip
# How often, relative to one another, of women and of men.
SHARES = np.array(
    [
        (1, 2, 4, 4, 2, 4, 5, 13, 18, 13, 8, 10, 8, 8, 0),
        (9, 13, 19, 15, 12, 9, 5, 2, 2, 1, 1, 4, 2, 2, 6),
    ]
)
NONE = frozenset((0, 1))  # styles without a shell

# Between which values a number of `Shape` is drawn: for all styles, and where a style has its own.
USUAL: dict[str, tuple[float, float]] = {
    "top": (0.8, 1.6), "sides": (0.5, 1.0), "drop": (200, 200), "fall": (0, 0), "front": (0, 0),
    "fringe": (0, 0), "part": (-30, 30), "forward": (0, 0.2), "ring": (0, 0), "lift": (0, 0),
    "dip": (0, 0.1), "flare": (0, 0.3), "tuft": (0.05, 0.1), "height": (-2, 3), "recede": (0, 3),
    "peak": (0, 2), "roots": (0.9, 1), "curl": (0, 0.15), "wave": (0, 0.3), "ragged": (0.6, 1),
    "sweep": (0, 0), "tail": (0, 0), "tail_height": (0, 0),
}  # fmt: skip
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "bald": {"roots": (0, 0.25), "recede": (0, 14), "height": (0, 10)},
    "buzz": {"roots": (0.55, 0.95), "recede": (0, 9)},
    "cropped": {"top": (0.7, 1.7), "sides": (0.25, 0.7), "recede": (0, 7)},
    "side part": {
        "top": (1.3, 2.6), "sides": (0.5, 1.2), "forward": (0.75, 1), "part": (24, 42), "dip": (0.5, 0.9),
    },
    "quiff": {
        "ragged": (0.25, 0.5), "top": (1.6, 2.8), "sides": (0.3, 0.8), "lift": (1, 2.6), "recede": (0, 5),
    },
    "short curly": {
        "ragged": (0.1, 0.3), "top": (1.8, 3.4), "sides": (0.9, 1.8), "curl": (0.6, 1),
        "tuft": (0.12, 0.25),
    },
    "afro": {
        "ragged": (0.05, 0.15), "top": (3.5, 7.5), "sides": (3, 6.5), "curl": (0.9, 1),
        "tuft": (0.08, 0.16), "peak": (0, 0),
    },
    "bob": {
        "top": (1.2, 2.2), "sides": (1.1, 1.8), "drop": (50, 64), "fall": (4, 10), "forward": (0.97, 1),
        "dip": (0.3, 0.8), "flare": (0, 0.9), "fringe": (-0.6, 1), "sweep": (0.6, 1),
    },
    "long straight": {
        "top": (0.8, 1.6), "sides": (0.8, 1.5), "drop": (48, 116), "fall": (14, 34), "front": (-1, 2),
        "forward": (0.97, 1), "dip": (0.4, 0.9), "fringe": (-2, 1), "sweep": (0.6, 1),
    },
    "long wavy": {
        "top": (1.1, 2.2), "sides": (1.1, 2), "drop": (48, 70), "fall": (12, 32), "front": (-1, 2),
        "forward": (0.97, 1), "dip": (0.3, 0.8), "wave": (0.6, 1), "sweep": (0.6, 1), "flare": (0.5, 1.6),
        "tuft": (0.12, 0.2),
    },
    "long curly": {
        "top": (1.8, 3.5), "sides": (1.8, 3), "drop": (48, 66), "fall": (8, 24), "front": (-1, 2),
        "forward": (0.97, 1), "dip": (0.1, 0.5), "curl": (0.6, 1), "sweep": (0.6, 1), "flare": (1.2, 3),
        "tuft": (0.15, 0.28),
    },
    "fringe": {
        "top": (1.2, 2.2), "sides": (0.8, 1.4), "fringe": (1, 1), "drop": (50, 200), "fall": (1, 12),
    },
    "bun": {
        "ragged": (0.15, 0.3), "top": (0.4, 0.8), "sides": (0.35, 0.6), "tail": (1, 1),
        "tail_height": (15, 75),
    },
    "ponytail": {
        "ragged": (0.15, 0.3), "top": (0.4, 0.9), "sides": (0.35, 0.6), "tail": (2, 2),
        "tail_height": (5, 55),
    },
    "thinning": {
        "top": (0.25, 0.5), "sides": (0.25, 0.6), "ring": (0.45, 0.75), "recede": (8, 16), "height": (4, 14),
        "roots": (0.5, 0.9), "ragged": (0.3, 0.6),
    },
}  # fmt: skip

# Linear reflectance, and how often in percent: black, darkest, dark and middle brown, light brown, dark
# and light blond, platinum, auburn, red, grey, white.
NATURAL = np.array(
    [
        (0.010, 0.009, 0.008), (0.020, 0.014, 0.011), (0.036, 0.022, 0.014), (0.070, 0.042, 0.025),
        (0.125, 0.080, 0.046), (0.210, 0.140, 0.075), (0.360, 0.260, 0.140), (0.560, 0.470, 0.330),
        (0.085, 0.030, 0.016), (0.210, 0.072, 0.024), (0.220, 0.215, 0.210), (0.560, 0.550, 0.530),
    ]
)  # fmt: skip
FREQUENT = np.array([20, 15, 14, 12, 9, 7, 6, 2, 4, 3, 5, 3])
YOUNG, OLD = 16.0, 80.0  # years, between which hair greys
GREY = 10  # the row from which on colours come with age
DYED = 0.05  # share in colours that don't grow

GRAIN = (6, 64, 64)  # numbers that each identity's strands are made of: kinds, rows, columns


class Shape(NamedTuple):
    """B each. Lengths in cm, angles in degrees of direction from the middle of the skull (scalp.py)."""

    top: Tensor  # how far the hair stands off the scalp above
    sides: Tensor  # and at the sides and behind
    drop: Tensor  # azimuth from which on it hangs; above 180: nowhere
    fall: Tensor  # y of the hanging tips
    front: Tensor  # above 0: what hangs at the sides lies before the shoulders, below 0 behind them
    fringe: Tensor  # above 0: hair over the forehead, and how much of the way to the brows
    part: Tensor  # azimuth of the front end of the parting
    forward: Tensor  # how far to the front the parting reaches, [0, 1]; 0: strands begin at the crown
    ring: Tensor  # the share of the way from crown to hairline that is bare
    lift: Tensor  # how much higher it stands over the forehead
    dip: Tensor  # how deep the parting is, [0, 1]
    flare: Tensor  # how much wider the tips hang
    tuft: Tensor  # unevenness as a share of the thickness
    height: Tensor  # the hairline's, see scalp.Hairline
    recede: Tensor
    peak: Tensor
    roots: Tensor  # how much of the scalp's colour hair covers, [0, 1]
    curl: Tensor  # [0, 1]
    wave: Tensor  # [0, 1]
    ragged: Tensor  # how far apart strands end, [0, 1]
    sweep: Tensor  # how far strands over the forehead are combed to the sides, [0, 1]
    tail: Tensor  # 0 none, 1 a bun, 2 a ponytail
    tail_height: Tensor  # elevation at the back of the head


class Hair(NamedTuple):
    style: Tensor  # B int64, of STYLES
    shape: Shape
    colour: Tensor  # B×3, linear reflectance
    tips: Tensor  # B×3, of the strands' ends
    contrast: Tensor  # B, how unlike one another strands are, about 1
    grain: Tensor  # B×6×64×64, [0, 1], what makes one head's strands differ from another's
    beard: Beard


def draw_hair(seed: int, indices: Tensor, sex: Tensor, age: Tensor) -> Hair:
    """The hair of identities. indices: B int64, ≥ 0; sex: B in [0, 1], 0 woman … 1 man; age: B, years."""
    rows = [
        _draw(rng(seed, "hair", int(index)), float(share), float(years))
        for index, share, years in zip(indices.tolist(), sex.tolist(), age.tolist(), strict=True)
    ]
    style, shape, colour, tips, contrast, grain = zip(*rows, strict=True)
    return Hair(
        torch.tensor(style),
        Shape(*torch.tensor(np.array(shape), dtype=torch.float32).unbind(1)),
        torch.tensor(np.array(colour), dtype=torch.float32),
        torch.tensor(np.array(tips), dtype=torch.float32),
        torch.tensor(contrast, dtype=torch.float32),
        torch.tensor(np.array(grain), dtype=torch.float32),
        draw_beard(seed, indices, sex),
    )


def hair_colour(hair: Hair) -> Tensor:
    """B×3, linear reflectance: for brows and stubble too."""
    return hair.colour


def _draw(random: np.random.Generator, sex: float, age: float) -> tuple[object, ...]:
    shares = SHARES[0] * (1 - sex) + SHARES[1] * sex
    style = int(random.choice(len(STYLES), p=shares / shares.sum()))
    ranges = USUAL | RANGES[STYLES[style]]
    values = {name: random.uniform(*ranges[name]) for name in Shape._fields}
    if values["fringe"] > 0:
        values["fringe"] = 0.7 + 0.3 * values["fringe"]
    values["sweep"] *= values["fringe"] <= 0  # what hangs over the forehead isn't combed aside
    if random.random() < 0.5:  # partings are left and right
        values["part"] = -values["part"]
    colour, tips = _colours(random, age)
    return (
        style,
        list(values.values()),
        colour,
        tips,
        random.uniform(0.6, 1.5),
        random.random(GRAIN),
    )


def _colours(random: np.random.Generator, age: float) -> tuple[list[float], list[float]]:
    """Of the hair and of its tips."""
    share = min(max((age - YOUNG) / (OLD - YOUNG), 0.0), 1.0)
    old = share * share * (3 - 2 * share)
    frequent = FREQUENT * np.where(np.arange(len(NATURAL)) < GREY, 1, 0.1 + 5 * old)
    kind = int(random.choice(len(NATURAL), p=frequent / frequent.sum()))
    colour = NATURAL[kind] * np.exp(random.normal(0, 0.15) + random.normal(0, 0.05, 3))
    draws = random.random(3), random.random(2)
    grey = draws[0].max() * draws[1][0] ** (1.5 - old) if draws[1][1] < 0.03 + 0.8 * old else 0.0  # in part
    colour = colour + grey * 0.7 * np.maximum(NATURAL[GREY] - colour, 0)
    tips = colour * random.uniform(0.9, 1.5)
    if random.random() < DYED:
        vivid = random.random(3)
        vivid = (vivid - vivid.min()) / max(float(np.ptp(vivid)), 1e-6)
        tips = 0.03 + vivid**2 * random.uniform(0.1, 0.45)
        colour = tips * random.uniform(0.5, 1) if random.random() < 0.7 else colour
    return np.clip(colour, 0.004, 0.8).tolist(), np.clip(tips, 0.004, 0.85).tolist()
