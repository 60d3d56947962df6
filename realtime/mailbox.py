"""A mailbox with one slot, where the newest wins: what makes delay unable to grow between two stages."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class MailboxClosed(Exception):
    """Nothing will come any more."""


class Mailbox(Generic[T]):
    """One slot between a sender and one receiver on the same event loop. Putting never waits: an item that
    was still there is dropped and counted."""

    def __init__(self) -> None:
        self.dropped = 0
        self._item: T | None = None
        self._full = False
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, item: T) -> bool:
        """Leave an item. False: an older one had to go. After `close`, the item is thrown away."""
        if self._closed:
            return True
        fresh = not self._full
        self.dropped += not fresh
        self._item, self._full = item, True
        self._changed.set()
        return fresh

    async def get(self) -> T:
        """The newest item, waiting for one where there is none. Raises MailboxClosed after `close`."""
        while not self._full:
            if self._closed:
                raise MailboxClosed
            self._changed.clear()
            await self._changed.wait()
        item, self._item, self._full = self._item, None, False
        return item  # type: ignore[return-value]  # the slot is full, so this is a T, whatever T is

    def close(self) -> None:
        """Throw away what is there and wake the receiver."""
        self._item, self._full, self._closed = None, False, True
        self._changed.set()
