"""What an engine keeps of all sessions, side by side in memory that is taken once: whoever joins, leaves or
changes his portrait moves nobody else's.
"""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from models.contract import map_code

C = TypeVar("C", bound=tuple[Any, ...])


class Slots(Generic[C]):
    """One slot a session.

    like: a code (batch 1), a named tuple which may nest, of the shapes that every code has. count: slots that
    memory is taken for. Where they run out it is taken for twice as many, and all codes move once. There is
    one more, `spare`, which is nobody's. Every slot holds `like` until something is written there.
    """

    def __init__(self, like: C, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f"{count} slots: must be at least 1")
        self._count = count
        self._free = list(range(count))
        self.codes: C = map_code(lambda one: one.repeat(count + 1, *[1] * (one.ndim - 1)), like)
        """Of all slots, in their order; another tuple once they have moved."""

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    @property
    def spare(self) -> int:
        return self._count

    def take(self) -> int:
        """The first slot that nobody has, so that those in use lie next to each other."""
        if not self._free:
            more = list(range(self._count, 2 * self._count))
            spare = self.read([self.spare])
            self.codes = map_code(
                lambda room, last: torch.cat([room[:-1], last.expand(len(more) + 1, *last.shape[1:])]),
                self.codes,
                spare,
            )
            self._count *= 2
            self._free.extend(more)
        slot = min(self._free)
        self._free.remove(slot)
        return slot

    def free(self, slot: int) -> None:
        """Whoever had it is gone. Any thread may call this, at any time."""
        self._free.append(slot)  # one step for the interpreter, as are the two above

    def write(self, slots: Sequence[int], **fields: Any) -> None:
        """Replace some of the codes' fields. Each has a row for each of those slots."""
        where = _where(slots)
        for name, rows in fields.items():
            rooms = getattr(self.codes, name)
            if isinstance(rooms, tuple):
                map_code(lambda room, new: _put(room, where, new), rooms, rows)
            elif rooms is not None:
                _put(rooms, where, rows)

    def read(self, slots: Sequence[int]) -> C:
        """The codes of those slots as one batch: a view, where they lie next to each other."""
        where = _where(slots)
        return map_code(lambda room: room[where], self.codes)


def _where(slots: Sequence[int]) -> slice | list[int]:
    first, count = slots[0], len(slots)
    together = list(slots) == list(range(first, first + count))
    return slice(first, first + count) if together else list(slots)


def _put(room: Tensor, where: slice | list[int], rows: Tensor) -> Tensor:
    assert rows.shape[1:] == room.shape[1:], "a code of another shape"
    room[where] = rows
    return room
