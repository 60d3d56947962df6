"""Where eyes look and when they blink, and what of it the head follows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.data.synthetic.anatomy import Array
from trainer.data.synthetic.processes import BEFORE_S, bump, events, moves, skewed

# Saccades: 21 ms and 2.2 ms for each degree (R. H. S. Carpenter, Movements of the Eyes, 1988).
SACCADE_S, SACCADE_S_PER_DEG = 0.021, 0.0022
# In talk people look at each other's face some 60 % of the time, in spells of typically 2.2 s, and within it
# from feature to feature (S. L. Rogers et al., Scientific Reports 8, 4291, 2018). The length of fixations is
# log-normal (B. M. Velichkovsky et al., Visual fixations and level of attentional processing, ETRA 2000),
# here of 0.2–0.7 s mostly.
FIXATION_S, FIXATION_SPREAD = 0.4, 0.45
NEAR_DEG = 2.5  # standard deviation of fixations within a face that is looked at
# Mean distance of those outside. Saccades are mostly of 15° or less (A. T. Bahill, D. Adler, L. Stark,
# Investigative Ophthalmology 14, 1975).
AWAY_DEG = 9.0
FLAT = 0.6  # gaze is spread less up and down than aside
REACH_DEG = (32.0, 22.0)  # of eyes, aside and up or down
# The head joins in large shifts of gaze, 139 ms after the eyes at 10° and 50 ms at 40° (Jibi to Rinsho 24,
# supplement 2, 559, 1978), more slowly than they, and for longer the further it goes. Small shifts leave it
# where it is (J. S. Stahl, Amplitude of human head movements associated with horizontal saccades,
# Experimental Brain Research 126, 1999). Share, range and times are our own.
HEAD_LATENCY_S = ((10.0, 40.0), (0.139, 0.05))
HEAD_S, HEAD_S_PER_DEG = 0.3, 0.012
EYE_ONLY_DEG = 6.0

# Blinks. Rates of 17 a minute at rest and 26 in talk, log-normal over people: A. R. Bentivoglio et al.,
# Movement Disorders 12 (1997). Closing takes around 100 ms (J. A. Stern et al., The endogenous eyeblink,
# Psychophysiology 21, 1984), and is 40–47 % faster than opening; many blinks don't close all the way (C.
# Sforza et al., Ophthalmic and Physiological Optics 28, 2008): half (G. W. Ousler et al., Clinical
# Ophthalmology 8, 2014). Large shifts of gaze come with a blink (C. Evinger et al., Not looking while
# leaping, Experimental Brain Research 100, 1994).
INTERVAL_S = (2.0, 6.0)  # bounds of a person's median interval
INTERVAL_SPREAD = 0.4
CLOSING_S, SHUT_S = (0.075, 0.12), (0.0, 0.05)
SLOWER = (1.6, 2.0)  # opening / closing time; the fastest part is that much slower
COMPLETE = 0.5  # share of the blinks that close the eye; others go at least `PARTIAL` of the way
PARTIAL = 0.55
WITH_SHIFT_DEG, WITH_SHIFT = 20.0, 0.6  # shifts of gaze that may come with a blink, and how likely they do


class Gaze(NamedTuple):
    world: Array  # N×2 degrees, yaw and pitch, against the head's rest
    head: Array  # N×2 degrees of it that the head does
    shifts: list[tuple[float, float]]  # time in s and size in degrees of every shift


def look(rng: np.random.Generator, times: Array, away: float) -> Gaze:
    """Fixations and saccades. away: probability of each fixation to be outside of the face looked at."""
    share = rng.uniform(0.3, 0.7)
    at = np.zeros(2)  # the eye's target, and the head's
    head = np.zeros(2)
    eye_levels, head_levels = [at], [head]
    starts: list[float] = []
    lasts: list[float] = []
    head_starts: list[float] = []
    head_lasts: list[float] = []
    shifts: list[tuple[float, float]] = []
    time = rng.random() - BEFORE_S
    while time < times[-1]:
        new = _target(rng, away)
        size = float(np.linalg.norm(new - at))
        starts.append(time)
        lasts.append(SACCADE_S + SACCADE_S_PER_DEG * size)
        eye_levels.append(new)
        distance = float(np.linalg.norm(new))
        new_head = share * new * max(0.0, 1 - EYE_ONLY_DEG / max(distance, 1e-9))
        head_starts.append(time + float(np.interp(size, *HEAD_LATENCY_S)))
        head_lasts.append(HEAD_S + HEAD_S_PER_DEG * float(np.linalg.norm(new_head - head)))
        head_levels.append(new_head)
        shifts.append((time, size))
        at, head = new, new_head
        time += lasts[-1] + skewed(rng, FIXATION_S, FIXATION_SPREAD, 0.12, 2.2)
    return Gaze(
        moves(times, starts, lasts, np.array(eye_levels)),
        moves(times, head_starts, head_lasts, np.array(head_levels)),
        shifts,
    )


def _target(rng: np.random.Generator, away: float) -> Array:
    if rng.random() >= away:
        return rng.normal(0, NEAR_DEG, 2) * (1, FLAT)
    distance, angle = min(3 + rng.exponential(AWAY_DEG - 3), 40), rng.uniform(0, 2 * np.pi)
    return np.array([distance * np.cos(angle), FLAT * distance * np.sin(angle)])


def blinks(
    rng: np.random.Generator, times: Array, interval_s: float, shifts: Sequence[tuple[float, float]]
) -> Array:
    """How far the lids are closed, N in [0, 1].

    interval_s: median time between blinks of people in this situation. shifts: of the gaze, time and size.
    """
    when, how = rng.spawn(2)  # the times of later blinks must not move the shape of earlier ones
    median = skewed(when, interval_s, 0.25, *INTERVAL_S)
    due = [(time, 0.0) for time in events(times[-1], lambda: skewed(when, median, INTERVAL_SPREAD, 0.6, 12))]
    due += [shift for shift in shifts if shift[1] > WITH_SHIFT_DEG]
    closed = np.zeros(len(times))
    last = -np.inf
    for time, size in sorted(due):
        happens = not size or how.random() < WITH_SHIFT
        closing = how.uniform(*CLOSING_S)
        shut, opening = how.uniform(*SHUT_S), closing * how.uniform(*SLOWER)
        depth = 1.0 if how.random() < COMPLETE else how.uniform(PARTIAL, 0.95)
        if happens and time - last > 0.5:
            closed = np.maximum(closed, depth * bump(times, time, closing, shut, opening))
            last = time
    return closed
