"""How long the parts of a loop take, on a device that works on its own."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds by name, summed up from `read` to `read`.

    On CUDA what the device did is measured, by events in its stream, and not how soon the host had asked for
    it. clock: for the host's time.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.on_cuda, self.clock = device.type == "cuda", clock
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """The block counts to that name."""
        if self.on_cuda:
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            began.record()
            yield
            ended.record()
            self._events.append((name, began, ended))
        else:
            start = self.clock()
            yield
            self._seconds[name] += self.clock() - start

    def read(self) -> dict[str, float]:
        """What was measured since the last time, which is waited for."""
        if self._events:
            self._events[-1][2].synchronize()
        for name, began, ended in self._events:
            self._seconds[name] += began.elapsed_time(ended) / 1000
        self._events.clear()
        found, self._seconds = dict(self._seconds), defaultdict(float)
        return found
