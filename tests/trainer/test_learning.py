"""Each recipe learns, within a minute or so on two cores, what it is for: people whom it has never seen are
drawn in other people's poses better than by copying the source and than by the mean face."""

import operator
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from models.dae_gan.embedders import redraw
from models.dae_gan.reenactor import Appearance, DaeGan, Structure
from trainer.data.rendering import Rendering, render_clips
from trainer.data.synthetic.motion import STILLS
from trainer.evaluation.framing import Network
from trainer.evaluation.pairs import Pairs, crossing_pairs, self_pairs
from trainer.evaluation.readings import evaluate
from trainer.evaluation.weights import network_of
from trainer.journal import read_log
from trainer.metrics.summary import Summary

SIZE = 80  # of the rendered pictures, pixels
PEOPLE, FRAMES = 240, 6
BATCH = 16
RANKS = 2  # of one core each


@dataclass(frozen=True)
class Short:
    """A run of a minute."""

    recipe: str
    steps: int
    first: str  # a term of the loss that falls
    more: tuple[str, ...] = ()  # what the command is told besides


IMF = Short("imf", 100, "generator/pixel")
LANDMARK_GAN = Short("landmark_gan", 100, "generator/pixel")
# Twenty steps of the embedders alone: at a higher rate than for hundreds of them.
DAE_GAN = Short("dae_gan", 100, "embedders/reconstruction", ("--embedders", "0.7"))


class Redrawn(DaeGan):
    """What its embedders draw, without the generator."""

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        face = appearance.face.expand(len(structure.pose), -1, -1, -1)
        picture = (redraw(face, *self.pose.decode(structure.pose)) + 1) / 2
        return picture, torch.ones_like(picture[:, :1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "rendered"
    for _ in render_clips(Rendering(folder, identities=PEOPLE, frames=FRAMES, size=SIZE, style=STILLS)):
        pass
    return folder


@pytest.fixture(scope="module")
def strangers() -> Pairs:
    """Of those whom the runs leave out, in the poses of others of them."""
    return crossing_pairs(seed=0, identities=12, frames=4, size=SIZE)


def learnt(short: Short, data: Path, run: Path) -> Network:
    """The network that such a run leaves, whose loss has fallen."""
    pictures = str(BATCH * short.steps)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    train = ["-m", "trainer.train", short.recipe, "--config", "tiny", "--device", "cpu"]
    where = ["--data", str(data), "--output", str(run)]
    times = ["--pictures", pictures, "--checkpoint-every", pictures, "--sample-every", pictures]
    often = ["--log-every", str(BATCH * 5), "--learning.ema", "500"]
    done = subprocess.run(
        [sys.executable, *launch, *train, *short.more, *where, *times, *often],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    curve = [line[short.first] for line in read_log(run / "log.jsonl") if short.first in line]
    assert curve[-1] < curve[0]
    return network_of(str(run))


def assert_better(network: Network, pairs: Pairs, *baselines: Literal["copy", "mean"]) -> None:
    """Inside the face, than those."""
    found = evaluate(network, pairs)
    for name, better in (("l1_face", operator.lt), ("psnr_face", operator.gt)):
        reading = found.reading(name)
        for baseline in baselines:
            summary: Summary = getattr(reading, baseline)
            assert better(reading.drawn.mean, summary.mean), (pairs.name, name, baseline)


@pytest.mark.parametrize("short", [IMF, LANDMARK_GAN], ids=lambda short: short.recipe)
def test_it_learns_to_reenact_strangers(short: Short, data: Path, strangers: Pairs, tmp_path: Path) -> None:
    network = learnt(short, data, tmp_path / "run")
    for pairs in (strangers, self_pairs(strangers)):
        assert_better(network, pairs, "copy", "mean")


def test_dae_gan_learns_to_reenact_strangers(data: Path, strangers: Pairs, tmp_path: Path) -> None:
    """Its embedders do at once. Its generator begins when they have, and has nothing of theirs but the face
    without a pose: for the copy a minute isn't enough."""
    network = learnt(DAE_GAN, data, tmp_path / "run")
    redrawn = Redrawn("tiny")
    redrawn.load_state_dict(network.state_dict())
    for pairs in (strangers, self_pairs(strangers)):
        assert_better(redrawn, pairs, "copy", "mean")
        assert_better(network, pairs, "mean")
