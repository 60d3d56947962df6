"""How codes of StyleGAN2 move where faces do: from clips, through the encoder; and the videos that can be
made of it (Duarte et al., 001: "a method to synthetically generate videos").
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.coefficients import FaceModel
from models.latent import Latent
from models.weights import seeded
from trainer import chain
from trainer.data.dataset import ClipDataset
from trainer.data.samples import collate
from trainer.data.views import views_of
from trainer.data.walks import Moves, WalkStream, codes, fitted, numbers_from, unlabelled
from trainer.drawings import panel, to_levels

MOVING = 0.7  # share of a code's rows that move, unless asked for others
TRIED, FRAMES = 64, 8  # walks that the drift is measured on
SHOWN = 8  # of them on the sheet
TOGETHER = 16  # clips that are encoded at once
LABELS = ("expression", "gaze", "rotation")


@dataclass(frozen=True)
class MovesSettings:
    """What is asked for."""

    output: Path
    """The file: safetensors."""
    data: Path
    """Prepared clips: rendered ones, whose motion is known, or others, of which only the codes' differences
    are taken."""
    upstream: Path | None = None
    """What latent_encoder has left: a run's folder or a checkpoint."""
    weights: Path | None = None
    """A public encoder in its place, with its StyleGAN2: e4e's or pSp's .pt."""
    model: str = "latent:256"
    """The network, NAME:SIZE."""
    clips: int = 500
    """Of the training's people, at most."""
    frames: int = 12
    """Of each, at most."""
    rows: int = 0
    """How many of a code's first rows move; 0: seven of ten."""
    sheet: Path | None = None
    """A page of walks, to be looked at."""
    coefficients: Path | None = None
    """A face model, for how much people change while they walk."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("clips", "frames"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} {getattr(self, name)}: expected at least 2")
        if self.rows < 0:
            raise ValueError(f"rows {self.rows}: expected at least 0")


class Found(NamedTuple):
    """What was made."""

    moves: Moves
    clips: int
    drift: float | None  # spread of a walk's appearance, in that between people; None without a face model
    of_clips: float | None  # the same of the clips' own pictures: what the face model itself mistakes


def prepare_moves(asked: MovesSettings) -> Found:
    """Write the file, and the sheet. Raises ValueError and OSError, one line, for what can't be done."""
    network = seeded(asked.model, 0)
    if not isinstance(network, Latent):
        raise ValueError(f"model {asked.model}: expected latent:SIZE")
    if asked.weights is not None:
        chain.begin_with_encoder(network, asked.weights)
    else:
        chain.begin(network, asked.upstream, asked.model, "moves", "latent_encoder")
    network.eval().requires_grad_(False)
    most = len(network.latent_avg)
    rows = asked.rows or round(MOVING * most)
    if rows > most:
        raise ValueError(f"rows {rows}: codes of {asked.model} have {most}")
    face = None if asked.coefficients is None else chain.face_model(asked.coefficients)
    dataset = ClipDataset(asked.data, "train")
    parts = list(_encoded(network, dataset, asked, face))
    encoded = torch.cat([part.codes for part in parts])
    numbers = [part.numbers for part in parts if part.numbers is not None]
    moves = fitted(encoded, torch.cat(numbers), rows) if numbers else unlabelled(encoded, rows)
    moves.save(asked.output)
    if asked.sheet is not None:
        _draw(network, moves, asked)
    if face is None:
        return Found(moves, len(encoded), None, None)
    looks = torch.cat([part.appearance for part in parts if part.appearance is not None])
    return Found(moves, len(encoded), drift(network, moves, face, asked.seed), spread(looks))


class Part(NamedTuple):
    """Of some clips: N of T frames each."""

    codes: Tensor  # N×T×L×C
    numbers: Tensor | None  # N×T×P, of their motions; None without labels
    appearance: Tensor | None  # N×T×A coefficients; None without a face model


@torch.no_grad()
def drift(network: Latent, moves: Moves, face: FaceModel, seed: int) -> float:
    """`spread` of walks."""
    walked = next(iter(WalkStream(moves, TRIED, FRAMES, seed)))
    said = [
        face.coefficients(_pictures(network, codes(network, part, moves.way)).flatten(0, 1)).appearance
        for part in walked.parts(TOGETHER)
    ]
    return spread(torch.cat(said).view(TRIED, FRAMES, -1))


def spread(appearance: Tensor) -> float:
    """Deviation of the appearance coefficients within a video, over that of the videos' means: each in the
    mean over the coefficients. appearance: N×T×A."""
    within = appearance.var(1).mean(0).sqrt().mean()
    return float(within / appearance.mean(1).std(0).mean())


def _encoded(
    network: Latent, dataset: ClipDataset, asked: MovesSettings, face: FaceModel | None
) -> Iterator[Part]:
    count = min(asked.clips, len(dataset))
    usable = [dataset[number] for number in range(count) if dataset[number].entry.frames >= 2]
    if not usable:
        raise ValueError(f"{asked.data}: too little data: no clip of two frames or more")
    frames = min(asked.frames, *(clip.entry.frames for clip in usable), asked.frames)
    labelled = all(set(LABELS) <= clip.truth().keys() for clip in usable[:1])
    names = LABELS if labelled else ()
    for first in range(0, len(usable), TOGETHER):
        some = usable[first : first + TOGETHER]
        sample = collate([clip.read(range(frames), labels=False, parameters=names) for clip in some])
        views = views_of(sample, network.spec.driving, "frame")
        shape = len(some), frames
        seen = views.image.flatten(0, 1)
        with torch.no_grad():
            code = network.invert(seen)
            code = code.view(*shape, *code.shape[1:])
            looks = None if face is None else face.coefficients(seen).appearance.view(*shape, -1)
        yield Part(code, numbers_from(sample.parameters) if labelled else None, looks)


def _pictures(network: Latent, code: Tensor) -> Tensor:
    """B×K×3×S×S in [0, 1]."""
    drawn: Tensor = network.generator(code.flatten(0, 1))
    return ((drawn.float() + 1) / 2).clamp(0, 1).view(*code.shape[:2], *drawn.shape[1:])


@torch.no_grad()
def _draw(network: Latent, moves: Moves, asked: MovesSettings) -> None:
    from PIL import Image

    assert asked.sheet is not None
    walked = next(iter(WalkStream(moves, SHOWN, FRAMES, asked.seed)))
    pictures = _pictures(network, codes(network, walked, moves.way))
    page = panel([list(row) for row in pictures], [str(number) for number in range(FRAMES)], enlarged=2)
    Image.fromarray(to_levels(page)).save(asked.sheet)
