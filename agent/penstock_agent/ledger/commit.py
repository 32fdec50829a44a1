"""Group commit: many records are made safe by one fdatasync, in a thread, soon after the first of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from penstock_agent.ledger.entries import CannotRecord

DELAY: Final = 0.05
"""Seconds from the first record that is not safe to the fdatasync; it has as long again for its work, so that
records are safe after 100 ms.
"""


class Commit:
    """``work()`` gives what one fdatasync has to do; ``failed`` is told when it could not be done."""

    def __init__(
        self,
        work: Callable[[], Callable[[], None]],
        done: Callable[[int], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._work = work
        self._done = done
        self._failed = failed
        self._pool = ThreadPoolExecutor(1, "ledger")
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[None] | None = None
        self.written = 0
        """Number of the last record that was written."""
        self.synced = 0
        """Number of the last record that is known to be on the disk."""
        self.synced_at = 0.0
        """When that was known, in seconds since 1970."""
        self.failures = 0

    def wrote(self, n: int) -> None:
        """Record ``n`` has been written."""
        self.written = n
        if self._timer is None and self._running is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._begin)

    async def until(self, n: int) -> None:
        """Return once record ``n`` is safe. Everybody who waits shares one fdatasync. Raises CannotRecord."""
        while self.synced < n:
            failures = self.failures
            await asyncio.wait([self._running or self._begin()])
            if self.failures != failures:
                raise CannotRecord

    def _begin(self) -> asyncio.Future[None]:
        """None runs now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        upto, work = self.written, self._work()
        self._running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        self._running.add_done_callback(lambda future: self._ended(future, upto))
        return self._running

    def _ended(self, future: asyncio.Future[None], upto: int) -> None:
        self._running = None
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self.failures += 1
            self._failed(error if isinstance(error, OSError) else OSError(type(error).__name__))
            return
        self._safe(upto)
        if self.written > self.synced:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._begin)

    def _safe(self, upto: int) -> None:
        self.synced, self.synced_at = upto, time.time()
        self._done(upto)

    async def aside(self, work: Callable[[], None]) -> None:
        """Do something with the disk after what is under way."""
        await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Make safe what was written, now. Raises OSError."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.shutdown(wait=True)
        upto = self.written
        self._work()()
        self._safe(upto)
