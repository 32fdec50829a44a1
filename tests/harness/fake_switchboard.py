"""A switchboard and an access check for tests of the edge: no agent, no store, every answer scripted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from penstock.http import JSON, Headers
from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock.tunnel.frames import DoneReason
from penstock_relay.switchboard import Answer, Call


class FakeAnswer:
    """An answer whose chunks a test feeds; `closed` is the reason it was closed with."""

    def __init__(
        self,
        chunks: Iterable[bytes] = (),
        *,
        status: int = 200,
        content_type: str = JSON,
        headers: Headers = (),
        complete: bool = True,
    ) -> None:
        self.key = "00" * 16 + "-1"
        self.status = status
        self.headers: Headers = (("content-type", content_type), *headers)
        self.reasons: list[DoneReason] = []
        self.taken = 0
        self.closed = asyncio.Event()
        self._items: deque[bytes | Exception | None] = deque(chunks)
        if complete:
            self._items.append(None)
        self._fed = asyncio.Event()

    def feed(self, *chunks: bytes) -> None:
        """More of the answer."""
        self._items.extend(chunks)
        self._fed.set()

    def end(self) -> None:
        """The answer is complete."""
        self._items.append(None)
        self._fed.set()

    def fail(self, error: Exception) -> None:
        """The answer breaks off with `error`."""
        self._items.append(error)
        self._fed.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while not self._items:
                self._fed.clear()
                await self._fed.wait()
            item = self._items.popleft()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            self.taken += len(item)
            yield item

    def close(self, reason: DoneReason) -> None:
        self.reasons.append(reason)
        self.closed.set()


Script = Callable[[Call], Awaitable[Answer]]


class FakeSwitchboard:
    """Answers every call by `script`; by default with the request's own body."""

    def __init__(self, script: Script | None = None, *, servers: Iterable[str] = ("files",)) -> None:
        self.script = script
        self.servers = set(servers)
        self.calls: list[Call] = []
        self.looked_up: list[tuple[str, str]] = []
        self.cancelled = asyncio.Event()

    async def exchange(self, call: Call) -> Answer:
        self.calls.append(call)
        try:
            if self.script is None:
                return FakeAnswer([call.body])
            return await self.script(call)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def lacks(self, site: str, server: str) -> bool:
        self.looked_up.append((site, server))
        return server != WHOLE_SITE and server not in self.servers


@dataclass(frozen=True, slots=True)
class FakeGrant:
    """What a token of `FakeAccess` stands for."""

    site: str = "oslo"
    server: str | None = None
    principal: Principal = field(default_factory=lambda: Principal("penstock", "svc:test"))
    only_here: bool = False
    member: bool = True
    step_up: tuple[str, ...] = ()


class FakeAccess:
    """Knows the tokens that it was given; counts the questions."""

    def __init__(self, grants: dict[str, FakeGrant] | None = None) -> None:
        self.grants = {"good": FakeGrant()} if grants is None else grants
        self.asked = 0
        self.error: Exception | None = None
        self.dark: set[str] = set()
        """Tokens whose issuer never answers."""
        self.change = asyncio.Event()

    async def changed(self) -> None:
        await self.change.wait()
        self.change.clear()

    def doubt(self) -> None:
        self.change.set()

    async def principal(self, token: str, site: str, server: str) -> FakeGrant | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if token in self.dark:
            await asyncio.get_running_loop().create_future()
        return self.grants.get(token)
