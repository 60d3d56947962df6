"""RGB to the YUV of the standards, and what encoders and browsers make of it."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
import torch
from aiortc import RTCRtpCodecParameters
from aiortc.codecs import depayload, get_decoder, get_encoder
from aiortc.jitterbuffer import JitterFrame
from av.video.reformatter import ColorRange, Colorspace
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from realtime._aiortc_compat import name_colours
from realtime.colours import BT601, BT709, LIMITED, planes, to_i420
from realtime.pictures import load_picture
from realtime.tracks import video_frame
from tests.material import ASTRONAUT, MONA_LISA, shared

JPEG = 2  # full range, as LIMITED is the other
WHITE, BLACK, RED, GREEN, BLUE = (1, 1, 1), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)
GREY = (128 / 255,) * 3
both_matrices = pytest.mark.parametrize("matrix", ["bt601", "bt709"])
both_ranges = pytest.mark.parametrize("full", [False, True])

# Y, U, V of 100 % bars as tables of BT.601 and BT.709 have them for 8 bits.
KNOWN = {
    "bt601": {
        WHITE: (235, 128, 128), BLACK: (16, 128, 128),
        RED: (81, 90, 240), GREEN: (145, 54, 34), BLUE: (41, 240, 110),
    },
    "bt709": {
        WHITE: (235, 128, 128), BLACK: (16, 128, 128),
        RED: (63, 102, 240), GREEN: (173, 42, 26), BLUE: (32, 240, 118),
    },
}  # fmt: skip
KNOWN_FULL = {  # as JFIF has them, and the same of BT.709
    "bt601": {
        WHITE: (255, 128, 128), BLACK: (0, 128, 128),
        RED: (76, 85, 255), GREEN: (150, 44, 21), BLUE: (29, 255, 107),
    },
    "bt709": {
        WHITE: (255, 128, 128), BLACK: (0, 128, 128),
        RED: (54, 99, 255), GREEN: (182, 30, 12), BLUE: (18, 255, 116),
    },
}  # fmt: skip


class Picture(NamedTuple):
    """A code, as graphs take them."""

    rgb: Tensor  # B×3×H×W in [0, 1]


def flat(colour: tuple[float, ...], height: int = 4, width: int = 6) -> Tensor:
    return torch.tensor(colour)[None, :, None, None].expand(1, 3, height, width)


def split(levels: np.ndarray, height: int, width: int) -> tuple[np.ndarray, ...]:
    """The planes of a 4:2:0 array: H×W, and twice H/2×W/2."""
    y, u, v = np.split(levels.reshape(-1), (height * width, height * width * 5 // 4))
    return y.reshape(height, width), u.reshape(height // 2, -1), v.reshape(height // 2, -1)


def to_rgb(yuv: Tensor, matrix: str, full: bool) -> Tensor:
    """The inverse of `planes`, by the definition of the colour differences."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    y, u, v = yuv.unbind(1)
    y, u, v = (y / 255, u - 128, v - 128) if full else ((y - 16) / 219, u - 128, v - 128)
    span = 255 if full else 224
    blue, red = y + u / span * 2 * (1 - kb), y + v / span * 2 * (1 - kr)
    return torch.stack((red, (y - kr * red - kb * blue) / (1 - kr - kb), blue), 1)


@both_matrices
@both_ranges
def test_known_colours(matrix: str, full: bool) -> None:
    for colour, known in (KNOWN_FULL if full else KNOWN)[matrix].items():
        levels = to_i420(flat(colour), matrix, full)
        assert levels.shape == (1, 6, 6)
        assert levels.dtype == torch.uint8
        for plane, level in zip(split(levels[0].numpy(), 4, 6), known, strict=True):
            assert (plane == level).all(), (colour, known)


@both_matrices
@both_ranges
@given(levels=arrays.arrays(np.uint8, (1, 3, 4, 4)))
def test_there_and_back_is_within_a_level_for_colours_that_there_are(
    matrix: str, full: bool, levels: np.ndarray
) -> None:
    yuv = torch.from_numpy(levels).float()
    rgb = to_rgb(yuv, matrix, full)
    again = planes(rgb, matrix, full)
    there_are = ((rgb >= 0) & (rgb <= 1)).all(1, keepdim=True)
    assert ((again - yuv) * there_are).abs().max() <= 0.01


@both_matrices
@both_ranges
@given(rgb=arrays.arrays(np.uint8, (1, 3, 2, 2)))
def test_whole_levels_give_the_colour_back(matrix: str, full: bool, rgb: np.ndarray) -> None:
    yuv = planes(torch.from_numpy(rgb) / 255, matrix, full).round()
    back = 255 * to_rgb(yuv, matrix, full)
    assert (back - torch.from_numpy(rgb)).abs().max() <= 2.1  # half a level of each, as far as it carries
    assert (planes(back / 255, matrix, full) - yuv).abs().max() <= 1


@both_matrices
@both_ranges
@given(st.tuples(*[st.floats(-2, 3) for _ in range(3)]))
def test_no_colour_leaves_the_range(matrix: str, full: bool, colour: tuple[float, ...]) -> None:
    y, u, v = planes(flat(colour), matrix, full).unbind(1)
    low, high, top = (0, 255, 255.5) if full else (16, 235, 240)
    assert low - 1e-3 <= y.min()
    assert y.max() <= high + 1e-3
    assert torch.stack((u, v)).sub(128).abs().max() <= top - 128 + 1e-3
    clamped = tuple(min(max(part, 0), 1) for part in colour)
    assert torch.equal(to_i420(flat(colour), matrix, full), to_i420(flat(clamped), matrix, full))


@pytest.mark.parametrize("size", [(64, 96), (66, 50), (2, 2)])
def test_a_batch_is_its_rows_and_half_precision_is_widened(size: tuple[int, int]) -> None:
    rgb = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(3))
    levels = to_i420(rgb)
    assert levels.shape == (3, 3 * size[0] // 2, size[1])
    assert all(torch.equal(levels[row : row + 1], to_i420(rgb[row : row + 1])) for row in range(3))
    assert torch.equal(to_i420(rgb.half()), to_i420(rgb.half().float()))
    assert torch.equal(to_i420(rgb.to(memory_format=torch.channels_last)), levels)


def test_no_value_and_no_constant_has_to_be_looked_at() -> None:
    """Or it could not be part of a CUDA graph. Tensors without contents have neither."""
    levels = to_i420(torch.empty(2, 3, 64, 96, device="meta"))
    assert (levels.shape, levels.dtype, levels.device.type) == ((2, 96, 96), torch.uint8, "meta")


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(ValueError, match="both sides must be even"):
        to_i420(torch.zeros(1, 3, 4, 5))
    with pytest.raises(ValueError, match="known: bt601, bt709"):
        to_i420(torch.zeros(1, 3, 4, 4), "bt2020")


def test_colour_is_the_mean_of_the_four_pixels_around_it() -> None:
    rgb = torch.zeros(1, 3, 4, 4)
    rgb[0, 2, 1, 2] = 1  # blue in the lower left of the upper right four
    _, u, _ = split(to_i420(rgb)[0].numpy(), 4, 4)
    assert u.tolist() == [[128, 156], [128, 128]]


@both_matrices
@both_ranges
@pytest.mark.parametrize("path", [MONA_LISA, ASTRONAUT, "portraits/painting_mona_lisa.jpg"])
def test_real_pictures_as_libswscale_converts_them(path: Path | str, matrix: str, full: bool) -> None:
    picture = even(shared(path) if isinstance(path, str) else path)
    theirs = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU601 if matrix == "bt601" else Colorspace.ITU709,
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
    )
    ours = to_i420(as_tensor(picture), matrix, full)[0].numpy()
    y, u, v = (
        np.abs(a.astype(int) - b)
        for a, b in zip(
            split(ours, *picture.shape[:2]),
            split(theirs.to_ndarray().astype(int), *picture.shape[:2]),
            strict=True,
        )
    )
    assert y.mean() < 0.1
    assert y.max() <= 1
    # Its colours are smoothed over four rows, ours are not; and in the full range it rounds them down.
    assert max(u.mean(), v.mean()) < (1 if full else 0.5)


def test_without_a_word_libswscale_does_the_same() -> None:
    """That is what frames of RGB become in the encoders."""
    picture = even(MONA_LISA)
    theirs = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p").to_ndarray()
    assert np.abs(theirs.astype(int) - to_i420(as_tensor(picture))[0].numpy()).mean() < 0.1


@pytest.mark.parametrize("name", ["VP8", "H264"])
@pytest.mark.parametrize("path", [MONA_LISA, ASTRONAUT], ids=lambda path: path.stem)
def test_encoders_send_the_same_picture_either_way(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiortc.codecs.H264Encoder", None)
    name_colours()
    for codec in ("vpx", "h264"):
        monkeypatch.setattr(f"aiortc.codecs.{codec}.MAX_BITRATE", 50_000_000)  # or we'd measure their noise
    picture = even(path)
    rgb = sent_and_received(name, picture)
    yuv = sent_and_received(name, to_i420(as_tensor(picture))[0].numpy())
    assert np.abs(rgb - yuv).mean() < 1
    assert np.abs(rgb.mean((0, 1)) - yuv.mean((0, 1))).max() < 0.3
    assert np.abs(yuv - picture).mean() < np.abs(rgb - picture).mean() + 0.1  # and no further from the truth


def test_a_converted_picture_is_not_converted_again() -> None:
    made = video_frame(to_i420(flat(RED, 64, 64))[0].numpy(), 0, Fraction(1, 90000))
    assert (made.width, made.height, made.format.name) == (64, 64, "yuv420p")
    assert (made.colorspace, made.color_range) == (BT601, LIMITED)
    assert made.reformat(format="yuv420p") is made, "as the encoders ask for it"
    assert np.abs(made.to_ndarray(format="rgb24")[32, 32].astype(int) - (255, 0, 0)).max() <= 2


@both_matrices
@both_ranges
@pytest.mark.parametrize("colour", [WHITE, BLACK, RED, GREEN, BLUE, GREY])
def test_driving_frames_are_read_by_their_own_matrix_and_range(
    matrix: str, full: bool, colour: tuple[float, ...]
) -> None:
    frame = av.VideoFrame.from_ndarray(
        to_i420(flat(colour, 64, 64), matrix, full)[0].numpy(), format="yuv420p"
    )
    frame.colorspace = BT601 if matrix == "bt601" else BT709
    frame.color_range = JPEG if full else LIMITED
    seen = frame.to_ndarray(format="rgb24").astype(int)
    assert np.abs(seen - np.multiply(colour, 255)).max() <= 2


def even(path: Path) -> np.ndarray:
    """A picture with even sides, at most 512 of each."""
    picture = load_picture(path)[:512, :512]
    return np.ascontiguousarray(picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2])


def as_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 255


def sent_and_received(name: str, picture: np.ndarray) -> np.ndarray:
    """The third of three equal frames, as RGB, after aiortc's encoder and decoder."""
    kind = RTCRtpCodecParameters(mimeType=f"video/{name}", clockRate=90000)
    encoder: Any = get_encoder(kind)
    encoder.target_bitrate = 10**9  # as much as it may
    decoder = get_decoder(kind)
    for index in range(3):
        payloads, stamp = encoder.encode(video_frame(picture, 3000 * index, Fraction(1, 90000)))
        data = b"".join(depayload(kind, payload) for payload in payloads)
        (frame,) = decoder.decode(JitterFrame(data=data, timestamp=stamp))
    assert isinstance(frame, av.VideoFrame)
    return frame.to_ndarray(format="rgb24").astype(float)
