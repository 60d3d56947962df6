"""What one generator costs at one batch, run in one way: time of a frame, parameters, and the most memory.

Then its modules are measured one by one, in runs of their own: the device has to be waited for before and
after each, which would make the whole slower.
"""

import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch

from models import weights
from models.contract import Controls, Observation, Reenactor, T, map_code
from models.describe import example
from realtime.devices import put_channels_last, use_threads
from realtime.graphs import Captured

Mode = Literal["float32", "channels_last", "bf16", "fp16", "fp16_compiled", "fp16_captured"]
"""float32 as it stands; with channels last; and so in mixed precision, by autocast: eager in bfloat16 and in
float16, and float16 compiled by torch, or captured in one CUDA graph."""
MODES: Mapping[str, tuple[Mode, ...]] = {"cpu": ("float32",), "mps": ("float32",), "cuda": get_args(Mode)}
HALF: Mapping[Mode, torch.dtype] = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp16_compiled": torch.float16,
    "fp16_captured": torch.float16,
}
WHOLE: Mapping[Mode, str] = {"fp16_compiled": "not compiled", "fp16_captured": "not captured"}
"""The modes in which modules do not run one by one, and what is said where they fail."""
FEWEST = 3  # runs of a row
WARM_UP = {"cpu": 1, "mps": 3, "cuda": 3}  # runs that are not counted
MB = 1e6

A = TypeVar("A")
R = TypeVar("R")

Spread = tuple[float, float, float]  # the median, and the 5th and 95th percentile


@dataclass(frozen=True)
class Row:
    """What is measured."""

    model: str  # NAME or NAME:SIZE
    batch: int
    mode: Mode
    device: str
    threads: int  # on the CPU; 0: half of the cores
    seconds: float  # at least so long, after the warm-up; the modules as long again


@dataclass(frozen=True)
class Cost:
    """What came of it. Times are those of a batch, but for `encode_appearance`: one portrait's."""

    parameters: int
    structure_ms: Spread | None  # encode_structure and transfer; None: one piece with decode
    decode_ms: Spread | None
    frame_ms: Spread  # both
    modules_ms: Mapping[str, Mapping[str, Spread]]
    """appearance, structure and decode → each direct child that has parameters and was called there. Empty
    where modules do not run one by one."""
    peak_mb: float | None  # parameters included, without what torch itself takes; None: unknown here


@dataclass(frozen=True)
class Failure:
    """Why a row has no cost."""

    word: str
    message: str  # one line


def apart(row: Row) -> Cost | Failure:
    """`attempt` in a process of its own."""
    return in_own_process(attempt, row)


def in_own_process(function: Callable[[A], R], argument: A) -> R | Failure:
    """What the function gives for that argument, or that its process was ended from outside."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, argument).result()
        except BrokenProcessPool:
            return Failure("ended", "the process was ended from outside, as it is where memory runs out")


def attempt(row: Row) -> Cost | Failure:
    """`measure`, or why torch, its compiler or the device can't."""
    try:
        return measure(row)
    except RuntimeError as error:
        return in_words(error, WHOLE.get(row.mode, "failed"))


def in_words(error: RuntimeError, word: str) -> Failure:
    """What torch raises need not survive the way into another process. word: where it isn't memory that
    lacks."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in message:  # GPU, CPU
        word = "no memory"
    return Failure(word, message)


@torch.inference_mode()
def measure(row: Row) -> Cost:
    """Run a row. The process has to be a fresh one for `peak_mb` to mean anything. Raises ValueError for an
    unknown model, and RuntimeError where torch can't run it so."""
    use_threads(row.threads)
    before = peak_mb(row.device)
    network = weights.seeded(row.model).eval().to(row.device)
    if row.mode != "float32":
        put_channels_last(network)
    source, driving = (_upload(example(rule), row) for rule in (network.spec.source, network.spec.driving))
    appearance = _repeated(network.encode_appearance([source]), row.batch)
    driving = _repeated(driving, row.batch)
    controls = Controls.default(row.batch, row.device)

    def structure(driving: Observation) -> Any:
        code = network.encode_structure(driving)
        return network.transfer(code, appearance.structure, appearance, controls)

    def decode(moved: Any) -> Any:
        return network.decode(appearance, moved)

    with torch.autocast(row.device, HALF.get(row.mode), enabled=row.mode in HALF):
        steps: list[Callable[[Any], Any]] = [structure, decode]
        if row.mode == "fp16_compiled":
            steps = [torch.compile(step) for step in steps]
        if row.mode == "fp16_captured":
            steps = [Captured(lambda driving: decode(structure(driving)), driving)]
        times = _times(steps, driving, row)
        after = peak_mb(row.device)
        modules_ms: Mapping[str, Mapping[str, Spread]] = {}
        if row.mode not in WHOLE:
            calls = {
                "appearance": partial(network.encode_appearance, [source]),
                "structure": partial(structure, driving),
                "decode": partial(decode, structure(driving)),
            }
            modules_ms = _modules(network, calls, row)
    two = len(steps) > 1
    return Cost(
        parameters=sum(one.numel() for one in network.parameters()),
        structure_ms=spread([run[0] for run in times]) if two else None,
        decode_ms=spread([run[1] for run in times]) if two else None,
        frame_ms=spread([sum(run) for run in times]),
        modules_ms=modules_ms,
        peak_mb=None if before is None or after is None else after - before,
    )


def _repeated(code: T, batch: int) -> T:
    """As many rows like its only one."""
    return map_code(lambda tensor: tensor.expand(batch, *tensor.shape[1:]).contiguous(), code)


def _upload(seen: Observation, row: Row) -> Observation:
    image = seen.image.to(row.device)
    if row.mode != "float32":
        image = image.to(memory_format=torch.channels_last)
    points = None if seen.points is None else seen.points.to(row.device)
    return Observation(image, points, seen.to_frame.to(row.device), seen.valid.to(row.device))


def turns(seconds: float) -> Iterator[int]:
    """So many that they last so long, and `FEWEST` at least."""
    started = time.perf_counter()
    for turn in count():
        if turn >= FEWEST and time.perf_counter() - started >= seconds:
            return
        yield turn


def _times(steps: Sequence[Callable[[Any], Any]], driving: Observation, row: Row) -> list[list[float]]:
    """What `timed` says of each run after the warm-up."""
    for _ in range(WARM_UP[row.device]):
        timed(steps, driving, row.device)
    return [timed(steps, driving, row.device) for _ in turns(row.seconds)]


def timed(steps: Sequence[Callable[[Any], Any]], given: Any, device: str) -> list[float]:
    """ms of each step. The first is given `given`, and each other what the one before it gave."""
    marks = [_now(device)]
    for step in steps:
        given = step(given)
        marks.append(_now(device))
    return [1e3 * (end - begin) for begin, end in zip(marks, marks[1:], strict=False)]


def _modules(
    network: Reenactor[Any, Any], calls: Mapping[str, Callable[[], object]], row: Row
) -> dict[str, dict[str, Spread]]:
    """What each of the network's direct children takes in each call, over all the times that it runs there.
    The network keeps the hooks."""
    begun: list[float] = []
    taken: dict[str, float] = {}  # child → ms in the call that is running

    def begin(*_: object) -> None:
        begun.append(_now(row.device))

    def end(name: str, *_: object) -> None:
        taken[name] = taken.get(name, 0.0) + 1e3 * (_now(row.device) - begun.pop())

    children = {
        name: child for name, child in network.named_children() if any(True for _ in child.parameters())
    }
    if not children:
        return {}
    for name, child in children.items():
        child.register_forward_pre_hook(begin)
        child.register_forward_hook(partial(end, name))
    runs: dict[str, dict[str, list[float]]] = {call: defaultdict(list) for call in calls}
    for _ in turns(row.seconds):
        for call, function in calls.items():
            taken.clear()
            function()
            for name, ms in taken.items():
                runs[call][name].append(ms)
    return {
        call: {name: spread(found[name]) for name in children if name in found}
        for call, found in runs.items()
    }


def _now(device: str) -> float:
    """Seconds, with all that the device was given behind it."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def peak_mb(device: str) -> float | None:
    """The most memory until now: of the GPU, as torch counts it, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MB
    if device != "cpu" or sys.platform == "win32":
        return None
    if sys.platform == "linux":  # where getrusage's would be the parent's, if that is higher
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0]) / MB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB


def spread(values: list[float]) -> Spread:
    median, low, high = (float(np.percentile(values, share)) for share in (50, 5, 95))
    return median, low, high
