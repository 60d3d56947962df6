"""Training runs that cost next to nothing: a recipe of two small networks, on pretended people.

python -m tests.trainer.small_runs small …    # as python -m trainer.train, with that recipe
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tests.models.tiny import Tiny
from trainer import distributed, journal, losses, recipes, train
from trainer.checkpoint import Checkpoints
from trainer.config import Learning, Settings
from trainer.data.views import Views
from trainer.data.workers import Rank
from trainer.feed import shown, source_of
from trainer.journal import Journal
from trainer.loop import Loop
from trainer.recipe import Ablation, Made, Phase, Recipe, Stage, Terms
from trainer.recipes import Entry, each_alone

CPU = torch.device("cpu")
ALONE = Rank(0, 1, None, 1)
KEPT = ("step", "pictures", "skipped")  # of a log's line, beside what the phases say
PHASES = ("generator", "discriminator", "r1", "embedders", "face", "pose")


class Small(Tiny):
    """Without batch norm: a batch is the same in parts."""

    def __init__(self) -> None:
        super().__init__("narrow")
        self.token = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU())


@dataclass(frozen=True)
class SmallSettings(Settings):
    """Training of small."""

    model: str = "small:narrow"


class SmallRecipe(Recipe):
    """Half of the run the generator alone, then both, with R1 every fourth step."""

    generator: Small
    name = "small"
    frames = 2
    looked_at = 2
    told: ClassVar[Callable[[int], object]] = int
    """Is told before each step how many pictures were seen."""

    def __init__(self, settings: Settings, vgg: Any = None) -> None:
        super().__init__()
        torch.manual_seed(settings.seed)
        self.generator = Small()
        self.discriminator = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, 4))
        self.factor = 1.0  # of the generator's loss; NaN spoils it

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def stages(self) -> tuple[Stage, ...]:
        alone = Phase("generator", ("generator",), self.pixel)
        phases = (
            Phase("generator", ("generator",), self.judged),
            Phase("discriminator", ("discriminator",), self.hinge),
            Phase("r1", ("discriminator",), self.r1, every=4, eager=True),
        )
        return (
            Stage("alone", 0.5, (alone,), {"generator": 1.0}),
            Stage("all", 0.5, phases, {"generator": 0.1, "discriminator": 1.0}),
        )

    def new_step(self, pictures: int) -> None:
        type(self).told(pictures)

    def drawn(self, views: Views) -> Tensor:
        appearance = self.generator.encode_appearance([views.frame(0)])
        # As many as there are: `Tiny` blends its sources, and a batch is not several of them.
        features = self.generator.features(views.image[:, 0])
        structure = self.generator.encode_structure(views.frame(views.image.shape[1] - 1))
        return self.generator.decode(appearance._replace(features=features), structure)[0]

    def pixel(self, views: Views, made: Made) -> Terms:
        drawn = self.drawn(views)
        made["drawn"] = drawn.detach()
        return {"pixel": self.factor * losses.l1(drawn, views.image[:, -1])}

    def judged(self, views: Views, made: Made) -> Terms:
        drawn = self.drawn(views)
        made["drawn"] = drawn.detach()
        adversarial = 0.1 * losses.hinge_generator([self.discriminator(drawn)])
        return {"pixel": self.factor * losses.l1(drawn, views.image[:, -1]), "adversarial": adversarial}

    def hinge(self, views: Views, made: Made) -> Terms:
        real, drawn = self.discriminator(views.image[:, -1]), self.discriminator(made["drawn"])
        return {"hinge": losses.hinge_discriminator([real], [drawn])}

    def r1(self, views: Views, made: Made) -> Terms:
        pictures = views.image[:, -1].clone().requires_grad_()
        return {"r1": losses.r1_penalty(self.discriminator(pictures), pictures)}


USUAL = SmallSettings(
    pictures=64,
    batch=4,
    learning=Learning(generator=1e-2, schedule="cosine", warm_up=8, ema=16),
    log_every=4,
    sample_every=64,
    checkpoint_every=16,
    device="cpu",
)
ABLATIONS = {"pixel": Ablation({}, "nothing")}
CONFIGS = {"paper": USUAL, "tiny": USUAL}
ENTRY = Entry(SmallSettings, CONFIGS, ABLATIONS, SmallRecipe, each_alone(ABLATIONS))


def no_board(folder: Path, resumed: int) -> None:
    """TensorBoard takes seconds to import."""


def prepare() -> None:
    """Let this process know the recipe."""
    torch.set_num_threads(1)
    recipes.MODULES["small"] = "tests.trainer.small_runs"
    journal._open_board = no_board


def main(arguments: Sequence[str]) -> int:
    prepare()
    if {"DIES", "HANGS"} & set(os.environ):
        SmallRecipe.told = befalls
    if seconds := os.environ.get("PATIENCE"):
        patience = timedelta(seconds=int(seconds))
        train.joined = lambda device, _: distributed.joined(device, patience)
    return train.main(arguments)


def befalls(pictures: int) -> None:
    """What the environment has in store for a rank: DIES and HANGS are a rank, how many pictures were seen,
    and, for the first, after how many of torchrun's restarts."""
    now = [os.environ.get(name, "0") for name in ("RANK", "TORCHELASTIC_RESTART_COUNT")]
    if os.environ.get("DIES", "").split() == [now[0], str(pictures), now[1]]:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("HANGS", "").split() == [now[0], str(pictures)]:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pause()


def words(data: Path, run: Path, **options: object) -> list[str]:
    """The command line of a run of that recipe."""
    said = {"data": data, "output": run, **options}
    return [
        "small",
        *(word for name, one in said.items() for word in (f"--{name.replace('_', '-')}", str(one))),
    ]


@contextmanager
def opened(
    folder: Path,
    data: Path,
    recipe: Recipe | None = None,
    clock: Callable[[], float] = time.time,
    looked_at: int = 2,
    **changed: Any,
) -> Iterator[Loop]:
    """A run that isn't running yet."""
    settings = replace(USUAL, data=str(data), output=folder, **changed)
    recipe = recipe or SmallRecipe(settings)
    source = source_of(settings, recipe, settings.batch // settings.accumulate, ALONE, CPU)
    views = shown(settings, recipe, looked_at, CPU)
    with Journal(folder, clock=clock) as notes, Checkpoints(folder / "checkpoints", settings.keep) as kept:
        yield Loop(settings, recipe, source, views, kept, notes, ALONE, CPU)


def curve(folder: Path) -> list[dict[str, Any]]:
    """The log's lines of losses, without what clocks say."""
    lines = journal.read_log(folder / journal.LOG)
    return [
        {name: one for name, one in line.items() if name in KEPT or name.partition("/")[0] in PHASES}
        for line in lines
        if "skipped" in line
    ]


if __name__ == "__main__":
    from tests.trainer import small_runs  # the module that the recipe will come from

    sys.exit(small_runs.main(sys.argv[1:]))
