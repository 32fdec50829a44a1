"""What was said on the event streams of a session, kept for a client that comes back for it. Pure; time is
an argument.

An event id says where in which stream an event stands, in which life of which agent, and for which request.
Its MAC covers the session as well, so an id that was made up, or that belongs to another session, is nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import msgspec

EPOCH_BYTES: Final = 8
KEY_BYTES: Final = 32
MAX_REQUEST_ID: Final = 512
"""Raw bytes of a request id that an event id carries; a longer one is left out, for the sake of headers."""

_MAC_BYTES: Final = 16
_PLACE: Final = struct.Struct(f">{EPOCH_BYTES}sII{_MAC_BYTES}s")
_ID: Final = re.compile(r"([a-z2-7]{8})\.([A-Za-z0-9_-]{1,1024})")
_request_id = msgspec.json.Decoder(str | int | float)

S = TypeVar("S")
"""What the events of a stream go through."""


@dataclass(frozen=True, slots=True)
class Place:
    """What an event id says: a stream of the session, and how many of its events are before and with this
    one. ``request``: the raw id of the request that the stream answers; None when it answers none.
    """

    stream: int
    number: int
    request: bytes | None


class EventIds:
    """Makes and reads them, for one life of the agent. ``key`` and ``epoch`` are made for that life."""

    def __init__(self, tag: str, epoch: bytes, key: bytes) -> None:
        self._tag = tag
        self._epoch = epoch
        self._key = key

    def make(self, session: str, place: Place) -> str:
        """At most about 750 characters."""
        request = place.request or b""
        if len(request) > MAX_REQUEST_ID:
            request = b""
        mac = self._mac(session, place.stream, place.number, request)
        packed = _PLACE.pack(self._epoch, place.stream, place.number, mac) + request
        return f"{self._tag}.{base64.urlsafe_b64encode(packed).rstrip(b'=').decode()}"

    def read(self, session: str, text: str) -> Place | None:
        """None for whatever was never an id of this session in this life."""
        found = self._unpacked(text)
        if found is None:
            return None
        epoch, stream, number, mac, request = found
        if epoch != self._epoch or not hmac.compare_digest(mac, self._mac(session, stream, number, request)):
            return None
        return Place(stream, number, request or None)

    def of_another_life(self, text: str) -> bytes | None:
        """The raw request id that an id of another life of this agent carries; None for any other id, and for
        one that carries none. It cannot be proven, and says only what whoever sent it wrote into it.
        """
        found = self._unpacked(text)
        if found is None or found[0] == self._epoch or not _is_request_id(found[4]):
            return None
        return found[4]

    def _unpacked(self, text: str) -> tuple[bytes, int, int, bytes, bytes] | None:
        found = _ID.fullmatch(text)
        if found is None or found[1] != self._tag:
            return None
        try:
            packed = base64.b64decode(found[2] + "=" * (-len(found[2]) % 4), b"-_", validate=True)
            epoch, stream, number, mac = _PLACE.unpack_from(packed)
        except (binascii.Error, struct.error):
            return None
        return epoch, stream, number, mac, packed[_PLACE.size :]

    def _mac(self, session: str, stream: int, number: int, request: bytes) -> bytes:
        said = b"%b\0%d\0%d\0%b" % (session.encode(), stream, number, request)
        return hmac.digest(self._key, said, "sha256")[:_MAC_BYTES]


def _is_request_id(raw: bytes) -> bool:
    if len(raw) > MAX_REQUEST_ID or raw != raw.strip():
        return False
    try:
        _request_id.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Event:
    """One message, as one line. ``needed``: the stream makes no sense without it; others may be dropped."""

    number: int
    data: bytes
    needed: bool
    last: bool


@dataclass(slots=True, eq=False)
class Record(Generic[S]):
    """The events of one stream that are kept."""

    number: int
    request: bytes | None
    owner: S
    events: deque[Event] = field(default_factory=deque)
    lost: int = 0
    """The highest number of an event that is needed and is not kept any more."""
    over: bool = False
    """Nothing is going to follow: the stream is forgotten with its last event."""


class Budget(Generic[S]):
    """What the logs of all sessions hold together. Above the limit, the one that holds most gives way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._logs: set[EventLog[S]] = set()
        self.bytes = 0

    def take(self, log: EventLog[S], size: int) -> None:
        self.bytes += size
        self._logs.add(log)
        while self.bytes > self._limit:
            max(self._logs, key=lambda other: other.bytes).drop_oldest()

    def give(self, log: EventLog[S], size: int) -> None:
        self.bytes -= size
        if not log.bytes:
            self._logs.discard(log)


class EventLog(Generic[S]):
    """One session's. ``limit`` in bytes, ``age`` in seconds."""

    def __init__(self, budget: Budget[S], limit: int, age: float) -> None:
        self._budget = budget
        self._limit = limit
        self._age = age
        self._records: dict[int, Record[S]] = {}
        self._order: deque[tuple[float, Record[S], Event]] = deque()
        self._streams = 0
        self.bytes = 0

    def open(self, owner: S, request: bytes | None) -> Record[S]:
        """Keep what is said on one more stream."""
        self._streams += 1
        record = self._records[self._streams] = Record(self._streams, request, owner)
        return record

    def add(self, record: Record[S], event: Event, now: float) -> None:
        """The next event of a stream. The session's oldest make room for it."""
        self.expire(now)
        record.over = record.over or event.last
        size = len(event.data)
        if size > self._limit or self._records.get(record.number) is not record:
            _lose(record, event)
            self._tidy(record)
            return
        record.events.append(event)
        self._order.append((now, record, event))
        self.bytes += size
        self._budget.take(self, size)
        while self.bytes > self._limit:
            self.drop_oldest()

    def find(self, stream: int, now: float) -> Record[S] | None:
        """None once nothing of an ended stream is kept."""
        self.expire(now)
        return self._records.get(stream)

    def expire(self, now: float) -> None:
        """Drop what is too old."""
        while self._order and now - self._order[0][0] >= self._age:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        _, record, event = self._order.popleft()
        if record.events and record.events[0] is event:
            record.events.popleft()
            _lose(record, event)
        self.bytes -= len(event.data)
        self._budget.give(self, len(event.data))
        self._tidy(record)

    @staticmethod
    def withdraw(record: Record[S], number: int) -> None:
        """The events from this number on were never sent, and go another way."""
        while record.events and record.events[-1].number >= number:
            record.events.pop()

    def resume(self, record: Record[S]) -> None:
        """Somebody has come back, and more is going to be added."""
        record.over = False
        self._records[record.number] = record

    def end(self, record: Record[S]) -> None:
        """Nothing more is going to be added, unless somebody comes back for what is there."""
        record.over = True
        self._tidy(record)

    def close(self) -> None:
        """The session is over."""
        while self._order:
            self.drop_oldest()
        self._records.clear()

    def _tidy(self, record: Record[S]) -> None:
        if record.over and not record.events:
            self._records.pop(record.number, None)


def after(record: Record[S], number: int) -> list[Event] | None:
    """The events that follow; None when one of them is missing that is needed."""
    return None if record.lost > number else [event for event in record.events if event.number > number]


def _lose(record: Record[S], event: Event) -> None:
    if event.needed:
        record.lost = event.number
