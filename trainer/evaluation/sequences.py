"""The protocol of Duarte et al. (supplement, "Evaluation Protocol"): videos of 100 to 300 frames, each shown
by a frame of another video of the same person.

The source is of the same person because landmarks tell who it is, too; it is of another video so that what
has to be carried over isn't in it. On rendered people the truth is rendered: that person in the source's
light and before its background, doing what the sequence does. Its landmarks are the sequence's, for the
source is seen through the sequence's angle of view, and pictures can be compared with it. In a folder there
is no such picture: of a sequence whose source is of another clip only landmarks and identity are judged.

One sequence is there at a time.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from os.path import commonprefix
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from trainer.data.dataset import HELD_OUT, Clip, ClipDataset
from trainer.data.rendered import FPS
from trainer.data.samples import Sample
from trainer.data.synthetic.motion import RANGES, Motion, check_style, draw_motion
from trainer.data.synthetic.people import CLIPS
from trainer.data.synthetic.seeds import rng
from trainer.evaluation.pairs import (
    LEARNT,
    Pair,
    Pairs,
    identities_of,
    learnt_of,
    learnt_samples,
    rendered,
)

SEQUENCES = 50
FRAMES = (100, 300)  # of each: 4 to 12 s
STYLE = "talking"  # as the people of VoxCeleb2 mostly do


class Sequences(NamedTuple):
    """What networks are judged by."""

    name: str  # of the experiment
    each: tuple[Callable[[], Pairs], ...]  # makes a sequence: the only pair
    learnt: tuple[Sample, ...]  # of the training split: for the mean face
    notes: tuple[str, ...] = ()


def rendered_sequences(
    seed: int = 0,
    count: int = SEQUENCES,
    frames: tuple[int, int] = FRAMES,
    identities: int = 24,
    size: int = 96,
    device: torch.device | str = "cpu",
    style: str | None = STYLE,
    held_out: float = HELD_OUT,
    learnt: int = LEARNT,
) -> Sequences:
    """count sequences of the first `identities` held-out people, in turn, at 25 frames a second; fewer are
    the first of more. A person's clip 1, 3, … is the sequence, and the source is the first frame of the clip
    before it.

    frames: the fewest and the most; how many is drawn. size: of the rendered pictures, pixels. style: of the
    motions, as `draw_motion` has it. learnt: people of the training split for the mean face. Raises
    ValueError for numbers that make no sense, and for an unknown style.
    """
    check_sequences(count, frames)
    check_style(style)
    people = identities_of(seed, min(identities, count), "test", held_out)
    each = []
    for number in range(count):
        turn, place = divmod(number, identities)
        length = _length(seed, people[place] * CLIPS + 2 * turn, frames)
        each.append(partial(_rendered, seed, people[place], 2 * turn, length, size, device, style))
    notes = () if style not in RANGES else (f"{style}: frames that don't follow one another; no flicker",)
    seen = learnt_samples(seed, learnt, size, device, style, held_out)
    return Sequences("sequences_synthetic", tuple(each), seen, notes)


def folder_sequences(
    folder: Path,
    seed: int = 0,
    count: int = SEQUENCES,
    frames: tuple[int, int] = FRAMES,
    held_out: float = HELD_OUT,
) -> Sequences:
    """Of the clips of a prepared folder that are there to test, at most `count` in an order that is drawn, a
    sequence each: the end of the longest run of frames with a face, or less of it.

    The source is a frame of another clip of the same identity, of one whose name is the least alike: names
    begin with the recording's. Where there is no other, it is the first frame with a face of the clip itself,
    outside the sequence, which then is the truth. Raises ValueError for what `ClipDataset` refuses, for
    numbers that make no sense, and where no clip is long enough.
    """
    check_sequences(count, frames)
    dataset = ClipDataset(folder, "test", held_out)
    of_person = defaultdict(list)
    for number, entry in enumerate(dataset.clips):
        of_person[entry.identity].append(number)
    synthetic = dataset.index.kind == "synthetic"
    video = dataset.index.settings.get("style") not in RANGES
    each: list[Callable[[], Pairs]] = []
    short = longest = own = 0
    for number in rng(seed, "evaluation.order", 0).permutation(len(dataset)).tolist():
        if len(each) == count:
            break
        clip = dataset[number]
        if clip.entry.frames < frames[0]:
            short, longest = short + 1, max(longest, clip.entry.frames)
            continue
        run = _run(_seen(clip))
        other = _other(dataset, number, of_person[clip.entry.identity])
        source = clip if other is None else other
        there = _seen(source)
        if other is None and run[:1] == there[:1]:
            run = run[1:]  # the source's frame is no part of it
        longest = max(longest, len(run))
        if len(run) < frames[0]:
            short += 1
            continue
        length = _length(seed, number, (frames[0], min(frames[1], len(run))))
        chosen = 0 if other is None else int(rng(seed, "evaluation.source", number).integers(len(there)))
        own += other is None
        moving = video and clip.entry.fps > 0
        each.append(partial(_read, clip, run[-length:], source, there[chosen], synthetic, moving))
    if not each:
        raise ValueError(
            f"{folder}: no clip to test has {frames[0]} frames with a face in a row beside the source's, at "
            f"most {longest}: ask for fewer (--sequence-frames)"
        )
    notes = []
    if others := len(each) - own:
        notes.append(
            f"{others} sources are of another clip of the same identity, as the folder's index names it: of "
            "these no pictures are compared"
        )
    if own:
        notes.append(f"{own} sources are of another place of the same clip: the index has no other of theirs")
    if short:
        notes.append(f"{short} clips without {frames[0]} such frames in a row were left out")
    name = "sequences_synthetic" if synthetic else "sequences"
    return Sequences(name, tuple(each), learnt_of(folder, held_out), tuple(notes))


def check_sequences(count: int, frames: tuple[int, int]) -> None:
    """Raises ValueError for numbers that make no sense."""
    if count < 1:
        raise ValueError(f"sequences {count}: expected at least 1")
    if not 2 <= frames[0] <= frames[1]:
        raise ValueError(f"sequence-frames {frames[0]} {frames[1]}: expected the fewest (≥ 2) and the most")


def _length(seed: int, index: int, frames: tuple[int, int]) -> int:
    return int(rng(seed, "evaluation.length", index).integers(frames[0], frames[1] + 1))


def _rendered(
    seed: int, person: int, clip: int, frames: int, size: int, device: torch.device | str, style: str | None
) -> Pairs:
    first = draw_motion(seed, [person * CLIPS + clip], 1, FPS, style)
    theirs = draw_motion(seed, [person * CLIPS + clip + 1], frames, FPS, style)
    motion = Motion(
        *(torch.cat(parts) for parts in zip(first._replace(fov=theirs.fov[:1]), theirs, strict=True))
    )
    pair = Pair(*(rendered(seed, person, scene, motion, size, device) for scene in (clip, clip + 1)))
    return Pairs("sequences", True, (pair,), (), consecutive=style not in RANGES)


def _read(
    clip: Clip, frames: list[int], source: Clip, frame: int, synthetic: bool, consecutive: bool
) -> Pairs:
    sequence, first = clip.read(frames), source.read([frame])
    size = clip.entry.size
    if source.entry.size != size:
        large = F.interpolate(first.picture.float(), (size, size), mode="bilinear", antialias=True)
        small = F.interpolate(first.labels[:, None].float(), (size, size), mode="nearest")[:, 0]
        first = first._replace(picture=large.round().to(torch.uint8), labels=small.to(torch.uint8))
    both = sequence._replace(
        picture=torch.cat((first.picture, sequence.picture)),
        points=torch.cat((first.points, sequence.points)),
        valid=torch.cat((first.valid, sequence.valid)),
        labels=torch.cat((first.labels, sequence.labels)),
        frames=torch.cat((first.frames, sequence.frames)),
    )
    # Who compares a driver with himself compares him with the source.
    pair = Pair(both._replace(clip=first.clip), both)
    exact = source.entry.id == clip.entry.id
    return Pairs("sequences", synthetic, (pair,), (), consecutive, exact=exact)


def _other(dataset: ClipDataset, number: int, numbers: list[int]) -> Clip | None:
    """Another clip of the same person with a face in it, the least alike in name."""
    name = dataset.clips[number].id
    order = sorted(numbers, key=lambda other: len(commonprefix((name, dataset.clips[other].id))))
    return next((dataset[other] for other in order if other != number and _seen(dataset[other])), None)


def _seen(clip: Clip) -> list[int]:
    """The frames with a face; without landmarks all, since nobody knows."""
    every = range(clip.entry.frames)
    if not clip.entry.landmarks:
        return list(every)
    valid = clip.truth()["valid"]
    return [frame for frame in every if valid[frame]]


def _run(frames: list[int]) -> list[int]:
    """The longest run of frames that follow one another."""
    best: list[int] = []
    begin = 0
    for place in range(1, len(frames) + 1):
        if place == len(frames) or frames[place] != frames[place - 1] + 1:
            if place - begin > len(best):
                best = frames[begin:place]
            begin = place
    return best
