"""What the benches say of the machine, and their tables as text, for machines that have torch and numpy
only."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from models.describe import aligned

WIDTH = 116  # of the tables, characters


def machine(device: str) -> dict[str, Any]:
    """Where the figures are from. device: of torch."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "platform": platform.platform(),
    }


def write(file: Path, figures: Mapping[str, Any]) -> None:
    """As JSON, in a folder that is made where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=2) + "\n")


def table(rows: Sequence[Sequence[str]], left: int) -> str:
    """The rows below each other, the first as heads of the columns; the first `left` columns flush left, the
    others right."""
    head, *lines = aligned(rows, left)
    return "\n".join([head, "-" * max(map(len, (head, *lines))), *lines])


def cut(line: str) -> str:
    """No longer than the tables may be."""
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def short(ms: float) -> str:
    """With as many digits as mean something."""
    return f"{ms:.{2 if ms < 10 else 1 if ms < 1000 else 0}f}" if ms >= 0.1 or not ms else f"{ms:.2g}"
