"""What a network reaches on pairs, each figure beside that of copying the source and of the mean face.

Every figure is a mean over all drawn pictures, with a 95 % interval from drawing whole people again. A figure
with "face" in its name counts the face only (`framing.py`), one with "whole" the whole crop, of which a copy
wins the background.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch

from trainer.evaluation.framing import Framed, Network, framed
from trainer.evaluation.landmarks import Finder
from trainer.evaluation.looking import Judge, Looked, Rows, SourceJudge, look
from trainer.evaluation.pairs import Pairs
from trainer.evaluation.reenactment import Drawn, copies, mean_face, reenact
from trainer.metrics import landmarks
from trainer.metrics.probes import swap_error
from trainer.metrics.summary import Summary, summary

Better = Literal["lower", "higher"]


class Measure(NamedTuple):
    """What one figure is."""

    unit: str
    better: Better
    meaning: str


MEASURES = {
    "l1": Measure("", "lower", "mean absolute difference of a channel's value in [0, 1]"),
    "psnr": Measure("dB", "higher", "mean of each picture's own"),
    "ssim_gauss11": Measure("", "higher", "gaussian window of 11, σ 1.5, colour channels' mean"),
    "ms_ssim": Measure("", "higher", "the same at five scales; of pictures of 176² and larger"),
    "akd_l2_256": Measure("px", "lower", "mean distance of 68 landmarks, pixels of a 256² picture"),
    "akd_l1_256": Measure("px", "lower", "mean absolute difference of a coordinate of these, likewise"),
    "swap_error_68": Measure(
        "", "lower", "of 68 landmarks: 0: they lie where the driver has them, 1: where the source has them"
    ),
    "lpips_alex": Measure("", "lower", "LPIPS over AlexNet"),
    "csim_synthetic": Measure(
        "", "higher", "cosine to the truth's vector, of an embedder of rendered people"
    ),
    "aced_l1_synthetic": Measure(
        "", "lower", "L1 distance to the source's vector, of an embedder of rendered people"
    ),
    "faceless": Measure("", "lower", "share of pictures in which no face is found; worst case in the AKDs"),
}


@dataclass(frozen=True)
class Reading:
    """One figure of one experiment."""

    experiment: str  # crossing_synthetic, self, …
    name: str  # l1_face, l1_whole, akd_l2_256, …
    drawn: Summary
    copy: Summary
    mean: Summary

    @property
    def measure(self) -> Measure:
        return MEASURES[self.name.removesuffix("_face").removesuffix("_whole")]

    @property
    def beats(self) -> bool:
        """Is the network better than both baselines?"""
        sign = 1 if self.measure.better == "lower" else -1
        return sign * self.drawn.mean < min(sign * self.copy.mean, sign * self.mean.mean)


@dataclass(frozen=True)
class Readings:
    """All figures of one experiment, and what they are of."""

    experiment: str
    figures: tuple[Reading, ...]
    clips: tuple[Mapping[str, Any], ...]  # of each clip: who, by whom, and the network's means
    notes: tuple[str, ...]
    framed: tuple[Framed, ...]
    pictures: Drawn  # C·F rows each

    def reading(self, name: str) -> Reading:
        """The figure of that name. Raises ValueError, naming those that there are."""
        for one in self.figures:
            if one.name == name:
                return one
        raise ValueError(f"no figure {name!r}; there are {', '.join(one.name for one in self.figures)}")


def evaluate(
    network: Network,
    pairs: Pairs,
    finder: Finder | None = None,
    judges: Mapping[str, Judge] = MappingProxyType({}),
    of_sources: Mapping[str, SourceJudge] = MappingProxyType({}),
) -> Readings:
    """The network, in evaluation mode, on the device that the pairs are on.

    finder: of landmarks, which takes most of the time; without one there is no AKD. judges: more figures of
    single pictures, by their names in `MEASURES`; of_sources: those that compare with the source. Raises
    ValueError where the network needs landmarks and a picture has none, and for pictures smaller than SSIM's
    window.
    """
    training = network.training
    network.eval()
    try:
        clips = [framed(pair, network.spec) for pair in pairs.pairs]
        drawn = reenact(network, clips)
        mean = mean_face(network, pairs.learnt)
    finally:
        network.train(training)
    everything = Drawn(drawn, copies(clips), mean.expand_as(drawn))
    return judged(pairs, clips, everything, finder, judges, of_sources)


def judged(
    pairs: Pairs,
    clips: Sequence[Framed],
    drawn: Drawn,
    finder: Finder | None = None,
    judges: Mapping[str, Judge] = MappingProxyType({}),
    of_sources: Mapping[str, SourceJudge] = MappingProxyType({}),
) -> Readings:
    """Pictures that are there already. clips: of the pairs, in the crops that the pictures are drawn in."""
    seen = look(pairs, clips, drawn, finder, judges, of_sources)
    return Readings(pairs.name, *joined(pairs.name, [seen], finder, pairs.notes), tuple(clips), drawn)


def joined(
    experiment: str, seen: Sequence[Looked], finder: Finder | None = None, notes: Sequence[str] = ()
) -> tuple[tuple[Reading, ...], tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """Figures, clips and notes (`Readings`) of all that was looked at. finder: as it was."""
    said = list(notes)
    if not all(one.masked for one in seen if one.exact):
        said.append("no figures of the face alone: the pictures have neither landmarks nor masks")
    values: dict[str, list[Rows]] = {}
    for begin, one in zip(_begins(seen), seen, strict=True):
        for name, columns in one.values.items():
            before = values.setdefault(name, [Rows([], []) for _ in columns])
            for column, more in zip(before, columns, strict=True):
                column.values.extend(more.values)
                column.rows.extend(begin + row for row in more.rows)
    masked = sum(len(one.heads) for one in seen if one.exact and one.masked)
    faces = len(values["l1_face"][0].rows) if "l1_face" in values else 0
    if gone := masked - faces:
        said.append(f"{gone} of {masked} pictures have no face in the crop: not in the face's figures")
    if finder is not None:
        found, words = _of_landmarks(finder, seen)
        said += words
        values |= found
    heads = [head for one in seen for head in one.heads]
    figures = []
    for name, columns in values.items():
        summaries = [
            summary(one.values, [str(heads[row]["identity"]) for row in one.rows]) for one in columns
        ]
        figures.append(Reading(experiment, name, *summaries))
    return tuple(figures), tuple(_told(experiment, heads, values)), tuple(said)


def _of_landmarks(finder: Finder, seen: Sequence[Looked]) -> tuple[dict[str, list[Rows]], list[str]]:
    """The landmarks' figures, and what has to be known of them."""
    notes = [f"landmarks by {finder.name}; the same looks at the truth"]
    there = [(begin, one.marks) for begin, one in zip(_begins(seen), seen, strict=True) if one.marks]
    if not there:
        return {}, [*notes, "no AKD: the pictures have no landmarks"]
    reference, source = (
        torch.cat(part) for part in zip(*((one.reference, one.source) for _, one in there), strict=True)
    )
    points = torch.cat([one.points for _, one in there], 1)
    valid = torch.cat([one.valid for _, one in there], 1)
    rows = [begin + row for begin, one in there for row in one.rows]
    if missed := sum(one.missed for _, one in there):
        notes.append(f"in {missed} of {len(rows)} true pictures no face is found: their own landmarks stand")
    values: dict[str, list[Rows]] = {"akd_l2_256": [], "akd_l1_256": [], "faceless": []}
    # All in one call: the worst that anybody reaches is everybody's worst case.
    every = reference.repeat(len(points), 1, 1)
    for name, function in (("akd_l2_256", landmarks.akd_l2_256), ("akd_l1_256", landmarks.akd_l1_256)):
        for part in torch.split(function(points.flatten(0, 1), every, valid.flatten()), len(rows)):
            values[name].append(Rows(part.tolist(), rows))
    # Who keeps still shows nothing.
    moved = (source != reference).flatten(1).any(1).nonzero().squeeze(1)
    if len(moved):
        values["swap_error_68"] = [
            Rows(
                swap_error(one[moved], reference[moved], source[moved]).where(found[moved], 1.0).tolist(),
                [rows[row] for row in moved.tolist()],
            )
            for one, found in zip(points, valid, strict=True)
        ]
    values["faceless"] = [Rows((~found).double().tolist(), rows) for found in valid]
    return values, notes


def _begins(seen: Sequence[Looked]) -> list[int]:
    """The number of each one's first picture."""
    return [sum(len(one.heads) for one in seen[:place]) for place in range(len(seen))]


def _told(
    experiment: str, heads: Sequence[Mapping[str, Any]], values: Mapping[str, Sequence[Rows]]
) -> Iterator[dict[str, Any]]:
    """Clip after clip."""
    names = [tuple(head.values()) for head in heads]
    whose = dict(zip(names, heads, strict=True))
    clips = {name: number for number, name in enumerate(whose)}
    number = [clips[name] for name in names]
    means: list[dict[str, float | None]] = [dict.fromkeys(values) for _ in clips]
    for figure, (one, *_) in values.items():
        mine: list[list[float]] = [[] for _ in clips]
        for value, row in zip(one.values, one.rows, strict=True):
            mine[number[row]].append(value)
        for mean, own in zip(means, mine, strict=True):
            mean[figure] = sum(own) / len(own) if own else None
    for name, place in clips.items():
        yield {
            "experiment": experiment,
            **whose[name],
            "pictures": number.count(place),
            "figures": means[place],
        }
