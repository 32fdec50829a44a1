"""What the tests of the tunnel's cores share: one origin and one agent, and what they said."""

from __future__ import annotations

from penstock.tunnel.agent_exchange import AgentEvent, Started
from penstock.tunnel.agent_exchange import Exchange as Held
from penstock.tunnel.codec import Decoder
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import Frame, Method, Open, Purpose
from penstock.tunnel.limits import FREE_WINDOW, MAX_DATA
from penstock.tunnel.link import Link
from penstock.tunnel.origin_exchange import DataArrived, Exchange, NotStarted, OriginEvent, OutcomeUnknown
from tests.harness import wire


def sent(link: Link) -> list[Frame]:
    """All that a link has to send now."""
    data = b""
    while link.pending:
        data += link.take(0.0)
    return [frame for _, frame in Decoder().feed(data)]


def opened(key: Key, body: bytes = b"body", **change: object) -> Open:
    frame = Open(
        key, 7, "s", "files", Method.POST, Purpose.MCP, wire.DIGEST, 1000, len(body), FREE_WINDOW, (),
        body[:MAX_DATA], len(body) <= MAX_DATA,
    )  # fmt: skip
    for name, value in change.items():
        setattr(frame, name, value)
    return frame


class Scene:
    """One origin, one agent, and what they said to their owners."""

    def __init__(self) -> None:
        self.said: list[str] = []
        """Names of the origin's events, with the reason where there is one; no DataArrived."""
        self.answer = b""
        self.started: list[Held] = []
        self.origin = wire.OriginEnd(b"o" * 16, self.of_origin)
        self.agent = self.life(1)

    def life(self, epoch: int) -> wire.AgentEnd:
        return wire.AgentEnd("a1", epoch, self.of_agent)

    def of_origin(self, event: OriginEvent) -> None:
        match event:
            case DataArrived(data=data):
                self.answer += data
            case NotStarted(reason=reason) | OutcomeUnknown(reason=reason):
                self.said.append(f"{type(event).__name__} {reason.name if reason is not None else None}")
            case _:
                self.said.append(type(event).__name__)

    def of_agent(self, event: AgentEvent) -> None:
        if isinstance(event, Started):
            self.started.append(event.exchange)

    def link(self) -> tuple[wire.OriginPort, wire.AgentPort]:
        return wire.direct(self.origin, self.agent)

    def call(self, link: Link, body: bytes = b"call") -> Exchange:
        return self.origin.origin.open(wire.request(body), link.number, None)

    def give(self, answer: bytes = b"answer") -> None:
        """The server answers the only request."""
        (held,) = self.started
        self.agent.agent.head(held, 200, ())
        self.agent.agent.write(held, answer)
        self.agent.agent.end(held)

    def taken(self, exchange: Exchange, n: int) -> None:
        self.origin.origin.taken(exchange, n, 0.0)


def lost(near: wire.Port, far: wire.Port) -> None:
    """The hop is cut, and both sides notice without reading what lies in it."""
    near.notice()
    far.notice()
