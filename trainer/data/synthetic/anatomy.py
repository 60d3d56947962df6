"""What a face can do: the names of its expressions, and which of them exclude each other.

The names are those of ARKit's blend shapes (Apple, ARFaceAnchor.BlendShapeLocation), less the eight of the
eyes' direction, for which there is gaze. Left and right in them are the person's.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

EXPRESSIONS = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
    "tongueOut",
)  # fmt: skip
AT = {name: index for index, name in enumerate(EXPRESSIONS)}
# Expressions that the left and the right half of the face have each for itself. The jaw and the mouth move to
# one side as a whole: these two pairs are not among them.
SIDES = tuple(
    (AT[name], AT[name.removesuffix("Left") + "Right"])
    for name in EXPRESSIONS
    if name.endswith("Left") and name not in ("jawLeft", "mouthLeft")
)
OPPOSED = ((AT["jawLeft"], AT["jawRight"]), (AT["mouthLeft"], AT["mouthRight"]))
BLINKS = (AT["eyeBlinkLeft"], AT["eyeBlinkRight"])
WIDES = (AT["eyeWideLeft"], AT["eyeWideRight"])
JAW, CLOSE, TONGUE, PUFF = AT["jawOpen"], AT["mouthClose"], AT["tongueOut"], AT["cheekPuff"]
ROUND = (AT["mouthFunnel"], AT["mouthPucker"])
BROAD = tuple(AT[f"mouth{what}{side}"] for what in ("Smile", "Stretch") for side in ("Left", "Right"))

TONGUE_GAP = 0.4  # jawOpen that a tongue needs to come out all the way
YIELD = 0.7  # by how much a mouth that is drawn broad yields to one that is fully round


def face(parts: Mapping[str, float]) -> Array:
    """44 coefficients from some of them by name. A name without its Left or Right means both."""
    found = np.zeros(len(EXPRESSIONS))
    for name, value in parts.items():
        for known in (name,) if name in AT else (name + "Left", name + "Right"):
            found[AT[known]] = value
    return found


def anatomical(expression: Array) -> Array:
    """The nearest that a face can do, N×44 in [0, 1], continuous in the expression (N×44).

    A closing eye is not wide; jaw and mouth are on one side only; lips close over an open jaw no further than
    it is open; a tongue needs an open jaw, puffed cheeks a closed one; what makes the mouth broad yields to
    what makes it round.
    """
    held = expression.clip(0, 1)
    for blink, wide in zip(BLINKS, WIDES, strict=True):
        held[:, wide] *= (1 - 2 * held[:, blink]).clip(0)
    for left, right in OPPOSED:
        less = np.minimum(held[:, left], held[:, right])
        held[:, left] -= less
        held[:, right] -= less
    held[:, JAW] = np.maximum(held[:, JAW], TONGUE_GAP * held[:, TONGUE])
    held[:, CLOSE] = np.minimum(held[:, CLOSE], held[:, JAW])
    held[:, PUFF] *= (1 - 2 * (held[:, JAW] - held[:, CLOSE])).clip(0)
    held[:, BROAD] *= 1 - YIELD * held[:, ROUND].max(1, keepdims=True)
    return held
