"""What waits on its way to a caller: one stream per HTTP response, and what no stream was open for.

A stream that is kept outlives its response: while nobody reads it, what comes goes only to where it is kept,
and whoever comes back for it reads on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

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
    number: int = 0
    """Which of its stream it is, from 1."""
    needed: bool = True
    """Whether the stream makes no sense without it."""
    of: str = ""
    """The exchange whose request it answers, where that is not the one that the stream was opened by."""


class Keeper(Protocol):
    """Keeps items for those who come back."""

    def keep(self, item: Item) -> None: ...

    def withdraw(self, item: Item) -> None:
        """This one and those after it have never been sent, and go another way."""


class Stream:
    """The messages of one HTTP response, in order. One task takes them; ``put`` and ``finish`` never wait."""

    __slots__ = (
        "_held",
        "_items",
        "_keeper",
        "_limit",
        "_number",
        "_waiter",
        "attached",
        "caller",
        "key",
        "of",
        "open",
        "reader",
    )

    def __init__(self, held: Share, limit: int, key: str = "", caller: Principal | None = None) -> None:
        self.key = key
        """Of the exchange, for the data of errors."""
        self.of = key
        """The same, also when somebody has come back with another exchange."""
        self.caller = caller
        """Whose response it is."""
        self._held = held
        self._limit = limit
        self._items: deque[Item] = deque()
        self._keeper: Keeper | None = None
        self._number = 0
        self._waiter: asyncio.Future[None] | None = None
        self.open = True
        """Whether more may be put here: not after the last item, and not once the caller is gone for good."""
        self.attached = True
        """Whether somebody takes what is put here."""
        self.reader = 0
        """Who: changes when another one takes over."""

    @property
    def live(self) -> bool:
        """Whether what is put here now reaches the caller now."""
        return self.open and self.attached

    @property
    def kept(self) -> bool:
        """Whether somebody can come back for it."""
        return self._keeper is not None

    def put(self, data: bytes, *, droppable: bool = False, of: str = "") -> bool:
        """Queue a message. False when it was dropped instead: the stream is closed, or full and it may be
        dropped. ``of``: the exchange whose request it answers, where the stream was opened by another one.
        """
        if not self.open:
            return False
        if droppable and (len(self._items) >= self._limit or not self._held.spares(len(data))):
            return False
        self._number += 1
        self._add(Item(data, number=self._number, needed=not droppable, of=of))
        return True

    def finish(self, data: bytes, status: int = 200) -> None:
        """Queue the last message; ignored when there is one already."""
        if self.open:
            self.open = False
            self._number += 1
            self._add(Item(data, last=True, status=status, number=self._number))

    def close(self) -> None:
        """The stream ends without a last message; its task sees that once it has taken what is queued."""
        self.open = False
        self.wake()

    def keep(self, keeper: Keeper, *taken: Item) -> None:
        """From now on somebody may come back for what is put here; ``taken``: what was taken before, and is
        kept as well.
        """
        self._keeper = keeper
        for item in (*taken, *self._items):
            keeper.keep(item)

    def attach(self, items: Iterable[Item]) -> int:
        """Somebody has come back, and takes ``items`` first. Returns the new ``reader``; the one before is
        woken and finds that it is none any more.
        """
        self._clear()
        self.attached = True
        self.reader += 1
        for item in items:
            self._queue(item)
        self.wake()
        return self.reader

    def reopen(self, items: Iterable[Item]) -> int:
        """The same for a stream that has no end of its own."""
        self.open = True
        return self.attach(items)

    def detach(self, reader: int) -> None:
        """This reader has left. Somebody may come back for a stream that is kept; any other is closed."""
        if reader != self.reader:
            return
        if self._keeper is None:
            self.open = False
        self.attached = False
        self._clear()

    async def next(self, until: float, reader: int = 0) -> Item | None:
        """Take an item; None at ``until`` (loop time), after ``wake``, when the stream is closed and empty,
        and when another reader has taken over.

        Give its size back with ``sent`` once it has been written, or cannot be.
        """
        if reader == self.reader and not self._items and self.open:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_at(until, self.wake)
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None
                timer.cancel()
        return self._items.popleft() if self._items and reader == self.reader else None

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
        if self._keeper is not None and left:
            self._keeper.withdraw(self._items[0])
        self._clear()
        self.wake()
        return left

    def _add(self, item: Item) -> None:
        if self._keeper is not None:
            self._keeper.keep(item)
        if self.attached:
            self._queue(item)
            self.wake()

    def _queue(self, item: Item) -> None:
        self._items.append(item)
        self._held.take(len(item.data))

    def _clear(self) -> None:
        for item in self._items:
            self._held.give(len(item.data))
        self._items.clear()


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
