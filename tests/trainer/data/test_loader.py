"""Batches in an order that neither workers nor interruptions change."""

import multiprocessing
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from itertools import islice

import numpy as np
import pytest
import torch

from tests.trainer.data.pretender import folder
from trainer.data.dataset import ClipDataset
from trainer.data.loader import Loader, measure_wait
from trainer.data.samples import Augmentation, Sample

AUGMENTATION = Augmentation(mirror=True, colour=0.2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    return ClipDataset(folder(tmp_path_factory.mktemp("set"), identities=10))


def batches(loader: Loader, count: int) -> list[Sample]:
    with closing(iter(loader)) as given:
        return list(islice(given, count))


def same(one: Sample, other: Sample) -> bool:
    return one.clip == other.clip and all(
        torch.equal(a, b) for a, b in zip(one, other, strict=True) if isinstance(a, torch.Tensor)
    )


def test_every_clip_comes_once_before_any_comes_again(dataset: ClipDataset) -> None:
    row = [clip for batch in batches(Loader(dataset, 4), 15) for clip in batch.clip]
    epochs = [row[start : start + 10] for start in range(0, 60, 10)]
    assert all(len(set(epoch)) == 10 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    other = [clip for batch in batches(Loader(dataset, 4, seed=1), 3) for clip in batch.clip]
    assert other != row[:12]


def test_ranks_share_the_clips(dataset: ClipDataset) -> None:
    """Together they give what one rank with the joined batch gives."""
    alone = batches(Loader(dataset, 6), 4)
    ranks = [batches(Loader(dataset, 2, rank=rank, world=3), 4) for rank in range(3)]
    for number, whole in enumerate(alone):
        dealt = [ranks[rank][number] for rank in range(3)]
        assert whole.clip == [clip for batch in dealt for clip in batch.clip]
        assert torch.equal(whole.picture, torch.cat([batch.picture for batch in dealt]))


def test_workers_change_nothing(dataset: ClipDataset) -> None:
    here = batches(Loader(dataset, 3, augmentation=AUGMENTATION), 7)
    there = batches(Loader(dataset, 3, augmentation=AUGMENTATION, workers=2), 7)
    assert all(same(one, other) for one, other in zip(here, there, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_goes_on_exactly_where_it_stopped(dataset: ClipDataset, workers: int) -> None:
    whole = batches(Loader(dataset, 3, frames=3, augmentation=AUGMENTATION), 9)
    first = Loader(dataset, 3, frames=3, augmentation=AUGMENTATION, workers=workers)
    batches(first, 4)  # of which the workers have more ready than are taken
    second = Loader(dataset, 3, frames=3, augmentation=AUGMENTATION)
    second.load_state_dict(first.state_dict())
    assert second.epoch == pytest.approx(1.2)
    assert all(same(one, other) for one, other in zip(batches(second, 5), whole[4:], strict=True))


def test_other_ranks_go_on_without_a_hole(dataset: ClipDataset) -> None:
    first = Loader(dataset, 2, rank=1, world=2)
    batches(first, 2)
    second = Loader(dataset, 4, rank=0, world=1)
    second.load_state_dict(first.state_dict())
    assert batches(second, 1)[0].clip == batches(Loader(dataset, 4), 3)[2].clip


def test_another_set_is_no_place_to_go_on(dataset: ClipDataset) -> None:
    state = Loader(dataset, 2).state_dict()
    with pytest.raises(ValueError, match="of seed 0; they are of 1 now"):
        Loader(dataset, 2, seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match="of clips 9; they are of 10 now"):
        Loader(dataset, 2).load_state_dict(state | {"clips": 9})


def test_the_loop_s_random_numbers_are_its_own(dataset: ClipDataset) -> None:
    torch.manual_seed(5)
    np_state, state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    batches(Loader(dataset, 2, augmentation=AUGMENTATION), 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == np_state).all()  # noqa: NPY002


def test_each_time_other_frames_are_drawn(dataset: ClipDataset) -> None:
    drawn: Counter[tuple[int, ...]] = Counter()
    for batch in batches(Loader(dataset, 10), 20):
        drawn.update(tuple(frames) for frames in batch.frames.tolist())
    assert len(drawn) == 12  # ordered pairs of 4
    assert max(drawn.values()) < 40  # of 200


@pytest.mark.parametrize(
    ("batch", "frames", "rank", "world"), [(0, 2, 0, 1), (2, 0, 0, 1), (2, 2, 2, 2), (2, 2, -1, 2)]
)
def test_numbers_that_make_no_sense_are_refused(
    dataset: ClipDataset, batch: int, frames: int, rank: int, world: int
) -> None:
    with pytest.raises(ValueError, match="expected"):
        Loader(dataset, batch, frames, rank=rank, world=world)


def test_what_can_not_be_mirrored_is_told_before_the_first_batch(dataset: ClipDataset) -> None:
    with pytest.raises(ValueError, match=r"samples with identity\.shape can't be mirrored"):
        Loader(dataset, 2, augmentation=Augmentation(mirror=True), parameters=("identity.shape",))


LEFT_OPEN = """
from pathlib import Path
import sys
from trainer.data.dataset import ClipDataset
from trainer.data.loader import Loader

given = iter(Loader(ClipDataset(Path(sys.argv[1])), 2, workers=1))
next(given)
print("given")
"""


def test_a_process_ends_although_it_holds_an_open_iteration(dataset: ClipDataset) -> None:
    """As it does with an error in its hands that was raised meanwhile."""
    command = [sys.executable, "-c", LEFT_OPEN, str(dataset.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "given\n"), done.stderr


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="can't tell who sent a signal here")
def test_a_stranger_s_signals_do_not_end_workers(dataset: ClipDataset) -> None:
    """Ctrl-C reaches all processes of a terminal, and Slurm's signals all of a job."""
    with closing(iter(Loader(dataset, 2, workers=1))) as given:
        next(given)
        (worker,) = multiprocessing.active_children()
        for name in ("TERM", "INT"):
            subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
        list(islice(given, 20))
        assert worker.is_alive()
    worker.join(60)
    assert worker.exitcode == 0


class Time:
    """Passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def test_the_wait_is_what_of_making_a_batch_a_step_does_not_cover() -> None:
    time = Time()

    def slow(seconds: float, first: float = 100.0) -> object:
        time.pass_by(first)
        while True:
            yield None
            time.pass_by(seconds)

    def ahead(seconds: float) -> object:
        """By one batch."""
        while True:
            begun = time.now
            yield None
            time.now = max(time.now, begun + seconds)

    assert measure_wait(slow(1.0), 3.0, 5, time, time.pass_by) == pytest.approx(0.25)
    assert measure_wait(ahead(1.0), 3.0, 5, time, time.pass_by) == 0
    assert measure_wait(ahead(4.0), 3.0, 5, time, time.pass_by) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="fewer than 6 batches"):
        measure_wait([1, 2, 3, 4, 5], 1.0, 5, time, time.pass_by)
