"""What waits on its way to a caller, and how much of it."""

from __future__ import annotations

import asyncio

from penstock_agent.endpoint.held import Held, Share
from penstock_agent.endpoint.streams import Backlog, Stream


def share(limit: int = 1000) -> Share:
    return Share(Held(10 * limit), limit)


async def test_items_come_in_order_and_the_last_one_closes() -> None:
    held = share()
    stream = Stream(held, 10)
    assert stream.put(b"a")
    stream.finish(b"bc", 504)
    assert not stream.put(b"d")
    stream.finish(b"e")
    first, last = await stream.next(1.0), await stream.next(1.0)
    assert first is not None
    assert last is not None
    assert (first.data, first.last, last.data, last.last, last.status) == (b"a", False, b"bc", True, 504)
    assert await stream.next(1.0) is None
    assert held.bytes == 3
    stream.sent(first)
    stream.sent(last)
    assert held.bytes == 0


async def test_next_returns_at_its_time_or_when_it_is_woken() -> None:
    stream = Stream(share(), 10)
    loop = asyncio.get_running_loop()
    assert await stream.next(loop.time() + 5.0) is None
    assert loop.time() == 5.0
    loop.call_at(6.0, stream.wake)
    assert await stream.next(100.0) is None
    assert loop.time() == 6.0
    loop.call_at(7.0, stream.put, b"x")
    item = await stream.next(100.0)
    assert item is not None
    stream.sent(item)
    loop.call_at(8.0, stream.close)
    assert await stream.next(100.0) is None
    assert not stream.open


async def test_only_what_may_be_dropped_is_dropped_when_a_stream_is_full() -> None:
    stream = Stream(share(), 2)
    assert [stream.put(b"x", droppable=True) for _ in range(3)] == [True, True, False]
    assert stream.put(b"y")
    stream.finish(b"z")
    assert stream.drain() == [b"x", b"x", b"y", b"z"]


async def test_drain_gives_everything_back() -> None:
    held = share()
    stream = Stream(held, 10)
    stream.put(b"abc")
    assert stream.drain() == [b"abc"]
    assert held.bytes == 0
    assert not stream.put(b"x")


async def test_a_session_stops_reading_at_its_own_bound_and_goes_on_when_something_was_taken() -> None:
    held = share(limit=10)
    held.take(9)
    assert held.room
    held.take(1)
    assert not held.room
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(held.wait())
        await asyncio.sleep(1)
        assert not waiting.done()
        held.give(1)
    assert held.room


async def test_when_the_agent_is_full_only_sessions_that_hold_something_stop_reading() -> None:
    whole = Held(10)
    slow, other, idle = Share(whole, 100), Share(whole, 100), Share(whole, 100)
    slow.take(9)
    other.take(1)
    assert not slow.room
    assert not other.room
    assert idle.room
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other.wait())
        await asyncio.sleep(1)
        slow.give(9)
    assert slow.room
    assert whole.bytes == 1


async def test_a_reader_that_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    held = share(limit=1)
    held.take(1)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(held.wait())
        await asyncio.sleep(1)
        waiting.cancel()
    held.give(1)
    assert held.room


def test_the_backlog_keeps_the_newest_notifications_within_its_bounds() -> None:
    backlog = Backlog(events=3, size=10, asked=1)
    for data in (b"1", b"22", b"333", b"4444", b"x" * 11):
        backlog.note(data)
    assert backlog.dropped == 2
    assert backlog.take_notes() == [b"22", b"333", b"4444"]
    assert backlog.take_notes() == []
    for data in (b"55555", b"66666", b"7"):
        backlog.note(data)
    assert backlog.take_notes() == [b"66666", b"7"]


async def test_a_question_in_the_backlog_expires_once_unless_it_is_taken() -> None:
    backlog = Backlog(events=3, size=10, asked=2)
    expired: list[str] = []
    assert backlog.ask(b"a", b"A", 5.0, lambda: expired.append("a"))
    assert backlog.ask(b"b", b"B", 5.0, lambda: expired.append("b"))
    assert not backlog.ask(b"c", b"C", 5.0, lambda: expired.append("c"))
    assert backlog.withdraw(b"b")
    assert not backlog.withdraw(b"b")
    await asyncio.sleep(6)
    assert expired == ["a"]
    assert not backlog.ask(b"d", b"x" * 11, 5.0, lambda: expired.append("d"))
    assert backlog.ask(b"e", b"E", 5.0, lambda: expired.append("e"))
    assert backlog.take_asked() == [(b"e", b"E")]
    await asyncio.sleep(6)
    assert expired == ["a"]


async def test_what_may_be_dropped_leaves_half_of_the_bytes_for_answers() -> None:
    held = share(1000)
    stream = Stream(held, 10)
    assert [stream.put(b"x" * size, droppable=True) for size in (501, 300, 200, 1)] == [
        False,
        True,
        True,
        False,
    ]
    assert held.room
    assert stream.put(b"y" * 600)
    assert not held.room
    stream.drain()
