"""Is ONNX Runtime as fast as torch? Exported generators against the same ones in torch, on the CPU:

    python -m realtime.bench backends --exported exported/imf --exported exported/liveportrait

Frames are drawn one by one, by both in turns, so that both meet the same moments of a busy machine. In torch
the weights are random ones: time does not depend on them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models import registry, weights
from models.contract import Controls, Reenactor
from models.describe import example
from realtime import export_page
from realtime.bench.costs import Spread, spread, timed, turns
from realtime.bench.report import machine, short, table, write
from realtime.devices import use_threads
from realtime.exported import load
from realtime.generators import name_of

CALLS = ("structure", "transfer", "decode")
FRAME = "frame"  # all of them
DEVICE = "cpu"

Network = Reenactor[Any, Any]
Step = Callable[[Any], Any]


@dataclass(frozen=True)
class BackendsBench:
    """Compare exported generators in ONNX Runtime with the same ones in torch."""

    exported: tuple[Path, ...] = ()
    """Folder that `python -m trainer.export` wrote; may be given several times."""
    threads: int = 0
    """Processor threads for each of the two; 0 takes half of the cores, as the server does."""
    seconds: float = 10.0
    """How long each folder is measured, and with three frames of each backend at least."""
    json: Path | None = None
    """File for the figures."""

    def __post_init__(self) -> None:
        if not self.exported:
            raise ValueError("name at least one folder: --exported DIR")
        if self.threads < 0:
            raise ValueError(f"threads {self.threads}: must not be negative")
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"seconds {self.seconds}: must not be negative, nor endless")

    def run(self) -> None:
        """Measure, write the JSON, print the table. Raises ValueError for a folder that is none, or of a
        generator that is unknown here, and without onnxruntime."""
        figures = self.measure()
        if self.json is not None:
            write(self.json, figures)
        show(figures)

    def measure(self) -> dict[str, Any]:
        """The figures. Raises ValueError as `run`."""
        for folder in self.exported:  # each, before any is measured
            spec = export_page.read(folder).spec
            with weights.naming(folder):
                registry.parse(name_of(spec))
        use_threads(self.threads)
        rows = [compare(folder, self.seconds) for folder in self.exported]
        import onnxruntime

        return {**machine(DEVICE), "onnxruntime": onnxruntime.__version__, "rows": rows}


@torch.inference_mode()
def compare(folder: Path, seconds: float) -> dict[str, Any]:
    """What the folder's generator takes in ONNX Runtime, and its namesake in torch, at a batch of one.
    Raises ValueError for a folder that is none, and without onnxruntime."""
    graphs = load(folder)
    model = name_of(graphs.spec)
    driving = example(graphs.spec.driving)
    steps = {"torch": _steps(weights.seeded(model).eval()), "onnx": _steps(graphs)}
    runs: dict[str, list[list[float]]] = {backend: [] for backend in steps}
    for one in steps.values():
        timed(one, driving, DEVICE)  # the first frame is slower, and not counted
    for turn in turns(seconds):
        for backend in list(steps)[:: 1 if turn % 2 == 0 else -1]:
            runs[backend].append(timed(steps[backend], driving, DEVICE))
    ms = {backend: _by_call(found) for backend, found in runs.items()}
    return {
        "folder": str(folder),
        "model": model,
        "frames": len(runs["onnx"]),
        "ms": ms,
        "ratio": ms["torch"][FRAME][0] / ms["onnx"][FRAME][0],
    }


def _steps(network: Network) -> list[Step]:
    """`CALLS`, each of what the one before it gives, for a portrait that is its own rest."""
    appearance = network.encode_appearance([example(network.spec.source)])
    controls = Controls.default(1, DEVICE)
    return [
        network.encode_structure,
        lambda code: network.transfer(code, appearance.structure, appearance, controls),
        lambda moved: network.decode(appearance, moved),
    ]


def _by_call(runs: Sequence[Sequence[float]]) -> dict[str, Spread]:
    """The median, and the 5th and 95th percentile."""
    found = {call: spread([run[index] for run in runs]) for index, call in enumerate(CALLS)}
    return found | {FRAME: spread([sum(run) for run in runs])}


def show(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    on = f"{figures['device']}, {figures['cores']} cores, {figures['threads']} threads"
    print(f"{on}, torch {figures['torch']}, ONNX Runtime {figures['onnxruntime']}; ms, p50")
    rows = [("model", "folder", "frames", "backend", *CALLS, FRAME, "5–95 %", "ratio")]
    for row in figures["rows"]:
        whose = row["model"], Path(row["folder"]).name, str(row["frames"])
        for backend, ms in row["ms"].items():
            _, low, high = ms[FRAME]
            medians = (short(ms[call][0]) for call in (*CALLS, FRAME))
            ratio = f"{row['ratio']:.2f}" if backend == "onnx" else ""
            rows.append((*whose, backend, *medians, f"{short(low)}–{short(high)}", ratio))
    print(table(rows, 2))
    print("ratio: torch's frame by ONNX Runtime's, which is the faster where it is above one")
