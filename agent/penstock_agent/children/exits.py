"""Hearing of the end of a process by pidfd: works the same on asyncio and uvloop, with no signal handler."""

import asyncio
import os
from collections.abc import Callable


class ExitWatch:
    """Calls ``callback`` once when a process of ours has ended.

    It is not yet reaped then, so its number is still its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pid: int, callback: Callable[[], None]) -> None:
        """Raises OSError when no descriptor is left."""
        self._loop = loop
        self._callback = callback
        self._fd = os.pidfd_open(pid)
        try:
            loop.add_reader(self._fd, self._ended)
        except OSError:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Stop watching. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._loop.remove_reader(fd)
            os.close(fd)

    def _ended(self) -> None:
        self.close()
        self._callback()
