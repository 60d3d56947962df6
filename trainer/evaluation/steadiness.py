"""Does a drawn video flicker? On rendered people at 25 frames a second.

What a frame and the next differ by after the true motion was taken out, in the face. The motion is estimated
on the true clip (Farnebäck), so the true clip doesn't come out at nought either: beside each figure stands
what it reaches.
"""

import importlib.util

import torch
from torch import Tensor

from trainer.evaluation.framing import Framed
from trainer.evaluation.pairs import Pairs
from trainer.evaluation.readings import Readings
from trainer.evaluation.reenactment import Drawn
from trainer.metrics.summary import Summary, summary
from trainer.metrics.time import estimated_flow, flicker

NEEDS = "cv2"  # for the flow


def possible() -> bool:
    return importlib.util.find_spec(NEEDS) is not None


def steadiness(pairs: Pairs, readings: Readings) -> dict[str, Summary]:
    """Flicker of the network's clips (`drawn`), of `copy` and `mean`, and of the `truth`: mean absolute
    difference in [0, 1]. pairs: consecutive; readings: of the same pairs. Needs cv2 for the flow."""
    assert pairs.consecutive, "frames that don't follow one another have no flow"
    values: dict[str, list[float]] = {name: [] for name in (*Drawn._fields, "truth")}
    people: list[str] = []
    begin = 0
    for pair, clip in zip(pairs.pairs, readings.framed, strict=True):
        rows = slice(begin, begin + len(clip.truth))
        begin = rows.stop
        found = changes(clip, Drawn(*(shown[rows] for shown in readings.pictures)))
        for name, column in found.items():
            values[name] += column
        people += [str(pair.target.identity)] * len(found.get("truth", ()))
    return {name: summary(column, people) for name, column in values.items()}


def changes(clip: Framed, drawn: Drawn) -> dict[str, list[float]]:
    """One clip's flicker, F − 1 numbers each; nothing where its face left the crop. drawn: its F pictures."""
    flow = estimated_flow(clip.truth).to(clip.truth.device)
    mask = _inside(clip.mask)
    if mask is not None and not bool(mask.flatten(1).any(1).all()):
        return {}
    found = {
        name: flicker(shown, clip.truth, flow, mask) for name, shown in zip(Drawn._fields, drawn, strict=True)
    }
    own = {name: one.drawn.tolist() for name, one in found.items()}
    return own | {"truth": found["network"].truth.tolist()}


def _inside(mask: Tensor | None) -> Tensor | None:
    """F−1×1×H×W: of each frame but the last."""
    return None if mask is None else mask[:-1].to(torch.float64)
