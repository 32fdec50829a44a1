"""Exchanges as the endpoint sees them, over the tunnel's agent half."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from penstock import log
from penstock.http import Headers, only_listens
from penstock.link import now
from penstock.principal import Principal
from penstock.tunnel.agent import Agent
from penstock.tunnel.agent_exchange import Exchange as Held
from penstock.tunnel.agent_exchange import Gone, Room, Started
from penstock.tunnel.frames import EndReason, Frame, Purpose
from penstock.tunnel.frames import Principal as PrincipalFrame
from penstock.tunnel.link import Link
from penstock.tunnel.states import AgentState
from penstock_agent.exchange import DoneReason, ExchangeGone

BUFFERED: Final = 1024 * 1024
"""Bytes of an answer that may wait for credit before its writer waits as well."""

CALLERS: Final = 128
"""Principals that are kept read, each of up to 64 KiB: few people make many calls."""

_log = log.get(__name__)


@lru_cache(maxsize=CALLERS)
def _principal(body: bytes) -> Principal:
    """Who calls, from the body of a PRINCIPAL frame; for equal bytes the same object. Raises ValueError."""
    return Principal.parse(*PrincipalFrame.unpack(body))


class Served:
    """One exchange, for the endpoint. See `penstock_agent.exchange.Exchange`."""

    __slots__ = (
        "_agent", "_gone", "_held", "_reason", "_room", "answers", "body", "deadline", "headers", "key",
        "method", "principal", "purpose", "server",
    )  # fmt: skip

    def __init__(self, agent: Agent, held: Held, body: bytes, principal: Principal, deadline: float) -> None:
        opened = held.open
        self._agent = agent
        self._held = held
        self._reason: DoneReason | None = None
        self._gone: asyncio.Future[DoneReason] | None = None
        self._room: asyncio.Future[None] | None = None
        self.answers = ""
        self.key = str(held.key)
        self.server = opened.server
        self.method = opened.method.name
        self.headers: Headers = opened.headers
        self.body = body
        self.principal = principal
        self.purpose: Purpose = opened.purpose
        self.deadline = deadline

    async def head(self, status: int, headers: Headers = ()) -> None:
        self._check()
        self._agent.head(self._held, status, headers)

    async def write(self, data: bytes) -> None:
        self._check()
        self._agent.write(self._held, data)
        while self._held.sending.unsent > BUFFERED:
            self._held.waiting = True
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)  # it is every writer's, not only of one that is cancelled
            self._check()

    async def end(self) -> None:
        self._check()
        self._agent.end(self._held)

    def fail(self, reason: str) -> None:
        if self._reason is None and not self.ended:
            _log.warning("exchange_failed", exchange=self.key, server=self.server, why=reason)
            self._agent.end(self._held, EndReason.FAILED)
            self.room()

    async def gone(self) -> DoneReason:
        if self._reason is not None:
            return self._reason
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._gone)

    @property
    def ended(self) -> bool:
        """Whether the last word was said."""
        return self._held.state in (AgentState.ENDED, AgentState.FREED)

    def _check(self) -> None:
        if self._reason is not None:
            raise ExchangeGone(self._reason)

    def left(self, reason: DoneReason) -> None:
        """The tunnel has freed the exchange."""
        self._reason = reason
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(reason)
        self.room()

    def room(self) -> None:
        """A writer that waits may go on."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


class Tunnel:
    """This life of the agent in the tunnel: its epoch, its exchanges, over whatever links there are."""

    def __init__(self, start: Callable[[Served], None]) -> None:
        """`start` is called once for each exchange; it must see to it that the exchange ends."""
        self._agent = Agent(secrets.randbits(64))
        self._start = start
        self._alarm: asyncio.TimerHandle | None = None
        self.calls = 0
        """Calls whose origin has not said yet that it has their answer; without those that only listen."""
        self.idle = asyncio.Event()
        """Set while there are none."""
        self.idle.set()

    @property
    def epoch(self) -> int:
        return self._agent.epoch

    @property
    def exchanges(self) -> int:
        """Exchanges that are not finished."""
        return self._agent.open_exchanges

    def offer(self, servers: Iterable[str]) -> None:
        """The servers that may be asked for; every link is told."""
        self._agent.offer(servers)

    def drain(self) -> None:
        """Refuses every new exchange from now on."""
        self._agent.drain()

    def link_up(self, link: Link) -> None:
        self._agent.link_up(link)

    def link_gone(self, link: Link) -> None:
        self._agent.link_gone(link.number, now())
        self._arm()

    def receive(self, link: Link, data: bytes, at: float) -> list[Frame]:
        """What arrived on `link`; see `Agent.receive`."""
        try:
            return self._agent.receive(link, data, at)
        finally:
            self.dispatch()
            self._arm()

    def dispatch(self) -> None:
        """Tells the owners of exchanges what happened. Also after frames were taken from a link."""
        for event in self._agent.events():
            match event:
                case Started():
                    self._started(event)
                case Gone(exchange=held, reason=reason):
                    if isinstance(held.owner, Served):
                        held.owner.left(DoneReason.ORIGIN_LOST if reason is None else DoneReason(reason))
                        self._count(held.owner, -1)
                case Room(exchange=held):
                    if isinstance(held.owner, Served):
                        held.owner.room()

    def _started(self, event: Started) -> None:
        held = event.exchange
        if held.state is AgentState.FREED:
            return  # its origin took it back in the same breath
        deadline = asyncio.get_running_loop().time() + held.open.deadline_ms / 1000
        try:
            principal = _principal(event.principal)
        except ValueError:
            _log.error("principal_cannot_be_read", exchange=str(held.key))
            self._agent.end(held, EndReason.FAILED)
            return
        served = held.owner = Served(self._agent, held, event.body, principal, deadline)
        self._count(served, 1)
        self._start(served)

    def _count(self, served: Served, change: int) -> None:
        if not only_listens(served.method, served.headers):
            self.calls += change
            if self.calls:
                self.idle.clear()
            else:
                self.idle.set()

    def _arm(self) -> None:
        due = self._agent.due
        if due is not None and self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(max(0.0, due - now()), self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._agent.tick(now())
        self.dispatch()
        self._arm()
