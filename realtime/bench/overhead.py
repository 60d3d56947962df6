"""What the engine itself costs, with a generator that takes no time, and whether it keeps anything.

    python -m realtime.bench overhead
    python -m realtime.bench overhead --frames 100000

Sessions are played as by `python -m realtime.bench sessions`. A frame's cost is what its batch took in the
engine, shared among the frames of that batch: from the observations to the pictures on the host. `composite`
is the part of it in which pictures are put on the canvas, made into bytes, and copied out. `processor` is
what the engine's thread had of the processor, which says more where other programs want it too.
"""

import os
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from realtime.batching import Batcher
from realtime.bench.growth import Census, census, level
from realtime.bench.idle import Idle
from realtime.bench.players import Players
from realtime.bench.recording import portrait, recording
from realtime.bench.report import machine, short, table, write
from realtime.bench.sessions import WARM_UP_S, together
from realtime.devices import Device, choose_device, use_threads
from realtime.engine import Begun, Engine, Rendered, Request
from realtime.engine_thread import EngineThread
from realtime.framing import Canvas

GOAL_MS = 1.0  # of a frame, p95, with 16 sessions on two cores
SHARES = (0.0, 0.1, 0.5, 1.0)  # of the frames, after which memory is looked at
PIECE = 100  # frames of a session that are played at once, and noted one by one as long as they are
FRAME = "frame"  # among the stages: all of them
PROCESSOR = "processor"  # likewise: what of the frame the engine's thread was not kept waiting


@dataclass(frozen=True)
class OverheadBench:
    """Measure what the engine itself costs."""

    sessions: int = 16
    """How many at once."""
    frames: int = 5000
    """How many frames are drawn, of all sessions together, after a second that is not counted."""
    fps: float = 30.0
    """Frames a second of each session."""
    canvas: str = "512x512"
    """Size of the avatars' video as WxH."""
    max_batch: int = 16
    """How many sessions' frames are drawn together at most, as the server's."""
    batch_wait_ms: float = 4.0
    """How long a frame waits for others to be drawn with, as the server's."""
    device: Device = "auto"
    """Where the engine runs."""
    threads: int = 0
    """Processor threads for torch on the CPU; 0 takes half of the cores, as the server does."""
    json: Path | None = None
    """File for the figures."""

    def __post_init__(self) -> None:
        for name in ("sessions", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps {self.fps}: must be above 0, and 1000 at most")
        if self.threads < 0:
            raise ValueError(f"threads {self.threads}: must not be negative")
        Canvas.parse(self.canvas)
        self.batcher()

    def batcher(self) -> "Batcher[Any]":
        """What says which frames are drawn together."""
        return Batcher(self.max_batch, self.batch_wait_ms / 1e3)

    def run(self) -> None:
        """Measure, write the JSON, print the tables. Raises ValueError for a device that isn't there."""
        figures = measure(self)
        if self.json is not None:
            write(self.json, figures)
        show(figures)


class Timed(Engine):
    """An engine that notes what its batches take. Figures are kept as bare numbers, or they would be the
    growth that is looked for."""

    def __init__(self, *settings: Any, **others: Any) -> None:
        super().__init__(*settings, **others)
        self._began = self._busy = 0.0  # when the batch in hand did, and what the thread had had until then
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.drawn = 0  # frames
        self.stages_ms: dict[str, array[float]] = defaultdict(lambda: array("d"))  # of each frame its share
        self.batches: Counter[int] = Counter()  # how many were drawn together → frames

    def begin(self, requests: Sequence[Request]) -> Begun:
        self._began, self._busy = time.perf_counter(), time.thread_time()
        return super().begin(requests)

    def finish(self, begun: Begun) -> list[Rendered | Exception]:
        drawn = super().finish(begun)
        taken_ms = {FRAME: 1e3 * (time.perf_counter() - self._began)}
        taken_ms[PROCESSOR] = 1e3 * (time.thread_time() - self._busy)
        rows = len(drawn)
        if isinstance(drawn[0], Rendered):
            taken_ms |= drawn[0].stages_ms
        for name, ms in taken_ms.items():
            self.stages_ms[name].extend([ms / rows] * rows)
        self.batches[rows] += rows
        self.drawn += rows
        return drawn


def measure(settings: OverheadBench) -> dict[str, Any]:
    """The figures. Raises ValueError for a device that isn't there, and what the engine raises."""
    device = choose_device(settings.device)
    use_threads(settings.threads)
    canvas = Canvas.parse(settings.canvas)
    engine = Timed(Idle(settings.max_batch), device, canvas, slots=settings.sessions)
    source, frames = portrait(engine), recording(Idle.spec.driving)
    thread = EngineThread(engine, settings.batcher())
    with Players(thread, source, frames, settings.sessions, settings.fps) as players:
        players.begin()
        players.play(0, round(WARM_UP_S * settings.fps))
        engine.forget()
        began_s, began_cpu_s, asked = time.perf_counter(), time.process_time(), 0
        found = [census(0.0, 0)]
        for share in SHARES[1:]:
            while (lacking := share * settings.frames - engine.drawn) > 0:
                frames_each = min(PIECE, max(1, round(lacking / settings.sessions)))
                asked += settings.sessions * (frames_each + 1)
                for frame in players.play(0, frames_each):
                    if frame.error is not None:
                        raise frame.error
            found.append(census(share, engine.drawn))
        passed_s, passed_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    return {
        **machine(device),
        "sessions": settings.sessions,
        "fps": settings.fps,
        "canvas": settings.canvas,
        "max_batch": settings.max_batch,
        "batch_wait_ms": settings.batch_wait_ms,
        "asked": asked,
        "drawn": engine.drawn,
        "seconds": passed_s,
        "cpu_ms": 1e3 * passed_cpu_s / engine.drawn,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "batches": dict(sorted(engine.batches.items())),
        "stages_ms": {
            name: [float(np.percentile(ms, share)) for share in (50, 95, 99)]
            for name, ms in engine.stages_ms.items()
        },
        "memory": [one._asdict() for one in found],
        "level": level(found),
    }


def show(figures: Mapping[str, Any]) -> None:
    """Print what a frame takes, what the process holds, and whether that is level."""
    on = f"{figures['device']}, {figures['cores']} cores, {figures['threads']} threads"
    print(f"{on}, torch {figures['torch']}; {figures['sessions']} sessions, canvas {figures['canvas']}")
    rows = [("ms a frame", "p50", "p95", "p99")]
    rows += [(name, *map(short, ms)) for name, ms in figures["stages_ms"].items()]
    print(table([*rows, ("goal", "", short(GOAL_MS), "")], 1))
    print(f"{figures['drawn']:,} of {figures['asked']:,} frames drawn in {figures['seconds']:.0f} s")
    print(f"drawn together: {together(figures['batches'])}")
    print(f"processor time of all, and of what plays them: {short(figures['cpu_ms'])} ms a frame")
    counts = [Census(**one) for one in figures["memory"]]
    rows = [("frames", "resident MB", "objects", "blocks")]
    rows += [
        (f"{one.frames:,}", f"{one.resident_mb:.1f}", f"{one.objects:,}", f"{one.blocks:,}") for one in counts
    ]
    print(f"\n{table(rows, 0)}")
    print(f"level after the first tenth: {'yes' if figures['level'] else 'no'}")
