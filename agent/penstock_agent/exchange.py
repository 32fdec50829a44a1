"""What the endpoint sees of an exchange: one public request, and the way its answer takes back.

The daemon makes these from the tunnel; the endpoint only reads the request and writes the answer. Which
link carries it, and whether that link was cut meanwhile, is not visible here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from penstock.http import Headers
from penstock.principal import Principal
from penstock.tunnel.frames import Purpose

__all__ = ["DoneReason", "Exchange", "ExchangeGone", "Purpose"]


class DoneReason(IntEnum):
    """Why a caller is no longer there: the wire's reasons (PROTOCOL.md, DONE) and one that only we know."""

    OK = 0
    CLIENT_GONE = 1
    DEADLINE = 2
    REVOKED = 3
    TOO_SLOW = 4
    ORIGIN_LOST = 255
    """Never on the wire: the exchange had no link for too long and was given up."""


class ExchangeGone(Exception):
    """The caller is no longer there; nothing that is written can reach anybody."""

    def __init__(self, reason: DoneReason) -> None:
        super().__init__(f"the caller is gone ({reason.name.lower()})")
        self.reason = reason


class Exchange(Protocol):
    """One started exchange. ``head`` once, then ``write`` as often as needed, then ``end``."""

    @property
    def key(self) -> str:
        """In hex, for logs and for the data of errors."""

    @property
    def server(self) -> str: ...

    @property
    def method(self) -> str: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def body(self) -> bytes: ...

    @property
    def principal(self) -> Principal: ...

    @property
    def purpose(self) -> Purpose: ...

    answers: str
    """The key of the exchange whose request is answered by what is written next; empty for its own. Whoever
    writes an answer on another exchange than it was asked for says so here.
    """

    @property
    def deadline(self) -> float:
        """The ``loop.time()`` at which the caller's deadline passes."""

    async def head(self, status: int, headers: Headers = ()) -> None:
        """Start the answer. Raises :exc:`ExchangeGone`."""

    async def write(self, data: bytes) -> None:
        """Wait while more than 1 MiB is buffered beyond the caller's credit. Raises :exc:`ExchangeGone`."""

    async def end(self) -> None:
        """The answer is whole. Raises :exc:`ExchangeGone`."""

    def fail(self, reason: str) -> None:
        """After the start: the caller is told ``outcome_unknown``, or an answer that had begun breaks off."""

    async def gone(self) -> DoneReason:
        """Wait until the caller is gone."""
