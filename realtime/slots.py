"""Portraits' codes of all sessions, side by side in memory that is taken once: whoever joins, leaves or
changes his portrait moves nobody else's.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from models.contract import map_code

C = TypeVar("C", bound=tuple[object, ...])


class Slots(Generic[C]):
    """One slot a session.

    count: slots that memory is taken for when the first code is written. Where they run out it is taken for
    twice as many, and all codes move once.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f"{count} slots: must be at least 1")
        self._count = count
        self._codes: C | None = None
        self._free = list(range(count))

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def take(self) -> int:
        """The first slot that nobody has, so that those in use lie next to each other."""
        if not self._free:
            self._free.extend(range(self._count, 2 * self._count))
            self._count *= 2
            if self._codes is not None:
                self._codes = map_code(self._room, self._codes)
        slot = min(self._free)
        self._free.remove(slot)
        return slot

    def free(self, slot: int) -> None:
        """Whoever had it is gone. Any thread may call this, at any time."""
        self._free.append(slot)  # one step for the interpreter, as are the two above

    def write(self, slot: int, code: C) -> None:
        """code: batch 1, of the same shapes every time."""
        if self._codes is None:
            self._codes = map_code(self._room, code)

        def copy(room: Tensor, one: Tensor) -> Tensor:
            room[slot].copy_(one[0])
            return room

        map_code(copy, self._codes, code)

    def read(self, slots: Sequence[int]) -> C:
        """The codes of those slots as one batch: a view, where they lie next to each other."""
        assert self._codes is not None, "nothing was written yet"
        first, count = slots[0], len(slots)
        if list(slots) == list(range(first, first + count)):
            return map_code(lambda room: room[first : first + count], self._codes)
        return map_code(
            lambda room: room.index_select(0, torch.tensor(slots, device=room.device)), self._codes
        )

    def _room(self, code: Tensor) -> Tensor:
        """Memory for a tensor of all slots, beginning with what the code holds."""
        room = code.new_empty((self._count, *code.shape[1:]))
        room[: len(code)].copy_(code)
        return room
