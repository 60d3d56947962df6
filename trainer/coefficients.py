"""Teaches a `CoefficientRegressor` what rendered people look like and do, of whom all is known.

python -m trainer.prepare coefficients --data data/rendered --output coefficients.safetensors
python -m trainer.prepare coefficients --seed 1 --output judge.safetensors    # of other people

N pictures, D numbers
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models import registry
from models.coefficients import SIDE, CoefficientRegressor, save_coefficients
from models.contract import CropRule
from models.face_geometry import LANDMARKS_68
from models.latent import FIRST, SIZES, crop
from trainer.config import SYNTHETIC
from trainer.data.clips import Split
from trainer.data.dataset import ClipDataset
from trainer.data.progress import shown
from trainer.data.realism.crops import Squares, cut, into
from trainer.data.rendering import Rendering, render_clips
from trainer.data.samples import Sample, collate
from trainer.data.synthetic.anatomy import EXPRESSIONS
from trainer.data.synthetic.identity import modes
from trainer.data.views import views_of

FRAMES = 12  # of each clip at most
RENDERED = 96  # side of pictures that are rendered for this, pixels
ROOM = 1.25  # side of what is kept of a picture / side of what the network sees: room for jitter
BATCH, RATE = 32, 3e-3
POINTS = 10.0  # weight of the landmarks' mean distance, in sides of the picture
LEAST = 0.3  # correlation on held-out people below which a number is left out
ALWAYS = frozenset(
    (
        *("skin_tone", "yaw", "pitch", "roll", "jawOpen"),
        *("mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight"),
    )
)  # never left out
APPEARANCE = {
    "shape": tuple(modes()),
    "skin_tone": ("skin_tone",),
    "age": ("age",),
    "hair_colour": ("hair_red", "hair_green", "hair_blue"),
    "glasses": ("glasses",),
}  # parameter of a rendered clip → its numbers' names
STRUCTURE = {
    "expression": EXPRESSIONS,
    "gaze": ("gaze_yaw", "gaze_pitch"),
    "rotation": ("yaw", "pitch", "roll"),
}

Told = Callable[[int, int], object]  # of so many steps of so many


@dataclass(frozen=True)
class CoefficientSettings:
    """What to learn from. Raises ValueError for numbers that make no sense and an output without a folder."""

    output: Path
    """File to write (safetensors)."""
    data: str = SYNTHETIC
    """A folder of rendered clips that trainer.prepare wrote (its archives too), or synthetic: people are
    rendered for it."""
    model: str = "latent:256"
    """The network whose pictures it is to look at, latent:SIZE: they are cropped alike."""
    people: int = 1000
    """How many at most, with those who are held out to try it on."""
    steps: int = 4500
    """Steps of 32 pictures."""
    seed: int = 0
    """Another number, other weights, and other people where they are rendered."""

    def __post_init__(self) -> None:
        for name, least in (("people", 2), ("steps", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: expected at least {least}")
        if not self.output.absolute().parent.is_dir():
            raise ValueError(f"output {self.output}: there is no folder {self.output.parent}")
        if self.output.is_dir():
            raise ValueError(f"output {self.output} is a folder; expected the name of a file")


class Faces(NamedTuple):
    """Rendered people, and the truth about them."""

    pictures: Tensor  # N×3×80×80 uint8, with room about what the network sees
    points: Tensor  # N×68×2, in sides of these pictures
    numbers: Tensor  # N×D, appearance, then structure, in the truth's units


class Learnt(NamedTuple):
    """A network that gives what it can tell, and how well it could tell everything."""

    network: CoefficientRegressor
    correlation: dict[str, float]  # of each number with the truth, on held-out people


def prepare(settings: CoefficientSettings, told: Told) -> Learnt:
    """Learn and write. Raises ValueError for a folder without such clips, OSError where nothing can be
    written."""
    if settings.data == SYNTHETIC:
        with tempfile.TemporaryDirectory() as folder:
            asked = Rendering(
                Path(folder, "people"),
                identities=settings.people,
                frames=FRAMES,
                size=RENDERED,
                seed=settings.seed,
                style="stills",
            )
            for _ in shown(render_clips(asked), FRAMES, "pictures"):
                pass
            learnt, held = _both(asked.output, settings)
    else:
        learnt, held = _both(Path(settings.data), settings)
    found = learn(learnt, held, settings.steps, settings.seed, told)
    save_coefficients(found.network, settings.output)
    return found


def _both(folder: Path, settings: CoefficientSettings) -> tuple[Faces, Faces]:
    """Those to learn from, and those to try it on."""
    rule = crop(SIZES[registry.parse(settings.model)[1] or FIRST])
    learnt, held = (faces_of(folder, split, settings.people, rule) for split in get_args(Split))
    return learnt, held


def faces_of(folder: Path, split: Split, people: int, rule: CropRule) -> Faces:
    """FRAMES of each clip, evenly, of that split of so many people, as the rule crops them. Raises ValueError
    for a folder that is no data set, has nobody of that split, or doesn't know what its people do."""
    known = dict.fromkeys(entry.identity for entry in ClipDataset(folder).clips)
    wanted = set(list(known)[:people])
    clips, asked = ClipDataset(folder, split), [*APPEARANCE, *STRUCTURE]
    parts = [
        _faces(clips[number].read(_evenly(entry.frames), labels=False, parameters=asked), rule)
        for number, entry in enumerate(clips.clips)
        if entry.identity in wanted
    ]
    if not parts:
        raise ValueError(f"{folder} has nobody to {split} among its first {people} people: ask for more")
    return Faces(*(torch.cat(those) for those in zip(*parts, strict=True)))


def learn(learnt: Faces, held: Faces, steps: int, seed: int, told: Told) -> Learnt:
    """The loss is the mean square over each half, of numbers that are standardised over those who are learnt.
    The rate rises and falls once: L. Smith, N. Topin, "Super-convergence", 2018."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    network = CoefficientRegressor(names(APPEARANCE), names(STRUCTURE))
    halves = len(network.appearance_names), len(network.structure_names)
    network.mean.copy_(learnt.numbers.mean(0))
    # Of what nobody does there is no deviation; it will be left out.
    network.deviation.copy_(learnt.numbers.std(0, correction=0).clamp(min=1e-3))
    truth = (learnt.numbers - network.mean) / network.deviation
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=max(steps, 2), pct_start=0.1)
    network.train()
    for step in range(1, steps + 1):
        rows = torch.randint(len(truth), (BATCH,), generator=random)
        pictures, points = _lesson(learnt, rows, random)
        numbers, places = network(pictures)
        wrong = (numbers - truth[rows]).square()
        loss = sum(half.mean() for half in wrong.split(halves, 1))
        loss = loss + POINTS * (places - points).norm(dim=2).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        told(step, steps)
    network.eval()
    told_of = correlations(network, held)
    kept = frozenset(name for name, one in told_of.items() if one >= LEAST) | ALWAYS
    return Learnt(network.only(kept).requires_grad_(False), told_of)


@torch.no_grad()
def correlations(network: CoefficientRegressor, held: Faces) -> dict[str, float]:
    """Pearson's, of each of the network's numbers over all pictures; nought for one that never changes."""
    every = (*names(APPEARANCE), *names(STRUCTURE))
    said = torch.cat([network(_middle(pictures))[0] for pictures in torch.split(held.pictures, BATCH)])
    given = (*network.appearance_names, *network.structure_names)
    truth = held.numbers[:, [every.index(name) for name in given]]
    a, b = (F.normalize(those.double() - those.double().mean(0), dim=0) for those in (said, truth))
    return dict(zip(given, (a * b).sum(0).tolist(), strict=True))


def report(found: Learnt) -> Iterator[str]:
    """Lines that say how much can be told of people whom the network has never seen."""
    for half, every, kept in (
        ("appearance", names(APPEARANCE), found.network.appearance_names),
        ("structure", names(STRUCTURE), found.network.structure_names),
    ):
        of_all = [found.correlation[name] for name in every]
        of_kept = [found.correlation[name] for name in kept]
        yield (
            f"{half}: {len(kept)} of {len(every)} numbers kept, median correlation with the truth of "
            f"held-out people {np.median(of_kept):.2f} ({np.median(of_all):.2f} of all)"
        )
        ranked = sorted(every, key=lambda name: -found.correlation[name])
        for what, those in (("kept", set(kept)), ("left out", set(every) - set(kept))):
            listed = ", ".join(f"{name} {found.correlation[name]:.2f}" for name in ranked if name in those)
            yield f"  {what}: {listed or 'none'}"


def names(half: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Of all numbers of APPEARANCE or STRUCTURE."""
    return tuple(name for those in half.values() for name in those)


def _evenly(frames: int) -> list[int]:
    return sorted(set(np.linspace(0, frames - 1, FRAMES).round().astype(int).tolist()))


def _faces(sample: Sample, rule: CropRule) -> Faces:
    """Of the frames whose landmarks are right."""
    size = round(SIDE * ROOM)
    rule = replace(rule, size=size, scale=rule.scale * ROOM)
    views = views_of(collate([sample]), rule, "frame")
    pictures = views.image[0]
    columns = [sample.parameters[name] for name in (*APPEARANCE, *STRUCTURE)]
    numbers = torch.cat([column.float().reshape(len(pictures), -1) for column in columns], 1)
    levels = pictures.mul(255).round().to(torch.uint8)
    points = views.points[0][:, list(LANDMARKS_68), :2]
    return Faces(levels[sample.valid], points[sample.valid], numbers[sample.valid])


def _middle(pictures: Tensor) -> Tensor:
    """What the network sees where nothing is jittered: N×3×64×64 in [0, 1]."""
    edge = (pictures.shape[2] - SIDE) // 2
    return pictures[..., edge : edge + SIDE, edge : edge + SIDE].float() / 255


def _lesson(learnt: Faces, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Those faces, not quite in place, sharp, or of their colours: pictures (N×3×64×64 in [0, 1]) and points
    in crop units. Not mirrored: some modes of shape change one side only."""
    count = len(rows)

    def drawn(*shape: int) -> Tensor:
        return 2 * torch.rand(count, *shape, generator=random) - 1

    squares = Squares(0.5 + 0.03 * drawn(2) / ROOM, (1 + 0.06 * drawn()) / ROOM, torch.zeros(count))
    crops = cut(learnt.pictures[rows].float() / 255, squares, SIDE)
    small = F.interpolate(F.avg_pool2d(crops, 2), scale_factor=2, mode="bilinear", align_corners=False)
    crops = torch.lerp(crops, small, drawn(1, 1, 1).clamp(min=0))  # half of them
    crops = crops * (1 + 0.15 * drawn(1, 1, 1)) * (1 + 0.05 * drawn(3, 1, 1)) + 0.05 * drawn(1, 1, 1)
    crops = crops + 0.03 * drawn(1, 1, 1) * torch.randn(crops.shape, generator=random)
    return crops.clamp(0, 1), into(learnt.points[rows], squares)
