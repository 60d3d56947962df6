"""What a run would do, and what it would take, as text: `--dry-run`. Nothing is read of the data, and nothing
is written.

Memory is what tensors hold; what layers need for a moment, and torch for itself, comes on top.
"""

import copy
import math
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Not among torch's public names; its documentation describes it. Tensors with all but their numbers: autocast
# and the choice of kernels are those of the device that they say they are on, which "meta" tensors lack.
from torch._subclasses.fake_tensor import FakeTensorMode

from models.contract import LANDMARKS
from models.describe import CALLS, aligned, describe
from models.layers import lay_out
from trainer.config import Precision, Settings, share_of
from trainer.data.views import Views
from trainer.recipe import Made, Phase, Recipe, Stage, phases_of
from trainer.stopwatch import Stopwatch
from trainer.turns import Turn, base_rate, optimisers_of

WIDTH = 100  # columns
REAL_STEPS = 2
PATIENCE = 20.0  # seconds that a stage's real steps may take; else they are small ones
MIB, GIB = 2**20, 2**30
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
    scaled: bool  # was that reckoned from steps of one sample?


Clock = Callable[[torch.device], float]


def now(device: torch.device) -> float:
    """Seconds, when the device is done with what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def told(
    settings: Settings,
    usual: Settings,
    recipe: Recipe,
    world: int,
    device: torch.device,
    patience: float = PATIENCE,
    clock: Clock = now,
) -> str:
    """The whole of it, in lines of at most 100 columns.

    usual: the configuration, from which changes are marked. recipe: as it was built, on the CPU; it is worn
    out by the real steps. Raises ValueError where the batch can't be dealt to the ranks.
    """
    share = share_of(settings, world)
    memory = memory_of(recipe, settings, share, device)
    recipe.to(device)
    if device.type == "cuda":
        lay_out(recipe)
    paces: dict[str, Pace | None] = {}
    for stage in recipe.stages():
        try:
            paces[stage.name] = pace_of(stage, recipe, settings, share, device, patience, clock)
        except torch.OutOfMemoryError:
            paces[stage.name] = None
    lines = [
        f"recipe {recipe.name}; * is changed from its configuration",
        *_settings(settings, usual),
        "",
        *_networks(recipe, settings),
        "",
        *_stages(recipe, settings),
        "",
        *_memory(memory, share, device),
        "",
        *_time(recipe.stages(), paces, settings, share, world, device),
    ]
    return "\n".join(part for line in lines for part in _wrapped(line))


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
        views = random_views(hollow, share, device)
        own = {_place(tensor) for tensor in (*hollow.parameters(), *hollow.buffers(), *views[:4])}
        for stage in hollow.stages():
            made: Made = {}
            for phase in stage.phases:
                found[phase.name] = kept_by(phase, hollow, views, made, precision, own)
    return found


def kept_by(
    phase: Phase, recipe: Recipe, views: Views, made: Made, precision: Precision, own: set[int]
) -> int:
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
        torch.autocast(views.image.device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        terms = phase.loss(views, made)
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
    """Of a stage's steps, with random pictures: one of one sample to warm up, then two real ones, or two
    more of one sample where real ones would take longer than `patience` seconds."""
    optimisers = optimisers_of(recipe, settings.learning, device.type == "cuda")
    turns = [Turn(phase, recipe, optimisers, settings.learning, settings.precision) for phase in stage.phases]
    one = random_views(recipe, 1, device)
    recipe.train()

    def step(parts: Sequence[Views]) -> float:
        made: list[Made] = [{} for _ in parts]
        begin = clock(device)
        for turn in turns:
            turn(parts, made, Stopwatch(device))
        return clock(device) - begin

    small = step([one])
    if small < patience / 4:  # the first one is slower, and where a step is long, not by much
        small = step([one])
    times = share * settings.accumulate
    if REAL_STEPS * times * small > patience:
        return Pace(times * small, scaled=True)
    parts = [random_views(recipe, share, device) for _ in range(settings.accumulate)]
    step(parts)  # other shapes, other kernels: these are warmed up, too
    return Pace(sum(step(parts) for _ in range(REAL_STEPS)) / REAL_STEPS, scaled=False)


def random_views(recipe: Recipe, share: int, device: torch.device) -> Views:
    """Of as many clips, with as many frames as the recipe takes: noise."""
    size, shape = recipe.generator.spec.source.size, (share, recipe.frames)
    return Views(
        image=torch.rand(*shape, 3, size, size, device=device),
        points=torch.rand(*shape, LANDMARKS, 3, device=device),
        valid=torch.ones(shape, dtype=torch.bool, device=device),
        to_frame=torch.eye(2, 3, device=device).expand(*shape, 2, 3).contiguous(),
    )


def _settings(settings: Settings, usual: Settings) -> list[str]:
    before = dict(_named(usual))
    rows = [
        ("*" if value != before[name] else " ", name, _written(value)) for name, value in _named(settings)
    ]
    return aligned(rows, 3)


def _networks(recipe: Recipe, settings: Settings) -> list[str]:
    """A row each, and what the generator's calls compute."""
    rows = [("network", "parameters", "MiB")]
    for name, network in recipe.networks.items():
        count = sum(one.numel() for one in network.parameters())
        rows.append((name, f"{count:,}", f"{_bytes(network.parameters()) / MIB:.1f}"))
    found = describe(settings.model)
    calls = ", ".join(f"{call} {found.macs(call) / 1e9:.3g}" for call in CALLS)
    return [*aligned(rows, 1), f"GMAC of one call of {settings.model}: {calls}"]


def _stages(recipe: Recipe, settings: Settings) -> list[str]:
    rows = [("stage", "phase", "trains", "learning rate", "every", "pictures", "steps")]
    for stage in recipe.stages():
        pictures = stage.share * settings.pictures
        for phase in stage.phases:
            rates = dict.fromkeys(
                f"{base_rate(settings.learning, name) * stage.rates[name]:.3g}" for name in phase.trains
            )
            rows.append(
                (
                    stage.name,
                    phase.name,
                    ", ".join(phase.trains),
                    ", ".join(rates),
                    str(phase.every),
                    f"{pictures:,.0f}",
                    f"{math.ceil(pictures / settings.batch):,}",
                )
            )
    return aligned(rows, 3)


def _memory(memory: Memory, share: int, device: torch.device) -> list[str]:
    phase = max(memory.activations, key=lambda name: memory.activations[name])
    rows = [
        ("memory of a rank", "MiB"),
        ("weights", f"{memory.weights / MIB:,.1f}"),
        ("gradients", f"{memory.gradients / MIB:,.1f}"),
        ("Adam's moments", f"{memory.moments / MIB:,.1f}"),
        ("averaged generator", f"{memory.average / MIB:,.1f}"),
        (f"pictures and landmarks of {share} samples", f"{memory.batch / MIB:,.1f}"),
        (f"kept for the backward pass of phase {phase}", f"{memory.activations[phase] / MIB:,.1f}"),
        ("all", f"{memory.total / MIB:,.1f}"),
    ]
    lines = [*aligned(rows, 1), "Temporary tensors of layers, and torch itself, come on top."]
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
        lines.append(f"The device has {there / GIB:.1f} GiB.")
    return lines


def _time(
    stages: Sequence[Stage],
    paces: Mapping[str, Pace | None],
    settings: Settings,
    share: int,
    world: int,
    device: torch.device,
) -> list[str]:
    rows = [("time on one " + device.type, "ms a step", "steps", "hours")]
    hours = 0.0
    for stage in stages:
        pace = paces[stage.name]
        if pace is None:
            return [f"A step does not fit the device's memory with {share} samples at once: --accumulate"]
        steps = math.ceil(stage.share * settings.pictures / settings.batch)
        hours += steps * pace.seconds / 3600
        rows.append(
            (
                stage.name + (" (scaled)" if pace.scaled else ""),
                f"{1000 * pace.seconds:,.0f}",
                f"{steps:,}",
                f"{steps * pace.seconds / 3600:,.2f}",
            )
        )
    rows.append(("all", "", f"{math.ceil(settings.pictures / settings.batch):,}", f"{hours:,.2f}"))
    lines = aligned(rows, 1)
    lines.append(
        f"Measured with noise for pictures, by the share of one rank of {world}, {share} samples at once: "
        "the networks alone. Reading or rendering data, what ranks tell each other, pages of samples and "
        "checkpoints are not counted."
    )
    if any(pace is not None and pace.scaled for pace in paces.values()):
        lines.append(
            "(scaled): a step with one sample, times the samples; a real one would have taken too long to "
            "try here."
        )
    if settings.compile:
        lines.append("Measured without compiling.")
    return lines


def _named(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field by the name of its option."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        name = prefix + field.name.replace("_", "-")
        if is_dataclass(value):
            yield from _named(value, f"{name}.")
        else:
            yield name, value


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(_written(one) for one in value) or "nothing"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _wrapped(line: str) -> list[str]:
    """Of at most so many columns; what follows is set in."""
    if len(line) <= WIDTH:
        return [line]
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", drop_whitespace=True)


def _hollow_out(recipe: Recipe, shapes_only: FakeTensorMode, device: torch.device) -> None:
    """Leave its tensors their shapes only, as if they were on the device."""
    for module in recipe.modules():
        for name, parameter in module.named_parameters(recurse=False):
            hollow = shapes_only.from_tensor(parameter).detach().to(device)
            setattr(module, name, nn.Parameter(hollow))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, shapes_only.from_tensor(buffer).to(device))


def _place(tensor: Tensor) -> int:
    """The same for views of one storage."""
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
