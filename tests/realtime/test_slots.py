"""Codes of sessions side by side."""

import random
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from realtime.slots import Slots


class Inner(NamedTuple):
    point: Tensor


class Code(NamedTuple):
    inner: Inner
    number: Tensor
    absent: None = None


def code(number: int) -> Code:
    return Code(Inner(torch.full((1, 2, 3), float(number))), torch.tensor([number]))


BLANK = code(-1)


def put(slots: Slots[Code], slot: int, number: int) -> None:
    slots.write([slot], **code(number)._asdict())


def numbers(found: Code) -> list[int]:
    assert found.inner.point.shape == (len(found.number), 2, 3)
    assert found.absent is None
    assert torch.equal(found.inner.point.mean((1, 2)), found.number.float())
    return found.number.tolist()


def test_codes_are_read_where_they_were_written() -> None:
    slots = Slots(BLANK, 4)
    for number in range(4):
        put(slots, slots.take(), 10 + number)
    assert numbers(slots.read([0, 1, 2, 3])) == [10, 11, 12, 13]
    assert numbers(slots.read([3, 0])) == [13, 10]
    put(slots, 1, 20)
    assert numbers(slots.read([1])) == [20]


def test_neighbours_are_not_copied() -> None:
    slots = Slots(BLANK, 3)
    for number in range(3):
        put(slots, slots.take(), number)
    together = slots.read([1, 2])
    put(slots, 2, 7)
    assert numbers(together) == [1, 7]


def test_fields_are_written_apart_and_for_several_at_once() -> None:
    slots = Slots(BLANK, 4)
    for rows in ([0, 1], [3, 1]):
        slots.write(rows, number=torch.tensor(rows))
    assert slots.read(range(4)).number.tolist() == [0, 1, -1, 3]
    assert slots.read(range(4)).inner.point.unique().tolist() == [-1]
    with pytest.raises(AssertionError, match="another shape"):
        slots.write([0], inner=Inner(torch.zeros(1, 3, 3)))


def test_the_spare_slot_is_nobody_s_and_stays_the_last() -> None:
    slots = Slots(BLANK, 1)
    for number in range(3):
        assert slots.take() != slots.spare
        put(slots, number, number)
        assert numbers(slots.read([slots.spare])) == [-1]
    assert len(slots.codes.number) == len(slots) + 1


def test_the_first_free_slot_is_taken_again() -> None:
    slots = Slots(BLANK, 3)
    assert [slots.take() for _ in range(3)] == [0, 1, 2]
    slots.free(2)
    slots.free(0)
    assert [slots.take(), slots.take()] == [0, 2]


def test_memory_is_taken_once_as_long_as_slots_are_enough() -> None:
    slots = Slots(BLANK, 2)
    put(slots, slots.take(), 1)
    where = slots.read([0]).number.data_ptr()
    for number in range(50):
        slot = slots.take()
        put(slots, slot, number)
        slots.free(slot)
    assert slots.read([0]).number.data_ptr() == where
    assert len(slots) == 2


def test_where_slots_run_out_codes_move_once_and_are_what_they_were() -> None:
    slots = Slots(BLANK, 1)
    for number in range(5):
        put(slots, slots.take(), number)
    assert len(slots) == 8
    assert numbers(slots.read(range(5))) == [0, 1, 2, 3, 4]


def test_no_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Slots(BLANK, 0)


def test_nobody_gets_another_s_code() -> None:
    chance, slots = random.Random(0), Slots(BLANK, 8)
    there: dict[int, int] = {}  # slot → number
    for number in range(2_000):
        kind = chance.random()
        if kind < 0.4 or not there:
            slot = slots.take()
            assert slot not in there
            put(slots, slot, number)
            there[slot] = number
        elif kind < 0.7:
            slot = chance.choice(sorted(there))
            put(slots, slot, number)
            there[slot] = number
        else:
            slot = chance.choice(sorted(there))
            del there[slot]
            slots.free(slot)
        if there:
            some = chance.sample(sorted(there), chance.randint(1, len(there)))
            assert numbers(slots.read(some)) == [there[slot] for slot in some]
