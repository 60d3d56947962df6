"""What a GPU does, measured with torch, numpy and this repository alone:

    python -m realtime.bench.gpu                  # into bench/gpu.json; make bench-gpu
    python -m realtime.bench.gpu --model warp --json warp.json

How many sessions each generator carries, with CUDA graphs and, in turns with that, without, and what a frame
of it costs captured. Without the settings of `python -m realtime.bench sessions` and `networks`, whose
command lines want more to be installed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from realtime.bench import networks, sessions
from realtime.bench.costs import Mode
from realtime.bench.networks import NetworksBench
from realtime.bench.report import write
from realtime.bench.sessions import SessionsBench
from realtime.devices import Device, choose_device

MODELS = ("warp", "imf:light", "dae_gan", "landmark_gan:256", "latent:256", "liveportrait")
SESSIONS = "1,4,8,16,32"  # at once
SESSIONS_S = 2.0  # of each count of sessions: so that all of it takes some minutes
NETWORKS_S = 0.5  # of each row


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line where there is no such device."""
    parser = argparse.ArgumentParser(
        prog="python -m realtime.bench.gpu", description="What a GPU does, without further libraries."
    )
    parser.add_argument("--model", action="append", help="NAME or NAME:SIZE; may be given several times")
    parser.add_argument("--device", choices=get_args(Device), default="cuda", help="cuda, if not told")
    parser.add_argument("--json", type=Path, default=Path("bench/gpu.json"), help="file for the figures")
    asked = parser.parse_args(arguments)
    models = tuple(asked.model or MODELS)
    figures: dict[str, Any] = {}
    try:
        device: Any = choose_device(asked.device)
        graphs = device == "cuda"
        modes: tuple[Mode, ...] = ("fp16_captured",) if graphs else ()
        carried = SessionsBench(
            models, SESSIONS, SESSIONS_S, device=device, against="eager" if graphs else None
        )
        cost = NetworksBench(models, mode=modes, device=device, seconds=NETWORKS_S)
        figures["sessions"] = carried.measure()
        sessions.show(figures["sessions"])
        write(asked.json, figures)  # what there is, should the rest fail
        figures["networks"] = cost.measure()
        networks.show(figures["networks"])
        write(asked.json, figures)
    except ValueError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
