"""Batches of any number of rows on graphs of a few sizes."""

import logging
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from realtime.ladder import Ladder, sizes_up_to
from tests.gpu.recorder import Recorder


class Rows(NamedTuple):
    numbers: Tensor
    absent: Tensor | None = None


class Kept(NamedTuple):
    halves: Tensor


def doubled(rows: Rows) -> tuple[Rows, Kept]:
    return Rows(2 * rows.numbers), Kept(rows.numbers / 2)


def blank(size: int) -> Rows:
    return Rows(torch.full((size, 1), -1.0))


def ladder(cuda: Recorder, most: int = 8) -> "Ladder[Rows, Rows, Kept]":
    return Ladder(doubled, blank, sizes_up_to(most), cuda)


def start(made: "Ladder[Rows, Rows, Kept]", *numbers: float):  # type: ignore[no-untyped-def]
    def write(rows: Rows) -> None:
        rows.numbers[: len(numbers), 0] = torch.tensor(numbers)

    return made.start(len(numbers), write)


@given(st.integers(1, 200))
def test_sizes_are_powers_of_two_and_the_largest(most: int) -> None:
    sizes = sizes_up_to(most)
    assert sizes == tuple(sorted(set(sizes)))
    assert sizes[0] == 1
    assert sizes[-1] == most
    assert all(b <= 2 * a for a, b in zip(sizes, sizes[1:], strict=False))
    assert all(size & (size - 1) == 0 for size in sizes[:-1])


def test_the_largest_is_recorded_first_and_all_from_one_pool() -> None:
    cuda, sizes = Recorder(), []

    def noted(size: int) -> Rows:
        sizes.append(size)
        return blank(size)

    made = Ladder(doubled, noted, (1, 2, 4, 8), cuda)
    assert sorted(sizes, reverse=True) == sizes
    assert made.sizes == (1, 2, 4, 8)
    captures = [line for line in cuda.log if line.startswith("capture on")]
    assert captures
    assert all(line.endswith("in pool") for line in captures)


def test_a_batch_is_drawn_by_the_next_size_padded_with_what_nobody_sees() -> None:
    made = ladder(Recorder())
    for count, size in ((1, 1), (2, 2), (3, 4), (5, 8), (8, 8)):
        flight = start(made, *map(float, range(count)))
        flight.wait()
        expected = [2.0 * number for number in range(count)] + [-2.0] * (size - count)
        assert flight.out.numbers[:, 0].tolist() == expected
        assert flight.kept.halves[:count, 0].tolist() == [number / 2 for number in range(count)]


def test_padding_does_not_keep_what_earlier_batches_brought() -> None:
    made = ladder(Recorder())
    for _ in range(4):
        start(made, 5, 6, 7, 8).wait()
    flight = start(made, 1, 2, 3)
    flight.wait()
    assert flight.out.numbers[:, 0].tolist() == [2, 4, 6, -2]


def test_the_next_batch_may_begin_before_the_last_was_looked_at() -> None:
    made = ladder(Recorder())
    before = start(made, 1, 2)
    for number in range(3, 13):
        after = start(made, number, number + 1)
        before.wait()
        assert before.out.numbers[:, 0].tolist() in ([2, 4], [2 * number - 2, 2 * number])
        assert after.out.numbers[:, 0].tolist() == [2 * number, 2 * number + 2]
        before = after


def test_copies_have_streams_of_their_own_and_wait_for_what_they_need() -> None:
    cuda = Recorder()
    made = ladder(cuda)
    cuda.log.clear()
    start(made, 1).wait()
    up, down = "side 1", "side 2"
    assert cuda.log == [
        f"{up} waits for event",  # the graph's last run has read what was there
        f"event on {up}",
        "usual waits for event",
        "replay",
        "event on usual",
        f"{down} waits for event",
        f"event on {down}",
        "wait for event",
    ]


@pytest.mark.parametrize(("fails", "left"), [(1, (1, 2, 4)), (2, (1, 2)), (4, ())])
def test_sizes_that_memory_does_not_reach_for_are_given_up(
    fails: int, left: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    cuda = Recorder()
    tries = iter(range(100))

    def full() -> None:
        if next(tries) < fails:
            raise torch.OutOfMemoryError("CUDA out of memory")

    cuda.faults["synchronize"] = full  # after the warm-up of each
    with caplog.at_level(logging.WARNING):
        made = ladder(cuda)
    assert made.sizes == left
    assert made.most == max(left, default=0)
    assert [record.message for record in caplog.records] == [
        f"not enough memory on the GPU to draw {size} frames together" for size in (8, 4, 2, 1)[:fails]
    ]
    assert cuda.log.count("empty cache") == fails
    if left:
        flight = start(made, 7)
        flight.wait()
        assert flight.out.numbers.tolist() == [[14]]
