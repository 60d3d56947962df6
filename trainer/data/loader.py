"""Batches of samples for a training loop, in an order that anybody can tell again:

    loader = Loader(ClipDataset(folder, "train"), batch=16, seed=0, rank=0, world=1, workers=4)
    for batch in loader:  # without end
        ...
        kept = loader.state_dict()

Which clips, which of their frames and what is done to them follow from the seed and from how many samples the
ranks have had together; neither the number of worker processes nor where a run was interrupted matters.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from trainer.data.dataset import ClipDataset
from trainer.data.pictures import MapName
from trainer.data.samples import Augmentation, Sample, collate
from trainer.data.synthetic.seeds import rng
from trainer.data.workers import end_by_parent_only, fresh_processes


class Loader:
    """Endless batches (`Sample` with B before K) of a data set's clips.

    Every clip comes once before any comes again, in another order each time. The ranks' batches are dealt
    from one pack: rank r of the world takes samples r·B … r·B + B of each world·B. workers: processes that
    decode; 0: this one does. labels: read masks too. prefetch: batches that each of them has ready. pin: put
    batches where a GPU copies from fastest. seen: only frames whose landmarks are right. Raises ValueError
    for numbers that make no sense, and for parameters that can't be mirrored.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch: int,
        frames: int = 2,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        augmentation: Augmentation | None = None,
        labels: bool = True,
        maps: Sequence[MapName] = (),
        parameters: Sequence[str] = (),
        prefetch: int = 2,
        pin: bool = False,
        seen: bool = False,
    ) -> None:
        check_shares(batch, frames, rank, world)
        augmentation = augmentation or Augmentation()
        augmentation.check(parameters)
        self.samples = _Samples(
            dataset, frames, seed, augmentation, labels, tuple(maps), tuple(parameters), seen
        )
        self.batch, self.rank, self.world = batch, rank, world
        self.workers, self.prefetch, self.pin = workers, prefetch, pin
        self.position = 0  # samples that all ranks have had together

    @property
    def epoch(self) -> float:
        """How many times the clips were seen."""
        return self.position / len(self.samples.dataset)

    def __iter__(self) -> Generator[Sample, None, None]:
        """From the position on. A batch counts as had when it is given. Close it: workers end then."""
        loader = DataLoader(
            self.samples,
            batch_sampler=_Positions(self.position, self.batch, self.rank, self.world),
            num_workers=self.workers,
            prefetch_factor=self.prefetch if self.workers else None,
            multiprocessing_context=fresh_processes() if self.workers else None,
            collate_fn=_collated,
            worker_init_fn=_started if self.workers else None,
            pin_memory=self.pin,
            generator=torch.Generator(),  # else it would draw from the loop's
        )
        for batch in loader:
            if isinstance(batch, Exception):
                raise batch
            self.position += self.batch * self.world
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The position, for a checkpoint."""
        return {"position": self.position, "seed": self.samples.seed, "clips": len(self.samples.dataset)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there, for whoever iterates next. Raises ValueError for a state of other samples."""
        for name, ours in self.state_dict().items():
            if name != "position" and state[name] != ours:
                raise ValueError(f"the samples were of {name} {state[name]}; they are of {ours} now")
        self.position = state["position"]


def check_shares(batch: int, frames: int, rank: int, world: int) -> None:
    """Raises ValueError for what no loader can give."""
    if batch < 1 or frames < 1:
        raise ValueError(f"batch {batch}, frames {frames}: expected at least 1 each")
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world}: expected 0 to {world - 1}")


def measure_wait(
    loader: Iterable[Any],
    step_seconds: float,
    batches: int = 50,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> float:
    """Which share of its time a loop would wait for data whose steps take that long: 0 to 1. The first batch
    is not counted: workers have to start. Raises ValueError where there are too few batches."""
    given = iter(loader)
    waited = worked = 0.0
    try:
        next(given)
        for _ in range(batches):
            sleep(step_seconds)
            began = clock()
            next(given)
            waited += clock() - began
            worked += step_seconds
    except StopIteration:
        raise ValueError(f"the loader has fewer than {batches + 1} batches") from None
    return waited / (waited + worked)


def _collated(samples: Sequence[Sample | Exception]) -> Sample | Exception:
    """A batch, or why there is none."""
    for sample in samples:
        if isinstance(sample, Exception):
            return sample
    return collate(cast(Sequence[Sample], samples))


def _started(worker: int) -> None:
    end_by_parent_only()


class _Samples(Dataset[Sample | Exception]):
    """Samples by their number in the endless row of all. What can't be read is given as its error: raised in
    a worker process, it would arrive as that process's traceback."""

    def __init__(
        self,
        dataset: ClipDataset,
        frames: int,
        seed: int,
        augmentation: Augmentation,
        labels: bool,
        maps: tuple[MapName, ...],
        parameters: tuple[str, ...],
        seen: bool,
    ) -> None:
        self.dataset, self.frames, self.seed = dataset, frames, seed
        self.augmentation, self.seen = augmentation, seen
        self.labels, self.maps, self.parameters = labels, maps, parameters

    def __getitem__(self, number: int) -> Sample | Exception:
        try:
            return self._sample(number)
        except (ValueError, OSError) as error:
            return error

    def _sample(self, number: int) -> Sample:
        epoch, place = divmod(number, len(self.dataset))
        clip = self.dataset[int(_order(self.seed, epoch, len(self.dataset))[place])]
        random = rng(self.seed, "sample", number)
        sample = clip.sample(random, self.frames, self.labels, self.maps, self.parameters, self.seen)
        return self.augmentation(sample, random)


class _Positions:
    """The numbers of each of a rank's batches."""

    def __init__(self, position: int, batch: int, rank: int, world: int) -> None:
        self.position, self.batch, self.rank, self.world = position, batch, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        first = self.position + self.rank * self.batch
        while True:
            yield list(range(first, first + self.batch))
            first += self.batch * self.world


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, clips: int) -> npt.NDArray[np.int64]:
    return rng(seed, "order", epoch).permutation(clips)
