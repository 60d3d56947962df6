import errno
import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from realtime.footage import open_footage
from tests.material import GRID_CLIP, MONA_LISA

CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def quarters(width: int = 96, height: int = 64) -> np.ndarray:
    """A colour in each corner: red, green above blue, white."""
    picture = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate(CORNERS.values()):
        top, left = height // 2 * (index // 2), width // 2 * (index % 2)
        picture[top : top + height // 2, left : left + width // 2] = colour
    return picture


def write_clip(path: Path, pts: list[int], time_base: Fraction = Fraction(1, 1000), **colours) -> Path:
    """One frame for each time, of `quarters`, and brighter from one to the next."""
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "1", "g": "4"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = time_base
        matrix = colours.get("matrix")
        if matrix is not None:
            stream.codec_context.colorspace = 1 if matrix == Colorspace.ITU709 else 6
            stream.codec_context.color_range = 2 if colours["range"] == ColorRange.JPEG else 1
        for index, at in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(
                (quarters() * (1 - 0.01 * index)).astype(np.uint8), format="rgb24"
            )
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=matrix, dst_color_range=colours.get("range")
            )
            frame.pts, frame.time_base = at, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def corners(picture: np.ndarray) -> list[tuple[int, ...]]:
    """The colours near the corners, as 0 or 255: above left, right, below left, right."""
    return [tuple((picture[y, x] > 127) * 255) for y in (8, -8) for x in (8, -8)]


def times(path: Path) -> list[Fraction]:
    with open_footage(path) as footage:
        return [frame.pts * footage.time_base for frame in footage.frames()]


def test_every_frame_of_a_clip_with_its_time_and_its_sound():
    packets = []
    with open_footage(GRID_CLIP) as footage:
        seen = list(footage.frames(packets.append))
        assert footage.count == 75
        assert footage.rate == 25
        assert footage.warning is None
    assert len(seen) == 75
    assert seen[0].picture.shape == (288, 360, 3)
    assert [frame.time_s for frame in seen] == pytest.approx([index / 25 for index in range(75)])
    assert sum(packet.size > 0 for packet in packets) == 130


def test_a_second_pass_gives_the_same():
    with open_footage(GRID_CLIP) as footage:
        first = [frame.picture.sum() for frame in footage.frames()]
        assert [frame.picture.sum() for frame in footage.frames()] == first


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_frame_rate_is_kept(tmp_path: Path, suffix):
    pts = [0, 40, 47, 200, 201, 1000]
    assert times(write_clip(tmp_path / f"a{suffix}", pts)) == [Fraction(at, 1000) for at in pts]


@pytest.mark.parametrize("matrix", [None, Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("colour_range", [ColorRange.MPEG, ColorRange.JPEG])
def test_colours_are_read_by_the_clips_own_matrix_and_range(tmp_path: Path, matrix, colour_range):
    options = {} if matrix is None else {"matrix": matrix, "range": colour_range}
    with open_footage(write_clip(tmp_path / "a.mp4", [0, 40], **options)) as footage:
        picture = next(footage.frames()).picture
    truth = quarters().astype(int)
    for y in (8, -8):
        for x in (8, -8):
            assert np.abs(picture[y, x] - truth[y, x]).max() <= 4


MATRICES = {  # of a track header: a, b, u, c, d, v, x, y, w in 16.16 and 2.30 fixed point
    90: (0, 1, 0, -1, 0, 0, 64, 0, 1),
    180: (-1, 0, 0, 0, -1, 0, 96, 64, 1),
    270: (0, -1, 0, 1, 0, 0, 0, 96, 1),
}


@pytest.mark.parametrize("clockwise", MATRICES)
def test_a_phones_rotation_is_honoured(tmp_path: Path, clockwise):
    """The track header says by how much a player is to turn the picture clockwise."""
    data = bytearray(write_clip(tmp_path / "a.mp4", [0, 40]).read_bytes())
    fixed = [value << (30 if index % 3 == 2 else 16) for index, value in enumerate(MATRICES[clockwise])]
    at = data.index(b"tkhd") + 44
    assert data[at : at + 4] == b"\0\1\0\0"
    data[at : at + 36] = struct.pack(">9i", *fixed)
    turned = tmp_path / "b.mp4"
    turned.write_bytes(data)
    with open_footage(turned) as footage:
        picture = next(footage.frames()).picture
    assert corners(picture) == corners(np.rot90(quarters(), -clockwise // 90))


def test_a_clip_that_is_cut_short_gives_what_can_be_read_and_says_so(tmp_path: Path):
    whole = write_clip(tmp_path / "a.mp4", [40 * index for index in range(60)])
    short = tmp_path / "b.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with open_footage(short) as footage:
        read = len(list(footage.frames()))
        assert 5 < read < 55
        assert footage.warning == f"the clip is damaged or cut short: {read} of 60 frames could be read"


def test_a_clip_that_is_cut_short_gives_every_frame_that_was_read(tmp_path: Path):
    """As many as one thread decodes from the packets that are whole."""
    whole = write_clip(tmp_path / "a.mp4", [40 * index for index in range(60)])
    short = tmp_path / "b.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with av.open(str(short)) as container:
        container.streams.video[0].thread_type = "NONE"
        packets = [packet for packet in container.demux(video=0) if not packet.is_corrupt]
        readable = sum(len(packet.decode()) for packet in packets)
    with open_footage(short) as footage:
        assert len(list(footage.frames())) >= readable


class Failing(io.FileIO):
    """A file on a disk that breaks down in the middle of it."""

    def read(self, size: int = -1) -> bytes:
        if self.tell() > Path(str(self.name)).stat().st_size // 2:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(min(size, 512))


def test_a_read_error_costs_no_frame_that_came_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_clip(tmp_path / "a.mkv", [40 * index for index in range(60)])
    packets = []
    with (
        Failing(path) as file,
        av.open(file) as container,
        pytest.raises(OSError, match="Input/output"),
    ):
        packets.extend(packet.size for packet in container.demux(video=0))
    with open_footage(path) as footage, Failing(path) as file:
        monkeypatch.setattr(av, "open", lambda name, open=av.open: open(file))
        read = len(list(footage.frames()))
        assert footage.warning is not None
    assert 20 < read == len(packets)


def test_a_clip_without_its_index_is_refused(tmp_path: Path):
    whole = write_clip(tmp_path / "a.mov", [0, 40, 80]).read_bytes()  # whose index comes last
    short = tmp_path / "b.mov"
    short.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(ValueError, match="is not a video, or its end, where the index lies, is missing"):
        open_footage(short)


def test_a_clip_of_which_nothing_can_be_read(tmp_path: Path):
    whole = write_clip(tmp_path / "a.mp4", [0, 40, 80]).read_bytes()
    at = whole.index(b"mdat") + 4
    broken = tmp_path / "b.mp4"
    broken.write_bytes(whole[:at] + bytes(len(whole) - at))
    with open_footage(broken) as footage, pytest.raises(ValueError, match="no frame of it can be read"):
        list(footage.frames())


def test_sound_alone_is_refused(tmp_path: Path):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with pytest.raises(ValueError, match="has no video in it: use a clip that shows the driver's face"):
        open_footage(path)


def test_what_is_no_clip_is_refused(tmp_path: Path):
    text = tmp_path / "a.mp4"
    text.write_text("no clip at all")
    with pytest.raises(ValueError, match="is not a video"):
        open_footage(text)
    with pytest.raises(ValueError, match="there is no such file"):
        open_footage(tmp_path / "none.mp4")


def test_a_folders_pictures_come_in_the_order_of_their_numbers(tmp_path: Path):
    for number in (10, 9, 100, 1):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("left out")
    with open_footage(tmp_path) as footage:
        seen = list(footage.frames())
        assert footage.count == 4
        assert footage.audio is None
    assert [int(frame.picture[0, 0, 0]) for frame in seen] == [1, 9, 10, 100]
    assert [frame.time_s for frame in seen] == pytest.approx([0, 0.04, 0.08, 0.12])


def test_a_folder_without_pictures_and_one_with_a_bad_picture(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no pictures: expected .jpg"):
        open_footage(tmp_path)
    (tmp_path / "1.jpg").write_bytes(MONA_LISA.read_bytes()[:5000])
    with (
        open_footage(tmp_path) as footage,
        pytest.raises(ValueError, match=r"1\.jpg: the picture is cut short"),
    ):
        list(footage.frames())
