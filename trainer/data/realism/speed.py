"""How many pictures a second two cores draw."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from trainer.data.realism.readings import Findings, Reading
from trainer.data.realism.renders import Order, crew, draw
from trainer.data.synthetic.motion import Motion, draw_motion
from trainer.data.synthetic.renderer import MAPS

PART = "speed"
SIZE = 128
FRAMES = 64  # of each clip
LEAST = 60.0  # pictures a second


def measure(
    clips: int, frames: int, seed: int, workers: int, clock: Callable[[], float] = time.perf_counter
) -> Findings:
    """Of `clips` clips, textures included; each worker has drawn one before."""
    readings = []
    for words, maps, least in (("picture, landmarks, labels", (), LEAST), ("and all maps", MAPS, None)):
        rate = pictures_a_second(
            [_clip(clip, frames, seed, tuple(maps)) for clip in range(clips)], workers, clock
        )
        name = f"{words}, {SIZE}², {workers} processes of one thread"
        readings.append(Reading(PART, name, rate, "pictures/s", least=least))
    return Findings(
        readings, [f"speed: {clips} clips of {frames} frames, each of another person, nothing written"]
    )


def pictures_a_second(orders: list[Order], workers: int, clock: Callable[[], float]) -> float:
    """Of processes that are there and warm; workers 0: of this one."""
    with crew(workers) if workers else nullcontext() as pool:
        for part in (orders[:1] * max(workers, 1), orders):
            began = clock()
            if pool:
                pool.map(draw, part, chunksize=1)
            else:
                list(map(draw, part))
            taken = clock() - began
    return sum(len(order.people) for order in orders) / taken


def _clip(number: int, frames: int, seed: int, maps: tuple[str, ...]) -> Order:
    same = (number,) * frames
    return Order(seed, same, same, same, clip_motion, SIZE, maps)


def clip_motion(seed: int, numbers: Sequence[int]) -> Motion:
    """One clip, of as many frames as there are numbers, all the same."""
    return draw_motion(seed, numbers[:1], len(numbers))
