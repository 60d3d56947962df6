"""What a run takes: memory that is counted without computing anything, and time that is tried.

Memory is what tensors hold; what layers need for a moment, and torch for itself, comes on top.
"""

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Not among torch's public names; its documentation describes it. Tensors with all but their numbers: autocast
# and the choice of kernels are those of the device that they say they are on, which "meta" tensors lack.
from torch._subclasses.fake_tensor import FakeTensorMode

from models.contract import LANDMARKS
from trainer.config import Precision, Settings
from trainer.recipe import Made, Phase, Recipe, Seen, Stage, phases_of
from trainer.stopwatch import Stopwatch
from trainer.turns import Turn, optimisers_of

REAL_STEPS = 2
PATIENCE = 20.0  # seconds that a stage's real steps may take; else they are small ones
MOMENTS = 2  # Adam's, of each parameter


@dataclass(frozen=True)
class Memory:
    """Bytes on each rank's device."""

    weights: int  # parameters and buffers of everything that the recipe holds
    gradients: int  # of the phase that trains most
    moments: int
    average: int  # of the generator
    activations: Mapping[str, int]  # by phase: what its loss keeps for the way back, of one part of the batch
    batch: int  # of one part

    @property
    def total(self) -> int:
        kept = self.weights + self.gradients + self.moments + self.average + self.batch
        return kept + max(self.activations.values())


@dataclass(frozen=True)
class Pace:
    """How fast a stage is, as far as the networks go."""

    seconds: float  # of a step, all its parts
    scaled: bool  # was that reckoned from steps of fewer samples?


Clock = Callable[[torch.device], float]


def now(device: torch.device) -> float:
    """Seconds, when the device is done with what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def memory_of(recipe: Recipe, settings: Settings, share: int, device: torch.device) -> Memory:
    """share: samples of one part of a rank's batch. Nothing is computed."""
    found = activations(recipe, settings.precision, share, device)
    trained = [
        sum(_bytes(recipe.networks[name].parameters()) for name in phase.trains)
        for stage in recipe.stages()
        for phase in stage.phases
    ]
    names = {name for phase in phases_of(recipe) for name in phase.trains}
    learning = sum(_bytes(recipe.networks[name].parameters()) for name in names)
    side, frames = recipe.generator.spec.source.size, recipe.frames
    return Memory(
        weights=_bytes((*recipe.parameters(), *recipe.buffers())),
        gradients=max(trained),
        moments=MOMENTS * learning,
        average=_bytes((*recipe.generator.parameters(), *recipe.generator.buffers())),
        activations=found,
        batch=4 * share * frames * (3 * side**2 + 3 * LANDMARKS),
    )


def activations(recipe: Recipe, precision: Precision, share: int, device: torch.device) -> dict[str, int]:
    """Bytes that each phase's loss keeps for its backward pass, by phase. Its tensors have shapes only:
    nothing is computed, and the recipe stays as it is."""
    found: dict[str, int] = {}
    hollow = copy.deepcopy(recipe)
    with FakeTensorMode() as shapes_only:
        _hollow_out(hollow, shapes_only, device)
        seen = hollow.example(share, device)
        here = [one for one in seen if one is not None]
        own = {_place(tensor) for tensor in (*hollow.parameters(), *hollow.buffers(), *here)}
        for stage in hollow.stages():
            made: Made = {}
            for phase in stage.phases:
                found[phase.name] = kept_by(phase, hollow, seen, made, precision, own)
    return found


def kept_by(phase: Phase, recipe: Recipe, seen: Seen, made: Made, precision: Precision, own: set[int]) -> int:
    """Bytes of the storages that the phase's loss keeps for its backward pass. own: those that are there
    anyway, as `_place` has them."""
    for name, network in recipe.networks.items():
        network.requires_grad_(name in phase.trains)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if _place(tensor) not in own:
            kept[_place(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast(seen.device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        terms = phase.loss(seen, made)
    del terms  # until here it held the storages, whose places others would have taken
    return sum(kept.values())


def pace_of(
    stage: Stage,
    recipe: Recipe,
    settings: Settings,
    share: int,
    device: torch.device,
    patience: float = PATIENCE,
    clock: Clock = now,
) -> Pace:
    """Of a stage's steps, with random pictures: of as few samples as will do, then of more, while that takes
    no time; then two real ones, unless those would take longer than `patience` seconds."""
    optimisers = optimisers_of(recipe, settings.learning, device.type == "cuda")
    turns = [Turn(phase, recipe, optimisers, settings.learning, settings.precision) for phase in stage.phases]
    samples = recipe.least
    one = recipe.example(samples, device)
    recipe.train()

    def step(parts: Sequence[Seen]) -> float:
        made: list[Made] = [{} for _ in parts]
        begin = clock(device)
        for turn in turns:
            turn(parts, made, Stopwatch(device))
        return clock(device) - begin

    small = step([one])
    if small < patience / 4:  # the first one is slower, and where a step is long, not by much
        small = step([one])
    # A recipe may draw no more pictures of a larger batch, and take little longer for it.
    while samples < share and 2 * small <= patience / 4:
        samples = min(2 * samples, share)
        small = step([recipe.example(samples, device)])
    times = share * settings.accumulate / samples
    if REAL_STEPS * times * small > patience:
        return Pace(times * small, scaled=True)
    parts = [recipe.example(share, device) for _ in range(settings.accumulate)]
    step(parts)  # other shapes, other kernels: these are warmed up, too
    return Pace(sum(step(parts) for _ in range(REAL_STEPS)) / REAL_STEPS, scaled=False)


def _hollow_out(recipe: Recipe, shapes_only: FakeTensorMode, device: torch.device) -> None:
    """Leave its tensors their shapes only, as if they were on the device."""
    for module in recipe.modules():
        for name, parameter in module.named_parameters(recurse=False):
            hollow = shapes_only.from_tensor(parameter).detach().to(device)
            setattr(module, name, nn.Parameter(hollow, parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, shapes_only.from_tensor(buffer).to(device))


def _place(tensor: Tensor) -> int:
    """The same for views of one storage."""
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
