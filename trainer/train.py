"""Training of the networks:

    python -m trainer.train imf --config tiny --data data/rendered
    python -m trainer.train imf --config light --data synthetic
    torchrun --nproc-per-node 8 -m trainer.train imf --data data/vfhq --output runs/imf --resume auto
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m trainer.train
    python -m trainer.train dae_gan --config rafd --data data/rafd --initial runs/dae_gan/checkpoints/best.pt

A run is a folder: settings.json, log.jsonl, TensorBoard's events, samples/ and checkpoints/. SIGTERM and
Ctrl-C save and end it; `--resume auto` goes on, bit for bit on a CPU.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from models.command_line import INTERRUPTED, parse, reported, tell
from models.layers import lay_out
from models.vgg import load_vgg
from trainer import checkpoint, recipes
from trainer.checkpoint import Checkpoints
from trainer.config import Settings, share_of
from trainer.data.workers import Rank
from trainer.distributed import PATIENCE, device_of, joined, lost_a_rank
from trainer.dry_run import told
from trainer.feed import shown, source_of
from trainer.journal import Journal
from trainer.loop import Loop, Stopped
from trainer.recipe import Recipe

NAME = "python -m trainer.train"
CONFIG = "--config"
USUAL = "paper"
LEFT_ALONE = 75  # where another rank was told to stop: whoever started this one, should start it again


def train(settings: Settings, name: str, patience: timedelta = PATIENCE) -> None:
    """A run, to its end. patience: of a rank for the others.

    Raises ValueError and OSError, one line, for what can't be done, Stopped after a signal.
    """
    folder = settings.output
    assert folder is not None
    device = device_of(settings.device)
    with joined(device, patience) as here:
        share = share_of(settings, here.world)
        recipe = build(settings, name)
        recipe.begin()
        recipe.to(device)
        if device.type == "cuda":
            lay_out(recipe)
        source = source_of(settings, recipe, share, here, device)
        views = shown(settings, recipe, recipe.looked_at, device)
        begun = _found(settings, folder)
        with (
            Journal(folder, enabled=here.rank == 0) as journal,
            Checkpoints(folder / "checkpoints", settings.keep) as checkpoints,
        ):
            loop = Loop(settings, recipe, source, views, checkpoints, journal, here, device)
            if begun is not None:
                loop.load(begun) if settings.initial is None else loop.begin_with(begun)
            journal.resume(loop.progress.step)
            journal.describe({"recipe": name, "world": here.world, **plain(settings)})
            if here.rank == 0 and recipe.matches_instead:
                tell("no VGG-19 here: the discriminator's features are matched; --vgg FILE names it", NAME)
            if settings.compile:
                recipe.compile_networks()
            done = loop.run()
    if here.rank == 0:
        print(f"{folder}: {done.pictures} pictures in {done.step} steps, {done.skipped} of them skipped.")


def build(settings: Settings, name: str) -> Recipe:
    """The recipe, on the CPU; the same for the same seed. Raises ValueError for what it can't be."""
    entry = recipes.get(name)
    if unknown := [one for one in settings.ablate if one not in entry.ablations]:
        raise ValueError(f"ablate {unknown[0]!r} is unknown; known for {name}: {', '.join(entry.ablations)}")
    network = entry.network or name
    if settings.model.partition(":")[0] != network:
        raise ValueError(f"model {settings.model}: recipe {name} trains {network}:SIZE")
    torch.manual_seed(settings.seed)
    return entry.build(settings, load_vgg(settings.vgg))


def _found(settings: Settings, folder: Path) -> Any:
    """The checkpoint to go on from, or to begin with. Raises ValueError where there is one that nobody asked
    for."""
    if settings.resume == "never":
        if (there := checkpoint.latest(folder / "checkpoints")) is not None:
            raise ValueError(f"{there} is there: go on with --resume auto, or name another --output")
        return None if settings.initial is None else checkpoint.read(settings.initial)
    if settings.resume != "auto":
        return checkpoint.read(Path(settings.resume))
    found = checkpoint.latest_whole(folder / "checkpoints")
    if found is None:
        return None
    for remark in found.passed:
        tell(f"warning: passed over: {remark}", NAME)
    return found.state


def dry_run(settings: Settings, name: str, arguments: Sequence[str]) -> None:
    """Print what would be done, and what it takes; of several ranks, the first says it."""
    here, device = Rank.here(), device_of(settings.device)
    if here.rank == 0:
        usual = defaults_of(name, arguments)[0]
        print(told(settings, usual, build(settings, name), here.world, device))


def plain(settings: Settings) -> dict[str, Any]:
    """The settings, as JSON takes them."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for what can't be done, 130 after Ctrl-C, 0 after SIGTERM, 75
    after that of another rank, 1 where another rank is gone."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(f"usage: {NAME} RECIPE [--config CONFIG] [OPTIONS]; RECIPE --help lists its options\n")
        for one in recipes.names():
            print(f"  {one:<13} --config {' | '.join(recipes.get(one).configs)}")
        return 0
    try:
        return reported(lambda: _asked_for(name, rest), NAME, "stopped before the first step")
    except Stopped as end:
        tell("stopped, and saved: --resume auto goes on from here", NAME)
        return {signal.SIGINT: INTERRUPTED, 0: LEFT_ALONE}.get(end.signal, 0)
    except RuntimeError as error:
        if not lost_a_rank(error):
            raise
        tell("another rank is gone: --resume auto goes on from the last checkpoint", NAME)
        return 1


def _asked_for(name: str, arguments: Sequence[str]) -> None:
    settings = settings_of(name, arguments)
    if settings.dry_run:
        dry_run(settings, name, arguments)
    else:
        train(settings, name)


def settings_of(name: str, arguments: Sequence[str]) -> Settings:
    """What a command line asks for: the configuration's defaults, and whatever else is said. Exits with one
    line and code 2 for options that there aren't; raises ValueError for an unknown recipe or configuration.
    """
    entry = recipes.get(name)
    usual, rest = defaults_of(name, arguments)
    switches = "\n".join(f"  {one}: {ablation.expected}" for one, ablation in entry.ablations.items())
    about = f"{entry.settings.__doc__}\n\n{CONFIG} {' | '.join(entry.configs)}\n\nablate:\n{switches}"
    return parse(entry.settings, rest, f"{NAME} {name}", about, default=usual)


def defaults_of(name: str, arguments: Sequence[str]) -> tuple[Settings, list[str]]:
    """The configuration that a command line names, and what else it says. Raises ValueError for an unknown
    recipe or configuration."""
    entry = recipes.get(name)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(CONFIG, default=USUAL)
    chosen, rest = parser.parse_known_args(list(arguments))
    if chosen.config not in entry.configs:
        known = ", ".join(entry.configs)
        raise ValueError(f"config {chosen.config!r} is unknown; known for {name}: {known}")
    usual = entry.configs[chosen.config]
    return replace(usual, output=Path("runs", f"{name}-{chosen.config}")), rest


if __name__ == "__main__":
    sys.exit(main())
