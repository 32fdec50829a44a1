"""A wire between real tunnel cores, for tests: it cuts, delays, and reorders between links.

Nothing moves by itself: a test (or a scheduler) pumps and reads one port at a time. A hop that was cut
loses what is written from then on; each end may still read any prefix of what was written before, until
it notices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256

from penstock.tunnel.agent import Agent, digest_of
from penstock.tunnel.agent_exchange import AgentEvent
from penstock.tunnel.errors import LocalError
from penstock.tunnel.frames import (
    Hello,
    Lane,
    Method,
    Principal,
    Purpose,
    Role,
    Welcome,
)
from penstock.tunnel.link import Link
from penstock.tunnel.origin import Origin
from penstock.tunnel.origin_exchange import OriginEvent, Request
from penstock.tunnel.states import End

CONTENT = Principal.pack(b'{"sub":"somebody"}')
DIGEST = sha256(CONTENT).digest()
SERVERS = ("files",)
LEFT, RIGHT = 0, 1
"""Sides of a hop: the origin's, and the agent's."""


def request(body: bytes = b"", *, server: str = "files", number: int = 30_000) -> Request:
    """A POST to a server. `number` travels as its deadline, so that a test can tell requests apart."""
    headers = (("content-type", "application/json"),)
    return Request("s", server, Method.POST, Purpose.MCP, headers, body, DIGEST, CONTENT, number)


def hello(agent: str, epoch: int) -> Hello:
    digest, names = digest_of(SERVERS)
    return Hello(Role.AGENT, agent, b"i" * 16, epoch, Lane.MAIN, (1,), digest, names)


def welcome(boot: bytes) -> Welcome:
    return Welcome(1, "r1", boot, 1, "https://relay.example", 10_000, 1024, 1 << 26, 1 << 22)


def split(data: bytes) -> Iterator[bytes]:
    """The frames of a message, each with its header."""
    at = 0
    while at < len(data):
        stop = at + 10 + int.from_bytes(data[at : at + 4], "big")
        yield data[at:stop]
        at = stop


def relabel(frame: bytes, link: int) -> bytes:
    """The same frame with another number in the link field."""
    return frame[:6] + link.to_bytes(4, "big") + frame[10:]


def hop_of(frame: bytes) -> int:
    return int.from_bytes(frame[6:10], "big")


class Hop:
    """One connection: two queues of frames."""

    __slots__ = ("cut", "queues", "up")

    def __init__(self) -> None:
        self.cut = False
        self.up = [True, True]
        self.queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        """What each side may still read."""

    def write(self, side: int, frame: bytes) -> None:
        if not self.cut and self.up[side] and self.up[1 - side]:
            self.queues[1 - side].append(frame)

    def close(self, side: int) -> None:
        """`side` has noticed, or has gone itself: it reads and writes nothing more."""
        self.up[side] = False
        self.cut = True
        self.queues[side].clear()


class Port:
    """One side of a hop, and what is behind it."""

    __slots__ = ("hop", "side")

    def __init__(self, hop: Hop, side: int) -> None:
        self.hop = hop
        self.side = side

    @property
    def up(self) -> bool:
        return self.hop.up[self.side]

    @property
    def readable(self) -> int:
        return len(self.hop.queues[self.side])

    @property
    def pending(self) -> bool:
        return False

    def pump(self) -> None:
        """Hands one message to the wire."""

    def read(self, most: int = 1 << 30) -> None:
        """Reads the frames that are there, at most `most`."""
        queue = self.hop.queues[self.side]
        while queue and most > 0:
            most -= 1
            self.arrived(queue.popleft())

    def arrived(self, frame: bytes) -> None:
        raise AssertionError("a port reads")

    def notice(self) -> None:
        """The hop is gone for this side; the other may not know yet."""
        self.hop.close(self.side)


class OriginEnd:
    """One life of an origin."""

    def __init__(self, boot: bytes, note: Callable[[OriginEvent], None]) -> None:
        self.origin = Origin(boot)
        self.boot = boot
        self.note = note
        self.clock = 0.0
        self._numbers = 0

    def link(self, agent: str, epoch: int) -> Link:
        """A greeted link to this life of an agent."""
        self._numbers += 1
        link = Link(End.RELAY, self._numbers, 0.0)
        list(link.receive(hello(agent, epoch).encode(), 0.0))
        link.heartbeat = 1e12  # the links of a simulation never get overdue
        self.origin.link_up(link, agent, epoch, self.clock)
        return link

    def gone(self, link: Link) -> None:
        link.close()
        self.origin.link_gone(link.number, self.clock)
        self.dispatch()

    def dispatch(self) -> None:
        for event in self.origin.events():
            self.note(event)


class AgentEnd:
    """One life of an agent."""

    def __init__(
        self, name: str, epoch: int, note: Callable[[AgentEvent], None], *, max_exchanges: int = 1024
    ) -> None:
        self.agent = Agent(epoch, max_exchanges=max_exchanges)
        self.agent.offer(SERVERS)
        self.name = name
        self.epoch = epoch
        self.note = note
        self.clock = 0.0
        self._numbers = 0

    def link(self, boot: bytes) -> Link:
        self._numbers += 1
        link = Link(End.AGENT, self._numbers, 0.0)
        link.greet(hello(self.name, self.epoch))
        link.take(0.0)
        link.greeted = lambda link, _: self.agent.link_up(link)
        list(link.receive(welcome(boot).encode(), 0.0))
        link.heartbeat = 1e12
        return link

    def dispatch(self) -> None:
        for event in self.agent.events():
            self.note(event)


class OriginPort(Port):
    """A link of an origin, straight to an agent."""

    __slots__ = ("end", "link")

    def __init__(self, hop: Hop, end: OriginEnd, link: Link) -> None:
        super().__init__(hop, LEFT)
        self.end = end
        self.link = link

    @property
    def pending(self) -> bool:
        return self.link.pending

    def pump(self) -> None:
        for frame in split(self.link.take(0.0)):
            self.hop.write(LEFT, frame)

    def arrived(self, frame: bytes) -> None:
        self.end.origin.receive(self.link, frame, self.end.clock)
        self.end.dispatch()

    def notice(self) -> None:
        super().notice()
        self.end.gone(self.link)


class AgentPort(Port):
    """A link of an agent."""

    __slots__ = ("end", "link")

    def __init__(self, hop: Hop, end: AgentEnd, boot: bytes) -> None:
        super().__init__(hop, RIGHT)
        self.end = end
        self.link = end.link(boot)

    @property
    def pending(self) -> bool:
        return self.link.pending

    def pump(self) -> None:
        for frame in split(self.link.take(0.0)):
            self.hop.write(RIGHT, frame)
        self.end.dispatch()

    def arrived(self, frame: bytes) -> None:
        self.end.agent.receive(self.link, frame, self.end.clock)
        self.end.dispatch()

    def notice(self) -> None:
        super().notice()
        self.link.close()
        self.end.agent.link_gone(self.link.number, self.end.clock)
        self.end.dispatch()


def direct(origin: OriginEnd, agent: AgentEnd) -> tuple[OriginPort, AgentPort]:
    """A link between the two; the agent's side is greeted first, as over a real one."""
    hop = Hop()
    far = AgentPort(hop, agent, origin.boot)
    return OriginPort(hop, origin, origin.link(agent.name, agent.epoch)), far


def settle(*ports: Port) -> None:
    """Pumps and reads until nothing moves any more. LocalError when it never ends."""
    for _ in range(10_000):
        moved = False
        for port in ports:
            if port.up and port.pending:
                port.pump()
                moved = True
            if port.up and port.readable:
                port.read()
                moved = True
        if not moved:
            return
    raise LocalError("the conversation never ends")
