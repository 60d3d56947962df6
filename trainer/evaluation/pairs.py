"""Who is drawn with whose motion, and what it should look like.

A pair is two clips of equally many frames that do the same: the target's, whose frame 0 is the source and
whose other frames are the truth, and the driver's, whose frames but the first are the driving ones. In
self-reenactment both are one clip.

Of rendered people the target's clip is a render of A who does what B does, in the light and before the
background of the source. Frame 0 is A's own, from a motion that B never made: a pose that nobody else was
given. The driver's frame 0 does what the source does: it has a part in the square that the clip is cropped by
(see framing.py), as in training, where source and driving picture are of one clip. And it is what networks
that compare a driver with himself, as `warp` does, compare him with; trained networks aren't shown it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from trainer.data.clips import Split
from trainer.data.dataset import HELD_OUT, ClipDataset, is_held_out
from trainer.data.rendered import clip_name, identity_name, renderer, sample_of
from trainer.data.samples import Sample
from trainer.data.synthetic.motion import STILLS, Motion, draw_motion
from trainer.data.synthetic.people import CLIPS

Kind = Literal["crossing", "self", "sequences"]
LEARNT = 32  # people of the training split that the mean face is of
SEARCHED = 1_000_000  # identities among which those of a split are looked for


class Pair(NamedTuple):
    """K frames each."""

    target: Sample
    driving: Sample


class Pairs(NamedTuple):
    """What networks are judged by. Made once, used for any number of them."""

    kind: Kind
    synthetic: bool
    pairs: tuple[Pair, ...]
    learnt: tuple[Sample, ...]  # of the training split: for the mean face
    consecutive: bool = False  # frames 1 … F follow one another as in a video
    notes: tuple[str, ...] = ()  # what was left out
    exact: bool = True  # the target's frames are the truth in the source's own scene

    @property
    def name(self) -> str:
        """`crossing_synthetic`, `self`, …"""
        return f"{self.kind}_synthetic" if self.synthetic else self.kind

    def to(self, device: torch.device) -> "Pairs":
        """With all pictures on that device."""
        pairs = tuple(Pair(moved(one.target, device), moved(one.driving, device)) for one in self.pairs)
        return self._replace(pairs=pairs, learnt=tuple(moved(one, device) for one in self.learnt))


def identities_of(seed: int, count: int, split: Split = "test", held_out: float = HELD_OUT) -> list[int]:
    """The first numbers of rendered people that training with this seed leaves out (or, `train`, sees).
    Raises ValueError where there are not so many."""
    found: list[int] = []
    for number in range(SEARCHED):
        if len(found) == count:
            return found
        if is_held_out(identity_name(seed, number), held_out) == (split == "test"):
            found.append(number)
    raise ValueError(f"no {count} identities to {split} of {held_out:g} held out: hold others out")


def crossing_pairs(
    seed: int = 0,
    identities: int = 24,
    motions: int = 1,
    frames: int = 4,
    size: int = 96,
    device: torch.device | str = "cpu",
    style: str | None = STILLS,
    held_out: float = HELD_OUT,
    consecutive: bool = False,
    learnt: int = LEARNT,
    skip: int = 0,
) -> Pairs:
    """Each of so many held-out people with motions of so many others of them, `frames` driving frames each:
    identities × motions clips.

    size: of the rendered pictures, pixels; half as much again as the network's leaves room for its crop.
    style: of the motions, as `draw_motion` has it; `stills` are unlike one another. consecutive: the frames
    follow one another at 25 a second, else at 5. learnt: people of the training split for the mean face.
    skip: so many of the held-out people are left to others, as to the choice of the best checkpoint, which
    must not be made on those that the result is told of. Raises ValueError for fewer than two people, for
    more motions than other people, and for numbers below 1.
    """
    _check_counts(identities=identities, motions=motions, frames=frames, size=size, learnt=learnt)
    if motions >= identities:
        raise ValueError(f"{motions} motions for each of {identities} people: there must be more people")
    people = identities_of(seed, skip + identities, "test", held_out)[skip:]
    pairs = []
    for place, person in enumerate(people):
        for number in range(motions):
            driver = people[(place + 1 + number) % identities]
            motion = _motion(seed, person, driver, number, frames, style, consecutive)
            # The driver's own scenes come after those that he is seen in as a source.
            clips = [
                rendered(seed, who, clip, motion, size, device)
                for who, clip in ((person, number), (driver, motions + number))
            ]
            pairs.append(Pair(*clips))
    seen = learnt_samples(seed, learnt, size, device, style, held_out)
    return Pairs("crossing", True, tuple(pairs), seen, consecutive)


def self_pairs(crossing: Pairs) -> Pairs:
    """The same people and motions, each driven by the truth itself."""
    pairs = tuple(Pair(one.target, one.target) for one in crossing.pairs)
    return crossing._replace(kind="self", pairs=pairs)


def learnt_samples(
    seed: int,
    people: int,
    size: int,
    device: torch.device | str,
    style: str | None = STILLS,
    held_out: float = HELD_OUT,
) -> tuple[Sample, ...]:
    """Two frames each of rendered people that training may see."""
    return tuple(
        sample_of(
            renderer()(seed, person, 0, 2, size, torch.device(device), style, ()),
            clip_name(seed, person, 0),
            identity_name(seed, person),
            (),
            (),
        )
        for person in identities_of(seed, people, "train", held_out)
    )


def dataset_pairs(folder: Path, clips: int = 48, frames: int = 6, held_out: float = HELD_OUT) -> Pairs:
    """Self-reenactment of the clips of a prepared folder that are there to test, evenly chosen: of each the
    first frame with a face is the source, and of the others, evenly chosen, `frames` are drawn.

    Where the folder has landmarks, frames without a face have no truth about one and are left out; how many,
    is noted. Raises ValueError for what `ClipDataset` refuses, and where no clip has two frames.
    """
    _check_counts(clips=clips, frames=frames)
    dataset = ClipDataset(folder, "test", held_out)
    pairs, faceless, short = [], 0, 0
    for number in _evenly(len(dataset), clips):
        clip = dataset[number]
        there: list[int] = list(range(clip.entry.frames))
        if clip.entry.landmarks:
            valid = clip.truth()["valid"]
            there = [frame for frame in there if valid[frame]]
            faceless += clip.entry.frames - len(there)
        if len(there) < 2:
            short += 1
            continue
        chosen = [there[0], *(there[1 + frame] for frame in _evenly(len(there) - 1, frames))]
        sample = clip.read(chosen)
        pairs.append(Pair(sample, sample))
    if not pairs:
        raise ValueError(f"{folder}: none of the clips to test has two frames with a face")
    notes = [f"{faceless} frames without a face were left out: nothing is known of one"] if faceless else []
    notes += [f"{short} clips with fewer than two frames were left out"] if short else []
    learnt = learnt_of(folder, held_out)
    return Pairs("self", dataset.index.kind == "synthetic", tuple(pairs), learnt, notes=tuple(notes))


def learnt_of(folder: Path, held_out: float = HELD_OUT) -> tuple[Sample, ...]:
    """Two frames each of clips of a prepared folder that training may see. Raises ValueError where there are
    none."""
    learners = ClipDataset(folder, "train", held_out)
    return tuple(
        learners[number].read(_evenly(learners[number].entry.frames, 2))
        for number in _evenly(len(learners), LEARNT)
    )


def _motion(
    seed: int, person: int, driver: int, number: int, frames: int, style: str | None, consecutive: bool
) -> Motion:
    """1 + frames: the person's own, then the driver's."""
    fps = 25 if consecutive else 5
    own = draw_motion(seed, [person * CLIPS + number], 1, fps, style)
    theirs = draw_motion(seed, [driver * CLIPS + CLIPS // 2 + number], frames, fps, style)
    if style != STILLS:
        own = own._replace(fov=theirs.fov[:1])  # a clip has one camera
    return Motion(*(torch.cat(parts) for parts in zip(own, theirs, strict=True)))


def rendered(
    seed: int, identity: int, clip: int, motion: Motion, size: int, device: torch.device | str
) -> Sample:
    """A person in the scene of that clip, doing anything, without motion blur. size: pixels."""
    from trainer.data.synthetic.clip import render_motion  # making its template takes seconds

    with torch.no_grad():
        found = render_motion(seed, identity, clip, motion, size, torch.device(device), moving=False)
    names = clip_name(seed, identity, clip), identity_name(seed, identity)
    return sample_of(found, *names, (), ())


def moved(sample: Sample, device: torch.device) -> Sample:
    """With its pictures and their truth on that device."""
    return sample._replace(
        picture=sample.picture.to(device),
        points=sample.points.to(device),
        valid=sample.valid.to(device),
        labels=sample.labels.to(device),
    )


def _evenly(total: int, count: int) -> list[int]:
    """At most `count` of 0 … total − 1, the first among them."""
    return sorted(set(np.linspace(0, total, min(count, total), endpoint=False).astype(int).tolist()))


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} {count}: expected at least 1")


def people_of(pairs: Sequence[Pair]) -> list[str]:
    """Who is drawn in each."""
    return [str(pair.target.identity) for pair in pairs]
