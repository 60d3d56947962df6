"""Ranks and parts of a batch: the gradients of the batch as a whole, in float64.

Sample n of a joined batch is in chunk n modulo the number of chunks; each rank has so many of the chunks one
after another. StyleGAN2's discriminator groups every B/4-th picture of what it sees: a chunk of 4 is one of
the joined batch's groups.
"""

import io
import multiprocessing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models import stylegan2
from models.dae_gan import DaeGan
from models.dae_gan.reenactor import Layout
from models.imf import Imf
from models.imf.shape import SHAPES
from models.landmark_gan import LandmarkGan
from trainer import distributed, losses, recipes
from trainer.config import Learning
from trainer.data.views import Views
from trainer.distributed import any_rank, everybody, joined
from trainer.recipe import Made, Phase, Recipe, Stage, Terms
from trainer.stopwatch import Stopwatch
from trainer.turns import Turn

EXACT = 1e-9  # of a gradient's own largest number

# Processes of their own, from one that has imported torch once.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])

Gradients = dict[str, Tensor]


class Style(Recipe):
    """StyleGAN2's discriminator between two pictures, with R1 every fourth step."""

    name = "style"
    frames = 2

    def __init__(self, loose: bool = False) -> None:
        super().__init__()
        self.discriminator = stylegan2.Discriminator(16, most=8)
        self.loose = loose

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"discriminator": self.discriminator}

    def stages(self) -> tuple[Stage, ...]:
        main = Phase("logistic", ("discriminator",), self.logistic)
        lazy = Phase("r1", ("discriminator",), self.r1, every=4, eager=True)
        phases = (lazy,) if self.loose else (main, lazy, main)
        return (Stage("all", 1.0, phases, {"discriminator": 1.0}),)

    def logistic(self, views: Views, made: Made) -> Terms:
        real, drawn = (self.discriminator(views.image[:, frame]) for frame in (0, 1))
        return {"logistic": losses.bce_discriminator(real, drawn)}

    def r1(self, views: Views, made: Made) -> Terms:
        pictures = views.image[:, 0].clone().requires_grad_()
        logits = self.discriminator(pictures)
        if self.loose:
            (slope,) = torch.autograd.grad(logits.sum(), pictures, create_graph=True)
            return {"r1": slope.flatten(1).square().sum(1).mean() / 2}
        return {"r1": losses.r1_penalty(logits, pictures)}

    def drawn(self, views: Views) -> Tensor:
        return views.image[:, -1]


class Videos(Style):
    """Codes of videos of two frames, which all of the batch tells apart; or each rank's part, where loose."""

    name = "videos"

    def __init__(self, loose: bool = False) -> None:
        super().__init__(loose)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.Softplus(), nn.Linear(8, 12))

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"encoder": self.encoder}

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("all", 1.0, (Phase("codes", ("encoder",), self.codes),), {"encoder": 1.0}),)

    def codes(self, views: Views, made: Made) -> Terms:
        frames, mirrored = (
            self.encoder(pictures.flatten(0, 1)).view(-1, self.frames, 2, 6)
            for pictures in (views.image, views.image.flip(-1))
        )
        w_a, w_s = frames[..., :3], frames[..., 3:]
        return {
            "appearance": losses.appearance_contrastive(w_a if self.loose else everybody(w_a)),
            "structure": losses.structure_contrastive(w_s, mirrored[..., 3:]),
        }


def imf() -> Recipe:
    recipe: Any = built("imf", discriminator=(4, 8, 8, 8))
    shape = replace(
        SHAPES["tiny"],
        encoder=(4, 4, 4, 8, 8),
        features=(4, 4, 4, 8, 8, 8),
        motion=(8, 8, 8, 8),
        decoder=(8, 4, 4, 4, 4),
        heads=(1, 1, 2, 2),
        blocks=1,
    )
    recipe.generator = Imf("tiny", shape)
    return recipe


def dae_gan() -> Recipe:
    recipe: Any = built("dae_gan", discriminator=4, sources=(2, 2))
    recipe.generator = DaeGan("tiny", Layout(side=32, code=8, width=4, widest=16, downs=2, blocks=1))
    return recipe


def landmark_gan() -> Recipe:
    recipe: Any = built("landmark_gan", discriminator=4)
    recipe.generator = LandmarkGan("tiny", width=2)
    return recipe


def built(name: str, **changed: Any) -> Recipe:
    entry = recipes.get(name)
    return entry.build(replace(entry.configs["tiny"], **changed))


CASES: dict[str, Callable[[], Recipe]] = {
    "imf": imf,
    "dae_gan": dae_gan,
    "landmark_gan": landmark_gan,
    "style": Style,
    "loose": lambda: Style(loose=True),
    "videos": Videos,
    "loose videos": lambda: Videos(loose=True),
}


class Recorder(torch.optim.SGD):
    """Keeps the gradients, and changes nothing."""

    seen: Gradients

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network.parameters())
        self.names = [name for name, _ in network.named_parameters()]

    def step(self, closure: Any = None) -> None:
        parameters = self.param_groups[0]["params"]
        pairs = zip(self.names, parameters, strict=True)
        self.seen = {name: one.grad.clone() for name, one in pairs if one.grad is not None}


def wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def prepared(case: str) -> Recipe:
    """The same for every process; spectral norms are where they would get to."""
    torch.manual_seed(0)
    recipe = CASES[case]().double().train()
    for module in recipe.modules():
        if nn.utils.parametrize.is_parametrized(module, "weight"):
            for _ in range(1000):  # each look is a power iteration, and parts make more of them
                module.weight  # noqa: B018
    return recipe


def chunks(recipe: Recipe, count: int, strided: bool) -> list[Views]:
    """Of the joined batch. strided: as said above; else its first samples are the first chunk."""
    batch, side = (16, 16) if isinstance(recipe, Style) else (4, recipe.generator.spec.source.size)
    shape, dice = (batch, recipe.frames), torch.Generator().manual_seed(1)
    whole = Views(
        torch.rand(*shape, 3, side, side, generator=dice, dtype=torch.float64),
        torch.rand(*shape, 478, 3, generator=dice, dtype=torch.float64),
        torch.ones(shape, dtype=torch.bool),
        torch.eye(2, 3, dtype=torch.float64).expand(*shape, 2, 3),
    )
    if not strided:
        return whole.parts(batch // count)
    return [Views(*(field[number::count] for field in whole[:4])) for number in range(count)]


def gradients(
    case: str, rank: int = 0, world: int = 1, parts: int = 1, strided: bool = True
) -> dict[str, Gradients]:
    """Of every phase, and their lengths."""
    with pytest.MonkeyPatch.context() as patch:
        # Casts are for half precision; they would round here.
        patch.setattr(Tensor, "float", wide)
        recipe = prepared(case)
        mine = chunks(recipe, world * parts, strided)[rank * parts : (rank + 1) * parts]
        watch = Stopwatch(torch.device("cpu"))
        recorders = {name: Recorder(network) for name, network in recipe.networks.items()}
        found = {}
        for stage in recipe.stages():
            turns = [Turn(phase, recipe, recorders, Learning(), "float32") for phase in stage.phases]
            recipe.new_step(0)
            made: list[Made] = [{} for _ in mine]
            for number, turn in enumerate(turns):
                _, length = turn(mine, made, watch)
                key = f"{stage.name} {number} {turn.phase.name}"
                found[key] = {
                    f"{name}.{parameter}": gradient
                    for name in turn.phase.trains
                    for parameter, gradient in recorders[name].seen.items()
                }
                found[key]["length"] = length
            del turns
        return found


def alone(
    case: str, rank: int, world: int, parts: int, strided: bool, store: Path, there: Connection
) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")  # torch, too, complains here: of gradients laid out unlike what it sends
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=world)
    try:
        found: Any = gradients(case, rank, world, parts, strided)
    except RuntimeError as error:
        found = str(error)
    finally:
        dist.destroy_process_group()
    torch.save(found, file := io.BytesIO())  # a sent tensor would be lost with its process
    there.send_bytes(file.getvalue())


def over_ranks(tmp_path: Path, case: str, parts: int = 1, strided: bool = True) -> list[Any]:
    """What each of two ranks finds, or what it complains of."""
    world, processes, ends = 2, [], []
    for rank in range(world):
        here, there = FORKS.Pipe(duplex=False)
        store = tmp_path / "store"
        process = FORKS.Process(target=alone, args=(case, rank, world, parts, strided, store, there))
        process.start()
        there.close()
        processes.append(process)
        ends.append(here)
    found = [torch.load(io.BytesIO(end.recv_bytes())) for end in ends]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return found


def furthest(found: dict[str, Gradients], truth: dict[str, Gradients]) -> float:
    """The largest difference, of the phase's largest gradient, in the phase where it is largest."""
    assert found.keys() == truth.keys()
    worst = 0.0
    for phase, gradient in truth.items():
        assert found[phase].keys() == gradient.keys()
        assert len(gradient) > 2, phase
        # Of each tensor's own largest number; of the phase's, where it is nought but for rounding.
        most = max(float(one.abs().max()) for one in gradient.values())
        assert most > 0, phase
        for name, one in gradient.items():
            scale = max(float(one.abs().max()), 1e-6 * most)
            worst = max(worst, float((found[phase][name] - one).abs().max()) / scale)
    return worst


@pytest.fixture(scope="module")
def whole() -> Callable[[str], dict[str, Gradients]]:
    """One rank's gradients, on the joined batch."""
    made: dict[str, dict[str, Gradients]] = {}

    def of(case: str) -> dict[str, Gradients]:
        if case not in made:
            made[case] = gradients(case)
        return made[case]

    return of


RECIPES = ["imf", "dae_gan", "landmark_gan", "style"]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("case", RECIPES)
def test_two_ranks_have_the_gradients_of_one(case: str, parts: int, whole: Any, tmp_path: Path) -> None:
    for found in over_ranks(tmp_path, case, parts):
        assert furthest(found, whole(case)) < EXACT


@pytest.mark.parametrize("case", RECIPES)
def test_parts_have_the_gradients_of_the_whole(case: str, whole: Any) -> None:
    assert furthest(gradients(case, parts=4 if case == "style" else 2), whole(case)) < EXACT


def test_other_groups_have_other_gradients(whole: Any) -> None:
    """The dealing of the samples is part of the promise: neighbours in the batch are of four groups."""
    found = gradients("style", parts=4, strided=False)
    assert furthest(found, whole("style")) > 1e-3


def test_two_ranks_tell_apart_what_one_does(whole: Any, tmp_path: Path) -> None:
    """Negatives are those of all ranks, gradients included."""
    for found in over_ranks(tmp_path, "videos"):
        assert furthest(found, whole("videos")) < EXACT


def test_negatives_of_a_rank_alone_have_other_gradients(whole: Any, tmp_path: Path) -> None:
    for found in over_ranks(tmp_path, "loose videos"):
        assert furthest(found, whole("videos")) > 1e-3


def test_a_process_alone_is_everybody() -> None:
    codes = torch.ones(2, 3)
    assert everybody(codes) is codes


def test_r1_that_leaves_a_parameter_out_is_not_averaged(tmp_path: Path) -> None:
    """Why `r1_penalty` has the logits take part with nothing: the last bias has no part in the slope, the
    ranks wait for it, and each goes on with gradients of its own, of which torch says nothing."""
    first, second = over_ranks(tmp_path, "loose")
    assert furthest(first, second) > 1e-3


def gloo_threads() -> int:
    """That do what ranks ask of each other."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return names.count("pt_gloo_runloop")


def wrapped_and_left(store: Path, there: Connection) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
            patch.setenv(name, value)
        patch.setattr(
            distributed, "rendezvous", lambda *_, **__: iter([(dist.FileStore(str(store), 1), 0, 1)])
        )
        with joined(torch.device("cpu")):
            wrapper = DistributedDataParallel(nn.Linear(2, 1))
            assert any_rank(True, torch.device("cpu"))
            within = gloo_threads()
        there.send((within, gloo_threads(), wrapper is not None))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="/proc tells of threads")
def test_what_was_sent_is_let_go_before_the_interpreter_ends(tmp_path: Path) -> None:
    """A thread of gloo's that still holds a tensor of Python's then would abort the process. Those of
    DistributedDataParallel's group stay; they hold none."""
    here, there = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=wrapped_and_left, args=(tmp_path / "store", there))
    process.start()
    there.close()
    within, after, _ = here.recv()
    process.join()
    assert process.exitcode == 0
    assert 0 < after < within
