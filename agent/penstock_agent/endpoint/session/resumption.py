"""How a client of a session comes back to a stream that it lost (2025-11-25, basic/transports, Resumability).

Clients of 2025-11-25 are primed: the first event of each stream has an id and no data, so that they can come
back from the very beginning. Older ones cannot read such an event; they come back if they got one with data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.http import sse_event
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.session.eventlog import Budget, Event, EventIds, EventLog, Place, Record, after
from penstock_agent.endpoint.streams import Item, Stream

RESUMABLE: Final = frozenset({"2025-03-26", "2025-06-18", "2025-11-25"})
PRIMED: Final = frozenset({"2025-11-25"})


class Mark:
    """Makes the ids of one stream's events."""

    __slots__ = ("_ids", "_session", "primes", "record", "retry_ms")

    def __init__(self, ids: EventIds, session: str, record: Record[Stream], primes: bool, retry_ms: int):
        self._ids = ids
        self._session = session
        self.record = record
        self.primes = primes
        """Whether the client understands events without data."""
        self.retry_ms = retry_ms

    def id(self, number: int) -> str:
        return self._ids.make(self._session, Place(self.record.number, number, self.record.request))

    def empty(self, number: int, retry_ms: int) -> bytes:
        """An event without data: where the client stands, and after how long it may come back."""
        return sse_event(b"", event_id=self.id(number), retry_ms=retry_ms)


@dataclass(frozen=True, slots=True)
class Found:
    """What somebody comes back to: the stream, up to which event it was read, and what came since."""

    mark: Mark
    number: int
    missed: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Lost:
    """Something of the stream is not here any more. ``request``: what it answered; None when nothing."""

    request: bytes | None


class _Keeper:
    """Puts the items of one stream into the log."""

    __slots__ = ("_log", "_record", "_time")

    def __init__(self, log: EventLog[Stream], record: Record[Stream]) -> None:
        self._log = log
        self._record = record
        self._time = asyncio.get_running_loop().time

    def keep(self, item: Item) -> None:
        self._log.add(self._record, Event(item.number, item.data, item.needed, item.last), self._time())

    def withdraw(self, item: Item) -> None:
        self._log.withdraw(self._record, item.number)


class Resumption:
    """Of one session."""

    def __init__(
        self,
        session: str,
        ids: EventIds,
        budget: Budget[Stream],
        limits: Limits,
        version: Callable[[], str | None],
    ) -> None:
        """``version``: the one that was agreed on; None for not yet, and where nobody can come back."""
        self._session = session
        self._ids = ids
        self._retry_ms = limits.retry_ms
        self._log: EventLog[Stream] = EventLog(budget, limits.session_log, limits.log_age)
        self._version = version

    @property
    def possible(self) -> bool:
        return self._version() in RESUMABLE

    @property
    def primes(self) -> bool:
        return self._version() in PRIMED

    def keep(self, stream: Stream, request: bytes | None, *taken: Item) -> Mark | None:
        """Keep what is said on a stream, what was ``taken`` from it included. None for older sessions."""
        if not self.possible:
            return None
        record = self._log.open(stream, request)
        stream.keep(_Keeper(self._log, record), *taken)
        return self._mark(record)

    def find(self, last_event_id: str) -> Found | Lost | None:
        """What this ``Last-Event-ID`` means; None for an id that is none of this session."""
        place = self._ids.read(self._session, last_event_id)
        if place is None:
            return None
        record = self._log.find(place.stream, asyncio.get_running_loop().time())
        missed = None if record is None else after(record, place.number)
        if record is None or missed is None:
            return Lost(place.request)
        items = [Item(e.data, last=e.last, number=e.number, needed=e.needed) for e in missed]
        return Found(self._mark(record), place.number, items)

    def back(self, mark: Mark) -> None:
        """Somebody reads this stream again."""
        self._log.resume(mark.record)

    def left(self, mark: Mark) -> None:
        """Nobody reads a GET stream any more; its client may come back for what was sent."""
        self._log.end(mark.record)

    def expire(self, now: float) -> None:
        self._log.expire(now)

    def close(self) -> None:
        self._log.close()

    def _mark(self, record: Record[Stream]) -> Mark:
        return Mark(self._ids, self._session, record, self.primes, self._retry_ms)
