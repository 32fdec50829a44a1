"""The cores and links of a simulated life: how they come, crash, and are noticed to be gone."""

from __future__ import annotations

import random

from penstock.tunnel.agent_exchange import AgentEvent
from penstock.tunnel.agent_exchange import Exchange as Held
from penstock.tunnel.origin_exchange import OriginEvent
from tests.core.tunnel.forwarder import Forwarder, PairPort
from tests.core.tunnel.plans import ANSWERS, BLOB, REQUESTS, Call, Plan, Serving
from tests.harness import wire


class Network:
    """What is there, and what the plan still has in store for it."""

    def __init__(self, plan: Plan, rng: random.Random) -> None:
        self.plan = plan
        self.rng = rng
        self.calls: list[Call] = []
        self.serving: dict[Held, Serving] = {}
        self.ports: list[wire.Port] = []
        self.agents: list[wire.AgentEnd] = []
        self.forwarder = Forwarder()
        self.boots = 0
        self.epochs = 0
        self.origin: wire.OriginEnd

    def of_origin(self, event: OriginEvent) -> None:
        raise AssertionError("a world listens")

    def of_agent(self, end: wire.AgentEnd, event: AgentEvent) -> None:
        raise AssertionError("a world listens")

    def build(self) -> None:
        rng = self.rng
        self.new_origin()
        for number in range(self.plan.agents):
            self.agents.append(self.new_agent(f"a{number}"))
        for number in range(self.plan.links):
            self.new_link(self.agents[number % len(self.agents)])
        for number in range(self.plan.calls):
            at, size = rng.randrange(1 << 18), rng.choice(REQUESTS)
            body = BLOB[at : at + size]
            at, size = rng.randrange(1 << 18), rng.choice(ANSWERS)
            self.calls.append(Call(number, body, BLOB[at : at + size]))

    def notice(self, port: wire.Port) -> None:
        port.notice()
        self.ports.remove(port)
        if isinstance(port, PairPort):
            newest = self.forwarder.pairs.get(self.origin.boot)
            if port.end is self.origin and (newest is None or newest[1] is port):
                self.pair()
        elif not any(isinstance(p, wire.AgentPort) and p.up for p in self.ports) or self.rng.random() < 0.5:
            self.new_link(self.rng.choice(self.agents))

    # -- lives and links ----------------------------------------------------------------------------

    def new_origin(self) -> None:
        self.boots += 1
        self.origin = wire.OriginEnd(self.boots.to_bytes(16, "big"), self.of_origin)
        if self.plan.forwarder:
            self.pair()

    def new_agent(self, name: str) -> wire.AgentEnd:
        self.epochs += 1
        end = wire.AgentEnd(
            name, self.epochs, lambda event: self.of_agent(end, event), max_exchanges=self.plan.max_exchanges
        )
        return end

    def new_link(self, agent: wire.AgentEnd) -> None:
        if self.plan.forwarder and self.rng.random() < 0.5:
            self.ports += self.forwarder.link(agent)
        else:
            self.ports += wire.direct(self.origin, agent)
        self.origin.dispatch()

    def pair(self) -> None:
        """A link between origin and forwarder; where there is one, the forwarder drops it."""
        old = self.forwarder.pairs.get(self.origin.boot)
        if old is not None and old[0] in self.ports:
            self.ports.remove(old[0])
        self.ports += self.forwarder.pair(self.origin)
        self.origin.dispatch()

    def crash_agent(self, end: wire.AgentEnd) -> None:
        for port in [p for p in self.ports if isinstance(p, wire.AgentPort) and p.end is end]:
            port.hop.close(port.side)
            self.ports.remove(port)
        for held in [held for held, serving in self.serving.items() if serving.end is end]:
            del self.serving[held]
        at = self.agents.index(end)
        self.agents[at] = self.new_agent(end.name)
        self.new_link(self.agents[at])

    def crash_origin(self) -> None:
        for port in [p for p in self.ports if isinstance(p, wire.OriginPort | PairPort)]:
            port.hop.close(port.side)
            self.ports.remove(port)
        for call in self.calls:
            if call.attempts and not call.outcome:
                call.outcome = "its caller is gone"
        self.new_origin()
        for agent in self.agents:
            self.new_link(agent)
