"""An exchange without a tunnel: what was answered can be looked at, and the caller can leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.http import Headers, first
from penstock.principal import Principal
from penstock_agent.exchange import DoneReason, ExchangeGone, Purpose

WAIT = 600.0
"""Seconds (of the test's loop, which may be virtual) after which a test has waited in vain."""

ALICE = Principal("https://idp.example", "alice", client="assistant")


@dataclass
class FakeExchange:
    """Every ``await`` here gives up after WAIT seconds, so that a broken endpoint fails a test rather than
    hang it.
    """

    server: str
    method: str = "POST"
    headers: Headers = ()
    body: bytes = b""
    principal: Principal = ALICE
    answers: str = ""
    key: str = "00" * 16 + "-1"
    deadline: float = float("inf")
    purpose: Purpose = Purpose.MCP
    status: int | None = None
    answered: Headers = ()
    chunks: list[bytes] = field(default_factory=list)
    answering: list[tuple[str, bytes]] = field(default_factory=list)
    """Which exchange's request each chunk answers, if it is another one, as whoever wrote it has said."""
    ended: bool = False
    failed: str | None = None
    left: DoneReason | None = None
    slow: asyncio.Event | None = None
    """A reader that is slow: ``write`` waits for this."""

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()
        self._events_taken = 0

    # The endpoint's side.

    async def head(self, status: int, headers: Headers = ()) -> None:
        self._check()
        assert self.status is None, "two heads"
        self.status, self.answered = status, headers
        self._change()

    async def write(self, data: bytes) -> None:
        self._check()
        assert self.status is not None, "data before the head"
        assert not self.ended, "data after the end"
        if self.slow is not None:
            await self.slow.wait()
            self._check()
        self.chunks.append(data)
        self.answering.append((self.answers, data))
        self._change()

    async def end(self) -> None:
        self._check()
        assert self.status is not None, "end before the head"
        assert not self.ended, "two ends"
        self.ended = True
        self._change()

    def fail(self, reason: str) -> None:
        self.failed = reason
        self._change()

    async def gone(self) -> DoneReason:
        while self.left is None:
            await self._change_within(float("inf"))
        return self.left

    # The test's side.

    def leave(self, reason: DoneReason = DoneReason.CLIENT_GONE) -> None:
        self.left = reason
        self._change()

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def content_type(self) -> str | None:
        return first(self.answered, "content-type")

    async def until_head(self) -> int:
        while self.status is None:
            await self._change_within(WAIT)
        return self.status

    async def until_end(self) -> FakeExchange:
        while not (self.ended or self.failed is not None):
            await self._change_within(WAIT)
        return self

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; it is looked at whenever something was answered."""
        while not holds():
            await self._change_within(WAIT)

    async def json(self) -> dict[str, object]:
        """The one JSON body of the answer."""
        await self.until_end()
        assert self.content_type == "application/json", self.content_type
        value = json.loads(self.content)
        assert isinstance(value, dict)
        return value

    async def message(self) -> dict[str, object]:
        """The last message of the answer, be it JSON or an event stream."""
        await self.until_end()
        if self.content_type == "application/json":
            return await self.json()
        return self.events()[-1]

    async def event(self) -> dict[str, object]:
        """The next server-sent event."""
        while len(events := self.events()) <= self._events_taken:
            assert not self.ended, "the stream ended without another event"
            await self._change_within(WAIT)
        self._events_taken += 1
        return events[self._events_taken - 1]

    def raw_events(self) -> list[bytes]:
        """The data of all whole events so far; those that only say where the stream stands have none."""
        return [data for _, _, data in self.fields() if data]

    def ids(self) -> list[str | None]:
        """The id of each whole event so far."""
        return [id for id, _, _ in self.fields()]

    def fields(self) -> list[tuple[str | None, int | None, bytes]]:
        """Id, retry and data of all whole events so far."""
        assert self.content_type in (None, "text/event-stream"), self.content_type
        found = []
        for block in self.content.split(b"\n\n")[:-1]:
            kind, *middle, last = block.split(b"\n")
            assert kind == b"event: message", kind
            assert last.startswith(b"data: ")
            named = dict(line.split(b": ", 1) for line in middle)
            assert set(named) <= {b"id", b"retry"}
            id = named[b"id"].decode() if b"id" in named else None
            retry = int(named[b"retry"]) if b"retry" in named else None
            found.append((id, retry, last.removeprefix(b"data: ")))
        return found

    def events(self) -> list[dict[str, object]]:
        return [json.loads(data) for data in self.raw_events()]

    def _check(self) -> None:
        if self.left is not None:
            raise ExchangeGone(self.left)

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _change_within(self, seconds: float) -> None:
        changed = self._changed
        if seconds == float("inf"):
            await changed.wait()
            return
        async with asyncio.timeout(seconds):
            await changed.wait()
