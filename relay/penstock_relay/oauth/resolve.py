"""The system's resolver, so that name servers which never answer cost only those who asked about them.

A look-up holds a thread until the system gives up, long after whoever asked has gone: there are threads of
their own for hosts that are in use here, and of the others no domain gets more than a few.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

THREADS: Final = 16
"""For hosts of strangers."""
KNOWN_THREADS: Final = 4
"""For hosts that are in use."""
PER_DOMAIN: Final = 2
"""Of strangers' threads, for the names that share their last two labels."""
MAX_OPEN: Final = 64
"""Names of strangers that are being looked up, those that wait for a thread included."""


class Resolver:
    """Not in the loop's own threads, where passwords are checked. `known` tells hosts that are in use."""

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        # No thread starts before there is a name.
        self._strangers = ThreadPoolExecutor(THREADS, "resolve")
        self._ours = ThreadPoolExecutor(KNOWN_THREADS, "resolve-known")
        self._open: dict[str, asyncio.Future[list[str]]] = {}

    async def find(self, host: str, port: int) -> list[str]:
        """The addresses of `host`. Many who ask about one host share one look-up. Raises OSError."""
        if self._known(host):
            return await self._shared(f"known {host}", self._ours, host, port)
        domain = _domain(host)
        while host not in self._open:
            same = [flight for name, flight in self._open.items() if _domain(name) == domain]
            if len(same) < PER_DOMAIN:
                break
            await asyncio.wait(same, return_when=asyncio.FIRST_COMPLETED)
        if host not in self._open and len(self._open) >= MAX_OPEN:
            raise OSError("too many names are being looked up")
        return await self._shared(host, self._strangers, host, port)

    async def _shared(self, key: str, pool: ThreadPoolExecutor, host: str, port: int) -> list[str]:
        flight = self._open.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().run_in_executor(pool, partial(_ask, host, port))
            self._open[key] = flight
            flight.add_done_callback(partial(self._landed, key))
        return await asyncio.shield(flight)  # who gives up ends it for nobody

    def _landed(self, key: str, flight: asyncio.Future[list[str]]) -> None:
        del self._open[key]
        if not flight.cancelled():
            flight.exception()  # all who asked may have gone

    def close(self) -> None:
        for pool in (self._strangers, self._ours):
            pool.shutdown(wait=False, cancel_futures=True)


def _ask(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _domain(host: str) -> str:
    return ".".join(host.rsplit(".", 2)[-2:])
