"""The clip that is written: H.264 and the driving clip's sound, whole at the end or not there at all."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace

from realtime.colours import BT601, BT709, LIMITED

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB

SUFFIXES = (".mp4", ".mov", ".mkv")
X264 = {"crf": "10", "preset": "fast"}  # the eye sees no difference to the frames
HD = 720  # lines from which on players take BT.709's matrix for granted; BT.601's below


class Film:
    """Writes one clip under a temporary name, and gives it its own at the end. A context manager: when the
    block fails, nothing remains.

    size: width, height, both even. audio: the stream whose packets `write_audio` will get; copied where the
    container takes its codec, encoded anew elsewhere.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        time_base: Fraction,
        rate: Fraction,
        audio: "av.AudioStream | None" = None,
    ) -> None:
        check_output(path)
        self._path = path
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        options = {"movflags": "+faststart"} if path.suffix.lower() != ".mkv" else {}
        with self._told():
            self._container = av.open(str(self._partial), "w", options=options)  # made at the first packet
        self._video = self._container.add_stream("libx264", rate=rate, options=dict(X264))
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        self._video.time_base = time_base
        coder = self._video.codec_context
        coder.time_base = time_base
        self._matrix = Colorspace.ITU709 if size[1] >= HD else Colorspace.ITU601
        coder.colorspace = BT709 if size[1] >= HD else BT601
        coder.color_primaries = coder.color_trc = BT709
        coder.color_range = LIMITED
        self._copied: Any = None
        self._encoded: Any = None
        if audio is not None and audio.codec_context.name in self._container.supported_codecs:
            self._copied = self._container.add_stream_from_template(audio)
        elif audio is not None:
            self._encoded = self._container.add_stream(
                self._container.default_audio_codec, rate=audio.rate, layout=audio.layout.name
            )

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def write(self, picture: Picture, pts: int) -> None:
        """The next frame, at `pts` units of the time base."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=self._matrix, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = pts, self._video.codec_context.time_base
        self._encode(self._video, frame)

    def write_audio(self, packet: "av.Packet[Any]") -> None:
        """The next packet of the sound. One that can't be decoded, where it must be, is left out."""
        if self._copied is not None:
            packet.stream = self._copied
            with self._told():
                self._container.mux([packet])
        elif self._encoded is not None:
            try:
                frames = packet.decode()
            except av.FFmpegError:
                return
            for frame in frames:
                self._encode(self._encoded, frame)

    def _encode(self, stream: Any, frame: Any) -> None:
        """Write what comes of that frame; None: what the encoder still holds back."""
        with self._told():
            self._container.mux(stream.encode(frame))

    def _finish(self) -> None:
        self._encode(self._video, None)
        if self._encoded is not None:
            self._encode(self._encoded, None)
        with self._told():
            self._container.close()
            self._partial.replace(self._path)

    def _discard(self) -> None:
        """Let go of the file under its temporary name, if it still has that."""
        try:
            with contextlib.suppress(OSError, av.FFmpegError):  # a full disk takes no last words either
                self._container.close()
        finally:
            self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong within is told as the user knows it."""
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise ValueError(f"{self._path} can't be written: {error.strerror}") from None


def check_output(path: Path) -> None:
    """Raises ValueError, in words for a user, where a film can't be written there."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"output {path}: its name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if path.is_dir():
        raise ValueError(f"output {path} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise ValueError(f"output {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"output {path} can't be written: the folder {path.parent} is read-only")
