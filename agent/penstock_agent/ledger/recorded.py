"""The choke point: an exchange whose every byte is in the ledger before it goes on to the tunnel.

It is all that the endpoint is given of an exchange.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Final, Protocol

from penstock.http import EVENT_STREAM, JSON, Headers
from penstock.principal import Principal
from penstock_agent.exchange import DoneReason, Exchange, ExchangeGone, Purpose
from penstock_agent.ledger.entries import CannotRecord, Entry, Ledger, Opened, Sent, Unsent

FORM: Final = frozenset(
    {
        ("content-type", JSON),
        ("content-type", EVENT_STREAM),
        ("content-type", "text/plain; charset=utf-8"),
        ("retry-after", "5"),
    }
)
"""Headers that say nothing but what form an answer has: only a head with others is an entry by itself."""

_BREAKS_OFF: Final = "the ledger cannot be written"


class Safe(Ledger, Protocol):
    """A ledger that knows how safe the site wants it."""

    @property
    def waits(self) -> bool:
        """Whether what leaves waits for ``synced``."""
        ...


class Recorded:
    """See :class:`~penstock_agent.exchange.Exchange`."""

    __slots__ = (
        "_inner", "_ledger", "_offset", "_waits", "answers", "body", "deadline", "headers", "key",
        "method", "principal", "purpose", "server",
    )  # fmt: skip

    def __init__(self, inner: Exchange, ledger: Safe) -> None:
        self._inner = inner
        self._ledger = ledger
        self._waits = ledger.waits
        self._offset = 0
        self.answers = ""
        self.key = inner.key
        self.server = inner.server
        self.method = inner.method
        self.headers: Headers = inner.headers
        self.body = inner.body
        self.principal: Principal = inner.principal
        self.purpose: Purpose = inner.purpose
        self.deadline = inner.deadline

    @property
    def sent(self) -> int:
        """Bytes of the answer that went on so far."""
        return self._offset

    async def head(self, status: int, headers: Headers = ()) -> None:
        if not FORM.issuperset(headers):
            said = "".join(f"{name}: {value}\n" for name, value in headers).encode()
            names = [name for name, _ in headers]
            self._say(Opened(self.key, self.server, self.principal, status, names, sha256(said).hexdigest()))
        if self._waits:
            await self._safe()
        await self._inner.head(status, headers)

    async def write(self, data: bytes) -> None:
        offset = self._offset
        answers = "" if self.answers == self.key else self.answers
        digest = sha256(data).hexdigest()
        self._say(Sent(self.key, self.server, self.principal, offset, len(data), digest, answers))
        if self._waits:
            try:
                await self._safe()
            except asyncio.CancelledError:
                self._say(Unsent(self.key, self.server, self.principal, offset))
                raise
        self._offset = offset + len(data)
        await self._inner.write(data)

    async def end(self) -> None:
        if self._waits:
            await self._safe()
        await self._inner.end()

    def fail(self, reason: str) -> None:
        self._inner.fail(reason)

    async def gone(self) -> DoneReason:
        return await self._inner.gone()

    def _say(self, entry: Entry) -> None:
        try:
            self._ledger.record(entry)
        except CannotRecord:
            raise self._broken() from None

    async def _safe(self) -> None:
        try:
            await self._ledger.synced()
        except CannotRecord:
            raise self._broken() from None

    def _broken(self) -> ExchangeGone:
        """Rather this than bytes that nothing is known of."""
        self._inner.fail(_BREAKS_OFF)
        return ExchangeGone(DoneReason.ORIGIN_LOST)
