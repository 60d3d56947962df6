"""In place of `torch.cuda`, on a machine without a GPU: what records graphs and writes down what is asked of
it, in which order.

A graph is a list of operations and of the memory that each read and wrote. A replay runs them again, on what
now lies in the memory that they read, into the memory that they wrote, as a GPU does: what Python decided
while it was recorded stays decided. What can't be recorded on a GPU is refused here, too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# They wait for the device, bring something there that does not stay in memory, or are random.
REFUSED = {
    *("item", "_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique", "lift_fresh"),
    *("linalg_solve", "linalg_inv", "linalg_cholesky", "_linalg_check_errors"),  # which look for failures
    *("rand", "rand_like", "randn", "randn_like", "randint", "bernoulli", "normal_", "uniform_"),
}


class _Recording(TorchDispatchMode):
    def __init__(self, work: list[Callable[[], None]]) -> None:
        super().__init__()
        self._work = work

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in REFUSED:
            raise RuntimeError(f"{function}: operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        given = function(*args, **kwargs)
        read = {_where(one) for one in _tensors((args, kwargs))}
        memory = [(at, one) for at, one in enumerate(_tensors(given)) if _where(one) not in read]
        changes = any(
            one.alias_info is not None and one.alias_info.is_write for one in function._schema.arguments
        )

        def again() -> None:
            found = _tensors(function(*args, **kwargs))
            for at, old in memory:
                old.copy_(found[at])

        if memory or changes:
            self._work.append(again)
        return given


def _tensors(values: Any) -> list[Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, Tensor)]


def _where(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Graph:
    def __init__(self, recorder: "Recorder") -> None:
        self.work: list[Callable[[], None]] = []
        self._recorder = recorder

    def replay(self) -> None:
        self._recorder.happens("replay")
        with torch.inference_mode():
            for again in self.work:
                again()


class Event:
    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder

    def record(self, stream: "Stream") -> None:
        self._recorder.happens(f"event on {stream.name}")

    def synchronize(self) -> None:
        self._recorder.happens("wait for event")


class Stream:
    def __init__(self, recorder: "Recorder", name: str) -> None:
        self.name = name
        self._recorder = recorder

    def wait_stream(self, other: "Stream") -> None:
        self._recorder.happens(f"{self.name} waits for {other.name}")

    def wait_event(self, event: Event) -> None:
        self._recorder.happens(f"{self.name} waits for event")


class Recorder:
    """What of `torch.cuda` graphs need. `log`: what happened. `faults`: by what happens, called then: it may
    raise."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.faults: dict[str, Callable[[], object]] = {}
        self._now = Stream(self, "usual")
        self._streams = 0

    def happens(self, what: str) -> None:
        self.log.append(what)
        self.faults.get(what, lambda: None)()

    def Stream(self) -> Stream:
        self._streams += 1
        return Stream(self, f"side {self._streams}")

    def Event(self, blocking: bool = False) -> Event:
        return Event(self)

    def CUDAGraph(self) -> Graph:
        return Graph(self)

    def graph_pool_handle(self) -> str:
        return "pool"

    def current_stream(self) -> Stream:
        return self._now

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        self._now, before = stream, self._now
        yield
        self._now = before

    def synchronize(self) -> None:
        self.happens("synchronize")

    def empty_cache(self) -> None:
        self.happens("empty cache")

    @contextmanager
    def graph(self, graph: Graph, pool: Any, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        self.happens(f"capture on {stream.name} in {pool}")
        with self.stream(stream), _Recording(graph.work):
            yield
        self.happens("captured")
