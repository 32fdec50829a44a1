"""Lines on their way to the one who reads them, and how much of them is held."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from penstock_agent.children.child import ChildGone
from penstock_agent.children.lines import Oversize

WAITING_MAX: Final = 4 * 1024 * 1024
"""Bytes of whole lines that wait to be read; above it nothing more is taken in."""


class Inbox:
    """One reader, any number of writers."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._max = waiting_max
        self._lines: deque[bytes | Oversize] = deque()
        self._bytes = 0
        self._gone: ChildGone | None = None
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def ended(self) -> ChildGone | None:
        """Why nothing comes any more; None as long as something may."""
        return self._gone

    async def put(self, line: bytes | Oversize) -> None:
        """Waits while enough is waiting. After the end, nothing is taken."""
        while not self._room.is_set():
            await self._room.wait()
        self.put_now(line)

    def put_now(self, line: bytes | Oversize) -> None:
        """For the few words that we say ourselves."""
        if self._gone is not None:
            return
        self._lines.append(line)
        self._bytes += _size(line)
        if self._bytes > self._max:
            self._room.clear()
        self._more.set()

    async def get(self) -> bytes | Oversize:
        """The next line. Raises the ``ChildGone`` of the end once all are read."""
        while not self._lines:
            if self._gone is not None:
                raise self._gone
            self._more.clear()
            await self._more.wait()
        line = self._lines.popleft()
        self._bytes -= _size(line)
        if self._bytes <= self._max:
            self._room.set()
        return line

    def end(self, why: ChildGone, *, drop: bool = False) -> None:
        """Nothing comes any more; with ``drop``, what waits is forgotten too. The first reason counts."""
        if drop:
            self._lines.clear()
            self._bytes = 0
        if self._gone is None:
            self._gone = why
        self._more.set()
        self._room.set()


def _size(line: bytes | Oversize) -> int:
    return 64 + (len(line) if isinstance(line, bytes) else 0)
