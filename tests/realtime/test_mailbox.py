"""The newest wins, and nothing is ever queued."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.mailbox import Mailbox, MailboxClosed


async def test_an_item_is_taken_once() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.put(1)
    assert await box.get() == 1
    waiting = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    box.put(2)
    assert await waiting == 2


async def test_the_newest_wins_and_the_others_are_counted() -> None:
    box: Mailbox[int] = Mailbox()
    assert [box.put(item) for item in range(5)] == [True, False, False, False, False]
    assert await box.get() == 4
    assert box.dropped == 4


async def test_nothing_is_an_item_too() -> None:
    box: Mailbox[None] = Mailbox()
    box.put(None)
    assert await box.get() is None


async def test_closing_wakes_the_receiver_and_drops_what_is_there() -> None:
    box: Mailbox[int] = Mailbox()
    waiting = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.close()
    with pytest.raises(MailboxClosed):
        await waiting
    box.put(1)
    with pytest.raises(MailboxClosed):
        await box.get()


@given(st.lists(st.sampled_from(["put", "get"]), max_size=50))
def test_every_item_is_taken_or_counted_as_dropped(steps: list[str]) -> None:
    async def play() -> None:
        box: Mailbox[int] = Mailbox()
        sent = taken = 0
        last = -1
        for step in steps:
            if step == "put":
                box.put(sent)
                sent += 1
            elif sent - box.dropped > taken:
                item = await box.get()
                assert item == sent - 1 > last
                last, taken = item, taken + 1
        assert sent - box.dropped - taken in (0, 1)

    asyncio.run(play())
