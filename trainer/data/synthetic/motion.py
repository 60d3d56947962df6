"""What a person does in a clip: expression, gaze, pose and place in the picture, from smooth random processes
with human statistics. Nothing of it knows who the person is.

    motion = draw_motion(seed=0, indices=[0, 1], frames=64)     # 128 frames, each clip in a style of its own
    motion = draw_motion(seed=0, indices=[7], frames=1000, style="stills")  # frames that don't hang together
    motion = draw_motion(seed=0, indices=[7], frames=12, style="seated")  # neither, before a camera on a desk
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.face_geometry import limiting
from trainer.data.synthetic.anatomy import BLINKS, CLOSE, EXPRESSIONS, JAW, SIDES, WIDES, Array, anatomical
from trainer.data.synthetic.gaze import REACH_DEG, blinks, look
from trainer.data.synthetic.gestures import SHAPES, SHARES, beats, emotions, grimaces, nods
from trainer.data.synthetic.processes import wander
from trainer.data.synthetic.seeds import rng
from trainer.data.synthetic.speech import CONSONANTS, VOWELS, speech

LIMITS_DEG = (45.0, 30.0, 30.0)  # of the head: yaw, pitch, roll, either way
SHIFT = 0.15  # of the head's centre, either way, in picture widths
SCALES = (0.7, 1.35)
FOVS_DEG = (12.0, 60.0)  # from a long lens to a webcam near the face
# The upper lid follows the eye up and down, downwards all the way, upwards less: W. Becker, A. F. Fuchs,
# Lid-eye coordination during vertical gaze changes, Journal of Neurophysiology 60 (1988). On an eyeball of 12
# mm radius and an opening of 10 mm a degree is 0.02 of the opening.
LID_DOWN, LID_UP = 0.02, 0.012
LID_MOST = 0.55
TWO_LIDS = 0.04  # standard deviation of how much further one eye closes
# Of stills: every emotion and every sound as often as clips show it, the two alike often.
FACES = np.stack([*SHAPES, *(viseme.shape for viseme in (*CONSONANTS, *VOWELS))])
FACES_UP_TO = np.cumsum(
    [*(SHARES / SHARES.sum() / 2), *(viseme.share / 4 for viseme in (*CONSONANTS, *VOWELS))]
)
MAKES_FACES = 0.7  # share of the stills with one of them
WILDEST = 0.5  # share of the expressions that the wildest still has besides


class Motion(NamedTuple):
    """N frames: those of a clip one after the other, clip after clip. float32."""

    expression: Tensor  # N×44 in [0, 1], in the order of EXPRESSIONS; the lids are all there, gaze included
    gaze: Tensor  # N×2 degrees against the head: yaw > 0 to the picture's right, pitch > 0 up
    rotation: (
        Tensor  # N×3 degrees: yaw > 0 nose to the picture's right, pitch > 0 nose up, roll > 0 clockwise
    )
    shift: Tensor  # N×2, of the head's centre from the picture's, in picture widths
    scale: Tensor  # N; 1: the mean face is half as high as the picture
    fov: Tensor  # N degrees, the camera's whole angle of view; the same throughout a clip


class Style(NamedTuple):
    """How a clip moves. Angles are standard deviations in degrees, times medians in seconds."""

    share: float  # of the clips whose style is drawn
    talks: bool
    emotion_s: float  # from one emotion to the next
    grimaces: bool
    blink_s: float
    away: float  # of the fixations
    nod_s: float
    rest: tuple[float, float, float]  # how the head is held: yaw, pitch, roll
    sway: tuple[float, float, float]
    sway_s: float  # time scale
    place: float  # of the shift, picture widths, and of the scale's logarithm


STYLES = {
    "talking": Style(0.35, True, 12, False, 2.6, 0.3, 9, (8, 4, 3), (3.5, 2.2, 1.8), 1.2, 0.05),
    "listening": Style(0.2, False, 8, False, 3.5, 0.2, 6, (8, 4, 3), (2, 1.2, 1.2), 1.8, 0.05),
    "expressive": Style(0.2, True, 3, False, 2.8, 0.35, 6, (10, 6, 5), (6, 4, 3.5), 1.1, 0.07),
    "wild": Style(0.15, False, 4, True, 2.8, 0.6, 8, (12, 6, 8), (20, 13, 12), 1.0, 0.1),
    "idle": Style(0.1, False, 25, False, 4, 0.25, 40, (6, 3, 2), (1, 0.7, 0.6), 2.5, 0.04),
}
STILLS = "stills"  # every frame for itself, over the whole range


class Range(NamedTuple):
    """Of frames that don't hang together."""

    limits_deg: tuple[float, float, float]  # of the head: yaw, pitch, roll, either way
    shift: float  # of the head's centre, either way, in picture widths
    scales: tuple[float, float]
    one_lens: bool  # for all frames of a clip


RANGES = {
    STILLS: Range(LIMITS_DEG, SHIFT, SCALES, one_lens=False),
    # About as far as a talker in a cropped video goes, where frames are a second or more apart.
    "seated": Range((30.0, 18.0, 14.0), 0.05, (0.88, 1.16), one_lens=True),
}


def draw_motion(
    seed: int, indices: Sequence[int], frames: int, fps: float = 25, style: str | None = None
) -> Motion:
    """The clips of those numbers, `frames` each, one after the other: N = clips × frames, on the CPU.

    style: one of `STYLES`, or of `RANGES`; None draws one of `STYLES` for each clip. A longer clip begins as
    a shorter one does. Raises ValueError for an unknown style, no clips, no frames, or a rate that isn't
    positive.
    """
    check_style(style)
    if frames < 1 or not indices or not fps > 0 or not math.isfinite(fps):
        raise ValueError(
            f"{len(indices)} clips of {frames} frames at {fps} a second: all three must be above zero"
        )
    if style in RANGES:
        clips = [_stills(seed, index, frames, RANGES[style]) for index in indices]
    else:
        times = np.arange(frames) / fps
        clips = [_clip(seed, index, times, STYLES[style or style_of(seed, index)]) for index in indices]
    return Motion(*(torch.cat(parts) for parts in zip(*clips, strict=True)))


def check_style(style: str | None) -> None:
    """Raises ValueError for a style that `draw_motion` doesn't know."""
    if style is not None and style not in STYLES and style not in RANGES:
        raise ValueError(f"unknown style of motion {style!r}: use one of {', '.join((*STYLES, *RANGES))}")


def style_of(seed: int, index: int) -> str:
    """The style that is drawn for the clip of that number."""
    shares = np.array([style.share for style in STYLES.values()])
    return list(STYLES)[int(rng(seed, "motion.style", index).choice(len(STYLES), p=shares / shares.sum()))]


def _clip(seed: int, index: int, times: Array, style: Style) -> Motion:
    def stream(name: str) -> np.random.Generator:
        return rng(seed, f"motion.{name}", index)

    rest = stream("rest")
    held: Array = rest.normal(0, style.rest)
    at_camera = rest.random() < 0.6  # else the eyes are at rest straight ahead of the head
    gaze = look(stream("gaze"), times, style.away)
    sway = wander(stream("sway"), times, style.sway_s, 3) * np.array(style.sway)
    gestures = nods(stream("nods"), times, style.nod_s)
    expression = emotions(stream("emotions"), times, style.emotion_s)
    if style.grimaces:
        expression = np.maximum(expression, grimaces(stream("grimaces"), times))
    if style.talks:
        spoken = speech(stream("speech"), times)
        brows, pitch = beats(stream("beats"), times, spoken.stresses)
        expression = np.maximum(expression * _lips_free(spoken.speaking), spoken.expression) + brows
        gestures[:, 1] += pitch

    leans = np.zeros((len(times), 1))
    rotation = _within(held + sway + np.hstack((gestures + gaze.head, leans)), LIMITS_DEG)
    # Eyes stay where they look while the head sways and nods (the vestibulo-ocular reflex).
    ahead = np.zeros(2) if at_camera else _within(held[None], LIMITS_DEG)[0, :2]
    stays = gaze.world + ahead - rotation[:, :2]
    if style.grimaces:  # wide poses: eyes go along in part
        stays = stays + 0.6 * sway[:, :2]
    eyes = _within(stays, REACH_DEG)
    closed = blinks(stream("blinks"), times, style.blink_s, gaze.shifts)
    expression = anatomical(_lids(expression, closed, eyes[:, 1], stream("lids")))

    place, drift = stream("place"), wander(stream("drift"), times, 3, 3)
    where = style.place * (place.normal(0, 1, 3) + 0.35 * drift)
    scale = np.exp(_within(2 * where[:, 2:] - 0.02, (math.log(SCALES[1]),)))
    return Motion(
        _tensor(expression),
        _tensor(eyes),
        _tensor(rotation),
        _tensor(_within(where[:, :2], (SHIFT, SHIFT))),
        _tensor(scale[:, 0].clip(*SCALES)),
        torch.full((len(times),), float(_spread(FOVS_DEG, stream("fov").random()))),
    )


def _lips_free(speaking: Array) -> Array:
    """What speech (N in [0, 1]) leaves to an emotion, N×44: little of the jaw, half of the mouth."""
    free = np.ones((len(speaking), len(EXPRESSIONS)))
    mouth = [index for index, name in enumerate(EXPRESSIONS) if name.startswith("mouth")]
    free[:, mouth] -= 0.5 * speaking[:, None]
    free[:, JAW] -= 0.9 * speaking
    return free


def _lids(expression: Array, closed: Array, pitch: Array, lids: np.random.Generator) -> Array:
    """The expression (N×44) with the lids of a blink (N) and of the gaze's pitch (N, degrees) added."""
    down = LID_MOST * np.tanh(LID_DOWN * (-pitch).clip(0) / LID_MOST)
    unlike = float(lids.normal(0, TWO_LIDS))
    for side, blink, wide in zip((-1, 1), BLINKS, WIDES, strict=True):
        own = closed * (1 - max(0.0, side * unlike))
        expression[:, blink] = 1 - (1 - expression[:, blink].clip(0, 1)) * (1 - own) * (1 - down)
        expression[:, wide] += LID_UP * pitch.clip(0)
    return expression


def _stills(seed: int, index: int, frames: int, within: Range) -> Motion:
    """Each frame: an emotion, a sound or neither, and some expressions more of any strength, mostly alike on
    both sides; any gaze, and any pose and place of the range."""
    count = len(EXPRESSIONS)
    drawn = rng(seed, "motion.stills.expression", index).random((frames, 3 * count + 6))
    strength, chance, own, whole = np.split(drawn, (count, 2 * count, 3 * count), axis=1)
    for left, right in SIDES:
        alike = own[:, left] < 0.7
        for table in (strength, chance):
            table[alike, right] = table[alike, left]
        strength[alike, right] = (strength[alike, right] + 0.1 * (own[alike, right] - 0.5)).clip(0, 1)
    # From faces at rest to wild ones. Few are wild: expressions drawn each for itself soon are a face that
    # nobody can make.
    expression = strength * (chance < WILDEST * whole[:, :1] ** 2)
    made = FACES[np.searchsorted(FACES_UP_TO, whole[:, 3], side="right").clip(max=len(FACES) - 1)]
    vigour = 0.4 + 0.8 * whole[:, 4:5]
    expression = np.maximum(expression, made * vigour * (whole[:, 5:6] < MAKES_FACES))
    shut = whole[:, 1] < 0.1
    expression[np.ix_(shut, BLINKS)] = 1
    # A mouth that closes over an open jaw needs both: otherwise chance would hardly ever show it.
    over = whole[:, 2] < 0.08
    expression[over, JAW] = np.sqrt(strength[over, JAW])
    expression[over, CLOSE] = strength[over, CLOSE]

    pose = rng(seed, "motion.stills.pose", index).random((frames, 10))
    near = 1 - 0.65 * (pose[:, :1] < 0.4)  # many faces are nearly frontal
    shift, scale = within.shift * (2 * pose[:, 6:8] - 1), _spread(within.scales, pose[:, 8])
    lens = pose[:1, 9].repeat(frames) if within.one_lens else pose[:, 9]
    eyes = (2 * pose[:, 4:6] - 1) * REACH_DEG
    expression = _lids(expression, np.zeros(frames), eyes[:, 1], rng(seed, "motion.stills.lids", index))
    return Motion(
        _tensor(anatomical(expression)),
        _tensor(eyes),
        _tensor((2 * pose[:, 1:4] - 1) * within.limits_deg * near),
        _tensor(shift),
        _tensor(scale),
        _tensor(_spread(FOVS_DEG, lens)),
    )


def rotation_matrix(rotation: Tensor) -> Tensor:
    """Angles (N×3 degrees, as in `Motion`) as R (N×3×3): a point p of head space is turned to p @ Rᵀ.

    The head nods first, turns then, and leans last, about the picture's own axes.
    """
    yaw, pitch, roll = rotation.deg2rad().unbind(1)
    one, zero = torch.ones_like(yaw), torch.zeros_like(yaw)

    def rows(*numbers: Tensor) -> Tensor:
        return torch.stack(numbers, 1).view(-1, 3, 3)

    # x is right, y down, and the nose points to −z.
    nods_ = rows(one, zero, zero, zero, pitch.cos(), pitch.sin(), zero, -pitch.sin(), pitch.cos())
    turns = rows(yaw.cos(), zero, -yaw.sin(), zero, one, zero, yaw.sin(), zero, yaw.cos())
    leans = rows(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return leans @ turns @ nods_


def rotation_angles(matrix: Tensor) -> Tensor:
    """The angles (N×3 degrees) of rotations N×3×3, as `rotation_matrix` takes them; |yaw| < 90°."""
    yaw = matrix[:, 2, 0].clamp(-1, 1).asin()
    roll = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    pitch = torch.atan2(-matrix[:, 2, 1], matrix[:, 2, 2])
    return torch.stack((yaw, pitch, roll), 1).rad2deg()


def _within(values: Array, limits: Sequence[float]) -> Array:
    """N×C, held within ± the limits smoothly."""
    tensor = torch.from_numpy(values)
    bound = torch.tensor(limits, dtype=tensor.dtype)
    return np.asarray((tensor * limiting(tensor.abs(), bound)).numpy())


def _spread(bounds: tuple[float, float], shares: Array | float) -> Array:
    """Even in the logarithm: the lower one for 0, the upper one for 1."""
    return np.asarray(bounds[0] * (bounds[1] / bounds[0]) ** shares)


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
