"""What is said of drawn pictures beside their truths, one by one: all that is kept of them.

R of the pictures, S their sides in pixels
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.contract import Observation
from models.face_geometry import LANDMARKS_68
from trainer.evaluation.framing import Framed
from trainer.evaluation.landmarks import Finder
from trainer.evaluation.pairs import Pairs
from trainer.evaluation.reenactment import Drawn
from trainer.metrics import pictures

RADIUS = pictures.RADIUS
OF_SCENES = ("lpips_alex",)  # judges that need a true picture, not just one of the same face
Judge = Callable[[Tensor, Tensor, Tensor], Tensor]  # pictures, truth, the truth's landmarks → B
# Of pictures and their sources: pictures, the truth's landmarks, sources, their landmarks → B
SourceJudge = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Rows(NamedTuple):
    """A figure of some of the pictures."""

    values: list[float]
    rows: list[int]  # which pictures these are


class Marks(NamedTuple):
    """Landmarks of R of the pictures, of whose truth they are known: 68, crop units."""

    reference: Tensor  # R×68×2, the truth's
    source: Tensor  # R×68×2
    points: Tensor  # 3×R×68×2: found in the network's pictures, in copies and in the mean face
    valid: Tensor  # 3×R bool: was one found
    rows: list[int]  # which pictures these are
    missed: int  # true ones in which none was found


class Looked(NamedTuple):
    """What is known of some pictures once nobody needs them any more."""

    heads: list[Mapping[str, Any]]  # of each picture: its clip, who is seen, and what drives him
    values: dict[str, list[Rows]]  # of the network, of copies and of the mean face
    marks: Marks | None
    exact: bool  # there is a true picture of each
    masked: bool  # it is known where their faces are


def look(
    pairs: Pairs,
    clips: Sequence[Framed],
    drawn: Drawn,
    finder: Finder | None = None,
    judges: Mapping[str, Judge] = MappingProxyType({}),
    of_sources: Mapping[str, SourceJudge] = MappingProxyType({}),
) -> Looked:
    """What `joined` needs of these clips, which may be some of many, or parts of one. clips: one for each of
    the pairs."""
    truth = torch.cat([clip.truth for clip in clips])
    lengths = [len(clip.truth) for clip in clips]
    masks = _masks(clips)
    values: dict[str, list[Rows]] = {}
    if pairs.exact:
        for shown in drawn:
            for name, rows in _of_pictures(shown, truth, masks).items():
                values.setdefault(name, []).append(rows)
    points = torch.cat([clip.points for clip in clips]).cpu()
    for name, judge in judges.items():
        # Only where it is known where the face is.
        there = torch.cat([clip.valid for clip in clips]).cpu().nonzero().squeeze(1)
        if len(there) and (pairs.exact or name not in OF_SCENES):
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
    heads: list[Mapping[str, Any]] = [
        {"clip": pair.target.clip, "identity": pair.target.identity, "driver": pair.driving.clip}
        for pair, length in zip(pairs.pairs, lengths, strict=True)
        for _ in range(length)
    ]
    marks = None if finder is None else _marks(finder, clips, drawn, truth)
    return Looked(heads, values, marks, pairs.exact, masks is not None)


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


def _marks(finder: Finder, clips: Sequence[Framed], drawn: Drawn, truth: Tensor) -> Marks | None:
    """None where nothing is known of any of these faces."""
    known = torch.cat([clip.points for clip in clips])
    sources = [clip.source.points for clip in clips]
    shown_in_source = torch.cat(
        [
            clip.points if own is None else own.expand_as(clip.points)
            for own, clip in zip(sources, clips, strict=True)
        ]
    )
    there = torch.cat([clip.valid for clip in clips]).cpu().nonzero().squeeze(1)
    if not len(there):
        return None
    known = known.cpu()[there]
    true = finder(truth.cpu()[there], known)
    # A face that is there and isn't seen still lies where it lies.
    own = known[:, list(LANDMARKS_68), :2]
    reference = torch.where(true.valid.view(-1, 1, 1), true.points, own)
    where = Drawn(known, shown_in_source.cpu()[there], known.mean(0).expand_as(known))
    found = [finder(shown.cpu()[there], place) for shown, place in zip(drawn, where, strict=True)]
    copied = found[1]
    source = torch.where(copied.valid.view(-1, 1, 1), copied.points, where.copy[:, list(LANDMARKS_68), :2])
    points, valid = torch.stack([one.points for one in found]), torch.stack([one.valid for one in found])
    return Marks(reference, source, points, valid, there.tolist(), int((~true.valid).sum()))


def _points(seen: Observation) -> Tensor:
    assert seen.points is not None, "framed pictures have landmarks"
    return seen.points


def _masks(clips: Sequence[Framed]) -> Tensor | None:
    """C·F×1×S×S float32; None where any clip's are unknown."""
    masks = [clip.mask for clip in clips]
    known = [mask for mask in masks if mask is not None]
    return torch.cat(known).float() if len(known) == len(masks) else None
