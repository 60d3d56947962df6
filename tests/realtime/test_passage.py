"""The figures of the live measurement, on made-up runs whose answers are known."""

from collections.abc import Callable

import pytest

from realtime.bench import barcode
from realtime.bench.passage import Shown, elapsed_frames, match, summarise

LOOP = 90
FRAME_MS = 1000 / 30


def camera(count: int) -> list[Shown]:
    """A camera of 30 frames a second, whose own picture is shown 5 ms after each was taken."""
    return [Shown(i * FRAME_MS + 5, i * FRAME_MS, i, i % LOOP) for i in range(count)]


def answers(count: int, delay_ms: Callable[[int], float], keep: Callable[[int], bool]) -> list[Shown]:
    """The avatar's frames for the camera's that are kept."""
    kept = [i for i in range(count) if keep(i)]
    return [Shown(i * FRAME_MS + delay_ms(i), None, n, i % LOOP) for n, i in enumerate(kept)]


def test_a_steady_path() -> None:
    run = summarise(camera(600), answers(600, lambda i: 80, lambda i: True), LOOP)
    assert run.p50_ms == pytest.approx(80)
    assert run.p95_ms == pytest.approx(80)
    assert run.growth_ms == pytest.approx(0)
    assert run.fps == pytest.approx(30)
    assert run.camera_fps == pytest.approx(30)
    assert run.dropped == pytest.approx(0)
    assert run.longest_gap_ms == pytest.approx(FRAME_MS)
    assert run.matched == 600


def test_dropped_frames_are_counted_across_rounds_of_the_clip() -> None:
    run = summarise(camera(600), answers(600, lambda i: 80, lambda i: i % 3 == 0), LOOP)
    assert run.dropped == pytest.approx(2 / 3, abs=0.01)
    assert run.fps == pytest.approx(10, abs=0.1)


def test_a_delay_that_grows_is_seen() -> None:
    run = summarise(camera(600), answers(600, lambda i: 80 + i / 2, lambda i: True), LOOP)
    assert run.growth_ms == pytest.approx(600 / 2 * 3 / 4, rel=0.05)
    assert run.p95_ms > run.p50_ms + 100


def test_a_frame_is_matched_with_the_last_of_its_number_before_it() -> None:
    found = match(camera(3 * LOOP), [Shown((LOOP + 10) * FRAME_MS + 70, None, 0, 10)])
    assert [delay.delay_ms for delay in found] == [pytest.approx(70)]


def test_what_cannot_be_told_is_left_out() -> None:
    frames = [Shown(500, None, 0, None), Shown(500, None, 1, 77), Shown(500, None, 2, 3)]
    assert len(match(camera(10), frames)) == 1
    assert elapsed_frames(frames, LOOP) == (3 - 77) % LOOP


def test_frames_that_nobody_noted_do_not_count_as_dropped() -> None:
    """A busy page misses some of the browser's calls; the browser's own count tells."""
    every = answers(600, lambda i: 80, lambda i: True)
    run = summarise(camera(600), [frame for i, frame in enumerate(every) if i % 5], LOOP)
    assert run.dropped == pytest.approx(0, abs=0.01)
    assert run.fps == pytest.approx(30, abs=0.1)


def test_a_server_that_does_not_stamp_is_named_as_the_reason() -> None:
    blank = [frame._replace(counter=None) for frame in answers(100, lambda i: 80, lambda i: True)]
    with pytest.raises(ValueError, match="--debug-stamp"):
        summarise(camera(100), blank, LOOP)


def test_a_row_from_the_browser_is_parsed() -> None:
    levels = [220.0 if white else 30.0 for white in barcode.cells(1234)]
    assert Shown.parse([10.5, None, 7, *levels]) == Shown(10.5, None, 7, 1234)
