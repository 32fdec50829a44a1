from __future__ import annotations

import asyncio

import pytest

from penstock_agent.children.child import ChildGone
from penstock_agent.children.inbox import Inbox
from penstock_agent.children.lines import Oversize


async def test_lines_come_out_as_they_went_in_and_then_the_end() -> None:
    inbox = Inbox()
    await inbox.put(b"a")
    await inbox.put(Oversize(7))
    inbox.end(ChildGone("gone", None))
    inbox.end(ChildGone("later", None))
    inbox.put_now(b"too late")
    assert [await inbox.get(), await inbox.get()] == [b"a", Oversize(7)]
    for _ in range(2):
        with pytest.raises(ChildGone, match="gone"):
            await inbox.get()


async def test_who_writes_waits_while_enough_is_waiting() -> None:
    inbox = Inbox(100)
    await inbox.put(b"x" * 200)  # one always has room, however large
    writing = asyncio.gather(inbox.put(b"y"))
    await asyncio.wait({writing}, timeout=0.01)
    assert not writing.done()
    assert await inbox.get() == b"x" * 200
    await writing
    assert await inbox.get() == b"y"


async def test_the_end_lets_everybody_go() -> None:
    inbox = Inbox(10)
    await inbox.put(b"x" * 200)
    writing = asyncio.gather(inbox.put(b"y"))
    await asyncio.sleep(0)
    inbox.end(ChildGone("gone", None), drop=True)
    await writing
    with pytest.raises(ChildGone):
        await inbox.get()


async def test_a_reader_waits_for_a_line() -> None:
    inbox = Inbox()
    reading = asyncio.gather(inbox.get())
    await asyncio.sleep(0)
    inbox.put_now(b"a")
    [line] = await reading
    assert line == b"a"
