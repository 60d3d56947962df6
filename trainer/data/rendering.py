"""Rendering clips onto the disk, shared by worker processes and by the ranks of torchrun."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from trainer.data.clips import INDEX, MOTIONS, ClipWriter, Index, check_free, make_index, read_index
from trainer.data.pictures import Format, MapName
from trainer.data.progress import Progress
from trainer.data.rendered import (
    FPS,
    RENDERER,
    RenderClip,
    Rendered,
    arrays_of,
    clip_name,
    identity_name,
    renderer,
)
from trainer.data.replayed import ReplayedClips
from trainer.data.synthetic.memory import hold_memory
from trainer.data.synthetic.motion import check_style
from trainer.data.tracks import FilmedTracks
from trainer.data.workers import Rank, cores, work_off

Device = Literal["cpu", "cuda"]

MOST_WRITERS = 16  # threads that write beside a GPU


@dataclass(frozen=True)
class Rendering:
    """What to render. Raises ValueError for numbers that make no sense."""

    output: Path
    """Folder to write, or to go on with."""
    identities: int = 1000
    """Number of people."""
    clips_per_identity: int = 1
    """Clips of each of them."""
    frames: int = 64
    """Frames of each clip, 25 a second."""
    size: int = 256
    """Side of the pictures, pixels."""
    seed: int = 0
    """Another number, other people."""
    style: str | None = None
    """Of the motion, for all clips; by default each draws its own."""
    motions: Path | None = None
    """Videos of faces, whose motion the people take on: a folder, or another known data set. By default it is
    drawn."""
    maps: tuple[MapName, ...] = ()
    """What is kept beside pictures, landmarks and masks: flow, depth, normals."""
    picture: Format = "jpg"
    """jpg (quality 95, full colours) or png, which loses nothing."""
    device: Device = "cpu"
    """Where to render. cuda: one process for each GPU."""
    workers: int = 0
    """Processes on the CPU; with cuda, threads that write beside each GPU. 0: by the number of cores."""
    index_only: bool = False
    """Render nothing: make the index of the clips that are there."""

    def __post_init__(self) -> None:
        for name in ("identities", "clips_per_identity", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', '-')} {getattr(self, name)}: expected at least 1")
        if not 16 <= self.size <= 4096:
            raise ValueError(f"size {self.size}: expected 16 to 4096 pixels")
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: expected at least 0")
        check_style(self.style)  # now: the folder would be begun with it
        if self.style is not None and self.motions is not None:
            raise ValueError(f"style {self.style} with motions: these have their own; leave one of both out")

    @property
    def clips(self) -> int:
        return self.identities * self.clips_per_identity

    @property
    def indexed(self) -> bool:
        """Are all clips there, and in the index?"""
        return (self.output / INDEX).exists() and len(read_index(self.output).clips) == self.clips

    @cached_property
    def replayed(self) -> ReplayedClips | None:
        """What renders along `motions`, tracked when this is first asked for; None without them. Raises
        ValueError, in one line, where they are of no use, and for an output folder that holds something
        else."""
        if self.motions is None:
            return None
        check_free(self.output)
        here = Rank.here()
        return ReplayedClips(
            FilmedTracks(self.motions, self.output / MOTIONS, here.rank, here.world), self.frames
        )

    @property
    def content(self) -> dict[str, Any]:
        """What the clips depend on: a folder can't be gone on with under other settings, nor by another
        renderer."""
        names = ("identities", "clips_per_identity", "frames", "size", "seed", "style", "maps")
        told = {"renderer": RENDERER} | {name: getattr(self, name) for name in names}
        return told if self.replayed is None else told | self.replayed.content

    def clip_id(self, number: int) -> str:
        return clip_name(self.seed, *divmod(number, self.clips_per_identity))

    def writer(self) -> ClipWriter:
        return ClipWriter(self.output, "synthetic", self.content, self.picture)


class Share(NamedTuple):
    """What one process renders."""

    asked: Rendering
    numbers: tuple[int, ...]  # of its clips
    device: str
    threads: int  # torch's
    writers: int
    render: RenderClip | None


def render_clips(asked: Rendering, render: RenderClip | None = None) -> Iterator[Progress]:
    """Write this rank's clips that aren't there yet, telling of each, and once at the beginning. The rank
    that finds all ranks' clips there when it is done makes the index.

    render: another renderer than the project's. Raises ValueError for a folder of other settings and for a
    device that isn't there, OSError where nothing can be written: what is written by then stays.
    """
    here = Rank.here()
    writer = asked.writer()
    ours = range(here.rank, asked.clips, here.world)
    missing = [number for number in ours if not writer.has(asked.clip_id(number))]
    done = there = len(ours) - len(missing)
    yield Progress(done, len(ours), 0)
    for _ in work_off(_render_share, _shares(asked, missing, here, render)) if missing else ():
        done += 1
        yield Progress(done, len(ours), done - there)
    if all(writer.has(asked.clip_id(number)) for number in range(asked.clips)):
        writer.finish()


def index_rendered(asked: Rendering) -> Index:
    """The index of the clips that are there, be they all or not. Raises ValueError for a folder of other
    settings."""
    asked.writer()
    return make_index(asked.output)


def _shares(asked: Rendering, numbers: list[int], here: Rank, render: RenderClip | None) -> list[Share]:
    ours = max(cores() // here.local_world, 1)
    if asked.device == "cpu":
        count = min(asked.workers or ours, len(numbers))
        devices, threads, writers = ["cpu"] * count, max(ours // count, 1), 1
    else:
        gpus = torch.cuda.device_count()
        if not gpus:
            raise ValueError("device cuda: torch sees no GPU here; leave --device out to render on the CPU")
        chosen = range(gpus) if here.local_rank is None else [here.local_rank % gpus]
        devices = [f"cuda:{gpu}" for gpu in chosen][: len(numbers)]
        threads = max(ours // len(devices), 1)
        writers = asked.workers or min(threads, MOST_WRITERS)
    return [
        Share(asked, tuple(numbers[first :: len(devices)]), device, threads, writers, render)
        for first, device in enumerate(devices)
    ]


def _render_share(share: Share) -> Iterator[int]:
    """The numbers of its clips as they are done. While some are being written, the next ones are rendered."""
    import cv2

    torch.set_num_threads(share.threads)
    hold_memory()
    cv2.setNumThreads(1)  # as many clips are written at once as there are threads
    asked, device = share.asked, torch.device(share.device)
    render = share.render or asked.replayed or renderer()
    writer = asked.writer()
    pending: deque[tuple[int, Future[None]]] = deque()
    with torch.no_grad(), ThreadPoolExecutor(share.writers) as pool:
        for number in share.numbers:
            identity, clip = divmod(number, asked.clips_per_identity)
            rendered = render(
                asked.seed, identity, clip, asked.frames, asked.size, device, asked.style, asked.maps
            )
            pending.append((number, pool.submit(_write, writer, asked, number, rendered)))
            if len(pending) > share.writers:
                yield _settled(*pending.popleft())
        while pending:
            yield _settled(*pending.popleft())


def _settled(number: int, writing: Future[None]) -> int:
    writing.result()
    return number


def _write(writer: ClipWriter, asked: Rendering, number: int, rendered: Rendered) -> None:
    frames = asked.frames
    writer.write(
        asked.clip_id(number),
        rendered.picture.permute(0, 2, 3, 1).contiguous().cpu().numpy(),
        rendered.points.cpu().numpy(),
        np.ones(frames, bool),
        identity_name(asked.seed, number // asked.clips_per_identity),
        FPS,
        arrays_of(rendered.parameters),
        rendered.labels.cpu().numpy(),
        {name: rendered.maps[name].cpu().numpy() for name in asked.maps},
    )
