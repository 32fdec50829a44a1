"""The answer to ``initialize``: which servers are waited for, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from penstock_agent.endpoint import failures
from penstock_agent.endpoint.failures import Failure
from penstock_agent.site import merge
from penstock_agent.site.client import START_S, Client
from penstock_agent.site.merge import Greeted
from penstock_agent.site.spec import GREET_S, SiteSpec

LATE_S: Final = 1.0
"""So long a server is waited for that was too late for the last session."""


class Beginning:
    """Of one aggregate. ``late``: servers that were too late for the last session that began, for all
    sessions of the site.
    """

    def __init__(self, spec: SiteSpec, clients: Sequence[Client], late: set[str]) -> None:
        self._spec = spec
        self._clients = clients
        self._late = late
        self._changed = asyncio.Event()

    def settled(self, client: Client) -> None:
        """It is up, or could not be started."""
        self._late.discard(client.name)
        self._changed.set()

    async def greeting(self) -> bytes | Failure:
        """What the servers that are up by then say together."""
        patience = self._spec.patience_s
        in_time = [client for client in self._clients if client.name not in self._late or patience > GREET_S]
        await self._until(LATE_S, lambda: all(client.tried for client in self._clients))
        await self._until(patience - LATE_S, lambda: all(client.tried for client in in_time))
        if not self._any_up():
            # All of them start for the first time, perhaps: the first that is up will do.
            await self._until(START_S, lambda: self._any_up() or all(c.tried for c in self._clients))
        self._late.update(client.name for client in self._clients if not client.tried)
        found = [Greeted(one.name, one.expose, one.greeting if one.up else None) for one in self._clients]
        agreed = merge.version(found)
        if agreed is None:
            return failures.NONE_STARTED
        for client in self._clients:
            client.missed = not client.up
        spec = self._spec
        return merge.greeting(agreed, spec.title, spec.instructions, found, tools=spec.status)

    def _any_up(self) -> bool:
        return any(client.up for client in self._clients)

    async def _until(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Until this is enough, which changes when servers settle; no longer than so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not enough():
                    self._changed.clear()
                    await self._changed.wait()
