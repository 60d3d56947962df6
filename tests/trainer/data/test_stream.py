"""Samples rendered on the way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.data.pretender import folder, render
from trainer.data.dataset import ClipDataset, is_held_out
from trainer.data.samples import Augmentation, Sample
from trainer.data.stream import RenderedStream


def stream(batch: int = 3, **changed: Any) -> RenderedStream:
    usual: dict[str, Any] = {"frames": 4, "size": 32, "render": render}
    return RenderedStream(batch, **usual | changed)


@contextmanager
def running(made: RenderedStream) -> Iterator[Iterator[Sample]]:
    given = iter(made)
    try:
        yield given
    finally:
        given.close()  # type: ignore[attr-defined]


def take(made: RenderedStream, count: int) -> list[Sample]:
    with running(made) as given:
        return list(islice(given, count))


def test_a_stream_shows_what_a_folder_holds(tmp_path: Path) -> None:
    clips = ClipDataset(folder(tmp_path, picture="png", maps=("depth",)))
    batches = take(stream(maps=("depth",), parameters=("identity.shape", "motion.expression")), 2)
    for number in range(6):
        kept = clips[number].read(range(4), parameters=("identity.shape", "motion.expression"))
        shown, row = batches[number // 3], number % 3
        assert (kept.clip, kept.identity) == (shown.clip[row], shown.identity[row])
        for field in ("picture", "points", "valid", "labels", "frames"):
            assert torch.equal(getattr(kept, field), getattr(shown, field)[row])
        for name, values in kept.parameters.items():
            assert torch.equal(values, shown.parameters[name][row])
        assert shown.maps["depth"].shape == (3, 4, 1, 32, 32)


def test_ranks_share_the_people() -> None:
    alone = take(stream(4), 2)
    ranks = [take(stream(2, rank=rank, world=2), 2) for rank in range(2)]
    for number, whole in enumerate(alone):
        assert whole.clip == ranks[0][number].clip + ranks[1][number].clip


def test_a_run_goes_on_exactly_where_it_stopped() -> None:
    augmentation = Augmentation(mirror=True, colour=0.2)
    whole = take(stream(augmentation=augmentation), 5)
    first = stream(augmentation=augmentation)
    take(first, 2)
    second = stream(augmentation=augmentation, prefetch=1)
    second.load_state_dict(first.state_dict())
    for one, other in zip(take(second, 3), whole[2:], strict=True):
        assert one.clip == other.clip
        assert torch.equal(one.picture, other.picture)
        assert torch.equal(one.points, other.points)
    with pytest.raises(ValueError, match="of seed 0; they are of 1 now"):
        stream(seed=1).load_state_dict(first.state_dict())


def test_people_come_again_with_another_motion() -> None:
    names = [clip for batch in take(stream(identities=4), 4) for clip in batch.clip]
    assert names == [f"rendered-0-{n % 4:06d}-{n // 4:03d}" for n in range(12)]


@pytest.mark.parametrize("identities", [None, 20])
def test_nobody_held_out_is_shown(identities: int | None) -> None:
    """But to test, where only they are."""
    for split in ("train", "test"):
        found = take(stream(6, identities=identities, split=split, held_out=0.3), 8)
        people = [identity for batch in found for identity in batch.identity]
        assert all(is_held_out(one, 0.3) == (split == "test") for one in people)
        assert len(set(people)) > (10 if split == "train" else 3)
    with pytest.raises(ValueError, match="no identity of 3 is one to test"):
        stream(identities=3, split="test", held_out=0)


def test_the_thread_ends_with_the_loop() -> None:
    before = threading.active_count()
    for prefetch in (1, 3):
        with running(stream(prefetch=prefetch)) as given:
            next(given)
            assert threading.active_count() == before + 1
        assert threading.active_count() == before


def test_what_the_renderer_raises_is_told() -> None:
    def broken(*numbers: Any) -> Any:
        if numbers[1] >= 3:
            raise RuntimeError("out of paint")
        return render(*numbers)

    before = threading.active_count()
    with running(stream(render=broken)) as given:
        assert len(next(given).clip) == 3
        with pytest.raises(RuntimeError, match="out of paint"):
            next(given)
    assert threading.active_count() == before


def test_it_needs_no_gradients() -> None:
    def drawn(*numbers: Any) -> Any:
        weight = torch.ones(1, requires_grad=True)
        clip = render(*numbers)
        return clip._replace(points=clip.points * weight)

    batch = take(stream(render=drawn), 1)[0]
    assert not batch.points.requires_grad
    assert not batch.points.is_inference()  # a network may learn from it


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="prefetch 0: expected at least 1"):
        stream(prefetch=0)
    with pytest.raises(ValueError, match="batch 0"):
        stream(0)
    with pytest.raises(ValueError, match=r"samples with identity\.shape can't be mirrored"):
        stream(augmentation=Augmentation(mirror=True), parameters=("identity.shape",))
    with (
        running(stream(parameters=("motion.gaze",))) as given,
        pytest.raises(ValueError, match="have no motion.gaze; they have: identity.shape, motion.expression"),
    ):
        next(given)
