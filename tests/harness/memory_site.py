"""A site whose agent is a real core at the other end of links in memory: no socket, no endpoint."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close
from websockets.protocol import State

from penstock.http import Headers
from penstock.link import now
from penstock.names import AgentId
from penstock.tunnel.agent import Agent
from penstock.tunnel.agent_exchange import Exchange, Gone, Started
from penstock.tunnel.errors import RemoteError
from penstock.tunnel.frames import DoneReason, EndReason, Frame, GoAway, GoAwayReason, Hello
from penstock.tunnel.link import Link
from penstock.tunnel.states import End
from tests.harness.link_pair import hello


class MemoryLink:
    """The relay's end of one link, as a websocket; behind it the agent's end."""

    def __init__(self, site: MemorySite, number: int) -> None:
        self.site = site
        self.link = Link(End.AGENT, number, now())
        self.link.greeted = self._greeted
        self.linked = asyncio.Event()
        self.closed_with: tuple[int, str] | None = None
        self.deaf = False
        """While set, what the relay sends is on its way and does not arrive."""
        self.under_way: list[bytes] = []
        self._inbox: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        # What the driver looks at besides.
        self.state = State.OPEN
        self.transport = self

    @property
    def websocket(self) -> ServerConnection:
        return cast(ServerConnection, self)

    def _greeted(self, link: Link, welcome: object) -> None:
        self.site.core.link_up(link)
        self.linked.set()

    # -- as the relay's websocket

    async def recv(self) -> bytes:
        item = await self._inbox.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def send(self, data: bytes) -> None:
        self.under_way.append(data)
        if not self.deaf:
            self.arrive()

    async def close(self, code: int, reason: str) -> None:
        if self.closed_with is None:
            self.closed_with = (code, reason)
        self.site.lost(self)

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.site.lost(self)

    # -- as the agent's end

    def arrive(self) -> None:
        """What is on its way arrives."""
        messages, self.under_way = self.under_way, []
        for data in messages:
            self.site.receive(self, data)

    def say(self, *frames: Frame) -> None:
        """Frames that no core would say now."""
        self._inbox.put_nowait(b"".join(frame.encode() for frame in frames))

    def pump(self) -> None:
        while self.link.pending:
            if data := self.link.take(now()):
                self._inbox.put_nowait(data)

    def cut(self) -> None:
        """The connection breaks; both ends notice."""
        self.site.lost(self)
        self._inbox.put_nowait(ConnectionClosedError(None, None))

    def leave(self, code: int = 1000) -> None:
        """The agent closes it."""
        self.site.lost(self)
        self._inbox.put_nowait(ConnectionClosedError(Close(code, ""), Close(code, ""), True))


class MemorySite:
    """One agent: its core, its links, and the exchanges that a test answers by hand."""

    def __init__(
        self,
        agent: AgentId,
        servers: tuple[str, ...] = ("files",),
        *,
        epoch: int = 1,
        core: Callable[[int], Agent] = Agent,
    ) -> None:
        self.agent = agent
        self.epoch = epoch
        self.servers = servers
        self.core = core(epoch)
        self.core.offer(servers)
        self.started: asyncio.Queue[Started] = asyncio.Queue()
        self.gone: deque[DoneReason | None] = deque()
        self.told: list[Frame] = []
        """GOAWAYs of the relay."""
        self.links: list[MemoryLink] = []
        self._numbers = 0

    def dial(self, *behind: Frame, greeting: Hello | None = None) -> MemoryLink:
        """A new link that has said HELLO, and `behind` in the same message."""
        self._numbers += 1
        line = MemoryLink(self, self._numbers)
        said = greeting or hello(self.agent, self.servers, epoch=self.epoch)
        line.link.hello = said
        line.say(said, *behind)
        self.links.append(line)
        return line

    def receive(self, line: MemoryLink, data: bytes) -> None:
        try:
            self.told += self.core.receive(line.link, data, now())
        except RemoteError as error:
            raise AssertionError(f"the relay broke a rule: {error}") from None
        self._events()

    def _events(self) -> None:
        for event in self.core.events():
            match event:
                case Started():
                    self.started.put_nowait(event)
                case Gone():
                    self.gone.append(event.reason)
        for line in self.links:
            line.pump()

    def lost(self, line: MemoryLink) -> None:
        if line in self.links:
            self.links.remove(line)
            line.link.close()
            self.core.link_gone(line.link.number, now())

    # -- answers

    def head(self, exchange: Exchange, status: int = 200, headers: Headers = ()) -> None:
        self.core.head(exchange, status, headers)
        self._events()

    def write(self, exchange: Exchange, data: bytes) -> None:
        self.core.write(exchange, data)
        self._events()

    def end(self, exchange: Exchange, reason: EndReason = EndReason.OK) -> None:
        self.core.end(exchange, reason)
        self._events()

    def answer(self, exchange: Exchange, body: bytes = b"{}", status: int = 200) -> None:
        """The whole answer."""
        self.core.head(exchange, status, (("content-type", "application/json"),))
        self.core.write(exchange, body)
        self.end(exchange)

    def offer(self, *servers: str) -> None:
        self.servers = servers
        self.core.offer(servers)
        self._events()

    def go_away(self) -> None:
        """The agent stops."""
        self.core.drain()
        for line in self.links:
            line.link.go_away(GoAwayReason.DRAIN, 0)
        self._events()

    @property
    def asked_to_leave(self) -> int:
        return sum(isinstance(frame, GoAway) for frame in self.told)
