"""The bar code of the live measurements survives what a live path does to a frame, or is not read at all."""

from fractions import Fraction
from itertools import combinations

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.bench import barcode

counters = st.integers(0, barcode.COUNTERS - 1)


def scene(width: int, height: int, seed: int) -> npt.NDArray[np.uint8]:
    """A picture with both soft and fine content, moving with the seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 16, width // 16, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@given(counters, st.sampled_from([(640, 480), (512, 512), (360, 288), (1280, 720)]))
def test_what_is_drawn_is_read(counter: int, size: tuple[int, int]) -> None:
    picture = scene(*size, seed=1)
    below = picture[barcode.ROWS :].copy()
    barcode.draw(picture, counter)
    assert barcode.read(picture) == counter
    assert np.array_equal(picture[barcode.ROWS :], below)


def test_a_picture_without_a_code_is_not_read() -> None:
    for seed in range(200):
        assert barcode.read(scene(640, 480, seed)) is None
    for level in (0, 16, 128, 235, 255):
        assert barcode.read(np.full((480, 640, 3), level, np.uint8)) is None


def test_any_one_wrong_cell_is_noticed_and_nearly_every_two() -> None:
    unnoticed = 0
    for counter in range(0, barcode.COUNTERS, 7):
        levels = [255.0 if white else 0.0 for white in barcode.cells(counter)]
        for cell in range(2, 18):
            wrong = levels.copy()
            wrong[cell] = 255 - wrong[cell]
            assert barcode.decode(wrong) is None
        for pair in combinations(range(2, 18), 2):
            wrong = levels.copy()
            for cell in pair:
                wrong[cell] = 255 - wrong[cell]
            unnoticed += barcode.decode(wrong) is not None
    assert unnoticed / (len(range(0, barcode.COUNTERS, 7)) * 120) < 0.01


@given(counters, st.floats(0.4, 0.6))
def test_two_frames_mixed_half_and_half_are_not_read_as_a_third(counter: int, share: float) -> None:
    other = (counter + 1) % barcode.COUNTERS
    first, second = (np.array(barcode.cells(c)) * 255.0 for c in (counter, other))
    assert barcode.decode(list(first * share + second * (1 - share))) in (None, counter, other)


def test_a_counter_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 4095"):
        barcode.cells(4096)


@pytest.mark.parametrize("sent", [(640, 480), (320, 240)])
def test_it_survives_a_live_path(sent: tuple[int, int]) -> None:
    """Scaled as a busy browser scales, coded as VP8 at 500 kb/s, stamped on another canvas, coded again."""
    driving = []
    for number in range(40):
        picture = scene(640, 480, seed=number // 5)
        barcode.draw(picture, number * 97 % barcode.COUNTERS)
        driving.append(cv2.resize(picture, sent, interpolation=cv2.INTER_LINEAR))
    stamped = []
    for number, frame in enumerate(vp8(driving)):
        canvas = scene(512, 512, seed=100 + number)
        canvas[: barcode.ROWS] = cv2.resize(frame[: barcode.ROWS], (512, barcode.ROWS))
        stamped.append(canvas)
    read = [barcode.read(frame) for frame in vp8(stamped)]
    right = [value == number * 97 % barcode.COUNTERS for number, value in enumerate(read)]
    wrong = [value for ok, value in zip(right, read, strict=True) if not ok and value is not None]
    assert not wrong
    assert sum(right) >= 38


def vp8(pictures: list[npt.NDArray[np.uint8]], bits_per_second: int = 500_000) -> list[npt.NDArray[np.uint8]]:
    """What is left of the pictures after real-time VP8."""
    encoder = av.CodecContext.create("libvpx", "w")
    decoder = av.CodecContext.create("vp8", "r")
    assert isinstance(encoder, av.VideoCodecContext)
    assert isinstance(decoder, av.VideoCodecContext)
    encoder.height, encoder.width = pictures[0].shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 30), Fraction(30)
    encoder.bit_rate = bits_per_second
    encoder.options = {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0"}
    packets = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [frame.to_ndarray(format="rgb24") for packet in packets for frame in decoder.decode(packet)]
