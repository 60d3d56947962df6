"""Pairs, drawn: by a network, and by what costs nothing.

C clips of F frames each: C·F rows, clip after clip.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.contract import Controls, cat_codes, map_code
from trainer.data.samples import Sample
from trainer.evaluation.framing import Framed, Network, seen_as_source

AT_ONCE = 64  # rows of a batch, and no clip is torn apart


class Drawn(NamedTuple):
    """Rows of pictures, 3×S×S each."""

    network: Tensor
    copy: Tensor  # the source as it is
    mean: Tensor  # the mean face of the training split, cropped alike


@torch.no_grad()
def reenact(network: Network, clips: Sequence[Framed]) -> Tensor:
    """C·F×3×S×S: every driving frame's motion, shown by its clip's source. Motion is absolute: the driver's
    as it stands, as it was learnt; what a network can't know without comparing is since frame 0."""
    drawn = []
    for part in _parts(clips):
        appearance = cat_codes(
            [one for clip in part for one in [network.encode_appearance([clip.source])] * len(clip.truth)]
        )
        driving = map_code(lambda *rows: torch.cat(rows), *(clip.driving for clip in part))
        structure = network.encode_structure(driving)
        controls = Controls.default(len(driving.image), driving.image.device, relative=0.0)
        neutral = cat_codes(
            [
                one
                for clip in part
                for one in [network.neutral([network.encode_structure(clip.rest)])] * len(clip.truth)
            ]
        )
        moved = network.transfer(structure, neutral, appearance, controls)
        rgb, _ = network.decode(appearance, moved)
        drawn.append(rgb.float().clamp(0, 1))
    return torch.cat(drawn)


def copies(clips: Sequence[Framed]) -> Tensor:
    """C·F×3×S×S: each clip's source, F times."""
    return torch.cat([clip.source.image.expand(len(clip.truth), -1, -1, -1) for clip in clips])


def mean_face(network: Network, learnt: Sequence[Sample]) -> Tensor:
    """3×S×S: the mean of the training split's pictures, in the network's crop for sources."""
    every = torch.cat([seen_as_source(sample, network.spec).image for sample in learnt])
    return every.mean(0)


def _parts(clips: Sequence[Framed]) -> list[list[Framed]]:
    """The clips in order, about `AT_ONCE` rows a part."""
    parts: list[list[Framed]] = []
    rows = AT_ONCE
    for clip in clips:
        if rows + len(clip.truth) > AT_ONCE:
            parts.append([])
            rows = 0
        parts[-1].append(clip)
        rows += len(clip.truth)
    return parts
