"""Real videos as training clips: decoded, tracked, split into shots, cut out, filtered, and reported on."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tyro
from pydantic import Field, model_validator

from models.containers import Picture
from trainer.data.annotations import read_pts
from trainer.data.clips import Split
from trainer.data.decoding import FRAMES_HZ, moments, rate_of
from trainer.data.layouts import Clip, Layout, find_clips, located
from trainer.data.ledger import EMPTY, NO_FACE, UNREADABLE, Ledger, Outcome, Part
from trainer.data.quality import Limits, fault_of, figures_of
from trainer.data.shots import Seen, Square, cut_out, in_square, look, split, square_of
from trainer.data.sink import OpenSink, Sink, on_disk
from trainer.data.workers import cores, end_with_parent

ANNOTATED = 68  # points of 300-VW's landmark files
ELSEWHERE = ("folder", "output", "workers")  # settings that don't change what a clip becomes
QUEUE = 4  # clips that are handed out ahead, × the processes

Progress = Callable[[int, int], None]  # clips that are done, of how many


class VideoSettings(Limits):
    """How videos are prepared, and which are left out."""

    folder: tyro.conf.Positional[Path]
    """The data set: searched to any depth."""
    output: Path
    """Folder for the clips and the report. What is there already isn't done again."""
    layout: Layout = "auto"
    """How the data set's folders are laid out; auto finds out."""
    size: int = Field(default=256, ge=16)
    """Side of the pictures, pixels."""
    fps: float = Field(default=25.0, gt=0)
    """Frames a second; of slower videos, all that there are."""
    max_frames: int = Field(default=1000, ge=1)
    """Longer shots are split."""
    workers: int = Field(default=0, ge=0)
    """Processes; 0 takes one for each processor."""

    @model_validator(mode="after")
    def _shots_can_be_long_enough(self) -> Self:
        if self.max_frames < self.min_frames:
            raise ValueError(
                f"max-frames {self.max_frames}: shots need min-frames, which are {self.min_frames}"
            )
        return self


def prepare_videos(
    settings: VideoSettings, open_sink: OpenSink | None = None, progress: Progress = lambda done, of: None
) -> dict[str, Any]:
    """Write the clips of a data set, `report.json` and `report.md`; gives what the former holds.

    open_sink: what writes clips; by default, in the format that training reads. Raises ValueError, in one
    line, where the folder is of no known layout, the output was made with other settings, or nothing is of
    use.
    """
    found = find_clips(settings.folder, settings.layout, settings.output)
    if found.layout == "stills":
        raise ValueError(f"{settings.folder} holds pictures, no videos: use `stills` to make videos of them")
    open_sink = on_disk() if open_sink is None else open_sink
    sink = open_sink(settings.output, "videos", told(settings))  # first: it refuses folders of something else
    ledger = Ledger(settings.output, "videos", told(settings))
    todo = [clip for clip in found.clips if not is_done(ledger.get(clip.id), sink)]
    done = len(found.clips) - len(todo)
    progress(done, len(found.clips))
    for outcome in _outcomes(todo, settings, open_sink, sink):
        ledger.add(outcome)
        done += 1
        progress(done, len(found.clips))
    sink.finish()
    report = ledger.report(f"Videos of {settings.folder.name}", f"{found.layout} ({found.why})")
    if not report["kept"]["shots"]:
        why = ", ".join(f"{count} {reason}" for reason, count in report["left_out"].items())
        raise ValueError(
            f"nothing in {settings.folder} is of use ({why}): see {settings.output / 'report.md'}"
        )
    return report


def told(settings: VideoSettings) -> dict[str, Any]:
    """The settings that make a clip what it is, as JSON has them."""
    return settings.model_dump(mode="json", exclude=set(ELSEWHERE))


def is_done(outcome: Outcome | None, sink: Sink) -> bool:
    """Is nothing left to do for a clip? Those of which nothing could be read are tried again."""
    if outcome is None or outcome.reason in (UNREADABLE, EMPTY):
        return False
    return all(sink.has(part.id) for part in outcome.kept)


def _outcomes(
    clips: list[Clip], settings: VideoSettings, open_sink: OpenSink, sink: Sink
) -> Iterator[Outcome]:
    workers = min(settings.workers or cores(), len(clips))
    if workers <= 1:
        yield from (prepare_clip(clip, settings, sink) for clip in clips)
        return
    context = multiprocessing.get_context("spawn")
    waiting = iter(clips)
    with ProcessPoolExecutor(workers, context, _start, (settings, open_sink)) as pool:
        running = {pool.submit(_work, clip) for clip in islice(waiting, QUEUE * workers)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                running |= {pool.submit(_work, clip) for clip in islice(waiting, len(done))}
        except BrokenProcessPool:
            raise ValueError(
                "a process of --workers died, most likely for lack of memory: take fewer and run this again; "
                "what is done is kept"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_worker: tuple[VideoSettings, Sink] | None = None  # of this process


def _start(settings: VideoSettings, open_sink: OpenSink) -> None:
    import torch

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    end_with_parent()
    torch.set_num_threads(1)
    _worker = settings, open_sink(settings.output, "videos", told(settings))


def _work(clip: Clip) -> Outcome:
    assert _worker is not None
    return prepare_clip(clip, *_worker)


def prepare_clip(clip: Clip, settings: VideoSettings, sink: Sink) -> Outcome:
    """Write the shots of one clip that are of use. Never fails for what the clip is like: the outcome says
    what was wrong."""
    base = Outcome(clip=clip.id, source=str(clip.path))
    try:
        seen = _seen(clip, settings)
        faceless = sum(one.points is None for one in seen)
        base = base.model_copy(update={"frames": len(seen), "faceless": faceless})
        if not seen:
            return base.model_copy(update={"reason": EMPTY, "detail": f"no frame of {clip.path} can be read"})
        if faceless == len(seen):
            return base.model_copy(update={"reason": NO_FACE})
        if clip.frames and (clip.series or settings.fps >= FRAMES_HZ) and len(seen) < len(clip.frames):
            lost = f"{len(clip.frames) - len(seen)} of {len(clip.frames)} pictures can't be read"
            base = base.model_copy(update={"detail": lost})
        return base.model_copy(update={"parts": tuple(_parts(clip, seen, settings, sink))})
    except ValueError as error:
        return base.model_copy(update={"reason": UNREADABLE, "detail": " ".join(str(error).split())})


def _seen(clip: Clip, settings: VideoSettings) -> list[Seen]:
    clip = located(clip)
    pictures = moments(clip, settings.fps, clip.start_s, clip.end_s)
    return list(look(pictures, clip.region, clip.series))


def _parts(clip: Clip, seen: list[Seen], settings: VideoSettings, sink: Sink) -> Iterator[Part]:
    """The clip's shots; those that are kept are written on the way."""
    if clip.series:
        shots = [[index for index, one in enumerate(seen) if one.points is not None]]
    else:
        shots = [list(range(run.start, run.stop)) for run in split(seen, settings.max_frames)]
    kept = {}
    for number, frames in enumerate(shots):
        shot = [seen[index] for index in frames]
        squares = [square_of([one]) for one in shot] if clip.series else [square_of(shot)] * len(shot)
        figures = figures_of(shot, squares)
        broke = fault_of(figures, settings, clip.series)
        part = Part(
            id=f"{clip.id}+{number:03}",
            frames=len(shot),
            first=shot[0].number,
            last=shot[-1].number,
            broke=broke,
            figure=None if broke is None else figures[broke],
            limit=None if broke is None else float(getattr(settings, broke)),
        )
        if broke is None and not sink.has(part.id):
            kept[part.id] = frames, squares
        yield part
    if kept:
        _write(located(clip), seen, kept, settings, sink)


def _write(
    clip: Clip,
    seen: list[Seen],
    kept: dict[str, tuple[list[int], list[Square]]],
    settings: VideoSettings,
    sink: Sink,
) -> None:
    """Go through the clip once more, and cut out what is kept."""
    pictures = enumerate(moments(clip, settings.fps, clip.start_s, clip.end_s))
    rate = 0.0 if clip.series else min(settings.fps, float(rate_of(clip)))
    for name, (frames, squares) in kept.items():
        points = np.stack(
            [in_square(_points(seen[index]), square) for index, square in zip(frames, squares, strict=True)]
        )
        cut = _cut(pictures, frames, squares, settings.size)
        extra = _extra(clip, [seen[index] for index in frames], squares)
        valid, split = np.ones(len(frames), np.bool_), _split_of(clip)
        sink.write(name, cut, points, valid, clip.identity, rate, extra, split=split)


def _cut(
    pictures: Iterator[tuple[int, Any]], frames: list[int], squares: list[Square], size: int
) -> Iterator[Picture]:
    """The frames of those places in the clip, in their order."""
    wanted = dict(zip(frames, squares, strict=True))
    for place, moment in pictures:
        if place in wanted:
            yield cut_out(moment.picture, wanted[place], size)
        if place == frames[-1]:
            return
    raise ValueError("the file changed while it was read")


def _split_of(clip: Clip) -> Split | None:
    """The official split; of several test sets, all are."""
    if clip.split is None:
        return None
    return "test" if clip.split.startswith("test") else "train"


def _points(seen: Seen) -> npt.NDArray[np.float32]:
    assert seen.points is not None
    return seen.points


def _extra(clip: Clip, shot: list[Seen], squares: list[Square]) -> dict[str, npt.NDArray[Any]]:
    """What is told of a shot besides:

    source_frame: F, numbers in the original. square: F×3, x, y and side there, pixels. part: the official
    split, as the data set calls it. Its labels by their names: F words. annotation: F×68×2 crop units, of
    people's making; NaN in frames without.
    """
    extra: dict[str, npt.NDArray[Any]] = {
        "source_frame": np.array([one.number for one in shot], np.int64),
        "square": np.array(squares, np.int32),
    }
    if clip.split is not None:
        extra["part"] = np.array(clip.split)
    for name, words in clip.labels:
        extra[name] = np.array([words[one.number] for one in shot])
    if clip.annotation is not None:
        extra["annotation"] = np.stack(list(_annotated(clip.annotation, shot, squares)))
    return extra


def _annotated(
    folder: Path, shot: Iterable[Seen], squares: list[Square]
) -> Iterator[npt.NDArray[np.float32]]:
    for one, square in zip(shot, squares, strict=True):
        path = folder / f"{one.number + 1:06}.pts"
        points = np.full((ANNOTATED, 2), np.nan)
        if path.exists():
            points = read_pts(path)
            if len(points) != ANNOTATED:
                raise ValueError(f"{path} has {len(points)} points; expected {ANNOTATED}")
        yield ((points - (square.x, square.y)) / square.side).astype(np.float32)
