"""What the endpoint needs of the children, and nothing more: tests give it scripted ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

from penstock.principal import Principal
from penstock_agent.children.child import ChildSpec
from penstock_agent.children.lines import Oversize

Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
"""Starts a task that the endpoint owns. Raises :exc:`Stopping`."""


class Stopping(Exception):
    """The endpoint is ending and starts nothing any more."""


class Callers(Protocol):
    """Whose word the site takes; see :class:`penstock_agent.callers.callers.Callers`."""

    def challenge(self, server: str, /) -> str | None: ...

    async def admit(self, server: str, principal: Principal, /) -> None:
        """Raises :exc:`~penstock_agent.callers.trust.NotProven`."""
        ...


class Child(Protocol):
    """A running child; see :class:`penstock_agent.children.child.Child`, whose errors these raise."""

    async def send(self, line: bytes) -> None: ...

    async def receive(self) -> bytes | Oversize: ...

    async def stop(self) -> None: ...


class Children(Protocol):
    """All children of the agent; see :class:`penstock_agent.children.pool.Children`."""

    async def start(self, spec: ChildSpec, /) -> Child: ...

    def restart_delay(self, server: str, /) -> float: ...

    def worked(self, server: str, /) -> None: ...

    def forget(self, server: str, /) -> None: ...
