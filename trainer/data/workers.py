"""Worker processes, each with a share of the work."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

if TYPE_CHECKING:  # Windows has no ForkServerContext
    from multiprocessing.context import ForkServerContext, SpawnContext

T = TypeVar("T")


class Rank(NamedTuple):
    """Which part of a run over several processes this one is, as torchrun says it."""

    rank: int
    world: int
    local_rank: int | None  # on this machine; None outside torchrun
    local_world: int

    @classmethod
    def here(cls) -> "Rank":
        """From RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; 0 of 1 without. Raises ValueError for what
        makes no sense."""
        rank, world = _number("RANK", 0), _number("WORLD_SIZE", 1)
        if not 0 <= rank < world:
            raise ValueError(f"RANK is {rank} and WORLD_SIZE {world}: expected 0 ≤ RANK < WORLD_SIZE")
        local = _number("LOCAL_RANK", 0) if "LOCAL_RANK" in os.environ else None
        return cls(rank, world, local, _number("LOCAL_WORLD_SIZE", 1))


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fresh_processes() -> "SpawnContext | ForkServerContext":
    """How to start processes. Not by fork, which one with threads and a GPU doesn't survive. Spawned ones end
    with Python's own cleaning up, which breaks off threads that are handing over tensors; C++ takes that for
    a crash. So by a server that forks, where there is one: it has imported what they need."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "trainer.data.dataset"])
    return context


def work_off(work: Callable[[T], Iterator[int]], shares: Sequence[T]) -> Iterator[int]:
    """What `work` yields of each share, as it comes. A single share is worked off here; of several, each has
    a process of its own (so both must pickle), which ends with this one, however this one ends.

    Raises what a worker raises (ValueError and OSError; of anything else it prints where it happened, and
    RuntimeError is raised here), and OSError where one is killed. The others are then stopped.
    """
    if len(shares) == 1:
        yield from work(shares[0])
        return
    context = fresh_processes()
    ends: dict[Connection, BaseProcess] = {}
    try:
        for share in shares:
            here, there = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_worker, args=(work, share, there), daemon=True)
            process.start()
            there.close()
            ends[here] = process
        while ends:
            for end in cast(list[Connection], wait(list(ends))):
                try:
                    said = end.recv()
                except EOFError:
                    process = ends.pop(end)
                    process.join()
                    _check(process.exitcode)
                else:
                    if isinstance(said, BaseException):
                        raise said
                    yield said
    finally:
        for process in ends.values():
            process.terminate()
            process.join()


def _worker(work: Callable[[T], Iterator[int]], share: T, said: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    end_with_parent()
    try:
        for number in work(share):
            said.send(number)
    except (ValueError, OSError) as error:
        said.send(error)


def end_with_parent() -> None:
    """Have this worker process end with the one that started it, however that ends."""

    def wait_for_it() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()


def end_by_parent_only() -> None:
    """Have this worker process live through signals that reach all processes, as a terminal's Ctrl-C and
    Slurm's do: the first one may need another batch to end well. Its own SIGTERM ends this one; where a
    system doesn't tell who sends a signal, anybody's does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait_for_it() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
            pass
        os._exit(0)

    threading.Thread(target=wait_for_it, daemon=True).start()


def _check(code: int | None) -> None:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        raise OSError(f"a worker process was ended by {name}; where memory was short, have fewer --workers")
    if code:
        raise RuntimeError(f"a worker process failed with exit code {code}; it says above why")


def _number(name: str, usual: int) -> int:
    text = os.environ.get(name, str(usual))
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r}; expected a number")
    return int(text)
