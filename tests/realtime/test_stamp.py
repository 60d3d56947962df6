"""The debug stamp: a bar code in the driving frame comes back with the avatar."""

import numpy as np
import pytest
import torch

from realtime.colours import to_i420
from realtime.stamp import ROWS, cut_strip, draw_strip
from tests.flat import flat_picture
from tests.live import connected, running_server


def bars(width: int, count: int = 8, height: int = 64) -> np.ndarray:
    """Black and white bars in the top rows of a grey picture."""
    picture = np.full((height, width, 3), 120, np.uint8)
    picture[:ROWS] = np.where(np.arange(width) * count // width % 2, 255, 0)[None, :, None]
    return picture


@pytest.mark.parametrize("width", [64, 96, 512, 1280])
def test_the_strip_is_the_top_rows_scaled_to_the_width(width: int) -> None:
    assert np.array_equal(cut_strip(bars(640), width), bars(width)[:ROWS])


def test_a_driving_frame_lower_than_the_strip_is_repeated() -> None:
    assert cut_strip(bars(64)[:5], 64).shape == (ROWS, 64, 3)


def test_only_the_top_rows_are_drawn_over_and_the_composite_stays() -> None:
    avatar = flat_picture(77, width=64)
    stamped = draw_strip(avatar, cut_strip(bars(640), 64))
    assert np.array_equal(stamped[:ROWS], bars(64)[:ROWS])
    assert np.array_equal(stamped[ROWS:], avatar[ROWS:])
    assert (avatar == 77).all()


@pytest.mark.parametrize("height", [64, 66])
def test_the_strip_is_drawn_over_yuv_just_so(height: int) -> None:
    """As if it had been drawn before the conversion, colours and all."""

    def yuv(picture: np.ndarray) -> np.ndarray:
        return to_i420(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)[0].numpy()

    strip = cut_strip(bars(640), 64)
    strip[:, 8:24] = (200, 30, 90)
    avatar = flat_picture((90, 180, 20), width=64, height=height)
    before = yuv(avatar)
    stamped = draw_strip(before, strip)
    assert np.array_equal(stamped, yuv(draw_strip(avatar, strip)))
    assert np.array_equal(before, yuv(avatar)), "a new array"


@pytest.mark.usefixtures("loopback_ice")
@pytest.mark.parametrize("asked", [True, False])
async def test_the_stamp_comes_back_only_when_asked_for(asked: bool) -> None:
    async with running_server(debug_stamp=asked) as server, connected(server) as peer:
        frame = await peer.drive(bars(96, 4))
        strip = frame.to_ndarray(format="rgb24")[2 : ROWS - 2].mean((0, 2))
        contrast = float(strip[20:28].mean() - strip[4:12].mean())
        assert (contrast > 150) is asked
