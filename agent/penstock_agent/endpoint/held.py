"""How much of what children wrote waits for callers, and who has to stop reading because of it."""

from __future__ import annotations

import asyncio


class Held:
    """The bytes held over all sessions of the agent."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: set[asyncio.Future[None]] = set()
        self.bytes = 0

    @property
    def full(self) -> bool:
        return self.bytes >= self._limit

    def _released(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _release(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


class Share:
    """One session's part of it. A slow caller holds up its own session, not those of others."""

    def __init__(self, whole: Held, limit: int) -> None:
        self._whole = whole
        self._limit = limit
        self.bytes = 0

    @property
    def room(self) -> bool:
        """Whether the session's child may be read."""
        return self.bytes == 0 or (self.bytes < self._limit and not self._whole.full)

    def spares(self, size: int) -> bool:
        """Whether there is a place for what may be dropped: half of it all is kept for answers."""
        return self.bytes + size <= self._limit // 2

    def take(self, size: int) -> None:
        self.bytes += size
        self._whole.bytes += size

    def give(self, size: int) -> None:
        self.bytes -= size
        self._whole.bytes -= size
        if self._whole._waiting:
            self._whole._released()

    async def wait(self) -> None:
        """Return once there is room."""
        while not self.room:
            await self._whole._release()
