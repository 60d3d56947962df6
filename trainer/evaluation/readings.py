"""What a network reaches on pairs, each figure beside that of copying the source and of the mean face.

Every figure is a mean over all drawn pictures, with a 95 % interval from drawing whole people again. A figure
with "face" in its name counts the face only (`framing.py`), one with "whole" the whole crop, of which a copy
wins the background.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from models.contract import Observation
from models.face_geometry import LANDMARKS_68
from trainer.evaluation.framing import Framed, Network, framed
from trainer.evaluation.landmarks import Finder
from trainer.evaluation.pairs import Pairs
from trainer.evaluation.reenactment import Drawn, copies, mean_face, reenact
from trainer.metrics import landmarks, pictures
from trainer.metrics.probes import swap_error
from trainer.metrics.summary import Summary, summary

Better = Literal["lower", "higher"]
RADIUS = pictures.RADIUS
Judge = Callable[[Tensor, Tensor, Tensor], Tensor]  # pictures, truth, the truth's landmarks → B
# Of pictures and their sources: pictures, the truth's landmarks, sources, their landmarks → B
SourceJudge = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


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
    truth = torch.cat([clip.truth for clip in clips])
    lengths = [len(clip.truth) for clip in clips]
    number = torch.repeat_interleave(torch.arange(len(clips)), torch.tensor(lengths))
    people = [str(pairs.pairs[clip].target.identity) for clip in number.tolist()]
    notes = list(pairs.notes)
    masks = _masks(clips)
    if masks is None:
        notes.append("no figures of the face alone: the pictures have neither landmarks nor masks")
    values: dict[str, list[Rows]] = {}
    for shown in drawn:
        for name, rows in _of_pictures(shown, truth, masks).items():
            values.setdefault(name, []).append(rows)
    points = torch.cat([clip.points for clip in clips]).cpu()
    for name, judge in judges.items():
        # Only where it is known where the face is.
        there = torch.cat([clip.valid for clip in clips]).cpu().nonzero().squeeze(1)
        if len(there):
            values[name] = [
                Rows(judge(shown.cpu()[there], truth.cpu()[there], points[there]).tolist(), there.tolist())
                for shown in drawn
            ]
    for name, compare in of_sources.items():
        there = torch.cat([clip.valid & clip.source.valid for clip in clips]).cpu().nonzero().squeeze(1)
        if len(there):
            own = torch.cat([_points(clip.source).expand_as(clip.points) for clip in clips]).cpu()[there]
            sources = drawn.copy.cpu()[there]
            values[name] = [
                Rows(compare(shown.cpu()[there], points[there], sources, own).tolist(), there.tolist())
                for shown in drawn
            ]
    faces = len(values["l1_face"][0].rows) if "l1_face" in values else 0
    if masks is not None and (gone := len(truth) - faces):
        notes.append(f"{gone} of {len(truth)} pictures have no face in the crop: not in the face's figures")
    if finder is not None:
        found, said = _of_landmarks(finder, clips, drawn, truth)
        notes += said
        values |= found
    figures = []
    for name, columns in values.items():
        summaries = [summary(one.values, [people[row] for row in one.rows]) for one in columns]
        figures.append(Reading(pairs.name, name, *summaries))
    told = tuple(_told(pairs, clip, number, values) for clip in range(len(clips)))
    return Readings(pairs.name, tuple(figures), told, tuple(notes), tuple(clips), drawn)


class Rows(NamedTuple):
    """A figure of some of the pictures."""

    values: list[float]
    rows: list[int]  # which pictures these are


def _of_pictures(shown: Tensor, truth: Tensor, masks: Tensor | None) -> dict[str, Rows]:
    every = list(range(len(truth)))
    found = {
        "l1_whole": Rows(pictures.l1(shown, truth).tolist(), every),
        "psnr_whole": Rows(pictures.psnr(shown, truth).tolist(), every),
        "ssim_gauss11_whole": Rows(pictures.ssim_gauss11(shown, truth).tolist(), every),
    }
    if min(truth.shape[2:]) >= pictures.MS_SMALLEST:
        found["ms_ssim_whole"] = Rows(pictures.ms_ssim(shown, truth).tolist(), every)
    if masks is None:
        return found
    # Of SSIM, windows that reach over the border don't count.
    there = masks[:, :, RADIUS:-RADIUS, RADIUS:-RADIUS].flatten(1).any(1).nonzero().squeeze(1)
    if not len(there):
        return found
    some, true, mask = shown[there], truth[there], masks[there]
    face = {
        "l1_face": Rows(pictures.l1(some, true, mask).tolist(), there.tolist()),
        "psnr_face": Rows(pictures.psnr(some, true, mask).tolist(), there.tolist()),
        "ssim_gauss11_face": Rows(pictures.ssim_gauss11(some, true, mask).tolist(), there.tolist()),
    }
    return face | found


def _of_landmarks(
    finder: Finder, clips: Sequence[Framed], drawn: Drawn, truth: Tensor
) -> tuple[dict[str, list[Rows]], list[str]]:
    """The landmarks' figures, and what has to be known of them."""
    known = torch.cat([clip.points for clip in clips])
    sources = [clip.source.points for clip in clips]
    shown_in_source = torch.cat(
        [
            clip.points if own is None else own.expand_as(clip.points)
            for own, clip in zip(sources, clips, strict=True)
        ]
    )
    valid = torch.cat([clip.valid for clip in clips]).cpu()
    there = valid.nonzero().squeeze(1)
    notes = [f"landmarks by {finder.name}; the same looks at the truth"]
    if not len(there):
        return {}, [*notes, "no AKD: the pictures have no landmarks"]
    rows = there.tolist()
    known = known.cpu()[there]
    true = finder(truth.cpu()[there], known)
    # A face that is there and isn't seen still lies where it lies.
    own = known[:, list(LANDMARKS_68), :2]
    reference = torch.where(true.valid.view(-1, 1, 1), true.points, own)
    if missed := int((~true.valid).sum()):
        notes.append(f"in {missed} of {len(rows)} true pictures no face is found: their own landmarks stand")
    values: dict[str, list[Rows]] = {"akd_l2_256": [], "akd_l1_256": [], "faceless": []}
    where = Drawn(known, shown_in_source.cpu()[there], known.mean(0).expand_as(known))
    found = [finder(shown.cpu()[there], place) for shown, place in zip(drawn, where, strict=True)]
    # All in one call: the worst that anybody reaches is everybody's worst case.
    points, seen = torch.cat([one.points for one in found]), torch.cat([one.valid for one in found])
    joined = reference.repeat(len(found), 1, 1)
    for name, function in (("akd_l2_256", landmarks.akd_l2_256), ("akd_l1_256", landmarks.akd_l1_256)):
        for part in torch.split(function(points, joined, seen), len(rows)):
            values[name].append(Rows(part.tolist(), rows))
    copied = found[1]
    source = torch.where(copied.valid.view(-1, 1, 1), copied.points, where.copy[:, list(LANDMARKS_68), :2])
    # Who keeps still shows nothing.
    moved = (source != reference).flatten(1).any(1).nonzero().squeeze(1)
    if len(moved):
        values["swap_error_68"] = [
            Rows(
                swap_error(one.points[moved], reference[moved], source[moved])
                .where(one.valid[moved], 1.0)
                .tolist(),
                there[moved].tolist(),
            )
            for one in found
        ]
    values["faceless"] = [Rows((~one.valid).double().tolist(), rows) for one in found]
    return values, notes


def _points(seen: Observation) -> Tensor:
    assert seen.points is not None, "framed pictures have landmarks"
    return seen.points


def _masks(clips: Sequence[Framed]) -> Tensor | None:
    """C·F×1×S×S float32; None where any clip's are unknown."""
    masks = [clip.mask for clip in clips]
    known = [mask for mask in masks if mask is not None]
    return torch.cat(known).float() if len(known) == len(masks) else None


def _told(pairs: Pairs, clip: int, number: Tensor, values: Mapping[str, Sequence[Rows]]) -> dict[str, Any]:
    pair = pairs.pairs[clip]
    own = set((number == clip).nonzero().squeeze(1).tolist())
    means = {}
    for name, (first, *_) in values.items():
        mine = [value for value, row in zip(first.values, first.rows, strict=True) if row in own]
        means[name] = sum(mine) / len(mine) if mine else None
    return {
        "experiment": pairs.name,
        "clip": pair.target.clip,
        "identity": pair.target.identity,
        "driver": pair.driving.clip,
        "pictures": len(own),
        "figures": means,
    }
