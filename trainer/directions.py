"""Where sliders' directions come from (`models/directions.py`): structure codes of rendered people,
regressed on what the people do, which is known.

    found = find(network, Path("data/rendered"))
    network.direct(found.directions)

n frames, K = 6 sliders (`EDITS`)
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.contract import EDITS, Reenactor
from models.directions import Directed
from trainer.data.dataset import ClipDataset
from trainer.data.walks import regression
from trainer.evaluation.framing import seen
from trainer.evaluation.probing import MOTIONS, motions_of

DOES = {
    "turn": "yaw",
    "nod": "pitch",
    "tilt": "roll",
    "jaw": "jaw opening",
    "smile": "smile",
    "blink": "eye closing",
}
"""Slider → which of `MOTIONS` its direction is taken from."""
LABELS = ("rotation", "expression")  # of a clip's truth
CLIPS, FRAMES = 200, 12  # at most; frames of a clip that are spread over it
REACH = 0.975  # of what people do is within ±1
LEAST = 0.01  # reach of a number that moves: degrees, or of an expression's [0, 1]
RIDGE = 1e-6  # of numbers that reach ±1: two that always move together share what they do


class Found(NamedTuple):
    """What was found."""

    directions: Tensor  # K×…: a code's change when its slider goes from 0 to 1
    strength: tuple[float, ...]  # K: its length, in the deviation of codes within clips
    share: float  # of the variance of codes within clips, how much the six numbers explain
    frames: int

    def __str__(self) -> str:
        told = ", ".join(f"{name} {one:.2g}" for name, one in zip(EDITS, self.strength, strict=True))
        return (
            f"directions: {told} (1 is what codes of a clip differ); the six explain {self.share:.0%} "
            f"of that, in {self.frames} frames"
        )


def find(network: Reenactor[Any, Any], data: Path) -> Found:
    """The directions of a network, in evaluation mode, from rendered clips to train with. Raises ValueError,
    one line, for a network whose codes have none, and for clips that don't tell."""
    if not isinstance(network, Directed):
        raise ValueError(f"model {network.spec.name} has no directions: leave --directions out")
    parts = list(_encoded(network, data))
    codes, numbers, clips = (torch.cat(part) for part in zip(*parts, strict=True))
    return fitted(codes, numbers, clips)


def fitted(codes: Tensor, numbers: Tensor, clips: Tensor) -> Found:
    """Linear regression of codes (n×…) on numbers (n×K), both as differences from the mean of their clip
    (n int64), so that who somebody is and where he sits say nothing.

    At 1 a slider goes as far as one frame in forty is from the median of all frames, or farther: 2.24
    deviations, were the numbers normal. Raises ValueError for a number that hardly moves.
    """
    reach = (numbers - numbers.median(0).values).abs().quantile(REACH, 0)
    for name, number in zip(EDITS, reach.tolist(), strict=True):
        if number < LEAST:
            raise ValueError(f"nobody in these clips moves what {name} is for ({DOES[name]})")
    flat = _within(codes.flatten(1).double(), clips)
    changes = _within(numbers.double() / reach, clips)
    found = regression(changes, flat, RIDGE)
    spread = flat.square().sum()
    left = (flat - changes @ found).square().sum() / spread
    strength = found.norm(dim=1) / (spread / len(flat)).sqrt()
    return Found(
        directions=found.float().view(-1, *codes.shape[1:]),
        strength=tuple(strength.tolist()),
        share=float(1 - left),
        frames=len(codes),
    )


@torch.no_grad()
def _encoded(network: Directed[Any, Any], data: Path) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of each clip: codes, numbers, and the clip's own."""
    dataset = ClipDataset(data, "train")
    every = (dataset[number] for number in range(0, len(dataset), max(1, len(dataset) // CLIPS)))
    usable = [clip for clip in every if clip.entry.frames > 1]
    if not usable:
        raise ValueError(f"{data}: too little data: no clip of two frames or more")
    if not set(LABELS) <= usable[0].truth().keys():
        raise ValueError(
            f"{data}: nobody knows what these people do; python -m trainer.prepare synthetic renders people "
            "of whom it is known"
        )
    columns = [MOTIONS.index(DOES[name]) for name in EDITS]
    for number, clip in enumerate(usable[:CLIPS]):
        count = clip.entry.frames
        chosen = torch.linspace(0, count - 1, min(count, FRAMES)).round().long().tolist()
        sample = clip.read(chosen, labels=False, parameters=LABELS)
        structure = network.encode_structure(seen(sample, network.spec))
        yield structure[0], motions_of(sample)[:, columns], torch.full((len(chosen),), number)


def _within(rows: Tensor, clips: Tensor) -> Tensor:
    """Each row less the mean of its clip's."""
    count = int(clips.max()) + 1
    sums = rows.new_zeros(count, rows.shape[1]).index_add_(0, clips, rows)
    means: Tensor = sums / torch.bincount(clips, minlength=count).clamp(min=1).unsqueeze(1)
    return rows - means[clips]
