"""A switchboard at work, with sites in memory and calls in tasks of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from penstock.http import Headers
from penstock.names import AgentId
from penstock.principal import Principal
from penstock.tunnel.agent_exchange import Exchange, Started
from penstock.tunnel.frames import DoneReason, Frame, Purpose
from penstock_relay.switchboard import Answer, Call
from penstock_relay.switchboard.switchboard import Switchboard
from tests.harness.link_pair import AGENT, WAIT
from tests.harness.memory_site import MemoryLink, MemorySite

T = TypeVar("T")


def call(
    body: bytes = b"{}",
    *,
    method: str = "POST",
    server: str = "files",
    session: str | None = None,
    caller: str = "svc:test",
    headers: Headers = (),
    deadline_s: float = 30.0,
    no_byte_s: float = 30.0,
) -> Call:
    """A call that is whole and judged."""
    if session is not None:
        headers = (*headers, ("mcp-session-id", session))
    who = Principal("penstock", caller)
    return Call("plant", server, method, headers, body, who, Purpose.MCP, deadline_s, no_byte_s)


class Board:
    """`switchboard` and what a test does with it."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.switchboard = Switchboard("r1")
        self._tasks = tasks

    def serve(self, line: MemoryLink) -> asyncio.Task[None]:
        """Gives a link to the switchboard, as the door does."""
        return self._tasks.create_task(self.switchboard.links.serve(line.websocket, line.site.agent))

    async def link(self, site: MemorySite, *behind: Frame) -> MemoryLink:
        """One more link of `site`, up to WELCOME."""
        line = site.dial(*behind)
        self.serve(line)
        await line.linked.wait()
        return line

    async def site(
        self, agent: AgentId = AGENT, servers: tuple[str, ...] = ("files",), *, epoch: int = 1
    ) -> MemorySite:
        """A site of one agent, linked."""
        site = MemorySite(agent, servers, epoch=epoch)
        await self.link(site)
        return site

    def start(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        return self._tasks.create_task(self._quiet(work))

    @staticmethod
    async def _quiet(work: Coroutine[object, object, T]) -> T:
        return await work

    def ask(self, asked: Call | None = None) -> asyncio.Task[Answer | Exception]:
        """A call in a task of its own; its result is the answer, or what was raised."""
        return self._tasks.create_task(self._ask(asked or call()))

    async def _ask(self, asked: Call) -> Answer | Exception:
        try:
            return await self.switchboard.exchange(asked)
        except Exception as error:
            return error

    async def answer(self, asking: asyncio.Task[Answer | Exception]) -> Answer:
        """The answer of `ask`, which must not have failed."""
        answer = await asking
        assert not isinstance(answer, Exception), answer
        return answer

    async def called(self, site: MemorySite, asked: Call | None = None) -> tuple[Answer, Exchange]:
        """A call that the site has answered with a head only."""
        asking = self.ask(asked)
        exchange = (await site.started.get()).exchange
        site.head(exchange)
        return await self.answer(asking), exchange

    async def served(self, sites: Sequence[MemorySite], asked: Call | None = None) -> AgentId:
        """A call from its beginning to its end; which of `sites` answered it."""
        asking = self.ask(asked)
        getting = {self.start(site.started.get()): site for site in sites}
        (got, *_), others = await asyncio.wait(getting, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        site = getting[got]
        site.answer(got.result().exchange)
        (await self.answer(asking)).close(DoneReason.OK)
        return site.agent

    @property
    def quiet(self) -> bool:
        """Nothing is under way, and every budget is whole again."""
        origin = self.switchboard._origin
        budgets = [origin._budget, *origin._agent_budgets.values()]
        return (
            self.switchboard.calls == 0
            and self.switchboard.idle.is_set()
            and origin.open_exchanges == 0
            and all(budget.left == budget.total for budget in budgets)
        )


@asynccontextmanager
async def running() -> AsyncIterator[Board]:
    """Stops all links at the end."""
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
        board = Board(tasks)
        try:
            yield board
        finally:
            board.switchboard.links.stop()


async def body(answer: Answer) -> bytes:
    return b"".join([chunk async for chunk in answer])


async def next_started(site: MemorySite) -> Started:
    return await site.started.get()
