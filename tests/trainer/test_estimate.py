"""What a dry run says, against what networks and optimisers then hold."""

import multiprocessing
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from trainer import dry_run, estimate, recipes, train
from trainer.config import Settings
from trainer.data.views import Views
from trainer.dry_run import told
from trainer.estimate import activations, kept_by, memory_of, pace_of
from trainer.recipe import Recipe
from trainer.turns import optimisers_of

CPU = torch.device("cpu")
NAMES = recipes.names()


def tiny(name: str, **changes: Any) -> tuple[Settings, Recipe]:
    settings = replace(recipes.get(name).configs["tiny"], vgg=None, **changes)
    return settings, recipes.get(name).build(settings)


def really_kept(recipe: Recipe, share: int) -> dict[str, int]:
    """What phases keep where they are computed."""
    found: dict[str, int] = {}
    views = recipe.example(share, CPU)
    seen = [one for one in views if one is not None]
    tensors = (*recipe.parameters(), *recipe.buffers(), *seen)
    own = {tensor.untyped_storage()._cdata for tensor in tensors}
    for stage in recipe.stages():
        made: dict[str, torch.Tensor] = {}
        for phase in stage.phases:
            found[phase.name] = kept_by(phase, recipe, views, made, "float32", own)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_moments_are_counted_to_the_byte(name: str) -> None:
    settings, recipe = tiny(name)
    memory = memory_of(recipe, settings, 2, CPU)
    learning = sum(4 * one.numel() for network in recipe.networks.values() for one in network.parameters())
    everything = (*recipe.parameters(), *recipe.buffers())
    assert memory.weights == sum(one.numel() * one.element_size() for one in everything)
    optimisers = optimisers_of(recipe, settings.learning, on_cuda=False)
    for network in recipe.networks.values():
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
    moments = 0
    for optimiser in optimisers.values():
        optimiser.step()
        for state in optimiser.state.values():
            moments += sum(4 * one.numel() for key, one in state.items() if key != "step")
    assert memory.moments == moments
    assert 0 < memory.gradients <= learning
    assert memory.total > memory.weights + memory.moments + memory.average + memory.gradients


@pytest.mark.parametrize("name", NAMES)
def test_the_way_back_is_reckoned_as_it_is(name: str) -> None:
    settings, recipe = tiny(name)
    before = {key: tensor.clone() for key, tensor in recipe.state_dict().items()}
    reckoned = activations(recipe, settings.precision, 2, CPU)
    for key, tensor in recipe.state_dict().items():
        assert torch.equal(tensor, before[key])
    assert reckoned == really_kept(recipe, 2)


def test_a_layer_keeps_what_can_be_counted_by_hand() -> None:
    class Squares(nn.Module):
        """Keeps the batch's squares, to multiply them, and nothing else that is not the network's or the
        batch's own."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            grown = x * self.weight  # keeps x and the weight, which are there anyway
            return (grown * grown).sum()  # keeps `grown`, once

    _, recipe = tiny("imf")
    network = Squares()
    stage = recipe.stages()[0]
    phase = replace(stage.phases[0], loss=lambda views, made: {"all": network(views.image)})
    views = cast(Views, recipe.example(3, CPU))
    own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *views[:4])}
    assert kept_by(phase, recipe, views, {}, "float32", own) == 4 * views.image.numel()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "latent"])
def test_the_way_back_grows_linearly_with_the_share(name: str) -> None:
    """From where StyleGAN2's discriminator has whole groups on; latent compares each code with each other."""
    settings, recipe = tiny(name)
    four, eight, twice = (activations(recipe, settings.precision, share, CPU) for share in (4, 8, 16))
    for phase in four:
        assert twice[phase] - eight[phase] == 2 * (eight[phase] - four[phase]) > 0


def test_codes_that_are_compared_with_each_other_take_more_than_linearly() -> None:
    settings, recipe = tiny("latent", drawn=16)
    found = [activations(recipe, settings.precision, share, CPU)["halves"] for share in (4, 8, 16)]
    four, eight, twice = found
    assert twice - eight > 2 * (eight - four) > 0


def test_half_precision_keeps_less() -> None:
    _, recipe = tiny("dae_gan")
    full, half = (activations(recipe, precision, 2, CPU) for precision in ("float32", "bf16"))
    assert half["face"] < 0.9 * full["face"]


def test_everything_is_said_in_lines_that_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    far = "/".join(["folder"] * 30)
    arguments = ["landmark_gan", "--config", "tiny", "--dry-run", "--batch", "2", "--data", far]
    assert train.main([*arguments, "--learning.clip", "0.5"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= dry_run.WIDTH
    assert list(tmp_path.iterdir()) == []
    named = {line[3:].split()[0]: line for line in said.splitlines() if line[:3] in ("*  ", "   ")}

    def check(settings: Any, prefix: str) -> None:
        for field in fields(settings):
            name = prefix + field.name.replace("_", "-")
            if is_dataclass(getattr(settings, field.name)):
                check(getattr(settings, field.name), f"{name}.")
            else:
                changed = name in ("batch", "data", "dry-run", "learning.clip")
                assert named[name].startswith("*") is changed, name

    usual = recipes.get("landmark_gan").configs["tiny"]
    check(usual, "")
    assert said.replace("\n    ", "").count(far) == 1
    assert re.search(r"^batch +2$|batch +2$", named["batch"])
    steps = f"{usual.pictures // 2:,}"
    for word in ("generator", "discriminator", "GMAC", "hours", "not counted", steps):
        assert word in said, word


def test_steps_and_hours_follow_from_the_clock() -> None:
    """Each step takes three seconds of this clock: 25 of them are 0.02 hours."""
    settings, recipe = tiny("landmark_gan", pictures=50, batch=2)
    said = told(settings, settings, recipe, 1, CPU, clock=clock_of(3.0))
    assert re.search(r"^all +3,000 +25 +0\.02$", said, re.MULTILINE)
    assert "scaled" not in said


def test_long_steps_are_reckoned_from_short_ones() -> None:
    settings, recipe = tiny("landmark_gan", pictures=50, batch=8, accumulate=2)
    (stage,) = recipe.stages()
    pace = pace_of(stage, recipe, settings, 4, CPU, patience=23, clock=clock_of(3.0))
    assert pace == estimate.Pace(8 * 3.0, scaled=True)
    pace = pace_of(stage, recipe, settings, 4, CPU, patience=24, clock=clock_of(3.0))
    assert pace == estimate.Pace(3.0, scaled=False)


def test_samples_that_take_no_time_are_not_reckoned_with() -> None:
    """`latent` draws the same few pictures of videos, however many they are."""
    settings, recipe = tiny("landmark_gan", pictures=640, batch=64, accumulate=4)
    (stage,) = recipe.stages()
    pace = pace_of(stage, recipe, settings, 16, CPU, patience=24, clock=clock_of(3.0))
    assert pace == estimate.Pace(3.0, scaled=False)
    pace = pace_of(stage, recipe, settings, 16, CPU, patience=23.9, clock=clock_of(3.0))
    assert pace == estimate.Pace(64 * 3.0, scaled=True)


def test_a_step_that_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(dry_run, "pace_of", full)
    settings, recipe = tiny("landmark_gan", batch=4)
    assert "does not fit the device's memory with 4 samples at once" in told(
        settings, settings, recipe, 1, CPU
    )


def test_ranks_share_the_batch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    arguments = ["landmark_gan", "--config", "tiny", "--dry-run", "--batch", "4"]
    assert train.main(arguments) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    assert train.main(arguments) == 0
    assert "one rank of 4, 1 samples at once" in capsys.readouterr().out
    assert train.main([*arguments[:-1], "6"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("name", NAMES)
def test_the_process_grows_by_what_was_reckoned(name: str) -> None:
    """The highest point of a process' memory, where losses of two batches are kept: what is kept is most of
    what it grows by, and what comes on top for a moment is less than as much again."""
    _, recipe = tiny(name)
    phase = recipe.stages()[0].phases[0].name
    reckoned = [activations(recipe, "float32", share, CPU)[phase] for share in (8, 64)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        highest = other.submit(_highest, name, (8, 64)).result()
    ratio = (highest[1] - highest[0]) / (reckoned[1] - reckoned[0])
    print(f"{name}: grown {ratio:.2f} times as much as reckoned")
    assert 0.8 < ratio < 2


def _highest(name: str, shares: tuple[int, ...]) -> list[int]:
    """Bytes of memory that the process had at most, after each batch."""
    _, recipe = tiny(name)
    phase = recipe.stages()[0].phases[0]
    for other, network in recipe.networks.items():
        network.requires_grad_(other in phase.trains)
    found = []
    for share in shares:
        terms = phase.loss(recipe.example(share, CPU), {})
        found.append(_peak())
        del terms
    return found


def _peak() -> int:
    """Bytes of memory that this process had at most. Of a parent that had more, getrusage would tell that."""
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) * 1024


def clock_of(seconds: float) -> Callable[[torch.device], float]:
    """Each second look is so much later than the first."""
    looks = 0

    def look(_: torch.device) -> float:
        nonlocal looks
        looks += 1
        return seconds * looks

    return look
