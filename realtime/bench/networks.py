"""What each generator costs, in each of its sizes: time of a frame and of each module, parameters, and the
most memory.

A row is a generator, a batch and, on a GPU, a way of running it (see `Mode`). Each is measured in a process
of its own, since a process can't tell the memory of one network from what another left behind. The weights
are random, and the pictures made: neither time nor memory depends on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models import registry
from realtime.bench.costs import MODES, Cost, Mode, Row, Spread, apart
from realtime.bench.gpus import floor_of
from realtime.bench.report import cut, machine, short, table, write
from realtime.devices import Device, choose_device, use_threads


@dataclass(frozen=True)
class NetworksBench:
    """Measure what each generator costs."""

    model: tuple[str, ...] = ()
    """Generator, as NAME or NAME:SIZE; may be given several times. All in all their sizes by default."""
    batch: tuple[int, ...] = ()
    """How many sessions at once; may be given several times. 1 and 8 by default."""
    mode: tuple[Mode, ...] = ()
    """How it is run; may be given several times. All that the device has by default: float32, a GPU all."""
    device: Device = "auto"
    """Where the generators run."""
    threads: int = 0
    """Processor threads for the generator on the CPU; 0 takes half of the cores, as the server does."""
    seconds: float = 3.0
    """How long each row is measured, and with three runs at least; its modules as long again."""
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
        """Measure, write the JSON, print the tables. Raises ValueError for a mode that the device hasn't."""
        figures = self.measure()
        if self.json is not None:
            write(self.json, figures)
        show(figures)

    def measure(self) -> dict[str, Any]:
        """The figures. Raises ValueError for a mode that the device hasn't."""
        device = choose_device(self.device)
        for mode in self.mode:
            if mode not in MODES[device]:
                raise ValueError(f"mode {mode}: not on device {device}, which has {', '.join(MODES[device])}")
        use_threads(self.threads)
        figures: dict[str, Any] = {**machine(device), "rows": []}
        for model in self.model or every():
            for batch in self.batch or (1, 8):
                for mode in self.mode or MODES[device]:
                    row = Row(model, batch, mode, device, self.threads, self.seconds)
                    found = apart(row)
                    told = "cost" if isinstance(found, Cost) else "failure"
                    floor_ms = floor_of(model, batch, mode, figures["device"])
                    gap = found.frame_ms[0] / floor_ms if isinstance(found, Cost) and floor_ms else None
                    least = {"floor_ms": floor_ms, "gap": gap}
                    figures["rows"].append(
                        asdict(row) | least | {"cost": None, "failure": None, told: asdict(found)}
                    )
        return figures


def every() -> tuple[str, ...]:
    """`NAME` or `NAME:SIZE` of all that there is."""
    found = []
    for name in sorted(registry.MODULES):
        found += [f"{name}:{size}" if size else name for size in registry.get(name).spec.sizes]
    return tuple(found)


def show(figures: Mapping[str, Any]) -> None:
    """Print the rows, why some failed, and what the modules take of each."""
    on = f"{figures['device']}, {figures['cores']} cores, {figures['threads']} threads"
    print(f"{on}, torch {figures['torch']}; ms of a batch")
    names = ("model", "parameters", "batch", "mode", "structure", "decode", "frame", "5–95 %", "peak MB")
    whole, failures = [names], []
    for row in figures["rows"]:
        cost, failure = row["cost"], row["failure"]
        if cost is None:
            whole.append((row["model"], "", str(row["batch"]), row["mode"], "", "", failure["word"], "", ""))
            failures.append(f"{row['model']}, batch {row['batch']}, {row['mode']}: {failure['message']}")
            continue
        _, low, high = cost["frame_ms"]
        whole.append(
            (
                row["model"],
                f"{cost['parameters'] / 1e6:.1f} M",
                str(row["batch"]),
                row["mode"],
                *(_median(cost[part]) for part in ("structure_ms", "decode_ms", "frame_ms")),
                f"{short(low)}–{short(high)}",
                "–" if cost["peak_mb"] is None else f"{cost['peak_mb']:.0f}",
            )
        )
    print(table(whole, 1))
    if any(row["cost"] and row["cost"]["decode_ms"] is None for row in figures["rows"]):
        print("–: structure and decode were captured as one piece, so only the frame's time is known")
    for line in failures:  # the JSON has the rest of them
        print(cut(line))
    if known := [row for row in figures["rows"] if row["gap"]]:
        print(
            "\nthe least that the GPU could take for its arithmetic or its memory, and how often that fits in"
        )
        gaps = [("model", "batch", "mode", "floor ms", "frame ms", "gap")]
        for row in known:
            least = short(row["floor_ms"]), _median(row["cost"]["frame_ms"]), short(row["gap"])
            gaps.append((row["model"], str(row["batch"]), row["mode"], *least))
        print(table(gaps, 1))
    modules, modes = _by_module(figures["rows"])
    if modules:
        print("\nof which by module; ms of a batch, or of one portrait in appearance")
        parts = [("model", "batch", "call", "module", *modes)]
        for (model, batch, call, module), medians in modules.items():
            parts.append((model, str(batch), call, module, *(_median(medians.get(mode)) for mode in modes)))
        print(table(parts, 4))


def _by_module(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[tuple[str, int, str, str], dict[str, Spread]], list[str]]:
    """Model, batch, call and module → mode → ms, and the modes that tell modules apart."""
    found: dict[tuple[str, int, str, str], dict[str, Spread]] = {}
    modes: dict[str, None] = {}
    for row in rows:
        for call, modules in (row["cost"] or {"modules_ms": {}})["modules_ms"].items():
            for module, ms in modules.items():
                found.setdefault((row["model"], row["batch"], call, module), {})[row["mode"]] = ms
                modes[row["mode"]] = None
    return found, list(modes)


def _median(ms: Spread | None) -> str:
    return "–" if ms is None else short(ms[0])
