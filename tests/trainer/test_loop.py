"""The loop: going on bit for bit, numbers that are not finite, stages, phases, what is kept."""

import math
import signal
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainer import small_runs as runs
from tests.trainer import test_ranks
from tests.trainer.data.pretender import folder
from tests.trainer.small_runs import SmallRecipe, curve, opened
from tests.trainer.test_checkpoint import assert_same
from trainer import checkpoint, journal, loop
from trainer.config import Learning, rate
from trainer.data.views import Views
from trainer.loop import MOST_SKIPPED, Diverged, Loop, Stopped, stage_at
from trainer.recipe import Made, Phase, Recipe, Stage, Terms


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data"), identities=30)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_open_board", runs.no_board)


def last(run: Path) -> dict[str, Any]:
    found = checkpoint.latest_whole(run / "checkpoints")
    assert found is not None
    assert found.passed == ()
    return found.state


def at_pictures(monkeypatch: pytest.MonkeyPatch, when: int, what: Callable[[], object]) -> None:
    """Something happens in the step that begins after so many pictures."""
    monkeypatch.setattr(SmallRecipe, "told", lambda pictures: what() if pictures == when else None)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# Going on.


def go_on(run: Path, data: Path, recipe: Recipe | None = None, **changed: Any) -> None:
    """From the last checkpoint, as the command does."""
    with opened(run, data, recipe, **changed) as resumed:
        torch.manual_seed(99)  # another process has other random numbers
        resumed.load(last(run))
        resumed.journal.resume(resumed.progress.step)
        resumed.run()


@pytest.fixture(scope="module")
def at_once(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)  # as in every test, or sums are taken in another order
    run = tmp_path_factory.mktemp("at once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "_open_board", runs.no_board)
        with opened(run, data, log_every=12) as whole:
            assert whole.run().step == 16
    return run


@pytest.mark.parametrize(
    ("step", "workers"), [(1, 0), (4, 0), (7, 0), (8, 0), (11, 1), (15, 0)], ids=lambda value: str(value)
)
def test_a_run_goes_on_bit_for_bit(
    step: int, workers: int, at_once: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of a stage, between two, between two lines of the log and at a checkpoint."""
    at_pictures(monkeypatch, 4 * (step - 1), lambda: signal.raise_signal(signal.SIGTERM))
    changed = {"log_every": 12, "samples": replace(runs.USUAL.samples, workers=workers)}
    with opened(tmp_path, data, **changed) as first, pytest.raises(Stopped) as caught:
        first.run()
    assert caught.value.signal == signal.SIGTERM
    assert last(tmp_path)["step"] == step
    monkeypatch.setattr(SmallRecipe, "told", int)
    go_on(tmp_path, data, **changed)
    assert curve(tmp_path) == curve(at_once)
    found, expected = last(tmp_path), last(at_once)
    assert found["step"] == 16
    assert_same(found.pop("progress")["skipped"], expected.pop("progress")["skipped"])
    assert_same(found, expected)


@pytest.mark.parametrize("name", ["imf", "dae_gan", "landmark_gan"])
def test_every_recipe_goes_on_bit_for_bit(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five steps of two samples, at once, and as two and three."""

    def narrow() -> Recipe:
        torch.manual_seed(0)
        return test_ranks.CASES[name]()

    changed: dict[str, Any] = {"pictures": 10, "batch": 2, "log_every": 2, "model": f"{name}:tiny"}
    with opened(tmp_path / "whole", data, narrow(), **changed) as whole:
        whole.run()
    stopping: Any = narrow()
    new_step = stopping.new_step

    def stop(pictures: int) -> None:
        new_step(pictures)
        if pictures == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(stopping, "new_step", stop)
    with opened(tmp_path / "parts", data, stopping, **changed) as first, pytest.raises(Stopped):
        first.run()
    go_on(tmp_path / "parts", data, narrow(), **changed)
    assert len(curve(tmp_path / "whole")) == 5
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")
    found, expected = last(tmp_path / "parts"), last(tmp_path / "whole")
    for state in (found, expected):
        del state["progress"]
    assert_same(found, expected)


def test_a_run_that_is_done_has_nothing_left_to_do(at_once: Path, data: Path, tmp_path: Path) -> None:
    with opened(tmp_path, data) as done:
        done.load(last(at_once))
        assert done.run().step == 16
        assert checkpoint.latest(tmp_path / "checkpoints") is None


# Numbers that are not finite.


def spoiled(
    monkeypatch: pytest.MonkeyPatch, recipe: SmallRecipe, at: Container[int]
) -> list[dict[str, Tensor]]:
    """Have the losses of those steps be NaN. The weights at each step's begin, as they come."""
    seen: list[dict[str, Tensor]] = []

    def told(pictures: int) -> None:
        recipe.factor = math.nan if pictures // 4 in at else 1.0
        seen.append(snapshot(recipe))

    monkeypatch.setattr(SmallRecipe, "told", told)
    return seen


def test_a_step_that_is_not_finite_is_left_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, data) as run:
        assert isinstance(run.recipe, SmallRecipe)
        seen = spoiled(monkeypatch, run.recipe, range(10, 12))
        averaged = []
        update = run.ema.update
        monkeypatch.setattr(run.ema, "update", lambda *given: (averaged.append(len(seen)), update(*given)))
        done = run.run()
        moments = run.optimisers["generator"].state_dict()["state"][0]["step"]
    assert (done.step, done.skipped, done.in_a_row) == (16, 2, 0)
    assert_same(seen[11], seen[10])
    assert_same(seen[12], seen[10])
    assert not torch.equal(seen[13]["generator.picture.weight"], seen[12]["generator.picture.weight"])
    assert averaged == [number for number in range(1, 17) if number not in (11, 12)]
    assert moments == 14
    lines = curve(tmp_path)
    assert [line["skipped"] for line in lines] == [0] * 10 + [1] + [2] * 5
    assert [line["generator/pixel"] is None for line in lines] == [number in (10, 11) for number in range(16)]
    assert all(bool(tensor.isfinite().all()) for tensor in last(tmp_path)["ema"].values())


def test_pictures_that_are_not_finite_spoil_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both stages; the discriminator's turn doesn't come either."""
    seen_by, calls = loop.seen_by, []

    def broken(*given: Any) -> Views:
        views = seen_by(*given)
        calls.append(len(calls))
        if len(calls) in (3, 12):
            views.image[0, 0, 0, 0, 0] = math.nan
        return views

    monkeypatch.setattr(loop, "seen_by", broken)
    with opened(tmp_path, data) as run:
        done = run.run()
        assert [len(one.state_dict()["state"]) > 0 for one in run.optimisers.values()] == [True, True]
    assert done.skipped == 2
    assert all(
        bool(tensor.isfinite().all())
        for network in last(tmp_path)["networks"].values()
        for tensor in network.values()
    )


def test_too_many_in_a_row_end_the_run_with_a_way_back(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, data, pictures=200) as run:
        assert isinstance(run.recipe, SmallRecipe)
        # Nine, and some that are fine; then ten.
        spoiled(monkeypatch, run.recipe, {*range(3, 12), *range(20, 30)})
        with pytest.raises(Diverged) as caught:
            run.run()
        assert run.progress.step == 20 + MOST_SKIPPED
        assert run.progress.skipped == 9 + MOST_SKIPPED
    kept = checkpoint.latest(tmp_path / "checkpoints")
    assert kept is not None
    assert str(caught.value) == (
        f"10 steps in a row had gradients that are not finite, the last of them step 30: begin anew with "
        f"--initial {kept} and a lower learning rate"
    )


# Stages and phases.


def test_stages_change_at_the_right_picture() -> None:
    stages = tuple(Stage(name, share, (), {}) for name, share in (("a", 0.3), ("b", 0.2), ("c", 0.5)))
    names = [stage_at(stages, done / 100).name for done in range(101)]
    assert names == ["a"] * 30 + ["b"] * 20 + ["c"] * 51
    thirds = tuple(Stage(name, 1 / 3, (), {}) for name in "abc")
    assert [stage_at(thirds, done / 9).name for done in range(10)] == list("aaabbbcccc")


def test_the_embedders_alone_then_one_network_at_a_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = test_ranks.dae_gan()
    recipe.alone = 0.5
    moved: list[tuple[str, list[str]]] = []
    turn = loop.Turn.__call__

    def watched(self: loop.Turn, *given: Any) -> Any:
        before = {name: snapshot(network) for name, network in recipe.networks.items()}
        found = turn(self, *given)
        changed = [
            name
            for name, network in recipe.networks.items()
            if any(not torch.equal(tensor, before[name][key]) for key, tensor in network.state_dict().items())
        ]
        moved.append((self.phase.name, changed))
        return found

    monkeypatch.setattr(loop.Turn, "__call__", watched)
    with opened(tmp_path, data, recipe, pictures=8, batch=2, model="dae_gan:tiny") as run:
        run.run()
    together = [(name, [name]) for name in ("face", "pose", "generator", "discriminator")]
    assert moved == [("embedders", ["face", "pose"])] * 2 + together * 2


class Lazy(SmallRecipe):
    """One stage: the discriminator in every step, its R1 in every fourth, of which the gradient is 1."""

    def stages(self) -> tuple[Stage, ...]:
        main = Phase("discriminator", ("discriminator",), self.summed)
        lazy = Phase("r1", ("discriminator",), self.summed, every=4)
        return (Stage("all", 1.0, (main, lazy), {"discriminator": 0.5}),)

    def summed(self, views: Views, made: Made) -> Terms:
        return {"sum": torch.stack([one.sum() for one in self.discriminator.parameters()]).sum()}

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"discriminator": self.discriminator}


def test_lazy_phases_come_when_they_should(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients × k; rate and betas by k/(k + 1): StyleGAN2, appendix B. The stage's share and warm-up go
    into the rate besides."""
    turns: list[tuple[str, float, float]] = []
    turn = loop.Turn.__call__

    def watched(self: loop.Turn, *given: Any) -> Any:
        (optimiser,) = self.optimisers
        found = turn(self, *given)
        count = sum(one.numel() for one in self.parameters)
        turns.append((self.phase.name, optimiser.param_groups[0]["lr"], float(found[1]) / count**0.5))
        assert optimiser.param_groups[0]["betas"] == pytest.approx((0.5**0.8, 0.999**0.8))
        return found

    monkeypatch.setattr(loop.Turn, "__call__", watched)
    recipe = Lazy(runs.USUAL)
    learning = Learning(discriminator=1e-2, schedule="linear", warm_up=7)
    with opened(tmp_path, data, recipe, pictures=24, learning=learning) as run:
        run.run()
    names = [name for name, _, _ in turns]
    assert names == ["discriminator", "r1", *["discriminator"] * 4, "r1", "discriminator"]
    rates = [1e-2 * 0.5 * 0.8 * min(1, (n + 1) / 8) * (1 - n / 24) for n in (0, 0, 4, 8, 12, 16, 16, 20)]
    assert [rate for _, rate, _ in turns] == pytest.approx(rates)
    assert [length for _, _, length in turns] == pytest.approx([4 if name == "r1" else 1 for name in names])


def test_schedules_are_the_ones_worked_out_by_hand() -> None:
    done = (0, 25, 50, 75, 100)
    assert [rate("constant", 0, n, 100) for n in done] == [1, 1, 1, 1, 1]
    assert [rate("linear", 0, n, 100) for n in done] == [1, 0.75, 0.5, 0.25, 0]
    half = math.sqrt(0.5) / 2
    assert [rate("cosine", 0, n, 100) for n in done] == pytest.approx([1, 0.5 + half, 0.5, 0.5 - half, 0])
    assert [rate("constant", 3, n, 100) for n in range(5)] == [0.25, 0.5, 0.75, 1, 1]


# What is kept.


def test_the_last_checkpoints_and_the_best_are_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.25, 0.75, 0.375])
    monkeypatch.setattr(Loop, "held_out", lambda self: next(scores))
    with opened(tmp_path, data, keep=2) as run:
        run.run()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["best.pt", "step-00000012.pt", "step-00000016.pt"]
    assert checkpoint.read(tmp_path / "checkpoints" / "best.pt")["step"] == 8
    lines = journal.read_log(tmp_path / journal.LOG)
    held = {line["step"]: line["held out/l1"] for line in lines if "held out/l1" in line}
    assert held == {4: 0.5, 8: 0.25, 12: 0.75, 16: 0.375}
    assert last(tmp_path)["progress"]["best"] == 0.25
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["samples-00000016.png"]


def test_a_clock_that_goes_back_changes_nothing(at_once: Path, data: Path, tmp_path: Path) -> None:
    now = iter(range(10_000, 0, -100))
    with opened(tmp_path, data, clock=lambda: next(now), log_every=12) as run:
        run.run()
    lines = journal.read_log(tmp_path / journal.LOG)
    assert [line["time"] for line in lines] == sorted((line["time"] for line in lines), reverse=True)
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    assert all(line["pictures/s"] > 0 for line in lines if "pictures/s" in line)
    assert curve(tmp_path) == curve(at_once)
