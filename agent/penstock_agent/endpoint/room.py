"""Where there may be no more processes, one that nobody uses makes room for one that somebody needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from penstock_agent.children.child import ChildSpec
from penstock_agent.children.pool import TooManyChildren
from penstock_agent.endpoint.ports import Child, Children

GiveWay: TypeAlias = Callable[[], Awaitable[bool]]
"""Ends a process that nobody uses; False when there is none."""

ATTEMPTS: Final = 8
"""Others may take the place that was made."""


class WithRoom:
    """The children of the agent."""

    def __init__(self, children: Children, give_way: GiveWay) -> None:
        self._children = children
        self._give_way = give_way

    async def start(self, spec: ChildSpec, /) -> Child:
        for _ in range(ATTEMPTS):
            try:
                return await self._children.start(spec)
            except TooManyChildren:
                if not await self._give_way():
                    raise
        return await self._children.start(spec)

    def restart_delay(self, server: str, /) -> float:
        return self._children.restart_delay(server)

    def worked(self, server: str, /) -> None:
        self._children.worked(server)

    def forget(self, server: str, /) -> None:
        self._children.forget(server)
