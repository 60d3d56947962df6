"""The least that a frame of each generator can take on a GPU, computed and not measured:

    python -m realtime.bench floors --gpu H200

Whichever is more: the time for its arithmetic at the GPU's peak, or that for its numbers through the memory.
What is counted, `models/work.py` says. No GPU gets there: these tell how much there is left to gain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from models import registry
from models.work import work
from realtime.bench.gpus import GPUS, Arithmetic, floor_ms, limit, lowers
from realtime.bench.networks import every
from realtime.bench.report import short, table, write


@dataclass(frozen=True)
class FloorsBench:
    """Compute the least that a frame of each generator can take on a GPU."""

    gpu: str = "H200"
    """Which GPU. It need not be here."""
    model: tuple[str, ...] = ()
    """Generator, as NAME or NAME:SIZE; may be given several times. All in all their sizes by default."""
    batch: tuple[int, ...] = ()
    """How many sessions at once; may be given several times. 1 and 8 by default."""
    json: Path | None = None
    """File for the figures."""

    def __post_init__(self) -> None:
        if self.gpu not in GPUS:
            raise ValueError(f"unknown GPU {self.gpu!r}; known: {', '.join(GPUS)}")
        for model in self.model:
            registry.parse(model)
        for batch in self.batch:
            if batch < 1:
                raise ValueError(f"batch {batch}: must be at least 1")

    def run(self) -> None:
        """Compute, write the JSON, print the table."""
        figures = self.compute()
        if self.json is not None:
            write(self.json, figures)
        show(figures)

    def compute(self) -> dict[str, Any]:
        """The figures."""
        gpu = GPUS[self.gpu]
        rows = []
        for model in self.model or every():
            kinds = [kind for kind in get_args(Arithmetic) if kind != "fp16" or lowers(model)]
            for batch in self.batch or (1, 8):
                least = work(model, batch)
                rows.append(
                    {
                        "model": model,
                        "batch": batch,
                        "macs": least.macs,
                        "numbers": least.numbers,
                        "floor_ms": {kind: floor_ms(least, gpu, kind) for kind in kinds},
                        "limit": {kind: limit(least, gpu, kind) for kind in kinds},
                    }
                )
        return {"gpu": gpu.device, "tflops": dict(gpu.tflops), "tb_s": gpu.tb_s, "rows": rows}


def show(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    peaks = ", ".join(f"{kind} {peak:g}" for kind, peak in figures["tflops"].items())
    print(
        f"{figures['gpu']}: {peaks} TFLOP/s, {figures['tb_s']:g} TB/s; computed, not measured; ms of a batch"
    )
    kinds = get_args(Arithmetic)
    rows = [("model", "batch", "GMAC", "M numbers", *kinds, "limit of the first")]
    for row in figures["rows"]:
        floors = (_floor(row["floor_ms"].get(kind)) for kind in kinds)
        counts = f"{row['macs'] / 1e9:,.2f}", f"{row['numbers'] / 1e6:,.1f}"
        rows.append((row["model"], str(row["batch"]), *counts, *floors, next(iter(row["limit"].values()))))
    print(table(rows, 1))


def _floor(ms: float | None) -> str:
    return "–" if ms is None else short(ms)
