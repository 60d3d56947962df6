"""What each generator costs, in each of its sizes: time of a frame, parameters, and the most memory.

A row is a generator, a batch and, on a GPU, a way of running it (see `MODES`). Each is measured in a process
of its own, since a process can't tell the memory of one network from what another left behind. The weights
are random, and the pictures made: neither time nor memory depends on them.
"""

import json
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from models import registry, weights
from models.contract import Controls, Observation, Reenactor, T, map_code
from models.describe import example
from realtime.devices import Device, choose_device, use_threads

MODES = {
    "cpu": ("float32",),
    "mps": ("float32",),
    "cuda": ("float32", "channels_last", "bf16"),  # the last with mixed precision, and its channels last
}
FEWEST = 3  # runs of a row
WARM_UP = {"cpu": 1, "mps": 3, "cuda": 3}  # runs that are not counted
MB = 1e6
WIDTH = 116  # of the table, characters


@dataclass(frozen=True)
class Row:
    """What is measured."""

    model: str  # NAME or NAME:SIZE
    batch: int
    mode: str
    device: str
    threads: int  # on the CPU; 0: half of the cores
    seconds: float  # at least so long, after the warm-up


@dataclass(frozen=True)
class Cost:
    """What came of it. Times are those of a batch: the median, and the 5th and 95th percentile."""

    parameters: int
    structure_ms: tuple[float, float, float]  # encode_structure and transfer
    decode_ms: tuple[float, float, float]
    peak_mb: float | None  # parameters included, without what torch itself takes; None: unknown here


@dataclass(frozen=True)
class NetworksBench:
    """Measure what each generator costs."""

    model: tuple[str, ...] = ()
    """Generator, as NAME or NAME:SIZE; may be given several times. All in all their sizes by default."""
    batch: tuple[int, ...] = ()
    """How many sessions at once; may be given several times. 1 and 8 by default."""
    device: Device = "auto"
    """Where the generators run."""
    threads: int = 0
    """Processor threads for the generator on the CPU; 0 takes half of the cores, as the server does."""
    seconds: float = 3.0
    """How long each row is measured, and with three runs at least."""
    json: Path | None = None
    """File for the figures."""

    def __post_init__(self) -> None:
        for model in self.model:
            registry.parse(model)
        for batch in self.batch:
            if batch < 1:
                raise ValueError(f"batch {batch}: must be at least 1")
        if self.threads < 0:
            raise ValueError(f"threads {self.threads}: must not be negative")
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"seconds {self.seconds}: must not be negative")

    def run(self) -> None:
        """Measure, print the table, write the JSON."""
        device = choose_device(self.device)
        use_threads(self.threads)
        figures: dict[str, Any] = {
            "device": torch.cuda.get_device_name() if device == "cuda" else device,
            "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "platform": platform.platform(),
            "rows": [],
        }
        for model in self.model or every():
            for batch in self.batch or (1, 8):
                for mode in MODES[device]:
                    row = Row(model, batch, mode, device, self.threads, self.seconds)
                    figures["rows"].append(asdict(row) | {"cost": _asdict(apart(row))})
        _print(figures)
        if self.json is not None:
            self.json.write_text(json.dumps(figures, indent=2) + "\n")


def every() -> tuple[str, ...]:
    """`NAME` or `NAME:SIZE` of all that there is."""
    found = []
    for name in sorted(registry.MODULES):
        found += [f"{name}:{size}" if size else name for size in registry.get(name).spec.sizes]
    return tuple(found)


def apart(row: Row) -> Cost | None:
    """`measure` in a process of its own; None where that ran out of memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, row).result()
        except BrokenProcessPool:  # the system ended it, as it does where memory runs out
            return None
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):  # GPU, CPU
                return None
            raise


@torch.inference_mode()
def measure(row: Row) -> Cost:
    """Run a row. The process has to be a fresh one for `peak_mb` to mean anything."""
    use_threads(row.threads)
    before = _peak_mb(row.device)
    network = weights.seeded(row.model).eval().to(row.device)
    if row.mode != "float32":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    source, driving = (_upload(example(rule), row) for rule in (network.spec.source, network.spec.driving))
    appearance = _repeated(network.encode_appearance([source]), row.batch)
    driving = _repeated(driving, row.batch)
    controls = Controls.default(row.batch, row.device)
    with torch.autocast(row.device, torch.bfloat16, enabled=row.mode == "bf16"):
        structure_ms, decode_ms = _times(network, appearance, driving, controls, row)
    after = _peak_mb(row.device)
    return Cost(
        parameters=sum(one.numel() for one in network.parameters()),
        structure_ms=_spread(structure_ms),
        decode_ms=_spread(decode_ms),
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


def _times(
    network: Reenactor[Any, Any], appearance: Any, driving: Observation, controls: Controls, row: Row
) -> tuple[list[float], list[float]]:
    """ms of each run after the warm-up: up to the moved structure code, and of the picture."""
    structure_ms: list[float] = []
    decode_ms: list[float] = []
    started = time.perf_counter()
    warm_up = WARM_UP[row.device]
    while len(decode_ms) < warm_up + FEWEST or time.perf_counter() - started < row.seconds:
        if len(decode_ms) == warm_up:
            started = time.perf_counter()
        marks = [_now(row.device)]
        structure = network.encode_structure(driving)
        moved = network.transfer(structure, appearance.structure, appearance, controls)
        marks.append(_now(row.device))
        network.decode(appearance, moved)
        marks.append(_now(row.device))
        structure_ms.append(1e3 * (marks[1] - marks[0]))
        decode_ms.append(1e3 * (marks[2] - marks[1]))
    return structure_ms[warm_up:], decode_ms[warm_up:]


def _now(device: str) -> float:
    """Seconds, with all that the device was given behind it."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def _peak_mb(device: str) -> float | None:
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


def _spread(values: list[float]) -> tuple[float, float, float]:
    median, low, high = (float(np.percentile(values, share)) for share in (50, 5, 95))
    return median, low, high


def _asdict(cost: Cost | None) -> dict[str, Any] | None:
    return None if cost is None else asdict(cost)


def _print(figures: dict[str, Any]) -> None:
    machine = f"{figures['device']}, {figures['cores']} cores, {figures['threads']} threads"
    table = Table(title=f"{machine}, torch {figures['torch']}", box=SIMPLE)
    table.add_column("model", no_wrap=True)
    for column in ("parameters", "batch", "mode", "structure ms", "decode ms", "5–95 %", "peak MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in figures["rows"]:
        cost = row["cost"]
        if cost is None:
            table.add_row(row["model"], "", str(row["batch"]), row["mode"], "", "no memory", "", "")
            continue
        median, low, high = cost["decode_ms"]
        table.add_row(
            row["model"],
            f"{cost['parameters'] / 1e6:.1f} M",
            str(row["batch"]),
            row["mode"],
            f"{cost['structure_ms'][0]:.1f}",
            f"{median:.1f}",
            f"{low:.1f}–{high:.1f}",
            "–" if cost["peak_mb"] is None else f"{cost['peak_mb']:.0f}",
        )
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
