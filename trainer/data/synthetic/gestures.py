"""What faces do besides speech and blinks: emotions, raised brows, grimaces, nods and shakes."""

from collections.abc import Sequence

import numpy as np

from trainer.data.synthetic.anatomy import CLOSE, EXPRESSIONS, JAW, SIDES, Array, face
from trainer.data.synthetic.processes import bump, ease, events, skewed, wander

# The prototypes of the Facial Action Coding System (P. Ekman, W. V. Friesen, J. C. Hager, FACS Investigator's
# Guide, 2002, table of emotion predictions) in ARKit's names: happiness 6 + 12, surprise 1 + 2 + 5 + 26,
# sadness 1 + 4 + 15, anger 4 + 5 + 7 + 23, disgust 9 + 15 + 17, fear 1 + 2 + 4 + 5 + 20, contempt 14.
EMOTIONS = (
    {"mouthSmile": 0.6, "mouthDimple": 0.15, "cheekSquint": 0.3},  # polite smile
    {"mouthSmile": 0.9, "cheekSquint": 0.7, "eyeSquint": 0.45, "mouthUpperUp": 0.35, "jawOpen": 0.15},
    {"browInnerUp": 0.8, "browOuterUp": 0.7, "eyeWide": 0.7, "jawOpen": 0.35},
    {"browInnerUp": 0.7, "browDown": 0.25, "mouthFrown": 0.7, "mouthShrugLower": 0.3, "eyeSquint": 0.15},
    {"browDown": 0.9, "eyeSquint": 0.35, "mouthPress": 0.6, "mouthRollLower": 0.2, "noseSneer": 0.25},
    {"noseSneer": 0.8, "mouthUpperUp": 0.45, "browDown": 0.4, "mouthFrown": 0.3, "mouthShrugLower": 0.35},
    {"browInnerUp": 0.8, "browOuterUp": 0.4, "browDown": 0.3, "eyeWide": 0.8, "mouthStretch": 0.6},
    {"mouthDimpleLeft": 0.6, "mouthSmileLeft": 0.3, "eyeSquintLeft": 0.15},
    {"mouthDimpleRight": 0.6, "mouthSmileRight": 0.3, "eyeSquintRight": 0.15},
    {"mouthPress": 0.5, "mouthShrugLower": 0.4, "browInnerUp": 0.25},  # doubt
    {"browDown": 0.45, "eyeSquint": 0.35, "mouthPucker": 0.3},  # thought
)
SHAPES = tuple(face(parts) for parts in EMOTIONS)
SHARES = np.array([5, 4, 2, 2, 2, 1.5, 1, 0.7, 0.7, 2, 2])  # how often each, relative to the others
# An expression that is not hidden lasts 0.5–4 s (P. Ekman, Emotions Revealed, 2003), its onset half a second
# or so (K. L. Schmidt, J. F. Cohn, Y. Tian, Biological Psychology 65, 2003, of smiles).
RISE_S, HOLD_S, FALL_S = (0.3, 0.8), (0.3, 2.5), (0.5, 1.2)
ASYMMETRY = 0.08  # standard deviation of how much stronger one side is
WAVER = 0.12  # relative standard deviation of an expression that is held
BROWS = face({"browInnerUp": 0.5, "browOuterUp": 0.55})
# Nods and shakes: up to 4 Hz (U. Hadar et al., Kinematics of head movements accompanying speech, Human
# Movement Science 2, 1983), a few cycles whose size declines, the last the most (T. Mori, Y. Den, K.
# Jokinen, Structure of nods in conversation, PLoS One 20, 2025). Faster ones are smaller, by our own scale.
NOD_HZ = (1.0, 4.0)
NOD_DEG_HZ = (5.0, 13.0)  # size of the first half cycle × frequency
DECLINE = 0.75  # from cycle to cycle
NODS = 0.75  # share of nods among nods and shakes
NODS_DOWN = 0.8  # share of the nods that begin downwards; shakes begin to either side
RAISE, BEAT = 0.25, 0.4  # share of the stressed syllables with raised brows, and with a beat of the head
BEAT_DEG = (1.0, 4.0)


def emotions(rng: np.random.Generator, times: Array, gap_s: float) -> Array:
    """Episodes with `gap_s` between their starts (median), a little stronger on one side: N×44."""
    episodes, wavering = rng.spawn(2)
    shown = np.zeros((len(times), len(EXPRESSIONS)))
    for time in events(times[-1], lambda: skewed(episodes, gap_s, 0.5, 1.2, 60)):
        shape = SHAPES[int(episodes.choice(len(SHAPES), p=SHARES / SHARES.sum()))] * episodes.uniform(
            0.4, 1.1
        )
        lean = float(np.clip(episodes.normal(0, ASYMMETRY), -0.25, 0.25))
        for left, right in SIDES:
            shape[left] *= 1 + lean
            shape[right] *= 1 - lean
        rise, hold, fall = (episodes.uniform(*span) for span in (RISE_S, HOLD_S, FALL_S))
        shown = np.maximum(shown, bump(times, time, rise, hold, fall)[:, None] * shape)
    waver = wander(wavering, times, 0.8, len(EXPRESSIONS))
    for left, right in SIDES:
        waver[:, right] = waver[:, left]
    return shown * (1 + WAVER * waver)


def grimaces(rng: np.random.Generator, times: Array) -> Array:
    """Every expression for itself, now and then, mostly alike on both sides: N×44."""
    count = len(EXPRESSIONS)
    drive = wander(rng, times, 0.5, 2 * count)
    own, common = drive[:, :count], drive[:, count:]
    for left, right in SIDES:
        for side in (left, right):
            own[:, side] = 0.9 * common[:, left] + np.sqrt(1 - 0.9**2) * own[:, side]
    shown = ease((own - 0.9) / 2)
    shown[:, JAW] = np.maximum(shown[:, JAW], shown[:, CLOSE])  # or lips would hardly ever close over a jaw
    return shown


def nods(rng: np.random.Generator, times: Array, gap_s: float) -> Array:
    """Nods and shakes with `gap_s` between their starts (median): N×2 degrees, yaw and pitch."""
    turned = np.zeros((len(times), 2))
    for time in events(times[-1], lambda: skewed(rng, gap_s, 0.5, 2.5, 90)):
        axis = int(rng.random() < NODS)
        rate, cycles = skewed(rng, 2, 0.35, *NOD_HZ), int(rng.integers(1, 5))
        down = NODS_DOWN if axis else 0.5
        size = rng.uniform(*NOD_DEG_HZ) / rate * float(rng.choice((-1, 1), p=(down, 1 - down)))
        phase = (times - time) * rate  # cycles
        fade = ease(phase * 2) * (1 - ease(phase - cycles + 1)) * DECLINE ** phase.clip(0, 8)
        turned[:, axis] += size * np.sin(2 * np.pi * phase) * fade
    return turned


def beats(rng: np.random.Generator, times: Array, stresses: Sequence[float]) -> tuple[Array, Array]:
    """What stressed syllables come with: raised brows (N×44) and the head's pitch (N, degrees)."""
    brows, pitch = np.zeros((len(times), len(EXPRESSIONS))), np.zeros(len(times))
    for time in stresses:
        raised, beaten = rng.random() < RAISE, rng.random() < BEAT
        strength, hold = rng.uniform(0.3, 1), rng.uniform(0.1, 0.3)
        degrees, length = rng.uniform(*BEAT_DEG), rng.uniform(0.2, 0.35)
        if raised:
            brows = np.maximum(brows, bump(times, time - 0.2, 0.25, hold, 0.35)[:, None] * BROWS * strength)
        if beaten:
            pitch = pitch - degrees * bump(times, time - length, length, 0, 1.4 * length)
    return brows, pitch
