"""The training loop: stages, steps, phases; what is logged, drawn and kept meanwhile.

step:  for each phase of the stage, in turn:   loss, gradients over all ranks, optimiser
       then the generator's average
"""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from models.contract import Reenactor
from trainer import distributed, memory
from trainer.checkpoint import FORMAT, Checkpoints, State, latest
from trainer.config import Settings, rate, share_of
from trainer.data.samples import Sample
from trainer.data.views import Views
from trainer.data.walks import Walked
from trainer.data.workers import Rank
from trainer.ema import Ema
from trainer.feed import seen_by
from trainer.journal import Journal
from trainer.pages import page_of
from trainer.recipe import Made, Recipe, Seen, Source, Stage
from trainer.stopwatch import Stopwatch
from trainer.turns import Turn, base_rate, lazy_share, optimisers_of

MOST_SKIPPED = 10  # steps in a row whose gradients are not finite

Network = Reenactor[Any, Any]
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Diverged(ValueError):
    """Training came to nothing."""


class Stopped(Exception):
    """Somebody asked for an end, and everything is saved. signal: which one it was; 0 where another rank got
    it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    pictures: int = 0
    skipped: int = 0  # steps, over the whole run
    in_a_row: int = 0
    best: float = float("inf")  # the least distance on the people that the run is looked at with


@dataclass
class Since:
    """What was summed up since the last line of the log."""

    pictures: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, Tensor]:
        return {name: self.sums[name] / self.counts[name] for name in self.sums}


class Loop:
    """A run: everything that a checkpoint holds.

    recipe: on the device. source: batches of this rank's share. looked_at: people that training doesn't see.
    """

    def __init__(
        self,
        settings: Settings,
        recipe: Recipe,
        source: Source,
        looked_at: Views,
        checkpoints: Checkpoints,
        journal: Journal,
        here: Rank,
        device: torch.device,
    ) -> None:
        self.settings, self.recipe, self.source, self.looked_at = settings, recipe, source, looked_at
        self.checkpoints, self.journal, self.here, self.device = checkpoints, journal, here, device
        self.share = share_of(settings, here.world)
        self.optimisers = optimisers_of(recipe, settings.learning, device.type == "cuda")
        self.ema = Ema(recipe.generator, settings.learning.ema)
        self.progress, self.since = Progress(), Since()
        self.stage: Stage | None = None
        self.turns: list[Turn] = []
        self.watch = Stopwatch(device)
        self.asked_to_stop = 0  # the signal's number

    def run(self) -> Progress:
        """To the end. Raises Diverged after too many steps in a row without finite gradients, Stopped when a
        signal said so (all is saved then), and ValueError where the memory is too small, with what fits."""
        progress, settings = self.progress, self.settings
        before = progress.pictures
        if before >= settings.pictures:
            return progress
        with self._listening(), closing(iter(self.source)) as batches:
            while progress.pictures < settings.pictures:
                with self.watch("data"):
                    parts = self._parts(next(batches))
                before = progress.pictures
                if self._runs_out(parts):
                    raise ValueError(self._what_fits(parts))
                self.since.pictures += progress.pictures - before
                if _due(before, progress.pictures, settings.log_every):
                    self._log()
                if _due(before, progress.pictures, settings.sample_every):
                    self._show()
                if distributed.any_rank(bool(self.asked_to_stop), self.device):
                    self._save()
                    self.checkpoints.wait()
                    raise Stopped(self.asked_to_stop)
                if _due(before, progress.pictures, settings.checkpoint_every):
                    self._save()
            if self.since.pictures:
                self._log()
            if not _due(before, progress.pictures, settings.checkpoint_every):
                self._save()
            self.checkpoints.wait()
        return progress

    def _runs_out(self, parts: Sequence[Seen]) -> bool:
        """Make a step, unless the memory is too small for it; what filled it is let go then."""
        try:
            self._step(parts)
        except RuntimeError as error:
            if not memory.ran_out(error):
                raise
            return True
        return False

    def _what_fits(self, parts: Sequence[Seen]) -> str:
        def rehearse(size: int) -> None:
            made: Made = {}
            for turn in self.turns:
                turn.rehearse(parts[0].parts(size)[0], made)

        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        fits = memory.largest_that_fits(self.share, rehearse, self.recipe.least)
        return memory.advice(self.settings.batch, self.here.world, fits)

    def _step(self, parts: Sequence[Seen]) -> None:
        progress, settings = self.progress, self.settings
        self._enter(stage_at(self.recipe.stages(), progress.pictures / settings.pictures))
        self._set_rates()
        self.recipe.train()
        self.recipe.new_step(progress.pictures)
        made: list[Made] = [{} for _ in parts]
        finite = True
        for turn in self.turns:
            if progress.step % turn.phase.every:
                continue
            terms, length = turn(parts, made, self.watch)
            for name, term in terms.items():
                self.since.add(f"{turn.phase.name}/{name}", term)
            self.since.add(f"{turn.phase.name}/gradient", length)
            finite = bool(torch.isfinite(length))
            if not finite:
                break  # what the phases leave to each other is no good either
        progress.step += 1
        progress.pictures += settings.batch
        if finite:
            progress.in_a_row = 0
            self.ema.update(self.recipe.generator, settings.batch)
            return
        progress.skipped += 1
        progress.in_a_row += 1
        if progress.in_a_row >= MOST_SKIPPED:
            self.checkpoints.wait()
            raise Diverged(
                f"{MOST_SKIPPED} steps in a row had gradients that are not finite, the last of them step "
                f"{progress.step}: begin anew with {self._way_back()}a lower learning rate"
            )

    def _enter(self, stage: Stage) -> None:
        if self.stage is not None and stage.name == self.stage.name:
            return
        self.stage = stage
        self.turns = []  # the wrappers of before let go of their parameters first
        self.turns = [
            Turn(phase, self.recipe, self.optimisers, self.settings.learning, self.settings.precision)
            for phase in stage.phases
        ]

    def _set_rates(self) -> None:
        assert self.stage is not None
        learning, done = self.settings.learning, self.progress.pictures
        factor = rate(learning.schedule, learning.warm_up, done, self.settings.pictures)
        for name, share in self.stage.rates.items():
            for group in self.optimisers[name].param_groups:
                group["lr"] = base_rate(learning, name) * share * factor * lazy_share(self.recipe, name)

    def _parts(self, batch: Sample | Walked) -> Sequence[Seen]:
        return seen_by(self.recipe, batch, self.device).parts(self.share)

    def _log(self) -> None:
        since, self.since = self.since, Since()
        values = distributed.mean_over_ranks(since.means())
        seconds = self.watch.read()
        values |= {f"seconds/{name}": spent for name, spent in seconds.items()}
        values["pictures/s"] = since.pictures / max(sum(seconds.values()), 1e-9)
        values["skipped"] = self.progress.skipped
        if self.device.type == "cuda":
            values["memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self.journal.scalars(self.progress.step, self.progress.pictures, values)

    def _show(self) -> None:
        if self.here.rank:
            return
        with self._averaged():
            page = page_of(self.recipe, self.looked_at)
        self.journal.picture(self.progress.step, "samples", page)

    def held_out(self) -> float:
        """How far off the averaged generator is on people that training does not see."""
        with self._averaged():
            return self.recipe.distance(self.looked_at)

    def _save(self) -> None:
        """A checkpoint, begun to be written."""
        random = distributed.from_all_ranks(torch.get_rng_state())
        sums = distributed.mean_over_ranks(self.since.sums)
        on_cuda = self.device.type == "cuda"
        random_cuda = distributed.from_all_ranks(torch.cuda.get_rng_state(self.device)) if on_cuda else []
        if self.here.rank:
            return
        progress = self.progress
        now = self.held_out()
        self.journal.scalars(progress.step, progress.pictures, {f"held out/{self.recipe.measure}": now})
        best, progress.best = now < progress.best, min(now, progress.best)
        state: State = {
            "format": FORMAT,
            "recipe": self.recipe.name,
            "model": self.settings.model,
            "step": progress.step,
            "pictures": progress.pictures,
            "ema": self.ema.module.state_dict(),
            "averaged": self.ema.pictures,
            "networks": {name: module.state_dict() for name, module in self.recipe.networks.items()},
            "memory": self._memory(),
            "optimisers": {name: one.state_dict() for name, one in self.optimisers.items()},
            "source": self.source.state_dict(),
            "random": random,
            "random_cuda": random_cuda,
            "since": {"pictures": self.since.pictures, "sums": sums, "counts": self.since.counts},
            "progress": {"skipped": progress.skipped, "in_a_row": progress.in_a_row, "best": progress.best},
        }
        self.checkpoints.save(state, best)

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of the same recipe. Raises ValueError where it is another's."""
        self.begin_with(state)
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.ema.load_state_dict({"module": state["ema"], "pictures": state["averaged"]})
        self.source.load_state_dict(state["source"])
        for name, tensor in self._memory().items():
            tensor.copy_(state["memory"][name])
        self.progress = Progress(state["step"], state["pictures"], **state["progress"])
        since = state["since"]
        sums = {name: torch.tensor(value, device=self.device) for name, value in since["sums"].items()}
        self.since = Since(since["pictures"], sums, dict(since["counts"]))
        if self.here.rank < len(state["random"]):  # there may be more ranks than there were
            torch.set_rng_state(state["random"][self.here.rank])
        if self.device.type == "cuda" and self.here.rank < len(state["random_cuda"]):
            torch.cuda.set_rng_state(state["random_cuda"][self.here.rank], self.device)

    def begin_with(self, state: Mapping[str, Any]) -> None:
        """The networks of a checkpoint, for a new run. Raises ValueError where they are others."""
        for key, ours in (("recipe", self.recipe.name), ("model", self.settings.model)):
            if state[key] != ours:
                raise ValueError(f"the checkpoint is of {key} {state[key]}, not of {ours}")
        for name, network in self.recipe.networks.items():
            try:
                network.load_state_dict(state["networks"][name])
            except (KeyError, RuntimeError) as error:
                first = str(error).splitlines()[-1].strip()
                raise ValueError(f"the checkpoint's {name} does not fit these settings: {first}") from None
        self.ema = Ema(self.recipe.generator, self.settings.learning.ema)

    def _memory(self) -> dict[str, Tensor]:
        """What the recipe remembers of its steps."""
        return {name: tensor for name, tensor in self.recipe.state_dict().items() if "." not in name}

    def _way_back(self) -> str:
        kept = latest(self.checkpoints.folder)
        return "" if kept is None else f"--initial {kept} and "

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The recipe with its averaged generator, for looking at it."""
        learnt = self.recipe.generator
        self.recipe.eval()
        self.recipe.generator = cast(Network, self.ema.module)
        try:
            with torch.no_grad():
                yield
        finally:
            self.recipe.generator = learnt
            self.recipe.train()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """A signal ends the run after the step that is being made."""

        def note(number: int, frame: object) -> None:
            self.asked_to_stop = number

        before = {number: signal.signal(number, note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def stage_at(stages: tuple[Stage, ...], done: float) -> Stage:
    """The stage in which a run is that is done to that share, 0 to 1."""
    end = 0.0
    for stage in stages:
        end += stage.share
        if done < end - 1e-9:
            return stage
    return stages[-1]


def _due(before: int, after: int, every: int) -> bool:
    """Was a multiple of `every` reached?"""
    return before // every != after // every
