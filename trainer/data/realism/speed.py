"""How many pictures a second two cores draw, as `python -m trainer.prepare synthetic` does it."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch

from trainer.data.pictures import MAPS, MapName
from trainer.data.realism.readings import Findings, Reading
from trainer.data.realism.renders import crew
from trainer.data.synthetic.clip import render_clip

PART = "speed"
SIZE = 128
LEAST = 60.0  # pictures a second


class Clip(NamedTuple):
    """What one worker renders at a time: frames of one person, motion blur and all of a camera's faults
    included."""

    seed: int
    person: int
    frames: int
    maps: tuple[MapName, ...]

    def render(self) -> None:
        with torch.inference_mode():
            render_clip(self.seed, self.person, 0, self.frames, SIZE, torch.device("cpu"), None, self.maps)


def measure(
    clips: int, frames: int, seed: int, workers: int, clock: Callable[[], float] = time.perf_counter
) -> Findings:
    """Of `clips` clips, textures included; each worker has drawn one before."""
    readings = []
    for words, maps, least in (
        ("picture, landmarks, labels", (), LEAST),
        ("and all maps", tuple(MAPS), None),
    ):
        asked = [Clip(seed, person, frames, maps) for person in range(clips)]
        rate = pictures_a_second(asked, workers, clock)
        name = f"{words}, {SIZE}², {workers} processes of one thread"
        readings.append(Reading(PART, name, rate, "pictures/s", least=least))
    return Findings(
        readings, [f"speed: {clips} clips of {frames} frames, each of another person, nothing written"]
    )


def pictures_a_second(clips: list[Clip], workers: int, clock: Callable[[], float]) -> float:
    """Of processes that are there and warm; workers 0: of this one."""
    with crew(workers) if workers else nullcontext() as pool:
        for part in (clips[:1] * max(workers, 1), clips):
            began = clock()
            if pool:
                pool.map(Clip.render, part, chunksize=1)
            else:
                for clip in part:
                    clip.render()
            taken = clock() - began
    return sum(clip.frames for clip in clips) / taken
