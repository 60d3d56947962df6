"""The engine with graphs shows what it shows without them: on a recorder, and on a GPU where there is one."""

import logging
import random

import numpy as np
import pytest
import torch

from models.contract import Controls, Observation, Reenactor
from models.describe import example
from models.observation import to_levels
from realtime.avatar import Avatar, Picture
from realtime.bench.recording import portrait, recording
from realtime.colours import to_i420
from realtime.engine import Engine, NotFinite, Request
from realtime.framing import Canvas
from tests.flat import (
    FPS,
    LEVELS,
    SIZE,
    UNSEEN,
    Flat,
    FlatEngine,
    FlatStructure,
    Ill,
    comings_and_goings,
    flat_picture,
    level_of,
    seen,
)
from tests.gpu.recorder import Recorder
from tests.models.test_contract import NARROW

CANVAS = Canvas(SIZE, SIZE)
NETWORKS = sorted(NARROW.keys() - {"tiny", "sliders"})  # which are of the tests, and hardly move


there = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, there])])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def recorder(device: str) -> Recorder | None:
    """What records on that device; None for what is there."""
    return Recorder() if device == "cpu" else None


def flat(
    device: str = "cpu", generator: Flat | None = None, slots: int = 8, cuda: Recorder | None = None
) -> FlatEngine:
    """With graphs for up to eight frames."""
    engine = FlatEngine(
        generator or Flat(),
        device,
        canvas=CANVAS,
        slots=slots,
        buckets=(1, 2, 4, 8),
        cuda=cuda or recorder(device),
    )
    engine.capture(engine.prepare(flat_picture(100)))
    return engine


def wishes(device: str, **values: float) -> Controls:
    return Controls.default(1, device, **values)


def planes(picture: Picture) -> Picture:
    """An RGB picture as a graph would give it."""
    if picture.ndim == 2:
        return picture
    unit = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    return np.asarray(to_i420(unit)[0].numpy())


def alike(ours: Picture, theirs: Picture, levels: int = 1) -> bool:
    """Are the two the same but for rounding? RGB is rounded twice."""
    return bool(np.abs(planes(ours).astype(int) - planes(theirs)).max() <= levels)


def test_a_long_play_is_the_same_with_graphs(device: str) -> None:
    """Different portraits, controls, drivers and rests, faces that come and go, new portraits meanwhile."""
    chance = random.Random(0)
    engines = flat(device, slots=5), FlatEngine(Flat(), device, canvas=CANVAS, slots=5)
    portraits = [[engine.prepare(flat_picture(level)) for level in range(60, 200, 20)] for engine in engines]
    casts = [
        [
            Avatar(
                own[index], Controls.default(gain_expression=0.5 + index / 4, relative=float(index % 3 > 0))
            )
            for index in range(5)
        ]
        for own in portraits
    ]
    for step in range(300):
        some = chance.sample(range(5), chance.randint(1, 5))
        frames = [seen(chance.randint(40, 200)) if chance.random() < 0.8 else UNSEEN for _ in some]
        if chance.random() < 0.1:
            who, what = chance.randrange(5), chance.randrange(len(portraits[0]))
            for cast, own in zip(casts, portraits, strict=True):
                cast[who].portrait = own[what]
        if chance.random() < 0.05:
            who = chance.randrange(5)
            for cast in casts:
                cast[who].calibrate()
        ours, theirs = (
            engine.draw(
                [Request(cast[who], frame, step / FPS) for who, frame in zip(some, frames, strict=True)],
            )
            for engine, cast in zip(engines, casts, strict=True)
        )
        for one, other in zip(ours, theirs, strict=True):
            assert one.picture.shape == (SIZE * 3 // 2, SIZE), "a graph drew it"
            assert alike(one.picture, other.picture)
            assert (one.face, one.batch) == (other.face, other.batch)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("canvas", [None, Canvas(96, 64)], ids=["crop", "letterbox"])
def test_every_network_draws_the_same_with_graphs(name: str, canvas: Canvas | None, device: str) -> None:
    make = NARROW[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator: Reenactor = make()
    side = generator.spec.source.size
    canvas = canvas or Canvas(side, side)
    frames = recording(generator.spec.driving)[::20]
    plain = Engine(generator, device, canvas)
    graphs = Engine(generator, device, canvas, buckets=(2,), slots=3, cuda=recorder(device))
    pictures: list[list[Picture]] = []
    for engine in (plain, graphs):
        source = portrait(engine)
        engine.capture(source)
        cast = [Avatar(source, wishes(device)), Avatar(source, wishes(device))]
        shown = []
        for step, frame in enumerate((*frames, frames[0]._replace(valid=torch.tensor([False])))):
            other = frames[(step + 1) % len(frames)]
            requests = [Request(cast[0], frame, step / 5), Request(cast[1], other, step / 5)]
            shown += [one.picture for one in engine.draw(requests)]
        pictures.append(shown)
    assert graphs.captured == (2,)
    assert all(picture.ndim == 2 for picture in pictures[1])
    for ours, theirs in zip(*pictures, strict=True):
        assert alike(ours, theirs, levels=2)
    assert not all(np.array_equal(pictures[1][0], other) for other in pictures[1][1:]), "they move"


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_network_does_not_read_is_not_brought_to_it(name: str, device: str) -> None:
    """It draws the same when that is wild."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator: Reenactor = NARROW[name]()
    side = generator.spec.source.size
    engine = Engine(generator, device, Canvas(side, side), buckets=(1,), cuda=recorder(device))
    source = portrait(engine)
    engine.capture(source)
    frame = to_levels(example(generator.spec.driving))
    assert frame.points is not None
    wild = frame
    if "image" not in generator.spec.reads:
        wild = wild._replace(image=255 - wild.image)
    if "points" not in generator.spec.reads:
        wild = wild._replace(points=frame.points * 3)
    avatars = Avatar(source, wishes(device)), Avatar(source, wishes(device))
    ours, theirs = (
        [
            engine.render(avatar, one._replace(image=one.image.roll(step, 3)), step / FPS).picture
            for step in range(3)
        ]
        for avatar, one in zip(avatars, (frame, wild), strict=True)
    )
    assert np.array_equal(ours, theirs)
    assert generator.spec.reads <= {"image", "points"}


def test_ten_thousand_joins_leaves_and_new_portraits_misroute_nothing(device: str) -> None:
    """One batch is always under way. There are more sessions than were reckoned with, too."""
    engine = flat(device, slots=6)
    expected = {
        (portrait, driver): planes(np.full((SIZE, SIZE, 3), (portrait, driver, 0), np.uint8))[:, 0]
        for portrait in LEVELS
        for driver in LEVELS
    }
    under_way = None
    for crowd in comings_and_goings(engine, rounds=1_000, together=8):
        begun = engine.begin([one.request for one in crowd])
        if under_way is not None:
            for found, (_, portrait, driver) in zip(engine.finish(under_way[0]), under_way[1], strict=True):
                assert not isinstance(found, Exception)
                assert np.abs(found.picture[:, 0].astype(int) - expected[portrait, driver]).max() <= 1
        under_way = begun, crowd


def test_joining_leaving_and_changing_a_portrait_record_nothing() -> None:
    cuda = Recorder()
    engine = flat(cuda=cuda, slots=4)
    cuda.log.clear()
    for level in range(60, 180, 10):
        avatar = Avatar(engine.prepare(flat_picture(level)))
        engine.render(avatar, seen(100), 0.0)
        avatar.portrait = engine.prepare(flat_picture(level + 5))
        engine.render(avatar, seen(100), 0.1)
        avatar.leave()
    assert not [line for line in cuda.log if line.startswith("capture")]
    assert cuda.log.count("replay") == 24


def test_more_sessions_than_were_reckoned_with_are_drawn_after_a_new_recording() -> None:
    cuda = Recorder()
    engine = flat(cuda=cuda, slots=1)
    avatars = [
        Avatar(engine.prepare(flat_picture(level)), wishes("cpu", relative=0.0)) for level in (60, 120, 180)
    ]
    cuda.log.clear()
    for step in range(2):
        found = engine.draw([Request(avatar, seen(100), step / FPS) for avatar in avatars])
        for one, level in zip(found, (60, 120, 180), strict=True):
            assert alike(one.picture, np.full((SIZE, SIZE, 3), (level, 100, 0), np.uint8))
    assert len([line for line in cuda.log if line == "captured"]) == 8, "all sizes, once"


def test_a_portrait_that_is_changed_while_a_frame_is_drawn_waits_for_the_next(device: str) -> None:
    engine = flat(device)
    own, other = (engine.prepare(flat_picture(level)) for level in (60, 180))
    avatar = Avatar(own, wishes(device, relative=0.0))
    begun = engine.begin([Request(avatar, seen(100), 0.0)])
    avatar.portrait = other
    (first,) = engine.finish(begun)
    assert not isinstance(first, Exception)
    assert alike(first.picture, np.full((SIZE, SIZE, 3), (60, 100, 0), np.uint8))
    second = engine.render(avatar, seen(100), 0.1)
    assert alike(second.picture, np.full((SIZE, SIZE, 3), (180, 100, 0), np.uint8))


def test_a_driver_is_calibrated_with_graphs_too(device: str) -> None:
    engine = flat(device)
    avatar = Avatar(engine.prepare(flat_picture(100)), wishes(device))
    for step in range(20):
        engine.render(avatar, seen(60), step / FPS)
    assert not avatar.calibrating
    assert level_of(avatar.neutral) == 60
    assert alike(
        engine.render(avatar, seen(80), 1.0).picture, np.full((SIZE, SIZE, 3), (100, 120, 0), np.uint8)
    )


# -- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["replay", "wait for event"])
def test_a_device_error_costs_no_frame(where: str, caplog: pytest.LogCaptureFixture) -> None:
    cuda = Recorder()
    engine = flat(cuda=cuda)
    avatars = [Avatar(engine.prepare(flat_picture(level)), wishes("cpu", relative=0.0)) for level in (60, 90)]
    requests = [Request(avatar, seen(100), 0.0) for avatar in avatars]
    assert all(one.picture.ndim == 2 for one in engine.draw(requests))

    def fall() -> None:
        raise RuntimeError("CUDA error: unspecified launch failure\nand many lines more")

    cuda.faults[where] = fall
    with caplog.at_level(logging.WARNING):
        found = engine.draw([request._replace(time_s=0.1) for request in requests])
    assert [record.message for record in caplog.records] == [
        "a graph failed, and its frames are drawn once more without: CUDA error: unspecified launch failure"
    ]
    for one, level in zip(found, (60, 90), strict=True):
        assert one.picture.ndim == 3, "no graph drew it"
        assert alike(one.picture, np.full((SIZE, SIZE, 3), (level, 100, 0), np.uint8))
    del cuda.faults[where]
    assert all(one.picture.ndim == 2 for one in engine.draw([one._replace(time_s=0.2) for one in requests]))


def test_a_face_is_eased_to_as_ever_where_its_frame_is_drawn_twice() -> None:
    """What is held was noted before the first try."""
    cuda = Recorder()
    pair = flat(cuda=cuda), FlatEngine(Flat(), canvas=CANVAS)
    shown: list[list[Picture]] = []

    def fall() -> None:
        raise RuntimeError("CUDA error")

    for engine in pair:
        avatar = Avatar(engine.prepare(flat_picture(100)))
        pictures = [
            engine.render(avatar, seen(60), 0.0).picture,
            engine.render(avatar, seen(160), 0.1).picture,
        ]
        cuda.faults["wait for event"] = fall
        pictures.append(engine.render(avatar, UNSEEN, 0.2).picture)
        del cuda.faults["wait for event"]
        pictures += [engine.render(avatar, UNSEEN, 0.2 + step / 10).picture for step in range(1, 6)]
        shown.append(pictures)
    assert all(alike(ours, theirs) for ours, theirs in zip(*shown, strict=True))


def test_numbers_that_are_none_cost_their_own_session_one_frame(device: str) -> None:
    engine = flat(device, Ill())
    avatars = [Avatar(engine.prepare(flat_picture(level))) for level in (60, 120)]

    def show(*levels: int, time_s: float) -> list[object]:
        requests = [
            Request(avatar, seen(level), time_s) for avatar, level in zip(avatars, levels, strict=True)
        ]
        return list(engine.finish(engine.begin(requests)))

    ill, well = show(220, 100, time_s=0.0)
    assert isinstance(ill, NotFinite)
    assert not isinstance(well, Exception)
    for step in range(1, 20):
        show(80, 100, time_s=step / FPS)
    assert [level_of(avatar.neutral) for avatar in avatars] == [80, 100]
    good = engine.render(avatars[0], seen(120), 1.0).picture
    with pytest.raises(NotFinite):
        engine.render(avatars[0], seen(220), 1.1)
    assert alike(engine.render(avatars[0], UNSEEN, 1.2).picture, good), "held is what was last shown"


def test_a_frame_that_breaks_a_batch_without_a_graph_costs_its_own_session_only() -> None:
    class Broken(Flat):
        def encode_structure(self, driving: Observation) -> FlatStructure:
            if float(driving.image.max()) > 0.9:
                raise RuntimeError("hiccups")
            return super().encode_structure(driving)

    engine = FlatEngine(Broken(), slots=3)
    avatars = [Avatar(engine.prepare(flat_picture(level))) for level in (60, 90, 120)]
    requests = [
        Request(avatar, seen(level), 0.0) for avatar, level in zip(avatars, (100, 250, 80), strict=True)
    ]
    found = engine.finish(engine.begin(requests))
    assert [isinstance(one, RuntimeError) for one in found] == [False, True, False]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "not enough memory on the GPU to draw 1 frames together",
        ),
        (
            RuntimeError("no such kernel"),
            "frames are drawn without graphs, which takes longer: no such kernel",
        ),
    ],
)
def test_a_device_that_can_record_nothing_draws_all_the_same(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = Recorder()

    def refuse() -> None:
        raise error

    cuda.faults["synchronize"] = refuse
    with caplog.at_level(logging.WARNING):
        engine = flat(cuda=cuda)
    assert caplog.records[-1].message == told
    assert engine.captured == ()
    avatar = Avatar(engine.prepare(flat_picture(60)), wishes("cpu", relative=0.0))
    assert engine.render(avatar, seen(100), 0.0).picture.ndim == 3


def test_a_batch_beyond_the_largest_graph_is_drawn_without() -> None:
    engine = flat()
    avatars = [Avatar(engine.prepare(flat_picture(60 + 10 * index))) for index in range(9)]
    found = engine.draw([Request(avatar, seen(100), 0.0) for avatar in avatars])
    assert all(one.picture.ndim == 3 for one in found)


def test_there_are_no_graphs_without_a_device_that_records_them() -> None:
    engine = FlatEngine(Flat(), canvas=CANVAS, buckets=(1, 2))
    source = engine.prepare(flat_picture(100))
    engine.capture(source)
    assert engine.captured == ()
    assert engine.render(Avatar(source), seen(100), 0.0).picture.ndim == 3
