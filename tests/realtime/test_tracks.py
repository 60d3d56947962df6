"""The avatar's track, the frames' clock, and what is thrown away."""

from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from hypothesis import given
from hypothesis import strategies as st

from realtime.tracks import MAX_STEP_S, AvatarTrack, FrameClock, discard, video_frame
from tests.fakes import Camera
from tests.flat import flat_picture


def frame(pts: int) -> av.VideoFrame:
    return video_frame(flat_picture(100), pts, Fraction(1, 90000))


async def test_the_newest_frame_is_sent_and_older_ones_never() -> None:
    sent: list[float] = []
    track = AvatarTrack(sent.append)
    assert track.show(frame(10), 1.0)
    assert not track.show(frame(20), 2.0), "the first was still waiting"
    assert not track.show(frame(20), 3.0), "no encoder takes a frame that is not later than the last"
    assert not track.show(frame(15), 3.0)
    assert (await track.recv()).pts == 20
    assert sent == [2.0]


async def test_a_stopped_track_ends() -> None:
    track = AvatarTrack()
    track.show(frame(10), 0.0)
    track.stop()
    with pytest.raises(MediaStreamError):
        await track.recv()
    assert track.readyState == "ended"


async def test_what_nobody_wants_is_read_to_the_end() -> None:
    camera = Camera()
    for _ in range(5):
        camera.push(flat_picture(1))
    camera.stop()
    await discard(camera)
    assert camera._frames.empty()


def test_a_picture_becomes_a_frame_with_the_given_stamp() -> None:
    made = video_frame(flat_picture((200, 100, 50)), 4711, Fraction(1, 90000))
    assert (made.pts, made.time_base, made.format.name) == (4711, Fraction(1, 90000), "rgb24")
    assert np.abs(made.to_ndarray(format="rgb24").mean((0, 1)) - (200, 100, 50)).max() < 3


def test_stamps_give_the_time() -> None:
    clock = FrameClock()
    start = clock.tick(7.0, 100.0)
    assert clock.tick(7.5, 100.1) - start == pytest.approx(0.5)


def test_a_jump_of_the_senders_clock_falls_back_to_ours() -> None:
    clock = FrameClock()
    start = clock.tick(7.0, 100.0)
    assert clock.tick(47721.8, 100.1) - start == pytest.approx(0.1)
    assert clock.tick(3.0, 100.2) - start == pytest.approx(0.2)
    assert clock.tick(None, 100.3) - start == pytest.approx(0.3)


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 1e6)), max_size=30))
def test_the_time_never_runs_backwards_and_never_leaps(steps: list[tuple[float | None, float]]) -> None:
    clock = FrameClock()
    last, before = clock.time_s, None
    for stamp, arrival in steps:
        now = clock.tick(stamp, arrival)
        assert now >= last
        if before is not None:
            assert now - last <= max(MAX_STEP_S, arrival - before) + 1e-6
        last, before = now, arrival
