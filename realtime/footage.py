"""Driving footage: the frames of a clip, or of a folder of pictures, one after the other with their times."""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import av

from models.containers import Picture, open_container, upright, video_of
from realtime.pictures import load_picture

FOLDER_RATE = Fraction(25)  # pictures a second of a folder
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SLACK = 2  # frames that may be missing before the end that the header promised

OnAudio = Callable[["av.Packet[Any]"], None]


class Frame(NamedTuple):
    """One driving frame."""

    picture: Picture  # upright
    pts: int  # in units of the footage's time base; strictly rising
    time_s: float


class Footage(Protocol):
    """Where driving frames come from. A context manager."""

    time_base: Fraction  # seconds
    rate: Fraction  # frames a second, on average
    count: int  # of frames as the header has it; 0: unknown
    audio: "av.AudioStream | None"
    warning: str | None  # after a pass: what was wrong with the footage, one sentence

    def frames(self, on_audio: OnAudio | None = None) -> Iterator[Frame]:
        """One pass from the start. on_audio: is given the packets of `audio` in between."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def open_footage(path: Path) -> Footage:
    """A clip or a folder of pictures. Raises ValueError, in words for a user, for anything else."""
    return Folder(path) if path.is_dir() else Clip(path)


class Clip:
    """A video file. Frames that can't be decoded are left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._broken_off = False  # in the last pass
        self._container = open_container(path)
        stream = video_of(self._container)
        if stream is None:
            self._container.close()
            raise ValueError(f"{path} has no video in it: use a clip that shows the driver's face")
        assert stream.time_base is not None
        self.time_base = stream.time_base
        self.rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.count = stream.frames
        self.audio = next((a for a in self._container.streams.audio if a.codec_context is not None), None)
        self.warning: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def frames(self, on_audio: OnAudio | None = None) -> Iterator[Frame]:
        """As `Footage.frames`. Raises ValueError where not one frame can be read."""
        self.warning, self._broken_off = None, False
        last, read, bad = None, 0, 0
        step = max(1, round(1 / (self.rate * self.time_base)))
        with open_container(self._path) as container:
            stream = video_of(container)
            assert stream is not None
            stream.thread_type = "AUTO"
            for packet in self._packets(container, stream, on_audio):
                if packet.is_corrupt:  # an error would cost the decoder's threads the frames before it too
                    bad += 1
                    continue
                try:
                    decoded = packet.decode()
                except av.FFmpegError:
                    bad += 1
                    continue
                for image in decoded:
                    pts = image.pts if image.pts is not None else 0
                    if last is not None and pts <= last:  # absent or repeated: a muxer takes neither
                        pts = last + step if image.pts is None else last + 1
                    last, read = pts, read + 1
                    yield Frame(upright(image), pts, float(pts * self.time_base))
            end = None if stream.duration is None else (stream.start_time or 0) + stream.duration
        if last is None:
            raise ValueError(f"{self._path}: no frame of it can be read; it may be damaged or cut short")
        if bad or self._broken_off or (end is not None and last + (1 + SLACK) * step < end):
            promised = f" of {self.count}" if self.count else ""
            self.warning = f"the clip is damaged or cut short: {read}{promised} frames could be read"

    def _packets(
        self, container: "av.container.InputContainer", stream: "av.VideoStream", on_audio: OnAudio | None
    ) -> "Iterator[av.Packet[Any]]":
        """The video's packets, to where the file ends or breaks off; the audio's go to `on_audio`."""
        streams: list[Any] = [stream]
        if on_audio is not None and self.audio is not None:
            streams.append(container.streams[self.audio.index])
        packets = container.demux(streams)
        while True:
            try:
                packet = next(packets, None)
            except (OSError, av.FFmpegError):
                self._broken_off = True
                yield _flush(stream)
                return
            if packet is None:  # after an empty one, which flushes
                return
            if packet.stream.index == stream.index:
                yield packet
            elif packet.dts is not None:  # the last one of each stream is empty
                assert on_audio is not None
                on_audio(packet)


class Folder:
    """A folder of pictures, in the order of their names, numbers by their value."""

    def __init__(self, path: Path) -> None:
        self._paths = sorted(
            (file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES), key=_natural
        )
        if not self._paths:
            raise ValueError(f"{path} holds no pictures: expected {', '.join(PICTURE_SUFFIXES)} files")
        self.time_base, self.rate = 1 / FOLDER_RATE, FOLDER_RATE
        self.count = len(self._paths)
        self.audio: av.AudioStream | None = None
        self.warning: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def frames(self, on_audio: OnAudio | None = None) -> Iterator[Frame]:
        """As `Footage.frames`. Raises ValueError for a picture that can't be used."""
        for index, path in enumerate(self._paths):
            try:
                picture = load_picture(path)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            yield Frame(picture, index, float(index * self.time_base))


def _flush(stream: "av.VideoStream") -> "av.Packet[Any]":
    """The empty packet at which a decoder hands out the frames that it still holds."""
    packet: av.Packet[Any] = av.Packet()
    packet.stream = stream
    return packet


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
