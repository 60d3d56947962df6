"""What a training run can be told. `python -m trainer.train RECIPE --help` lists it; the recipes in
`trainer/recipes/` say what the defaults of each configuration are."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trainer.data.synthetic.motion import STILLS, check_style

Precision = Literal["float32", "bf16"]
Schedule = Literal["constant", "linear", "cosine"]
Device = Literal["auto", "cpu", "cuda"]

SYNTHETIC = "synthetic"  # in place of a folder: rendered while training goes on


@dataclass(frozen=True)
class Samples:
    """How samples are taken from the data."""

    held_out: float = 0.1
    """Share of the identities that training never sees, where the data set has no split of its own."""
    size: int = 0
    """Side of rendered pictures, pixels, for synthetic; 0: half as much again as the network's."""
    style: str = STILLS
    """How rendered people move, for synthetic: stills, over the whole range, or seated, before a camera on a
    desk; or as in one kind of video: talking, listening, expressive, wild, idle."""
    workers: int = 0
    """Processes that read and decode; 0: in the loop's own."""
    mirror: bool = True
    """Every other sample mirrored, landmarks and all."""
    colour: float = 0.1
    """Colours change by up to this factor, alike in all frames of a sample."""

    def __post_init__(self) -> None:
        check_style(self.style)


@dataclass(frozen=True)
class Learning:
    """How it learns."""

    generator: float = 2e-4
    """Learning rate of the generator, or of each of its parts."""
    discriminator: float = 2e-4
    """Learning rate of the discriminator."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's."""
    schedule: Schedule = "constant"
    """Of the rates, over the whole run: constant, linear to nought, or half a cosine to nought."""
    warm_up: int = 0
    """Pictures over which the rates rise from nought."""
    clip: float = 0.0
    """Longest gradient of a phase; longer ones are shortened to it. 0: as long as they are."""
    ema: int = 10_000
    """Half-life of the averaged generator, pictures."""


@dataclass(frozen=True)
class Settings:
    """A run."""

    model: str
    """The network, NAME:SIZE."""
    data: str = SYNTHETIC
    """A folder that trainer.prepare wrote (its archives too), or synthetic: rendered on the training device
    while the network learns, every sample another person."""
    output: Path | None = None
    """The run's folder; by default runs/RECIPE-CONFIG."""
    resume: str = "never"
    """auto: go on from the folder's newest whole checkpoint, or begin where there is none. never: begin, in
    a folder without checkpoints. Else a checkpoint to go on from."""
    initial: Path | None = None
    """A checkpoint whose networks a new run begins with, for fine-tuning."""
    pictures: int = 1_000_000
    """How many driving pictures are learnt from, one a sample, over all ranks: when the run ends."""
    batch: int = 64
    """Samples of a step, over all ranks. The same number is the same training on any number of them."""
    accumulate: int = 1
    """Parts that a rank's share of the batch is worked off in, to save memory."""
    seed: int = 0
    """Another number, another run."""
    device: Device = "auto"
    """auto: CUDA where there is some."""
    precision: Precision = "float32"
    """Of the networks' arithmetic: bf16 by autocast. Weights, averages and losses are float32."""
    compile: bool = False
    """Compile the networks (torch.compile) but for what differentiates twice."""
    vgg: Path | None = None
    """VGG-19's weights with torchvision's keys, for perceptual losses; by default those in torch's hub cache.
    Without any, features of the discriminator are matched instead."""
    ablate: tuple[str, ...] = ()
    """Parts of the recipe to leave out; --help lists them."""
    log_every: int = 1_000
    """Pictures from one line of the log to the next."""
    sample_every: int = 20_000
    """Pictures from one page of samples to the next."""
    checkpoint_every: int = 20_000
    """Pictures from one checkpoint to the next."""
    keep: int = 3
    """Checkpoints that stay, besides the best."""
    dry_run: bool = False
    """Print what would be done, and what it takes, and do nothing."""
    samples: Samples = field(default_factory=Samples)
    learning: Learning = field(default_factory=Learning)

    def __post_init__(self) -> None:
        for name in (
            "pictures",
            "batch",
            "accumulate",
            "log_every",
            "sample_every",
            "checkpoint_every",
            "keep",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', '-')} {getattr(self, name)}: expected at least 1")
        if self.batch > self.pictures:
            raise ValueError(f"batch {self.batch} of pictures {self.pictures}: that is not one step")
        learning = self.learning
        for name in ("generator", "discriminator"):
            rate = getattr(learning, name)
            if not (0 < rate < math.inf):
                raise ValueError(f"learning.{name} {rate:g}: expected a learning rate above 0")
        if not all(0 <= beta < 1 for beta in learning.betas):
            raise ValueError(f"learning.betas {learning.betas}: expected numbers from 0 to below 1")
        for name in ("warm_up", "clip", "ema"):
            if getattr(learning, name) < 0:
                raise ValueError(f"learning.{name.replace('_', '-')}: expected at least 0")
        if not 0 < self.samples.held_out < 1:
            raise ValueError(f"samples.held-out {self.samples.held_out:g}: expected a share between 0 and 1")
        if not 0 <= self.samples.colour < 1:
            raise ValueError(f"samples.colour {self.samples.colour:g}: expected a number from 0 to below 1")
        if self.samples.workers < 0:
            raise ValueError(f"samples.workers {self.samples.workers}: expected at least 0")
        if self.initial is not None and self.resume != "never":
            raise ValueError("initial and resume: a run begins with networks, or goes on; leave one out")


def share_of(settings: Settings, world: int) -> int:
    """Samples of one part of a rank's batch. Raises ValueError where the batch can't be dealt evenly."""
    parts = world * settings.accumulate
    if settings.batch % parts:
        even = max(settings.batch // parts, 1) * parts
        raise ValueError(
            f"batch {settings.batch} over {world} ranks in {settings.accumulate} parts each: expected a "
            f"multiple of {parts}, as {even}"
        )
    return settings.batch // parts


def rate(schedule: Schedule, warm_up: int, pictures: int, total: int) -> float:
    """What the learning rates are multiplied by after so many of the run's pictures: 0 to 1."""
    rising = min(1.0, (pictures + 1) / (warm_up + 1))
    left = max(0.0, 1 - pictures / total)
    if schedule == "linear":
        return rising * left
    if schedule == "cosine":
        return rising * (0.5 - 0.5 * math.cos(math.pi * left))
    return rising
