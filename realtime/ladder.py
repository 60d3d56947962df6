"""One function captured for several sizes of batch, and the way of its inputs and results between the host
and the GPU."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from models.contract import map_code
from realtime.graphs import Captured, fill

log = logging.getLogger(__name__)

LANES = 2  # of each size: while one batch is drawn, the next comes and the last one goes

I = TypeVar("I", bound=tuple[Any, ...])  # noqa: E741  what goes in, batch-first
O = TypeVar("O", bound=tuple[Any, ...])  # noqa: E741  what comes out to the host, batch-first
K = TypeVar("K", bound=tuple[Any, ...])  # what stays on the device


def sizes_up_to(most: int) -> tuple[int, ...]:
    """1, 2, 4, 8 … and `most` itself."""
    powers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return (*powers, most)


class Flight(NamedTuple, Generic[O, K]):
    """A batch that is being drawn."""

    out: O  # on the host, once `wait` is over; until the second start after this one
    kept: K  # on the device, for work that is asked for before the next start
    wait: Callable[[], None]  # until it is drawn and back. Raises RuntimeError where the device could not


class Ladder(Generic[I, O, K]):
    """`function(inputs) → (out, kept)`, captured as `Captured` has it for each size of batch, the largest
    first, from one pool. A batch is padded to the next size.

    example: inputs of a size, on the device; what is drawn of them nobody sees. Their rows pad. cuda: what
    records, `torch.cuda`. Where the memory does not reach for a size it is given up, and the log is told.
    """

    def __init__(
        self,
        function: Callable[[I], tuple[O, K]],
        example: Callable[[int], I],
        sizes: Iterable[int],
        cuda: Any = torch.cuda,
    ) -> None:
        self._cuda = cuda
        self._up, self._down = cuda.Stream(), cuda.Stream()
        self._lanes: dict[int, list[_Lane[I, O, K]]] = {}
        self._turn = 0
        pool = cuda.graph_pool_handle()
        for size in sorted(sizes, reverse=True):
            try:
                self._lanes[size] = [_Lane(function, example(size), pool, cuda) for _ in range(LANES)]
            except torch.OutOfMemoryError:
                cuda.empty_cache()
                log.warning("not enough memory on the GPU to draw %d frames together", size)
        self.sizes = tuple(sorted(self._lanes))

    @property
    def most(self) -> int:
        """The largest batch; 0 where memory reached for none."""
        return max(self.sizes, default=0)

    def start(self, count: int, write: Callable[[I], None]) -> Flight[O, K]:
        """Have a batch of `count` rows drawn, `most` at most. write: puts them into the first rows of what it
        is given, on the host; the rest is padding. Returns before it is drawn; the flight before the last one
        has to be over by then.
        """
        size = next(size for size in self.sizes if size >= count)
        self._turn = (self._turn + 1) % LANES
        lane, cuda = self._lanes[size][self._turn], self._cuda
        map_code(lambda given, pad: given[count:].copy_(pad[count:]), lane.given, lane.padding)
        write(lane.given)
        with torch.inference_mode():
            with cuda.stream(self._up):
                self._up.wait_event(lane.replayed)
                map_code(fill, lane.captured.inputs[0], lane.given)
                lane.uploaded.record(self._up)
            usual = cuda.current_stream()
            usual.wait_event(lane.uploaded)
            lane.captured.replay()
            lane.replayed.record(usual)
            with cuda.stream(self._down):
                self._down.wait_event(lane.replayed)
                map_code(fill, lane.taken, lane.captured.results[0])
                lane.downloaded.record(self._down)
        return Flight(lane.taken, lane.captured.results[1], lane.downloaded.synchronize)


class _Lane(Generic[I, O, K]):
    """A captured function with room on the host for what it takes and gives, in memory that is never moved:
    only such memory is copied while the GPU goes on."""

    def __init__(self, function: Callable[[I], tuple[O, K]], example: I, pool: Any, cuda: Any) -> None:
        self.captured: Captured[tuple[O, K]] = Captured(function, example, pool=pool, cuda=cuda)
        self.given, self.taken = map_code(_on_host, example), map_code(_on_host, self.captured.results[0])
        self.padding = map_code(lambda one: one.cpu(), example)
        self.uploaded, self.replayed = cuda.Event(), cuda.Event()
        self.downloaded = cuda.Event(blocking=True)  # whoever waits for it keeps no processor busy


def _on_host(like: Tensor) -> Tensor:
    return torch.empty_like(like, device="cpu", pin_memory=like.is_cuda)
