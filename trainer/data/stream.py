"""Samples that are rendered while a network learns from them, and never touch the disk:

stream = RenderedStream(batch=16, frames=2, size=256, device="cuda", split="train")
for batch in stream:  # without end, every sample another person
    ...
"""

import queue
import threading
from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch

from trainer.data.clips import Split
from trainer.data.dataset import HELD_OUT, is_held_out
from trainer.data.loader import check_shares
from trainer.data.pictures import MapName
from trainer.data.rendered import RenderClip, clip_name, identity_name, renderer, sample_of
from trainer.data.samples import Augmentation, Sample, collate
from trainer.data.synthetic.seeds import rng


class _Ready(NamedTuple):
    """A batch, and when the device is done with it."""

    batch: Sample
    done: torch.cuda.Event | None


class RenderedStream:
    """Endless batches (`Sample` with B before K, on the device) of rendered clips, made ahead by a thread, on
    CUDA in a stream of its own.

    Sample n of the ranks together is identity n, whatever batch or run it is drawn in; with `identities`,
    these come again after that many, with another motion. split: leave the held-out identities out ("train"),
    or the others; whose turn it would have been, the next one takes. style: of the motion; the K frames of a
    sample follow one another at 25 a second unless the style has it otherwise. prefetch: batches that are
    ready. render: for another renderer. Raises ValueError for numbers that make no sense, and for parameters
    that can't be mirrored.
    """

    def __init__(
        self,
        batch: int,
        frames: int = 2,
        size: int = 256,
        device: torch.device | str = "cpu",
        seed: int = 0,
        identities: int | None = None,
        split: Split | None = None,
        held_out: float = HELD_OUT,
        rank: int = 0,
        world: int = 1,
        style: str | None = None,
        augmentation: Augmentation | None = None,
        maps: Sequence[MapName] = (),
        parameters: Sequence[str] = (),
        prefetch: int = 2,
        render: RenderClip | None = None,
    ) -> None:
        check_shares(batch, frames, rank, world)
        if prefetch < 1:
            raise ValueError(f"prefetch {prefetch}: expected at least 1")
        self.batch, self.frames, self.size, self.device = batch, frames, size, torch.device(device)
        self.seed, self.identities, self.split, self.held_out = seed, identities, split, held_out
        self.rank, self.world, self.style = rank, world, style
        self.augmentation = augmentation or Augmentation()
        self.augmentation.check(parameters)
        self.maps, self.parameters, self.prefetch = tuple(maps), tuple(parameters), prefetch
        self.render = render or renderer()
        self.position = 0  # samples that all ranks have had together
        if not any(self._may_be_seen(identity) for identity in range(identities or 10_000)):
            raise ValueError(f"no identity of {identities} is one to {split}")

    def __iter__(self) -> Generator[Sample, None, None]:
        """From the position on. A batch counts as had when it is given. What the renderer raises is raised
        here; the thread ends with the iteration."""
        ready: queue.Queue[_Ready | Exception] = queue.Queue(self.prefetch)
        closed = threading.Event()
        start = self.position
        thread = threading.Thread(target=self._render_ahead, args=(start, ready, closed), daemon=True)
        thread.start()
        try:
            while True:
                found = ready.get()
                if isinstance(found, Exception):
                    raise found
                self.position += self.batch * self.world
                yield _taken(found)
        finally:
            closed.set()
            while not ready.empty():  # the thread may wait for room, and only once more
                ready.get()
            thread.join()

    def state_dict(self) -> dict[str, int]:
        """The position, for a checkpoint."""
        return {"position": self.position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there, for whoever iterates next. Raises ValueError for a state of another seed."""
        if state["seed"] != self.seed:
            raise ValueError(f"the samples were of seed {state['seed']}; they are of {self.seed} now")
        self.position = state["position"]

    def _render_ahead(
        self, position: int, ready: "queue.Queue[_Ready | Exception]", closed: threading.Event
    ) -> None:
        on_gpu = self.device.type == "cuda"
        side = torch.cuda.Stream(self.device) if on_gpu else None  # type: ignore[no-untyped-call]
        try:
            with torch.no_grad(), torch.cuda.stream(side):
                while not closed.is_set():
                    first = position + self.rank * self.batch
                    batch = collate([self._sample(first + row) for row in range(self.batch)])
                    ready.put(_Ready(batch, None if side is None else side.record_event()))
                    position += self.batch * self.world
        except Exception as error:  # whatever it is, the loop that waits for the batch has to know
            ready.put(error)

    def _sample(self, number: int) -> Sample:
        clip, identity = divmod(number, self.identities) if self.identities else (0, number)
        while not self._may_be_seen(identity):
            identity = (identity + 1) % (self.identities or identity + 2)
            clip += 1  # what is shown of the next one in its own turn is another
        rendered = self.render(
            self.seed, identity, clip, self.frames, self.size, self.device, self.style, self.maps
        )
        names = clip_name(self.seed, identity, clip), identity_name(self.seed, identity)
        sample = sample_of(rendered, *names, self.maps, self.parameters)
        return self.augmentation(sample, rng(self.seed, "sample", number))

    def _may_be_seen(self, identity: int) -> bool:
        if self.split is None:
            return True
        return is_held_out(identity_name(self.seed, identity), self.held_out) == (self.split == "test")


def _taken(ready: _Ready) -> Sample:
    """The batch, for the stream of whoever takes it."""
    if ready.done is not None:
        current = torch.cuda.current_stream(ready.batch.picture.device)
        current.wait_event(ready.done)
        for tensor in _tensors(ready.batch):
            tensor.record_stream(current)  # or its memory would be given away while it is still read
    return ready.batch


def _tensors(batch: Sample) -> list[torch.Tensor]:
    named = (batch.picture, batch.points, batch.valid, batch.labels, batch.frames)
    return [*named, *batch.maps.values(), *batch.parameters.values()]
