"""The pictures of a clip, in their order and at an even pace."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.containers import Picture, open_container, upright, video_of
from trainer.data.layouts import Clip

FRAMES_HZ = Fraction(25)  # of folders of frames, which don't say it
SLACK_S = 2.0  # how far before a wanted moment a container is sought


class Moment(NamedTuple):
    """One picture of a clip."""

    picture: Picture  # upright
    number: int  # of the frame in its file or folder, from 0; of a video that is entered midway, by its time
    time_s: float  # from the video's start


def rate_of(clip: Clip) -> Fraction:
    """Frames a second, on average. Raises ValueError for what can't be opened, or holds no video."""
    if clip.frames:
        return FRAMES_HZ
    with open_container(clip.path) as container:
        return _rate(_video_in(clip.path, container))


def moments(
    clip: Clip, fps: float | None, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[Moment]:
    """The clip's pictures between two moments (the end excluded), at most `fps` a second: frames are left
    out, none is made up. Series of single shots are given whole.

    Frames and pictures that can't be decoded are left out, as is all that follows where a file breaks off; so
    that nothing may come. Raises ValueError, in one line, for a video that can't be opened, or holds none.
    """
    if clip.series:
        fps, start_s, end_s = None, 0.0, None
    frames = _from_folder(clip) if clip.frames else _from_video(clip.path, start_s)
    due, step = start_s, 0.0 if fps is None else 1 / fps
    slack = 0.5 / float(rate_of(clip))  # half a frame: the nearest one is taken
    for load, index, time_s in frames:
        if end_s is not None and time_s >= end_s - slack:
            return
        if time_s >= due - slack:
            try:
                picture = load()
            except ValueError:
                continue
            yield Moment(picture, index, time_s)
            due = max(due + step, time_s - step)  # after a gap nothing is made up for


def read_picture(path: Path) -> Picture:
    """A still: upright, RGB. Raises ValueError, in one line, for what isn't one."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return np.array(upright.convert("RGB"), np.uint8)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not a picture") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} can't be read: {error}") from None


Frames = Iterator[tuple[Callable[[], Picture], int, float]]  # what gives the picture, its index, its time


def _from_folder(clip: Clip) -> Frames:
    for index, path in enumerate(clip.frames):
        yield partial(read_picture, path), index, float(index / FRAMES_HZ)


def _from_video(path: Path, start_s: float) -> Frames:
    with open_container(path) as container:
        stream = _video_in(path, container)
        stream.thread_type = "AUTO"
        rate, base = _rate(stream), stream.time_base
        begin = (stream.start_time or 0) * base
        stamped = (
            container.format.name != "avi"
        )  # which has none: frames that B-frames refer to get wrong ones
        sought = stamped and start_s > SLACK_S
        if sought:
            container.seek(int((start_s - SLACK_S + begin) / base), stream=stream)
        last, before_s = -1, -1.0
        for image in _images(container, stream):
            time_s = float(image.pts * base - begin) if stamped and image.pts is not None else before_s
            if time_s <= before_s:  # absent or repeated: the frames come in their order all the same
                time_s = float((last + 1) / rate) if last < 0 else before_s + float(1 / rate)
            last = round(time_s * rate) if sought and last < 0 else last + 1
            before_s = time_s
            yield partial(_shown, image), last, time_s


def _images(container: Any, stream: Any) -> Iterator[Any]:
    """What can be decoded, to the end or to where the file breaks off."""
    import av

    packets = container.demux(stream)
    broken = False
    while not broken:
        try:
            packet = next(packets, None)
        except (OSError, av.FFmpegError):
            packet, broken = None, True
        if packet is None and not broken:
            return
        if packet is not None and packet.is_corrupt:
            continue
        try:
            yield from stream.codec_context.decode(packet)  # of nothing: what the decoder still holds
        except av.EOFError:
            return
        except av.FFmpegError:
            continue


def _video_in(path: Path, container: Any) -> Any:
    stream = video_of(container)
    if stream is None:
        raise ValueError(f"{path} has no video in it")
    return stream


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or FRAMES_HZ)


def _shown(image: Any) -> Picture:
    import av

    try:
        return upright(image)
    except av.FFmpegError as error:
        raise ValueError(f"a frame can't be shown in RGB: {error}") from None
