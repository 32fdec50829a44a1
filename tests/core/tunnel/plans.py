"""What may happen in a simulated life, and who takes part in it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from penstock.tunnel.agent_exchange import Exchange as Held
from penstock.tunnel.origin_exchange import Exchange
from tests.harness import wire

BLOB = random.Random(1).randbytes(1 << 20)
"""What all bodies are cut from."""
REQUESTS = (0, 60, 60, 60, 60, 60, 17_000, 90_000, 300_000)
ANSWERS = (0, 80, 80, 80, 80, 80, 80, 3_000, 20_000, 70_000, 200_000)


class Broken(AssertionError):
    """A promise was broken."""


@dataclass(slots=True)
class Plan:
    """What may happen, and how often."""

    calls: int = 3
    agents: int = 1
    links: int = 2
    forwarder: bool = False
    cuts: int = 2
    renewals: int = 0
    """Links between origin and forwarder that are opened anew while the old one seems to live."""
    agent_crashes: int = 0
    origin_crashes: int = 0
    leavers: int = 0
    """Callers that go away, or whose time is over."""
    revocations: int = 0
    failures: int = 0
    """Servers that fail after the start."""
    grace_passes: bool = False
    """Whether the waits of origin and agents may pass before a new link comes."""
    max_exchanges: int = 1024
    attempts: int = 3
    steps: int = 80
    late: int = wire.RIGHT
    """The side that goes on reading from a hop that was cut, while the other has noticed."""
    all_answered: bool = False
    """Nothing happens that excuses any other outcome than the answer."""


def plan(rng: random.Random) -> Plan:
    """A life with every kind of trouble."""
    forwarder = rng.random() < 0.4
    return Plan(
        calls=rng.choice((1, 2, 3, 4)),
        agents=rng.choice((1, 1, 2)),
        links=rng.choice((1, 2, 3)),
        forwarder=forwarder,
        cuts=rng.choice((1, 2, 3)),
        renewals=rng.choice((0, 1)) if forwarder else 0,
        agent_crashes=rng.choice((0, 0, 1)),
        origin_crashes=rng.choice((0, 0, 0, 1)),
        leavers=rng.choice((0, 0, 1)),
        revocations=rng.choice((0, 0, 1)),
        failures=rng.choice((0, 0, 1)),
        grace_passes=rng.random() < 0.4,
        max_exchanges=rng.choice((1, 2, 1024, 1024)),
        steps=rng.choice((40, 80, 120)),
        late=rng.choice((wire.LEFT, wire.RIGHT)),
    )


def cuts_only(rng: random.Random) -> Plan:
    """A life in which links go and come, and nothing else: every call must be answered."""
    forwarder = rng.random() < 0.5
    return Plan(
        calls=rng.choice((1, 2, 3, 4)),
        links=rng.choice((2, 3)),
        forwarder=forwarder,
        cuts=rng.choice((2, 4, 6)),
        renewals=rng.choice((0, 2)) if forwarder else 0,
        attempts=1000,
        steps=rng.choice((60, 120)),
        late=rng.choice((wire.LEFT, wire.RIGHT)),
        all_answered=True,
    )


@dataclass(slots=True, eq=False)
class Call:
    """A caller and what it has seen."""

    number: int
    body: bytes
    answer: bytes
    attempts: int = 0
    exchange: Exchange | None = None
    outcome: str = ""
    headed: bool = False
    got: int = 0
    untaken: int = 0
    starts: int = 0


@dataclass(slots=True, eq=False)
class Serving:
    """A server at work."""

    end: wire.AgentEnd
    held: Held
    call: Call
    headed: bool = False
    written: int = 0
