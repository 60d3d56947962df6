"""Measurements of the product:

    python -m realtime.bench stages     # where the time of a frame goes
    python -m realtime.bench live       # from glass to glass, through a browser
    python -m realtime.bench quality    # how good the avatar is
    python -m realtime.bench networks   # what each generator costs, in each size
    python -m realtime.bench sessions   # how many sessions at once each generator carries
    python -m realtime.bench overhead   # what the engine itself costs
    python -m realtime.bench backends   # whether ONNX Runtime is as fast as torch
    python -m realtime.bench floors     # the least that a GPU could take for a frame

Each has `--help`.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from models.command_line import fail, parse

PROGRAM = "python -m realtime.bench"
BENCHES = {
    "stages": ("realtime.bench.stages", "StagesBench"),
    "live": ("realtime.bench.live", "LiveBench"),
    "quality": ("realtime.bench.quality", "QualityBench"),
    "networks": ("realtime.bench.networks", "NetworksBench"),
    "sessions": ("realtime.bench.sessions", "SessionsBench"),
    "backends": ("realtime.bench.backends", "BackendsBench"),
    "floors": ("realtime.bench.floors", "FloorsBench"),
    "overhead": ("realtime.bench.overhead", "OverheadBench"),
}
"""Name → where its settings are, a dataclass with `run()`; imported when it is asked for."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Ends with exit code 2 and one line where its user asked for what can't be."""
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in ("-h", "--help"):
        print((__doc__ or "").strip())
        return
    if name not in BENCHES:
        fail(f"unknown measurement {name!r}; known: {', '.join(BENCHES)}", PROGRAM)
    module, settings = BENCHES[name]
    bench: type[Any] = getattr(importlib.import_module(module), settings)
    about = (bench.__doc__ or "").strip().split("\n")[0]
    try:
        parse(bench, rest, f"{PROGRAM} {name}", about, repeated=True).run()
    except ValueError as error:
        fail(str(error), f"{PROGRAM} {name}")


if __name__ == "__main__":
    main()
