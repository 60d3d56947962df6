from concurrent.futures import Future
from dataclasses import replace

import pytest

from realtime.bench.load import Frame, Load, carried, play, summed_up
from realtime.engine import Rendered
from realtime.engine_thread import Late
from tests.fakes import FakeClock
from tests.flat import flat_picture

PICTURE = flat_picture(0)


class Drawer:
    """Draws one frame after the other, the newest of each session, and takes so long for each. It does so
    while its clock is waited for."""

    def __init__(self, takes_s: float, batch: int = 1) -> None:
        self.clock = FakeClock()
        self.submitted: list[tuple[int, int, float]] = []  # session, frame, when
        self.refuses: dict[tuple[int, int], Exception] = {}
        self._takes_s, self._batch = takes_s, batch
        self._began_s = self.clock.now_s
        self._waiting: dict[int, Future[Rendered]] = {}
        self._numbers: dict[int, int] = {}
        self._in_hand: tuple[int, Future[Rendered], float] | None = None  # and when it is done

    def submit(self, session: int, number: int) -> "Future[Rendered]":
        self.submitted.append((session, number, round(self.clock.now_s - self._began_s, 6)))
        replaced = self._waiting.pop(session, None)
        if replaced is not None:
            replaced.cancel()
        future = self._waiting[session] = Future()
        self._numbers[session] = number
        self._take()
        return future

    def wait(self, seconds: float) -> None:
        until_s = self.clock.now_s + seconds
        while self._in_hand is not None and self._in_hand[2] <= until_s:
            session, future, self.clock.now_s = self._in_hand
            self._in_hand = None
            if (error := self.refuses.get((session, self._numbers[session]))) is not None:
                future.set_exception(error)
            else:
                future.set_result(Rendered(PICTURE, True, {}, self._batch))
            self._take()
        self.clock.now_s = until_s

    def finish(self) -> None:
        while self._in_hand is not None:
            self.wait(1.0)

    def _take(self) -> None:
        if self._in_hand is None and self._waiting:
            session = next(iter(self._waiting))
            self._in_hand = session, self._waiting.pop(session), self.clock.now_s + self._takes_s


def played(drawer: Drawer, sessions: int, fps: float, warm_up: int, frames: int) -> list[Frame]:
    found = play(drawer.submit, sessions, fps, warm_up, frames, drawer.clock, drawer.wait)
    drawer.finish()
    return found


def test_frames_are_submitted_on_time_and_out_of_phase() -> None:
    drawer = Drawer(0.001)
    found = played(drawer, 2, 10, 1, 2)
    assert drawer.submitted == [
        (0, 0, 0.0),
        (1, 0, 0.05),
        (0, 1, 0.1),
        (1, 1, 0.15),
        (0, 2, 0.2),
        (1, 2, 0.25),
        (0, 3, 0.3),
        (1, 3, 0.35),
    ]
    assert [frame.session for frame in found] == [0, 1, 0, 1], "warm-up and the last ones are not counted"
    assert max(frame.late_s for frame in found) == pytest.approx(0, abs=1e-9)


def test_an_engine_that_keeps_up_drops_nothing() -> None:
    drawer = Drawer(0.04)
    load = summed_up(played(drawer, 2, 10, 1, 20), 2, 2.0, None)
    assert (load.frames, load.dropped, load.fps_least, load.fps_mean) == (40, 0, 10, 10)
    assert load.delay_ms == pytest.approx((40, 40, 40))
    assert carried([load], 10) == 2


def test_a_slow_engine_costs_frames_and_never_delay() -> None:
    """Four sessions of 10 frames a second, and time for 25 of those 40."""
    drawer = Drawer(0.04)
    load = summed_up(played(drawer, 4, 10, 10, 100), 4, 10.0, None)
    assert load.frames == 400
    assert load.dropped == pytest.approx(150, abs=2)
    assert load.fps_mean == pytest.approx(6.25, abs=0.05)
    assert load.fps_least <= load.fps_mean
    assert load.delay_ms is not None
    assert load.delay_ms[2] <= 1e3 * (0.1 + 0.04), "it waited for less than a period, then it was drawn"
    assert carried([load], 10) == 0


def test_an_engine_that_never_ends_its_first_frame_drops_all_others() -> None:
    drawer = Drawer(100.0)
    found = play(drawer.submit, 1, 10, 1, 10, drawer.clock, drawer.wait)
    load = summed_up(found, 1, 1.0, None)
    assert (load.frames, load.dropped, load.fps_least, load.delay_ms) == (10, 10, 0, None)
    assert load.batches == {}
    assert carried([load], 10) == 0


def test_a_player_that_is_late_says_so_and_catches_up() -> None:
    """It was kept from the processor when the second frame was due."""
    drawer = Drawer(0.001)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        drawer.wait(seconds + (0.25 if len(waits) == 1 else 0))

    found = play(drawer.submit, 1, 10, 0, 4, drawer.clock, wait)
    drawer.finish()
    assert [frame.late_s for frame in found] == pytest.approx([0, 0.25, 0.15, 0.05], abs=1e-6)
    # The newest wins: the drawer was still at the second frame when the third and the fourth came at once.
    assert [frame.delay_s is None for frame in found] == [False, False, True, False]


def test_what_the_engine_could_not_draw_is_told() -> None:
    drawer = Drawer(0.001)
    drawer.refuses = {(0, 2): RuntimeError("no such face"), (0, 3): Late()}
    found = played(drawer, 1, 10, 1, 4)
    assert [str(frame.error) for frame in found] == ["None", "no such face", "None", "None"]
    assert [frame.delay_s is None for frame in found] == [False, True, True, False], "and what was too late"


def test_a_frame_does_not_hold_its_picture() -> None:
    found = played(Drawer(0.001), 1, 10, 0, 1)
    assert not any(value is PICTURE or isinstance(value, Future) for value in vars(found[0]).values())


def test_the_sums_of_known_frames() -> None:
    drawn = [Frame(0, 0.001 * index, 0.001 * (index + 1), 2) for index in range(100)]
    alone = [Frame(1, 0.0, 0.2, 1), Frame(1, 0.0)]
    load = summed_up([*alone, *drawn], 3, 10.0, 12.5)
    assert load.sessions == 3
    assert (load.fps_least, load.fps_mean) == (0, pytest.approx(101 / 30))
    assert load.delay_ms == pytest.approx((51, 96, 100))
    assert (load.frames, load.dropped, load.peak_mb) == (102, 1, 12.5)
    assert load.batches == {1: 1, 2: 100}
    assert 93 < load.late_ms < 96


GOOD = Load(4, 30.0, 30.0, (10.0, 33.0, 50.0), 1.0, 1200, 0, {4: 1200}, None)


@pytest.mark.parametrize(
    ("load", "count"),
    [
        (GOOD, 4),
        (replace(GOOD, dropped=1), 0),
        (replace(GOOD, delay_ms=(10.0, 34.0, 50.0)), 0),
        (replace(GOOD, delay_ms=None, dropped=1200), 0),
        (replace(GOOD, late_ms=40.0), 0),
    ],
)
def test_what_counts_as_carried(load: Load, count: int) -> None:
    assert carried([load], 30) == count


def test_the_largest_count_is_carried() -> None:
    assert carried([replace(GOOD, sessions=2), GOOD, replace(GOOD, sessions=8, dropped=3)], 30) == 4
    assert carried([], 30) == 0
