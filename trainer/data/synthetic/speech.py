"""Speech without sound: jaw, lips and tongue of somebody who talks, and where the stress lies.

Rates. Mouths open and close at 2–7 Hz, the rate of syllables: C. Chandrasekaran et al., The natural
statistics of audiovisual speech, PLoS Computational Biology 5 (2009); mostly at 3–4 Hz, phrases at 1–2 Hz:
N. F. Pedersen et al., Modulation transfer functions for audiovisual speech, PLoS Computational Biology 18
(2022). Pauses are log-normal in three groups, below 0.2 s, 0.2–1 s and, in free speech only, above: E.
Campione, J. Véronis, A large-scale multilingual study of silent pause duration, Speech Prosody 2002; the
shares here are our own.

Shapes follow the fourteen visemes of MPEG-4 (ISO/IEC 14496-2, table of visemes), with coefficients of our
own. Neighbours are blended by dominance: M. M. Cohen, D. W. Massaro, Modeling coarticulation in synthetic
visual speech (1993), with Gaussian dominance, which has no kink.
"""

from typing import NamedTuple

import numpy as np

from trainer.data.synthetic.anatomy import Array, face
from trainer.data.synthetic.processes import BEFORE_S, skewed


class Viseme(NamedTuple):
    share: float  # of all consonants, or of all vowels
    force: float  # how much it wins over its neighbours
    shape: Array  # 44 coefficients


class Speech(NamedTuple):
    expression: Array  # N×44
    speaking: Array  # N, 0 in pauses to nearly 1 where a sound is made
    stresses: list[float]  # times of stressed vowels, s


# How often each comes is near to its class's share of the sounds of English.
CONSONANTS = (
    # p b m
    Viseme(0.13, 3.0, face({"jawOpen": 0.1, "mouthClose": 0.1, "mouthPress": 0.3, "mouthRollLower": 0.2})),
    # f v
    Viseme(0.07, 2.5, face({"jawOpen": 0.06, "mouthRollLower": 0.45, "mouthUpperUp": 0.2})),
    # th
    Viseme(0.07, 1.5, face({"jawOpen": 0.1, "tongueOut": 0.15, "mouthLowerDown": 0.2})),
    # t d
    Viseme(0.20, 1.0, face({"jawOpen": 0.1, "mouthLowerDown": 0.15, "mouthStretch": 0.1})),
    # k g
    Viseme(0.08, 0.5, face({"jawOpen": 0.16, "mouthShrugUpper": 0.05})),
    # sh ch j
    Viseme(0.05, 2.0, face({"jawOpen": 0.07, "mouthFunnel": 0.5, "mouthPucker": 0.15, "mouthUpperUp": 0.15})),
    # s z
    Viseme(0.15, 1.5, face({"jawOpen": 0.04, "mouthStretch": 0.2, "mouthLowerDown": 0.25})),
    # n l
    Viseme(0.17, 0.8, face({"jawOpen": 0.14, "mouthLowerDown": 0.12})),
    # r w
    Viseme(0.08, 1.2, face({"jawOpen": 0.1, "mouthFunnel": 0.25, "mouthPucker": 0.3})),
)
VOWELS = (
    # a as in father
    Viseme(0.20, 1.0, face({"jawOpen": 0.55, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1})),
    # e as in bed
    Viseme(
        0.30, 1.0, face({"jawOpen": 0.36, "mouthStretch": 0.2, "mouthSmile": 0.1, "mouthLowerDown": 0.15})
    ),
    # i as in tip
    Viseme(0.25, 1.0, face({"jawOpen": 0.24, "mouthStretch": 0.3, "mouthSmile": 0.15, "mouthDimple": 0.1})),
    # o as in top
    Viseme(0.15, 1.0, face({"jawOpen": 0.4, "mouthFunnel": 0.5, "mouthPucker": 0.15})),
    # u as in book
    Viseme(0.10, 1.0, face({"jawOpen": 0.22, "mouthFunnel": 0.25, "mouthPucker": 0.6})),
)

SYLLABLES_HZ, SYLLABLES_SPREAD = 4.5, 0.5  # of a person, mean and standard deviation
STRETCH = 0.15  # log-normal spread of a syllable's length
STRESS = 0.3  # share of the syllables that are stressed
PAUSES = ((0.3, 0.13), (0.5, 0.5), (0.2, 1.4))  # share and median length, s
REST = 0.05  # dominance of the closed mouth, against 1 of a viseme at its time


def speech(rng: np.random.Generator, times: Array) -> Speech:
    """Phrases of 1–4 s with pauses between, at the person's own rate and distinctness. times: N, s."""
    rate = float(np.clip(rng.normal(SYLLABLES_HZ, SYLLABLES_SPREAD), 3.5, 5.5))
    clarity = float(np.clip(rng.normal(1, 0.2), 0.6, 1.4))
    at: list[float] = []
    lasts: list[float] = []
    shapes: list[Array] = []
    forces: list[float] = []
    stresses: list[float] = []
    time = -BEFORE_S + 4 * rng.random()
    while time < times[-1] + 1:  # the next second's sounds are in the mouth already
        phrase_end = time + skewed(rng, 2, 0.45, 1, 4)
        while time < phrase_end:
            length = 1 / rate * float(np.exp(STRETCH * rng.standard_normal()))
            stressed = rng.random() < STRESS
            consonant, vowel = _pick(rng, CONSONANTS), _pick(rng, VOWELS)
            vigour = clarity * (1.3 if stressed else 0.9)
            at += [time, time + length / 2]
            lasts += [length / 6, length / 5]
            shapes += [consonant.shape, vowel.shape * vigour]
            forces += [consonant.force, vowel.force]
            if stressed:
                stresses.append(time + length / 2)
            time += length
        share, median = zip(*PAUSES, strict=True)
        time += skewed(rng, median[int(rng.choice(len(PAUSES), p=share))], 0.3, 0.08, 3)
    away = (times[:, None] - np.array(at)) / np.array(lasts)
    dominance = np.array(forces) * np.exp(-(away**2) / 2)  # N×visemes
    total = dominance.sum(1)
    return Speech(dominance @ np.array(shapes) / (total + REST)[:, None], total / (total + REST), stresses)


def _pick(rng: np.random.Generator, visemes: tuple[Viseme, ...]) -> Viseme:
    return visemes[int(rng.choice(len(visemes), p=[viseme.share for viseme in visemes]))]
