"""What waits on its way to a caller: one stream per HTTP response, and what no stream was open for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from penstock.principal import Principal
from penstock_agent.endpoint.held import Share


@dataclass(frozen=True, slots=True)
class Item:
    """One JSON-RPC message, as one line."""

    data: bytes
    last: bool = False
    """Nothing follows on this stream."""
    status: int = 200
    """The HTTP status, if this is the first item of a response that is not an event stream yet."""


class Stream:
    """The messages of one HTTP response, in order. One task takes them; ``put`` and ``finish`` never wait."""

    __slots__ = ("_held", "_items", "_limit", "_waiter", "caller", "key", "open")

    def __init__(self, held: Share, limit: int, key: str = "", caller: Principal | None = None) -> None:
        self.key = key
        """Of the exchange, for the data of errors."""
        self.caller = caller
        """Whose response it is."""
        self._held = held
        self._limit = limit
        self._items: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.open = True
        """Whether more may be put here: not after the last item, and not once the caller is gone."""

    def put(self, data: bytes, *, droppable: bool = False) -> bool:
        """Queue a message. False when it was dropped instead: the stream is closed, or full and it may be
        dropped.
        """
        if not self.open or (droppable and len(self._items) >= self._limit):
            return False
        self._add(Item(data))
        return True

    def finish(self, data: bytes, status: int = 200) -> None:
        """Queue the last message; ignored when there is one already."""
        if self.open:
            self.open = False
            self._add(Item(data, last=True, status=status))

    def close(self) -> None:
        """The stream ends without a last message; its task sees that once it has taken what is queued."""
        self.open = False
        self.wake()

    async def next(self, until: float) -> Item | None:
        """Take an item; None at ``until`` (loop time), after ``wake``, and when the stream is closed and
        empty.

        Give its size back with ``sent`` once it has been written, or cannot be.
        """
        if not self._items and self.open:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_at(until, self.wake)
            try:
                await waiter
            finally:
                self._waiter = None
                timer.cancel()
        return self._items.popleft() if self._items else None

    def sent(self, item: Item) -> None:
        self._held.give(len(item.data))

    def wake(self) -> None:
        """Let ``next`` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def drain(self) -> list[bytes]:
        """Close, and take out what nobody will take any more."""
        self.open = False
        left = [item.data for item in self._items]
        self._items.clear()
        for data in left:
            self._held.give(len(data))
        self.wake()
        return left

    def _add(self, item: Item) -> None:
        self._items.append(item)
        self._held.take(len(item.data))
        self.wake()


class Backlog:
    """Messages of a child for which no stream of the client was open, bounded in every direction."""

    def __init__(self, *, events: int, size: int, asked: int) -> None:
        self._max_events = events
        self._max_size = size
        self._max_asked = asked
        self._notes: deque[bytes] = deque()
        self._size = 0
        self._asked: dict[bytes, tuple[bytes, asyncio.TimerHandle]] = {}
        self.dropped = 0

    def note(self, data: bytes) -> None:
        """Keep a notification; the oldest make room, and one that is too large is dropped."""
        if len(data) > self._max_size:
            self.dropped += 1
            return
        self._notes.append(data)
        self._size += len(data)
        while len(self._notes) > self._max_events or self._size > self._max_size:
            self._size -= len(self._notes.popleft())
            self.dropped += 1

    def ask(self, key: bytes, data: bytes, wait: float, expired: Callable[[], None]) -> bool:
        """Keep a request for ``wait`` seconds, then call ``expired``. False when too many wait already."""
        if len(self._asked) >= self._max_asked or len(data) > self._max_size:
            return False

        def expire() -> None:
            del self._asked[key]
            expired()

        self._asked[key] = (data, asyncio.get_running_loop().call_later(wait, expire))
        return True

    def withdraw(self, key: bytes) -> bool:
        """Forget a request; False when it is not kept here."""
        kept = self._asked.pop(key, None)
        if kept is None:
            return False
        kept[1].cancel()
        return True

    def take_asked(self) -> list[tuple[bytes, bytes]]:
        """Take out the requests, oldest first: key and message."""
        asked = [(key, data) for key, (data, _) in self._asked.items()]
        self.forget_asked()
        return asked

    def take_notes(self) -> list[bytes]:
        """Take out the notifications, oldest first."""
        notes = list(self._notes)
        self._notes.clear()
        self._size = 0
        return notes

    def forget_asked(self) -> None:
        """The child that asked is gone."""
        for _, timer in self._asked.values():
            timer.cancel()
        self._asked.clear()
