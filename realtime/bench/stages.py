"""Where the time of a frame goes: the live path's stages one after the other, without network or threads.

    python -m realtime.bench stages
    python -m realtime.bench stages --frames 10000 --json stages.json    # is memory flat?

*receive* decodes a VP8 frame as it comes off the wire, to RGB; *track* finds and smooths the landmarks and
cuts the crop; *structure*, *transfer*, *decode* and *composite* are the engine's; *encode* makes VP8 of the
avatar's frame. *frame* is all from track to composite: the part that is ours.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from aiortc import RTCRtpCodecParameters
from aiortc.codecs import depayload, get_decoder, get_encoder
from aiortc.jitterbuffer import JitterFrame
from rich.console import Console
from rich.table import Table

from realtime import _aiortc_compat
from realtime.avatar import Avatar
from realtime.bench.camera import fit, there_and_back
from realtime.bench.growth import resident_mb
from realtime.devices import Device, choose_device, use_threads
from realtime.engine import Engine
from realtime.footage import open_footage
from realtime.framing import Canvas
from realtime.generators import make_generator, name_of
from realtime.pictures import load_picture
from realtime.tracker import DriverTracker
from realtime.tracks import video_frame

VP8 = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90000)
CLOCK_RATE = 90000
FPS = 30
STAGES = ("receive", "track", "structure", "transfer", "decode", "composite", "encode")
OURS = STAGES[1:6]
GOAL_MS = {"p50": 18.0, "p95": 30.0}  # of `frame`, on two cores without a GPU
PORTRAIT = Path("examples/mona_lisa.jpg")
WARM_UP = 30  # frames that are not counted


@dataclass(frozen=True)
class StagesBench:
    """Measure each stage of the live path on a clip."""

    clip: Path = Path("tests/media/grid_brbk7n.mp4")
    """What the camera sees; played forth and back until there are enough frames."""
    source: tuple[Path, ...] = ()
    """The portrait; several times for models that take several pictures. Otherwise
    examples/mona_lisa.jpg."""
    frames: int = 300
    """How many frames to measure."""
    size: str = "640x480"
    """Size of the camera's pictures as WxH."""
    canvas: str = "512x512"
    """Size of the avatar's video as WxH."""
    model: str = "warp"
    """Generator, as NAME or NAME:SIZE."""
    weights: str | None = None
    """The generator's weights (safetensors), or random; none for warp."""
    device: Device = "auto"
    """Where the generator runs."""
    threads: int = 0
    """Processor threads for the generator on the CPU; 0 takes half of the cores, as the server does."""
    json: Path | None = None
    """File for the figures."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames {self.frames}: must be at least 1")
        if self.threads < 0:
            raise ValueError(f"threads {self.threads}: must not be negative")
        Canvas.parse(self.size)
        Canvas.parse(self.canvas)

    def run(self) -> None:
        """Measure, print the table, write the JSON."""
        use_threads(self.threads)
        figures = measure(self)
        _print(figures)
        if self.json is not None:
            self.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(settings: StagesBench) -> dict[str, Any]:
    """The figures. Raises ValueError, in words for a user, where clip or portrait can't be used."""
    sources = [load_picture(path) for path in settings.source or (PORTRAIT,)]
    device = choose_device(settings.device)
    canvas = Canvas.parse(settings.canvas)
    _aiortc_compat.set_bitrates(canvas.width, canvas.height)
    generator = make_generator(settings.model, settings.weights, len(sources))
    packets = list(_packets(settings))
    engine = Engine(generator, device, canvas)
    engine.prepare(*sources)  # what is loaded for the first portrait is not counted
    started = time.perf_counter()
    portrait = engine.prepare(*sources)
    portrait_s = time.perf_counter() - started
    times: dict[str, list[float]] = {name: [] for name in STAGES}
    memory = []
    with DriverTracker(generator.spec.driving) as tracker:
        passage = _Passage(engine, Avatar(portrait), tracker)
        for index, packet in enumerate(itertools.islice(itertools.cycle(packets), WARM_UP + settings.frames)):
            taken_ms = passage.take(packet, index)
            if index < WARM_UP:
                continue
            for name, value in taken_ms.items():
                times[name].append(value)
            if (index - WARM_UP) % max(1, settings.frames // 100) == 0:
                memory.append(resident_mb())
    times["frame"] = np.sum([times[name] for name in OURS], axis=0).tolist()
    stages = {
        name: {"p50_ms": float(np.median(values)), "p95_ms": float(np.percentile(values, 95))}
        for name, values in times.items()
    }
    settled = memory[len(memory) // 10 :]
    return {
        "stages": stages,
        "frames": settings.frames,
        "portrait_s": portrait_s,
        "memory_mb": {"start": settled[0], "end": settled[-1], "growth": settled[-1] - settled[0]},
        "model": name_of(generator.spec),
        "device": device,
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "size": settings.size,
        "canvas": settings.canvas,
    }


class _Passage:
    """One frame after the other through all stages."""

    def __init__(self, engine: Engine, avatar: Avatar, tracker: DriverTracker) -> None:
        self._engine, self._avatar, self._tracker = engine, avatar, tracker
        self._decoder, self._encoder = get_decoder(VP8), get_encoder(VP8)

    def take(self, packet: bytes, index: int) -> dict[str, float]:
        """What each stage took, ms."""
        stamp = index * CLOCK_RATE // FPS
        marks = [time.perf_counter()]
        decoded = self._decoder.decode(JitterFrame(data=packet, timestamp=stamp))
        assert decoded, "what our own encoder made can be decoded"
        frame = decoded[0]
        assert isinstance(frame, av.VideoFrame)
        picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        marks.append(time.perf_counter())
        observation = self._tracker.observe(picture, index / FPS)
        marks.append(time.perf_counter())
        rendered = self._engine.render(self._avatar, observation, index / FPS)
        marks.append(time.perf_counter())
        self._encoder.encode(video_frame(rendered.picture, stamp, Fraction(1, CLOCK_RATE)))
        marks.append(time.perf_counter())
        receive, track, _, encode = (1e3 * float(passed) for passed in np.diff(marks))
        return {"receive": receive, "track": track, **rendered.stages_ms, "encode": encode}


def _packets(settings: StagesBench) -> Iterator[bytes]:
    """The clip at the camera's size, filled to its edges, as a browser would send it: one VP8 frame each."""
    size, encoder = Canvas.parse(settings.size), get_encoder(VP8)
    with open_footage(settings.clip) as footage:
        pictures = [fit(frame.picture, size.width, size.height) for frame in footage.frames()]
    for index, picture in enumerate(there_and_back(pictures)):
        frame = video_frame(picture, index * CLOCK_RATE // FPS, Fraction(1, CLOCK_RATE))
        payloads, _ = encoder.encode(frame, force_keyframe=index == 0)
        yield b"".join(depayload(VP8, payload) for payload in payloads)


def _print(figures: dict[str, Any]) -> None:
    table = Table("stage", title=f"{figures['model']} on {figures['device']}, {figures['frames']} frames")
    table.add_column("p50 ms", justify="right")
    table.add_column("p95 ms", justify="right")
    for name, row in figures["stages"].items():
        if name == "frame":
            table.add_section()
        table.add_row(name, f"{row['p50_ms']:.1f}", f"{row['p95_ms']:.1f}")
    table.add_row("goal of frame", *(f"{GOAL_MS[key]:.0f}" for key in ("p50", "p95")))
    console = Console()
    console.print(table)
    memory = figures["memory_mb"]
    console.print(f"portrait: {figures['portrait_s']:.2f} s")
    console.print(f"memory: {memory['start']:.0f} MB, grown by {memory['growth']:.1f} MB")
    console.print(f"{figures['cores']} cores, {figures['threads']} threads")
