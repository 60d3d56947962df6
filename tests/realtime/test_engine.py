"""The engine: neutral poses, lost faces, and the thread that renders."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from models.contract import Controls, Observation, Reenactor
from models.warp import Warp
from realtime.avatar import CALIBRATION_S, EASE_S, RETURN_S, Avatar
from realtime.engine import Engine, NotFinite, Request
from realtime.framing import Canvas
from realtime.tracker import DriverTracker
from tests.flat import (
    FPS,
    UNSEEN,
    Flat,
    FlatAppearance,
    FlatEngine,
    FlatStructure,
    Ill,
    comings_and_goings,
    flat_picture,
    level_of,
    seen,
)
from tests.material import ASTRONAUT, GRID_CLIP, MONA_LISA, picture
from tests.material import frames as frames_of
from tests.models.little_portrait import LittlePortrait
from tests.models.tiny import Tiny

PORTRAIT_LEVEL = 100.0


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


def places(engine: Engine) -> int:
    """How many avatars the engine has memory for."""
    assert engine._slots is not None
    return len(engine._slots)


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


def test_a_batch_draws_what_each_would_have_alone() -> None:
    """Different portraits, controls, drivers and rests, some without a face, some easing back to one."""
    chance = random.Random(0)

    def avatars(engine: FlatEngine) -> list[Avatar]:
        return [
            Avatar(
                engine.prepare(flat_picture(level)),
                Controls.default(gain_expression=0.5 + index / 4, relative=float(index % 3 > 0)),
            )
            for index, level in enumerate((60, 90, 120, 150, 180))
        ]

    together, alone = FlatEngine(Flat(), slots=5), FlatEngine(Flat())
    pairs = list(zip(avatars(together), avatars(alone), strict=True))
    for step in range(200):
        some = chance.sample(pairs, chance.randint(1, 5))
        frames = [seen(chance.randint(40, 200)) if chance.random() < 0.8 else UNSEEN for _ in some]
        requests = [Request(one, frame, step / FPS) for (one, _), frame in zip(some, frames, strict=True)]
        found = together.draw(requests)
        expected = [
            alone.render(other, frame, step / FPS) for (_, other), frame in zip(some, frames, strict=True)
        ]
        for ours, theirs in zip(found, expected, strict=True):
            assert np.array_equal(ours.picture, theirs.picture)
            assert ours.face == theirs.face
            assert ours.batch == len(some)


def test_ten_thousand_joins_leaves_and_new_portraits_misroute_nothing() -> None:
    engine = FlatEngine(Flat(), slots=8)
    for crowd in comings_and_goings(engine, rounds=1_000, together=16):
        for rendered, (_, portrait, driver) in zip(
            engine.draw([one.request for one in crowd]), crowd, strict=True
        ):
            red, green, _ = rendered.picture.mean((0, 1))
            assert (red, green) == pytest.approx((portrait, driver), abs=1)


@pytest.mark.parametrize("make", [Tiny, LittlePortrait, Warp])
def test_a_network_draws_a_batch_as_it_does_alone(make: Callable[[], Reenactor]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = make()
    frames = frames_of(GRID_CLIP, most=30)[::10]

    def play(engine: Engine, batch: bool) -> list[np.ndarray]:
        avatars = [Avatar(engine.prepare(picture(path))) for path in (MONA_LISA, ASTRONAUT, MONA_LISA)]
        for avatar in avatars:
            avatar.use_neutral(engine.generator.neutral([engine.encode(drivers[0])]))
        requests = [Request(avatar, seen, 1.0) for avatar, seen in zip(avatars, drivers, strict=True)]
        if batch:
            return [one.picture for one in engine.draw(requests)]
        return [engine.render(*request).picture for request in requests]

    with DriverTracker(generator.spec.driving) as tracker:
        drivers = [tracker.observe(frame, index / 3) for index, frame in enumerate(frames)]
    canvas = Canvas(256, 256)
    together, alone = (play(Engine(generator, canvas=canvas), batch) for batch in (True, False))
    for ours, theirs in zip(together, alone, strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 0.1


def test_an_avatar_that_nobody_holds_gives_its_place_back() -> None:
    engine = FlatEngine(Flat(), slots=1)
    for level in (60, 120):
        shown = engine.render(Avatar(engine.prepare(flat_picture(level))), seen(100), 0.0)
        assert round(shown.picture[..., 0].mean()) == level
    assert places(engine) == 1


def test_a_picture_of_no_numbers_is_never_shown_and_leaves_no_trace() -> None:
    film = Film(Ill())
    with pytest.raises(NotFinite):
        film.show(seen(220))  # the very first frame: nothing is known of the driver yet
    film.rest(60)
    assert film.show(seen(100)) == pytest.approx(PORTRAIT_LEVEL + 40, abs=1)
    with pytest.raises(NotFinite):
        film.show(seen(220))
    assert film.show(UNSEEN) == pytest.approx(PORTRAIT_LEVEL + 40, abs=1), "held is what was last shown"
    film.avatar.calibrate()
    with pytest.raises(NotFinite):
        film.show(seen(220))
    film.rest(80)
    assert level_of(film.avatar.neutral) == 80


def test_a_portrait_that_is_changed_while_a_frame_is_drawn_waits_for_the_next() -> None:
    """Face and canvas belong together."""

    class Swapping(Flat):
        def decode(self, appearance: FlatAppearance, structure: FlatStructure) -> tuple[Tensor, Tensor]:
            avatar.portrait = other
            return super().decode(appearance, structure)

    engine = FlatEngine(Swapping())
    avatar = Avatar(engine.prepare(flat_picture(100, 64, 64)))
    other = engine.prepare(flat_picture(180, 96, 64))
    first, second = (engine.render(avatar, seen(100), step / FPS).picture for step in range(2))
    assert first.shape == (64, 64, 3)
    assert second.shape == (64, 96, 3)
    assert [round(picture[..., 0].mean()) for picture in (first, second)] == [100, 180]
