"""Sequences, drawn and judged one after the other: pictures of one at a time are kept, and of all of them
what `look` says."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from models.contract import map_code
from trainer.evaluation.framing import Framed, Network, framed
from trainer.evaluation.landmarks import Finder
from trainer.evaluation.looking import Judge, Looked, SourceJudge, look
from trainer.evaluation.pairs import moved
from trainer.evaluation.readings import Readings, joined
from trainer.evaluation.reenactment import AT_ONCE, Drawn, copies, mean_face, reenact
from trainer.evaluation.sequences import Sequences
from trainer.evaluation.steadiness import changes, possible
from trainer.metrics.summary import Summary, summary

SHOWN = 12  # sequences of which a frame is kept, for a page

# Of a part of a sequence: the sequence's number, the part in its crops, its first frame's number, pictures.
Kept = Callable[[int, Framed, int, Tensor], None]
Told = Callable[[int, int], None]  # a sequence is done: its number and how many frames it has


class Streamed(NamedTuple):
    """What is left of them."""

    readings: Readings  # pictures: a frame each of some
    flicker: dict[str, Summary]  # as `steadiness` has it; empty without cv2 or video
    frames: tuple[int, int]  # of the shortest and of the longest


def follow(
    network: Network,
    sequences: Sequences,
    device: torch.device | str = "cpu",
    finder: Finder | None = None,
    judges: Mapping[str, Judge] = MappingProxyType({}),
    of_sources: Mapping[str, SourceJudge] = MappingProxyType({}),
    keep: Kept | None = None,
    told: Told | None = None,
) -> Streamed:
    """network: on that device. finder, judges, of_sources, and what is raised: as `evaluate` has them. keep:
    is given all that is drawn, in order.

    What the mean face is looked for by is the mean of the part's landmarks, at most `AT_ONCE` frames'. From a
    part's last frame to the next one's first flicker isn't measured.
    """
    here = torch.device(device)
    training = network.training
    network.eval()
    try:
        mean = mean_face(network, [moved(one, here) for one in sequences.learnt])
        count = len(sequences.each)
        chosen = {place * count // min(SHOWN, count) for place in range(min(SHOWN, count))}
        shown: list[tuple[Framed, Drawn]] = []
        seen: list[Looked] = []
        flicker: dict[str, list[float]] = {}
        people: list[str] = []
        lengths: list[int] = []

        def one(number: int) -> None:  # so that nothing of it is left when the next is made
            pairs = sequences.each[number]().to(here)
            whole = framed(pairs.pairs[0], network.spec)
            lengths.append(len(whole.truth))
            for begin, clip in _parts(whole):
                pictures = reenact(network, [clip])
                drawn = Drawn(pictures, copies([clip]), mean.expand_as(pictures))
                seen.append(look(pairs, [clip], drawn, finder, judges, of_sources))
                if pairs.consecutive and possible():
                    found = changes(clip, drawn)
                    for name, column in found.items():
                        flicker.setdefault(name, []).extend(column)
                    people.extend([str(pairs.pairs[0].target.identity)] * len(found.get("truth", ())))
                if keep is not None:
                    keep(number, clip, begin, pictures)
                if begin == 0 and number in chosen:
                    middle = slice(len(clip.truth) // 2, len(clip.truth) // 2 + 1)
                    shown.append((_rows(clip, middle), Drawn(*(part[middle].clone() for part in drawn))))

        for number in range(count):
            one(number)
            if told is not None:
                told(number, lengths[-1])
    finally:
        network.train(training)
    clips, drawings = zip(*shown, strict=True)
    readings = Readings(
        sequences.name,
        *joined(sequences.name, seen, finder, sequences.notes),
        tuple(clips),
        Drawn(*(torch.cat(part) for part in zip(*drawings, strict=True))),
    )
    steady = {name: summary(column, people) for name, column in flicker.items()}
    return Streamed(readings, steady, (min(lengths), max(lengths)))


def _parts(clip: Framed) -> Iterator[tuple[int, Framed]]:
    """About equally long, at most `AT_ONCE` frames each; with the number of its first."""
    frames = len(clip.truth)
    count = -(-frames // AT_ONCE)
    for place in range(count):
        begin = frames * place // count
        yield begin, _rows(clip, slice(begin, frames * (place + 1) // count))


def _rows(clip: Framed, rows: slice) -> Framed:
    """Copies, so that nothing holds the rest."""
    return clip._replace(
        source=map_code(torch.clone, clip.source),
        rest=map_code(torch.clone, clip.rest),
        driving=map_code(lambda tensor: tensor[rows].clone(), clip.driving),
        truth=clip.truth[rows].clone(),
        mask=None if clip.mask is None else clip.mask[rows].clone(),
        points=clip.points[rows].clone(),
        valid=clip.valid[rows].clone(),
    )
