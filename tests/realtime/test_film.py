import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from realtime.film import Film, check_output
from realtime.footage import open_footage
from tests.material import GRID_CLIP, MONA_LISA, picture

PICTURE = picture(MONA_LISA)[:400, :320]
MILLISECOND = Fraction(1, 1000)


def film_of(path: Path, pts: list[int], **options) -> None:
    with Film(path, (320, 400), MILLISECOND, Fraction(25), **options) as film:
        for at in pts:
            film.write(PICTURE, at)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_pictures_and_times_survive(tmp_path: Path, suffix):
    pts = [0, 40, 41, 300, 1234]
    film_of(tmp_path / f"a{suffix}", pts)
    with open_footage(tmp_path / f"a{suffix}") as footage:
        frames = list(footage.frames())
        assert [frame.pts * footage.time_base for frame in frames] == [at * MILLISECOND for at in pts]
    error = np.square(frames[-1].picture.astype(float) - PICTURE).mean()
    assert 10 * np.log10(255**2 / error) > 38
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize(("lines", "matrix"), [(64, 6), (720, 1)], ids=["BT.601", "BT.709"])
@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (16, 16, 16)])
def test_colours_survive_and_are_declared(tmp_path: Path, colour, lines, matrix):
    path = tmp_path / "a.mp4"
    with Film(path, (64, lines), MILLISECOND, Fraction(25)) as film:
        film.write(np.full((lines, 64, 3), colour, np.uint8), 0)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (matrix, 1)
    with open_footage(path) as footage:
        assert np.abs(next(footage.frames()).picture.astype(int) - colour).max() <= 3


def test_sound_is_copied_bit_for_bit(tmp_path: Path):
    path, sent = tmp_path / "a.mp4", []
    with (
        open_footage(GRID_CLIP) as footage,
        Film(path, (320, 400), footage.time_base, footage.rate, footage.audio) as film,
    ):

        def pass_on(packet):
            sent.append(bytes(packet))
            film.write_audio(packet)

        for frame in footage.frames(pass_on):
            film.write(PICTURE, frame.pts)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        assert [bytes(p) for p in container.demux(audio=0) if p.size] == sent


def test_sound_that_the_container_does_not_take_is_encoded_anew(tmp_path: Path):
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = out.add_stream("wavpack", rate=44100, layout="mono")
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts = index
            out.mux(video.encode(frame))
        tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32) / 2
        sound = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 44100, 0
        out.mux(audio.encode(sound))
        out.mux(audio.encode())
        out.mux(video.encode())
    path = tmp_path / "b.mp4"
    with (
        open_footage(source) as footage,
        Film(path, (320, 400), footage.time_base, footage.rate, footage.audio) as film,
    ):
        for frame in footage.frames(film.write_audio):
            film.write(PICTURE, frame.pts)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
    assert len(heard) == pytest.approx(44100, rel=0.1)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * 44100 / len(heard) == pytest.approx(440, abs=3)


def test_what_fails_leaves_nothing_and_spares_what_was_there(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"the old one")

    def stopped() -> None:
        with Film(path, (320, 400), MILLISECOND, Fraction(25)) as film:
            film.write(PICTURE, 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"the old one"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("count", [1, 200], ids=["at the end", "on the way"])
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path: Path, suffix, count):
    """The temporary file lies on a device that takes not one byte."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    path = tmp_path / f"a{suffix}"
    (tmp_path / f".a.{os.getpid()}{suffix}").symlink_to("/dev/full")
    noise = np.random.default_rng(1).integers(0, 256, (400, 320, 3), dtype=np.uint8)

    def write() -> None:
        with Film(path, (320, 400), MILLISECOND, Fraction(25)) as film:
            for index in range(count):
                film.write(np.roll(noise, index, 1), 40 * index)

    with pytest.raises(ValueError, match=rf"a\{suffix} can't be written: No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_what_the_encoder_refuses_is_told_in_one_line(tmp_path: Path):
    def write() -> None:
        with Film(tmp_path / "a.mp4", (321, 401), MILLISECOND, Fraction(25)) as film:
            film.write(np.zeros((401, 321, 3), np.uint8), 0)

    with pytest.raises(ValueError, match=r"a\.mp4 can't be written: ") as caught:
        write()
    assert not isinstance(caught.value, av.FFmpegError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "its name must end in .mp4, .mov or .mkv"),
        ("a", "its name must end in"),
        ("none/a.mp4", "there is no folder"),
        ("folder.mp4", "is a folder: give the name of a file"),
    ],
)
def test_an_impossible_output_is_refused(tmp_path: Path, name, message):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match=message):
        check_output(tmp_path / name)


def test_a_folder_that_takes_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("os.access", lambda *_: False)  # permissions mean nothing to the superuser
    with pytest.raises(ValueError, match="is read-only"):
        check_output(tmp_path / "a.mp4")
