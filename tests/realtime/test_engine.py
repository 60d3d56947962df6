"""The engine: neutral poses, lost faces, and the thread that renders."""

import threading
import weakref
from collections.abc import Iterator, Sequence

import pytest
from torch import Tensor

from models.contract import Observation
from realtime.engine import CALIBRATION_S, EASE_S, RETURN_S, Avatar, EngineThread
from tests.fakes import Flat, FlatEngine, FlatStructure, flat_observation, flat_picture
from tests.live import PATIENCE_S

FPS = 30
PORTRAIT_LEVEL = 100.0


def seen(level: int) -> Observation:
    return flat_observation(flat_picture(level))


UNSEEN = flat_observation(flat_picture(0), valid=False)


class Interrupted(Flat):
    """A generator that is interrupted while it takes the centre of a driver's rest."""

    def __init__(self) -> None:
        super().__init__()
        self.interruptions: list[object] = []
        self.rests: list[list[float]] = []  # the levels that each centre was taken of

    def neutral(self, codes: Sequence[FlatStructure]) -> FlatStructure:
        self.rests.append([round(255 * float(code.level)) for code in codes])
        while self.interruptions:
            self.interruptions.pop()()  # type: ignore[operator]
        return super().neutral(codes)


class Film:
    """Renders one avatar frame by frame, and reads its structure's level off the pictures."""

    def __init__(self, generator: Flat | None = None) -> None:
        self.engine = FlatEngine(generator or Flat())
        self.avatar = Avatar(self.engine.prepare(flat_picture(int(PORTRAIT_LEVEL))))
        self.time_s = 0.0

    def show(self, observation: Observation, step_s: float = 1 / FPS) -> float:
        """The level that the avatar shows `step_s` after its last frame, 0 to 255."""
        self.time_s += step_s
        picture = self.engine.render(self.avatar, observation, self.time_s).picture
        return float(picture[..., 1].mean())

    def rest(self, level: int) -> None:
        """The driver holds still for one calibration."""
        for _ in range(int(CALIBRATION_S * FPS) + 2):
            self.show(seen(level))


def level_of(structure: FlatStructure) -> int:
    level: Tensor = structure.level
    return round(255 * float(level))


def test_the_first_face_is_neutral_at_once_and_then_the_centre_of_half_a_second() -> None:
    film = Film()
    assert film.avatar.calibrating
    assert film.show(seen(40)) == pytest.approx(PORTRAIT_LEVEL, abs=1)
    film.rest(60)
    assert not film.avatar.calibrating
    assert level_of(film.avatar.neutral) == 60
    assert film.show(seen(80)) == pytest.approx(PORTRAIT_LEVEL + 20, abs=1)


def test_a_new_neutral_pose_replaces_the_old_one_when_it_is_complete() -> None:
    film = Film()
    film.rest(60)
    film.avatar.calibrate()
    assert film.avatar.calibrating
    assert film.show(seen(80)) == pytest.approx(PORTRAIT_LEVEL + 20, abs=1)
    assert level_of(film.avatar.neutral) == 60
    film.rest(80)
    assert not film.avatar.calibrating
    assert level_of(film.avatar.neutral) == 80


def test_a_calibration_that_is_asked_for_while_another_ends_is_made() -> None:
    generator = Interrupted()
    film = Film(generator)
    film.rest(60)
    film.avatar.calibrate()
    film.show(seen(60))
    generator.interruptions = [film.avatar.calibrate]
    film.rest(60)
    assert not generator.interruptions
    assert film.avatar.calibrating, "the request came while the one before it was being completed"
    film.rest(90)
    assert level_of(film.avatar.neutral) == 90


def test_a_calibration_that_is_asked_for_anew_starts_anew() -> None:
    generator = Interrupted()
    film = Film(generator)
    film.rest(60)
    film.avatar.calibrate()
    film.show(seen(10))
    film.avatar.calibrate()
    film.show(seen(90))
    film.rest(90)
    assert set(generator.rests[-1]) == {90}


def test_a_neutral_pose_that_was_set_ends_any_calibration() -> None:
    film = Film()
    film.avatar.calibrate()
    film.avatar.use_neutral(film.engine.encode(seen(60)))
    assert not film.avatar.calibrating
    assert film.show(seen(80)) == pytest.approx(PORTRAIT_LEVEL + 20, abs=1)


def test_a_lost_face_is_held_and_eased_to_the_portraits_own_pose() -> None:
    film = Film()
    film.rest(60)
    held = film.show(seen(160))
    assert held == pytest.approx(PORTRAIT_LEVEL + 100, abs=1)
    levels = [film.show(UNSEEN)]
    assert levels[0] == pytest.approx(held, abs=1), "the pose is held at first"
    for _ in range(10):
        levels.append(film.show(UNSEEN, EASE_S / 10))
    assert levels == sorted(levels, reverse=True)
    assert levels[5] == pytest.approx(PORTRAIT_LEVEL + 50, abs=2), "half way after half the time"
    assert levels[-1] == pytest.approx(PORTRAIT_LEVEL, abs=1)
    assert film.show(UNSEEN, 60.0) == pytest.approx(PORTRAIT_LEVEL, abs=1)


def test_a_face_that_comes_back_is_eased_to_and_then_followed() -> None:
    film = Film()
    film.rest(60)
    film.show(UNSEEN)
    film.show(UNSEEN, EASE_S)
    back = film.show(seen(160))
    assert back == pytest.approx(PORTRAIT_LEVEL, abs=1), "no jump"
    levels = [film.show(seen(160), RETURN_S / 4) for _ in range(4)]
    assert levels == sorted(levels)
    assert levels[1] == pytest.approx(PORTRAIT_LEVEL + 50, abs=2)
    assert levels[-1] == pytest.approx(PORTRAIT_LEVEL + 100, abs=1)
    assert film.show(seen(60)) == pytest.approx(PORTRAIT_LEVEL, abs=1), "followed without delay"


def test_a_face_that_flickers_makes_no_jump() -> None:
    film = Film()
    film.rest(60)
    before = film.show(seen(160))
    for index in range(12):
        now = film.show(UNSEEN if index % 2 else seen(160))
        assert abs(now - before) < 60
        before = now


@pytest.fixture
def thread() -> Iterator[EngineThread]:
    made = EngineThread(FlatEngine(Flat()))
    made.start()
    yield made
    made.stop()


def test_the_thread_lets_go_of_an_avatar_when_its_frame_is_made(thread: EngineThread) -> None:
    avatar = Avatar(FlatEngine(Flat()).prepare(flat_picture(100)))
    gone = threading.Event()
    weakref.finalize(avatar, gone.set)
    assert thread.submit(avatar, seen(60), 0.0).result(PATIENCE_S).face
    del avatar
    assert gone.wait(PATIENCE_S), "an ended session's avatar is held until the next frame of another"


def test_the_thread_lets_go_of_an_avatar_whose_frame_nobody_wants() -> None:
    thread = EngineThread(FlatEngine(Flat()))
    avatar = Avatar(FlatEngine(Flat()).prepare(flat_picture(100)))
    gone = threading.Event()
    weakref.finalize(avatar, gone.set)
    assert thread.submit(avatar, seen(60), 0.0).cancel()
    del avatar
    thread.start()
    try:
        assert gone.wait(PATIENCE_S)
    finally:
        thread.stop()


def test_the_newest_request_of_an_avatar_wins() -> None:
    engine = FlatEngine(Flat())
    thread = EngineThread(engine)
    avatar = Avatar(engine.prepare(flat_picture(100)))
    older, newer = thread.submit(avatar, seen(60), 0.0), thread.submit(avatar, seen(60), 1.0)
    thread.start()
    assert newer.result(PATIENCE_S).face
    assert older.cancelled()
    thread.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        thread.submit(avatar, seen(60), 2.0)
