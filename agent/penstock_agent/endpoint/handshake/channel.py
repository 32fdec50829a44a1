"""One event stream of HTTP+SSE as its session sees it: a stream for each call, all of them in one queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from penstock.principal import Principal
from penstock_agent.endpoint.held import Held, Share
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.streams import Item, Stream

REQUEST_BYTES: Final = 16 << 20
"""Bytes of requests that are unanswered on one channel; above it no other is taken."""


_NOTHING: Final = Share(Held(0), 0)
"""What a part holds: it has no queue of its own."""


class Part(Stream):
    """What the session takes for a stream of its own; it is put into the queue of its channel at once."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel, key: str, caller: Principal) -> None:
        super().__init__(_NOTHING, 0, key, caller)
        self._channel = channel

    def put(self, data: bytes, *, droppable: bool = False, of: str = "") -> bool:
        return self.open and self._channel.put(data, droppable=droppable, of=of or self.key)

    def finish(self, data: bytes, status: int = 200) -> None:
        if self.open:
            self.close()
            self._channel.put(data, of=self.key)

    def close(self) -> None:
        self.open = False

    def drain(self) -> list[bytes]:
        self.close()
        return []


class _Listener(Part):
    """For what the server says by itself. The session closes it when it ends, and so ends the channel."""

    __slots__ = ()

    def close(self) -> None:
        self.open = False
        self._channel.queue.close()


class CallPart(Part):
    """For one request, up to its answer."""

    __slots__ = ("_size", "_timer")

    def __init__(self, channel: Channel, key: str, caller: Principal, size: int) -> None:
        super().__init__(channel, key, caller)
        self._size = size
        self._timer: asyncio.TimerHandle | None = None

    def due(self, until: float, late: Callable[[], None]) -> None:
        """``late`` is called at ``until`` (loop time), unless there is an answer before."""
        if self.open:
            self._timer = asyncio.get_running_loop().call_at(until, late)

    def finish(self, data: bytes, status: int = 200) -> None:
        if self.open:
            # First: whoever waits for the last call finds the answer on its way.
            self._channel.answered(data, self.key)
            self.close()

    def close(self) -> None:
        if self.open:
            self.open = False
            self._channel.over(self._size)
            if self._timer is not None:
                self._timer.cancel()


class Channel:
    """``put`` and what calls it never wait; one task takes the items, with ``next`` and ``sent``."""

    def __init__(
        self, session: Session, key: str, limits: Limits, count: Callable[[int], None] = lambda change: None
    ) -> None:
        """``key`` is that of the exchange whose response the stream is. ``count`` is told of each call that
        comes (1), and of each that has had its last word (-1).
        """
        self.session = session
        self.queue = session.stream(key)
        """For who waits for an end of the caller, to wake ``next``."""
        self._limits = limits
        self._count = count
        self._waiting = 0
        self._calls = 0
        self._asked = 0
        self._silent = False
        self._listener = _Listener(self, key, session.principal)
        session.listen(self._listener)

    # Towards the client.

    @property
    def open(self) -> bool:
        """Whether the client can still be told something."""
        return self.queue.open

    @property
    def full(self) -> bool:
        """Whether another request has to wait: its answer would have no room, or it is one too many."""
        limits = self._limits
        return (
            self._waiting >= limits.stream_events
            or self._calls >= limits.calls_per_session
            or self._asked >= REQUEST_BYTES
        )

    def put(self, data: bytes, *, droppable: bool = False, of: str = "") -> bool:
        """As :meth:`Stream.put`."""
        taken = self.queue.put(data, droppable=droppable, of=of)
        self._waiting += taken
        return taken

    async def next(self, until: float) -> Item | None:
        """As :meth:`Stream.next`."""
        return await self.queue.next(until)

    def sent(self, item: Item) -> None:
        """As :meth:`Stream.sent`."""
        self._waiting -= 1
        self.queue.sent(item)

    def close(self) -> None:
        """The caller is gone; what was not sent is nobody's any more."""
        self.queue.drain()

    # Towards the session.

    def call(self, key: str, caller: Principal, size: int) -> CallPart:
        """The stream for a request of ``size`` bytes, which came with the exchange of this key."""
        self._calls += 1
        self._asked += size
        self._count(1)
        return CallPart(self, key, caller, size)

    def cancel(self, params: bytes | None) -> None:
        """``notifications/cancelled`` of the caller. What it cancels gets no answer: it would come on the
        same stream, to somebody who does not wait for it any more.
        """
        self._silent = True
        try:
            self.session.cancel(params)
        finally:
            self._silent = False

    def answered(self, data: bytes, of: str) -> None:
        """The last word of a call, which came with the exchange ``of``."""
        if not self._silent:
            self.put(data, of=of)

    def over(self, size: int) -> None:
        """A call of ``size`` bytes has had its last word."""
        self._calls -= 1
        self._asked -= size
        self._count(-1)
