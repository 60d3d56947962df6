"""Renders to measure and to learn from, drawn by worker processes.

    for shots in draw_all(orders_of(200, frames=4, motion=anything, size=128), workers=2): ...

Whom a picture shows, in which light and before what, and what the face does there are numbered apart, so that
each can change while the others stay.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.data.synthetic.anatomy import AT
from trainer.data.synthetic.memory import hold_memory
from trainer.data.synthetic.motion import Motion, draw_motion
from trainer.data.synthetic.people import draw_identity, draw_scene, make_people
from trainer.data.synthetic.renderer import render
from trainer.data.synthetic.seeds import rng
from trainer.data.workers import fresh_processes

# A broad smile: real mouths that show their teeth are 0.45 to 0.51 of the face wide, others 0.32 to 0.41.
GRIN = (("mouthSmile", 1.0), ("mouthStretch", 0.5), ("cheekSquint", 0.6), ("mouthUpperUp", 0.5))
AT_ONCE = 8  # frames: more are no faster on a CPU, and need more memory

Drawn = TypeVar("Drawn", bound=tuple[Any, ...])
Draw = Callable[[int, Sequence[int]], Motion]  # seed, numbers: a frame for each


class Order(NamedTuple):
    """What one worker draws at a time: N frames of few people."""

    seed: int
    people: tuple[int, ...]  # N
    scenes: tuple[int, ...]  # N, lights and backdrops
    moves: tuple[int, ...]  # N
    motion: Draw
    size: int  # of the pictures, pixels
    maps: tuple[str, ...] = ()  # drawn too, and left there


class Shots(NamedTuple):
    """N frames."""

    picture: npt.NDArray[np.uint8]  # N×S×S×3
    points: npt.NDArray[np.float32]  # N×478×3, crop units
    labels: npt.NDArray[np.uint8]  # N×S×S
    person: npt.NDArray[np.int64]  # N
    angles: npt.NDArray[np.float32]  # N×3 degrees: yaw, pitch, roll


def draw(order: Order) -> Shots:
    """The frames of an order, on this process's CPU."""
    cpu = torch.device("cpu")
    whom = sorted(set(order.people))
    people = make_people(draw_identity(order.seed, whom), order.size, cpu)
    motion = order.motion(order.seed, order.moves)
    found: list[Shots] = []
    with torch.inference_mode():
        for first in range(0, len(order.people), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            around = sorted(set(order.scenes[part]))
            scene = draw_scene(order.seed, around, order.size)
            moves = Motion(*(values[part] for values in motion))
            shown = chosen(people, [whom.index(one) for one in order.people[part]])
            lit = chosen(scene, [around.index(one) for one in order.scenes[part]])
            frames = torch.arange(len(moves.scale))
            frame = render(shown, lit, frames, moves, order.size, order.maps, frames)
            picture = (frame.picture * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
            found.append(
                Shots(
                    picture.contiguous().numpy(),
                    frame.points.numpy(),
                    frame.labels.numpy(),
                    np.array(order.people[part]),
                    moves.rotation.numpy(),
                )
            )
    return joined(found)


def chosen(drawn: Drawn, rows: Sequence[int]) -> Drawn:
    """Those rows of a named tuple of tensors, or of such tuples; what is neither is everybody's."""

    def of(part: Any) -> Any:
        if isinstance(part, Tensor):
            return part[list(rows)]
        return chosen(part, rows) if isinstance(part, tuple) else part

    return type(drawn)(*map(of, drawn))


def joined(shots: Iterable[Shots]) -> Shots:
    """All in one."""
    return Shots(*(np.concatenate(parts) for parts in zip(*shots, strict=True)))


def orders_of(
    people: Iterable[int], frames: int, motion: Draw, size: int, seed: int, stream: int = 0
) -> list[Order]:
    """An order for each person, whose frames have nothing in common but him. stream: another number, other
    frames."""
    made = []
    for person in people:
        numbers = tuple((stream * 1_000_000 + person) * 64 + frame for frame in range(frames))
        made.append(Order(seed, (person,) * frames, numbers, numbers, motion, size))
    return made


def draw_all(orders: Sequence[Order], workers: int) -> Iterator[Shots]:
    """Each order's frames, in order. workers: processes of one thread each; 0: this process."""
    if not workers:
        yield from map(draw, orders)
        return
    with crew(workers) as pool:
        yield from pool.imap(draw, orders)


def crew(workers: int) -> Any:
    """A pool of processes to draw, of one thread each."""
    return fresh_processes().Pool(workers, _alone)


def _alone() -> None:
    """This process has one core to itself."""
    torch.set_num_threads(1)
    hold_memory()


def anything(seed: int, numbers: Sequence[int]) -> Motion:
    """Any expression and gaze, head and place, of all that rendered people do."""
    return draw_motion(seed, numbers, 1, style="stills")


def turned(seed: int, numbers: Sequence[int]) -> Motion:
    """Any expression and gaze; heads within ±30° yaw, ±20° pitch, ±15° roll, and well within the picture."""
    return _held(anything(seed, numbers), seed, numbers, (30.0, 20.0, 15.0))


def frontal(seed: int, numbers: Sequence[int]) -> Motion:
    """Likewise; heads within 10° of looking into the camera."""
    return _held(anything(seed, numbers), seed, numbers, (10.0, 10.0, 10.0))


def portrait(seed: int, numbers: Sequence[int]) -> Motion:
    """Faces as portraits and clips of talkers show them, from some way off (angle of view 20°): heads within
    20° yaw, 12° pitch and roll; two of five smile, most of these broadly, with the teeth to be seen, and
    half have the jaw a little open."""
    held = _held(anything(seed, numbers), seed, numbers, (20.0, 12.0, 12.0))
    random = np.stack([rng(seed, "realism.portrait", number).random(4) for number in numbers])
    smile = torch.from_numpy((np.sqrt(random[:, 0]) * (random[:, 1] < 0.4)).astype(np.float32))
    jaw = torch.from_numpy((0.4 * random[:, 2] * (random[:, 3] < 0.5)).astype(np.float32))
    expression = torch.zeros_like(held.expression)
    for name, share in GRIN:
        for side in ("Left", "Right"):
            expression[:, AT[name + side]] = share * smile
    expression[:, AT["jawOpen"]] = jaw
    return held._replace(
        expression=expression, gaze=torch.zeros_like(held.gaze), fov=torch.full_like(held.fov, 20.0)
    )


def close(seed: int, numbers: Sequence[int]) -> Motion:
    """Any expression, gaze and head, the face large in the picture: to be cropped from it."""
    motion = anything(seed, numbers)
    random = np.array([rng(seed, "realism.close", number).random() for number in numbers])
    scale = torch.from_numpy((1.1 + 0.35 * random).astype(np.float32))
    return motion._replace(scale=scale, shift=motion.shift * 0.3)


def _held(motion: Motion, seed: int, numbers: Sequence[int], limits: tuple[float, float, float]) -> Motion:
    random = np.stack([rng(seed, "realism.held", number).uniform(-1, 1, 4) for number in numbers])
    values = torch.from_numpy(random.astype(np.float32))
    scale = 1.1 + 0.2 * values[:, 3]
    rotation = values[:, :3] * torch.tensor(limits)
    return motion._replace(rotation=rotation, shift=motion.shift * 0.4, scale=scale)
