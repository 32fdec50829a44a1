"""A dialer at work against a tunnel listener."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from penstock.names import AgentId
from penstock.refusal import Refusal
from penstock.tunnel.frames import Notice
from penstock_agent.dialer.dialer import Dialer, LinkStatus, Target
from penstock_agent.dialer.heads import Heads
from penstock_agent.dialer.served import Served, Tunnel
from tests.harness.link_pair import AGENT, until
from tests.harness.tunnel_listener import TunnelListener


class Dialling:
    """A dialer at work, and all that it said."""

    def __init__(
        self, target: Target, heads: Heads | None = None, notices: Callable[[], Notice] | None = None
    ) -> None:
        self.started: asyncio.Queue[Served] = asyncio.Queue()
        self.tunnel = Tunnel(self.started.put_nowait)
        self.servers = frozenset({"files"})
        self.tunnel.offer(self.servers)
        self.said: list[LinkStatus] = []
        self.refused: list[Refusal | None] = []
        self.dialer = Dialer(
            target, self.tunnel, lambda: self.servers, self.said.append, self.refused.append, heads, notices
        )

    @property
    def problems(self) -> list[str]:
        return [status.problem for status in self.said if not status.linked]

    async def linked(self, times: int = 1) -> LinkStatus:
        await until(lambda: sum(status.linked for status in self.said) >= times, "the link")
        return self.said[-1]

    async def problem(self) -> str:
        await until(lambda: bool(self.problems), "a problem")
        return self.problems[0]


def target_of(
    place: TunnelListener,
    *,
    url: str | None = None,
    agent: AgentId = AGENT,
    context: ssl.SSLContext | None = None,
    proxy: str | None = None,
) -> Target:
    context = context or place.context(place.certificate(agent))
    return Target(url or place.url, agent, b"i" * 16, context, proxy)


@asynccontextmanager
async def dialling(
    target: Target, heads: Heads | None = None, notices: Callable[[], Notice] | None = None
) -> AsyncIterator[Dialling]:
    at_work = Dialling(target, heads, notices)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(at_work.dialer.run())
        try:
            yield at_work
        finally:
            task.cancel()
