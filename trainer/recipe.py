"""What a training loop has to know of a system: its networks, what each of them minimises, and when.

B clips, K frames of each, S the pictures' side
"""

import abc
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from models.contract import LANDMARKS, Reenactor
from models.vgg import Vgg19
from trainer.data.samples import Sample
from trainer.data.views import Views
from trainer.data.walks import Walked
from trainer.data.workers import Rank

Seen = Views | Walked  # what a step learns from
Terms = dict[str, Tensor]
"""The parts of a loss by their names, weighted, as they are added up."""
Made = dict[str, Tensor]
"""What the phases of one step leave to each other, by name, without gradients."""


@dataclass(frozen=True)
class Phase:
    """One turn of one optimiser. A step is the phases of its stage, one after the other."""

    name: str
    trains: tuple[str, ...]
    """Of `Recipe.networks`: the others are frozen meanwhile."""
    loss: Callable[[Any, Made], Terms]
    """Of what the recipe's source gives: `Views`, as a rule."""
    every: int = 1
    """Comes in every so many steps only, and counts so much more then (lazy regularisation)."""
    eager: bool = False
    """Is never compiled: what differentiates twice can't be."""


@dataclass(frozen=True)
class Stage:
    """A part of the run."""

    name: str
    share: float
    """Of the run's pictures; those of all stages sum to 1."""
    phases: tuple[Phase, ...]
    rates: Mapping[str, float]
    """× the learning rate, for each network that it trains."""


class Ablation(NamedTuple):
    """A switch that a paper reports on."""

    changes: Mapping[str, Any]
    """Of the settings' losses, by their fields."""
    expected: str
    """What the paper saw, or would be expected where it gives no figures."""
    metric: str = ""
    """Of `trainer.ablation.METRICS`: where the paper saw it; nothing where it says nothing."""
    direction: int = 0
    """Of that metric, without the part: 1 it rises, −1 it falls, 0 it stays."""


def without(losses: Any, off: Iterable[str], ablations: Mapping[str, Ablation]) -> Any:
    """A recipe's losses with the parts of those names left out."""
    for name in off:
        changes = ablations[name].changes
        assert changes.keys() <= vars(losses).keys()
        losses = replace(losses, **changes)
    return losses


class Source(Protocol):
    """Endless batches, from where it was left, until the iteration is closed."""

    def __iter__(self) -> Generator[Sample | Walked, None, None]: ...
    def state_dict(self) -> dict[str, int]: ...
    def load_state_dict(self, state: dict[str, int]) -> None: ...


class Recipe(nn.Module, abc.ABC):
    """A system in training.

    `networks` names the parts that have an optimiser each; `generator` is what is averaged, evaluated and
    exported. Buffers of its own that are persistent, beside those of its networks, are what it remembers of
    its steps.
    """

    name: ClassVar[str]
    frames: int
    """K of a sample."""
    least: ClassVar[int] = 1
    """Samples that a part of a step needs."""
    looked_at: ClassVar[int] = 16
    """People that a run is looked at with."""
    measure: ClassVar[str] = "l1"
    """What `distance` is."""
    needs_points: ClassVar[bool] = False
    generator: Reenactor[Any, Any]

    @property
    @abc.abstractmethod
    def networks(self) -> Mapping[str, nn.Module]:
        """By the names that optimisers have. No parameter is in two of them."""

    @abc.abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """In their order."""

    @abc.abstractmethod
    def drawn(self, views: Views) -> Tensor:
        """B×3×S×S: each clip's last frame, drawn by its first (and whatever lies between)."""

    def begin(self) -> None:
        """Load what the run builds on, before its first step or after a pause. Raises ValueError, with what
        to do, for what isn't there or isn't right."""

    def source(self, count: int, here: Rank) -> Source | None:
        """Of batches of `count` for this rank, where it learns from what it makes itself; None: from data."""
        return None

    def example(self, count: int, device: torch.device) -> Seen:
        """As many samples as that, of noise: for what a step takes."""
        size, shape = self.generator.spec.source.size, (count, self.frames)
        return Views(
            image=torch.rand(*shape, 3, size, size, device=device),
            points=torch.rand(*shape, LANDMARKS, 3, device=device),
            valid=torch.ones(shape, dtype=torch.bool, device=device),
            to_frame=torch.eye(2, 3, device=device).expand(*shape, 2, 3).contiguous(),
        )

    def columns(self, views: Views) -> Mapping[str, Tensor]:
        """Of the page of samples: B×3×S×S each, by name. What is drawn is compared with a target."""
        return {"source": views.image[:, 0], "target": views.image[:, -1], "drawn": self.drawn(views)}

    def distance(self, views: Views) -> float:
        """How far off it is on people that it doesn't learn from: of the checkpoints, the one with the
        least is the best. L1: levels in [0, 1]."""
        return float((self.drawn(views) - views.image[:, -1]).abs().mean())

    def looks(self, views: Views) -> Mapping[str, Tensor]:
        """Pictures B×3×S×S of what goes on inside, by name: flows, attention."""
        return {}

    @property
    def matches_instead(self) -> bool:
        """Are the discriminator's features matched where the paper takes VGG's?"""
        return False

    def compile_networks(self) -> None:
        """Have torch compile whatever is called of the networks."""
        for network in self.networks.values():
            called = [network] if _callable(network) else network.children()
            for module in called:
                module.compile()

    def new_step(self, pictures: int) -> None:
        """Told before each step, with how many pictures all ranks have had: for whatever the recipe decides
        by lot, the same on every rank."""


class AdversarialRecipe(Recipe):
    """A generator and a discriminator, in turns. Where there is no VGG, or a recipe takes none, the
    discriminator's features stand for VGG's; where nothing asks for it, it doesn't learn."""

    discriminator: nn.Module
    vgg: Vgg19 | None

    @property
    @abc.abstractmethod
    def adversarial(self) -> float:
        """The weight of what the discriminator says."""

    @property
    @abc.abstractmethod
    def perceptual(self) -> float:
        """The weight of VGG's features."""

    @abc.abstractmethod
    def generator_loss(self, views: Views, made: Made) -> Terms:
        """Leaves what it draws as `made["drawn"]`."""

    @abc.abstractmethod
    def discriminator_loss(self, views: Views, made: Made) -> Terms:
        """Of what the generator's turn has left."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def stages(self) -> tuple[Stage, ...]:
        phases = [Phase("generator", ("generator",), self.generator_loss)]
        if self.judged:
            phases.append(Phase("discriminator", ("discriminator",), self.discriminator_loss))
        return (Stage("all", 1.0, tuple(phases), {phase.name: 1.0 for phase in phases}),)

    @property
    def matches_instead(self) -> bool:
        return self.perceptual > 0 and self.vgg is None

    @property
    def judged(self) -> bool:
        """Does it take a discriminator?"""
        return self.adversarial > 0 or self.matches_instead


def phases_of(recipe: Recipe) -> Iterator[Phase]:
    """Of all stages."""
    for stage in recipe.stages():
        yield from stage.phases


def _callable(network: nn.Module) -> bool:
    """Generators have the contract's calls, and no forward of their own."""
    return not isinstance(network, Reenactor)
