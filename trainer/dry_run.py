"""What `--dry-run` says of a run: what it would do, and what it would take. Nothing is read of the data, and
nothing is written."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from models.describe import CALLS, aligned, describe
from models.layers import lay_out
from trainer.config import Settings, share_of
from trainer.estimate import PATIENCE, Clock, Memory, Pace, memory_of, now, pace_of
from trainer.recipe import Recipe, Stage
from trainer.turns import base_rate

WIDTH = 100  # columns
MIB, GIB = 2**20, 2**30


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
        size = sum(one.numel() * one.element_size() for one in network.parameters())
        rows.append((name, f"{count:,}", f"{size / MIB:.1f}"))
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
            "(scaled): a step with fewer samples, times what they lack; a real one would have taken too long "
            "to try here."
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
