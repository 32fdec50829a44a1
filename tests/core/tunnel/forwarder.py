"""A replica between an origin and agents, as PROTOCOL.md section 12 has it, for the wire of the tests."""

from __future__ import annotations

from penstock.tunnel.codec import Decoder
from penstock.tunnel.frames import LinkFrame, Lost, Principal
from penstock.tunnel.link import Link
from tests.harness.wire import LEFT, RIGHT, AgentEnd, AgentPort, Hop, OriginEnd, Port, hop_of, relabel, split


class PairPort(Port):
    """An origin's link to a forwarder. To the origin, each agent's link behind it is a link of its own."""

    __slots__ = ("end", "links")

    def __init__(self, hop: Hop, end: OriginEnd) -> None:
        super().__init__(hop, LEFT)
        self.end = end
        self.links: dict[int, Link] = {}

    def told(self, number: int, agent: str, epoch: int) -> None:
        """The directory of replicas says that the forwarder has this link of an agent."""
        if self.up:
            self.links[number] = self.end.link(agent, epoch)

    @property
    def pending(self) -> bool:
        return any(link.pending for link in self.links.values())

    def pump(self) -> None:
        for number, link in self.links.items():
            for frame in split(link.take(0.0)):
                self.hop.write(LEFT, relabel(frame, number))

    def arrived(self, frame: bytes) -> None:
        number = hop_of(frame)
        link = self.links.get(number)
        if link is None:
            return
        (_, decoded), = Decoder().feed(frame)  # fmt: skip
        self.end.origin.frame(link, decoded, self.end.clock)
        self.end.dispatch()
        if isinstance(decoded, Lost):
            del self.links[number]
            link.close()

    def notice(self) -> None:
        super().notice()
        links, self.links = self.links, {}
        for link in links.values():
            self.end.gone(link)


class Forwarder:
    """A replica that keeps nothing per exchange."""

    def __init__(self) -> None:
        self.agents: dict[int, ForwarderAgentPort] = {}
        self.pairs: dict[bytes, tuple[ForwarderPairPort, PairPort]] = {}
        self._numbers = 0

    def pair(self, end: OriginEnd) -> tuple[PairPort, ForwarderPairPort]:
        """The origin opens a link to this replica; an older one of the same boot is over."""
        if end.boot in self.pairs:
            self.pairs[end.boot][0].notice()
        hop = Hop()
        near, far = PairPort(hop, end), ForwarderPairPort(hop, self, end.boot)
        self.pairs[end.boot] = (far, near)
        for number, port in self.agents.items():
            near.told(number, port.agent.name, port.agent.epoch)
        return near, far

    def link(self, agent: AgentEnd) -> tuple[ForwarderAgentPort, AgentPort]:
        """An agent dials this replica."""
        self._numbers += 1
        hop = Hop()
        port = self.agents[self._numbers] = ForwarderAgentPort(hop, self, self._numbers, agent)
        far = AgentPort(hop, agent, b"forwarder.......")
        for _, near in self.pairs.values():
            near.told(self._numbers, agent.name, agent.epoch)
        return port, far


class ForwarderPairPort(Port):
    """The forwarder's side of a link to an origin."""

    __slots__ = ("boot", "forwarder")

    def __init__(self, hop: Hop, forwarder: Forwarder, boot: bytes) -> None:
        super().__init__(hop, RIGHT)
        self.forwarder = forwarder
        self.boot = boot

    def arrived(self, frame: bytes) -> None:
        number = hop_of(frame)
        port = self.forwarder.agents.get(number)
        if port is None:
            self.hop.write(RIGHT, Lost().encode(number))
        else:
            port.hop.write(LEFT, relabel(frame, 0))

    def notice(self) -> None:
        super().notice()
        if self.forwarder.pairs.get(self.boot, (None,))[0] is self:
            del self.forwarder.pairs[self.boot]
            for port in self.forwarder.agents.values():
                port.hop.write(LEFT, Lost(self.boot).encode())


class ForwarderAgentPort(Port):
    """The forwarder's side of an agent's link."""

    __slots__ = ("agent", "forwarder", "number")

    def __init__(self, hop: Hop, forwarder: Forwarder, number: int, agent: AgentEnd) -> None:
        super().__init__(hop, LEFT)
        self.forwarder = forwarder
        self.number = number
        self.agent = agent

    def arrived(self, frame: bytes) -> None:
        (_, decoded), = Decoder().feed(frame)  # fmt: skip
        if isinstance(decoded, Principal | LinkFrame):
            return
        pair = self.forwarder.pairs.get(decoded.key.boot)
        if pair is not None:
            pair[0].hop.write(RIGHT, relabel(frame, self.number))

    def notice(self) -> None:
        super().notice()
        del self.forwarder.agents[self.number]
        for port, _ in self.forwarder.pairs.values():
            port.hop.write(RIGHT, Lost().encode(self.number))
