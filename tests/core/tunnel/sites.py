"""One core with links, whose other ends a test plays."""

from __future__ import annotations

from penstock.tunnel.agent import Agent
from penstock.tunnel.agent_exchange import AgentEvent, Started
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import End, EndReason, Frame, Principal
from penstock.tunnel.link import Link
from penstock.tunnel.origin_exchange import Exchange, OriginEvent
from tests.core.tunnel.scene import sent
from tests.harness import wire

BOOT = b"o" * 16


class OriginSite:
    """An origin with links to one agent, whose part the test plays."""

    def __init__(self) -> None:
        self.events: list[OriginEvent] = []
        self.end = wire.OriginEnd(BOOT, self.events.append)
        self.origin = self.end.origin

    def link(self, agent: str = "a1", epoch: int = 7) -> Link:
        link = self.end.link(agent, epoch)
        self.end.dispatch()
        return link

    def call(self, link: Link, body: bytes = b"call") -> Exchange:
        exchange = self.origin.open(wire.request(body), link.number, None)
        sent(link)
        return exchange

    def hears(self, link: Link, *frames: Frame) -> None:
        data = b"".join(frame.encode() for frame in frames)
        self.origin.receive(link, data, 0.0)
        self.end.dispatch()

    def gone(self, link: Link, now: float = 0.0) -> None:
        self.end.clock = now
        self.end.gone(link)


class AgentSite:
    """An agent with links to an origin, whose part the test plays."""

    def __init__(self, **options: int) -> None:
        self.events: list[AgentEvent] = []
        self.end = wire.AgentEnd("a1", 7, self.events.append)
        if options:
            self.end.agent = Agent(7, **options)
            self.end.agent.offer(wire.SERVERS)
        self.agent = self.end.agent

    def link(self) -> Link:
        link = self.end.link(BOOT)
        self.hears(link, Principal(wire.DIGEST, wire.CONTENT))
        return link

    def hears(self, link: Link, *frames: Frame) -> list[Frame]:
        """Returns what the agent has to say then."""
        self.agent.receive(link, b"".join(frame.encode() for frame in frames), 0.0)
        self.end.dispatch()
        return sent(link)

    @property
    def started(self) -> list[Started]:
        return [e for e in self.events if isinstance(e, Started)]


def key(seq: int) -> Key:
    return Key(BOOT, seq)


def ended(seq: int, reason: EndReason) -> list[End]:
    return [End(key(seq), 0, reason)]
