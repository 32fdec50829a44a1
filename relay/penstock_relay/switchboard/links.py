"""The links of this replica: opened, greeted, retired, ended; and what comes over them beside exchanges."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.server import ServerConnection

from penstock import ledgerhead, log
from penstock.ledgerhead import LedgerHead
from penstock.link import Driver, Ended, now
from penstock.names import AgentId, BadName, parse_name
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.frames import (
    Frame,
    FrameType,
    GoAway,
    GoAwayReason,
    Hello,
    Ledger,
    Notice,
    Offer,
    Role,
    Welcome,
)
from penstock.tunnel.limits import (
    ANSWER_BUDGET_AGENT,
    HANDSHAKE,
    HEARTBEAT,
    MAX_EXCHANGES,
    MAX_REQUEST,
    VERSIONS,
)
from penstock.tunnel.link import Link
from penstock.tunnel.origin import Origin
from penstock.tunnel.states import SINCE, End
from penstock_relay.switchboard.heads import Heads
from penstock_relay.switchboard.notices import Notices
from penstock_relay.switchboard.registry import Entry, Registry

LINKS_PER_AGENT: Final = 8
LINKS: Final = 10_000
"""Links of one replica."""
SERVERS_PER_AGENT: Final = 256
RETIRE: Final = 30.0
"""Seconds that a link of an old certificate may finish what is under way, before it moves to the new link."""
RETIRE_SPREAD_MS: Final = 5000
"""Over how long agents spread their next dialling when theirs was renewed."""

_log = log.get(__name__)


@dataclass(slots=True, eq=False)
class _Line:
    """A link of this replica with what drives it."""

    link: Link
    driver: Driver
    agent: AgentId
    serial: str
    """Serial number of the certificate that opened it, in hexadecimal."""
    head: LedgerHead | None
    """What is stored of the agent's ledger."""
    greeted: bool = False
    retiring: asyncio.TimerHandle | None = None


class Links:
    """One object per life of a replica."""

    def __init__(
        self,
        replica: str,
        origin: Origin,
        registry: Registry,
        dispatch: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """`dispatch`: the origin may have events. `changed`: so has what `registry` finds."""
        self.public_url = ""
        """What WELCOME tells agents; known once the public listener is bound."""
        self.heads: Heads | None = None
        """Keeps the heads of the agents' ledgers, where somebody does."""
        self.notices: Notices | None = None
        """Keeps what waits on their sites, where somebody does."""
        self.draining = False
        """Whether agents are asked to look for another replica."""
        self._replica = replica
        self._origin = origin
        self._registry = registry
        self._dispatch = dispatch
        self._changed = changed
        self._lines: dict[int, _Line] = {}
        self._of_agent: Counter[AgentId] = Counter()
        self._next = 1

    @property
    def greeted(self) -> int:
        """Links that are greeted."""
        return len(self._registry)

    @property
    def opened(self) -> int:
        """How many links there have been: moves with each new one."""
        return self._next

    def serials(self) -> list[str]:
        """Serial numbers of the certificates that the links here were opened with."""
        return list({line.serial for line in self._lines.values()})

    def linked(self, agent: AgentId) -> bool:
        """Whether the agent has a link here."""
        return any(line.agent == agent and line.greeted for line in self._lines.values())

    def cut(self, serial: str, code: CloseCode, text: str) -> None:
        """Ends the links that were opened with this certificate."""
        for line in self._lines.values():
            if line.serial == serial:
                line.driver.stop(code, text)

    def retire(self, serial: str) -> None:
        """Has the links that were opened with this certificate replaced, without losing a call.

        Their agent is asked to dial anew. Once it has, with another certificate, they end, and what is under
        way on them goes on over the new link. A link that a thief opened with the same certificate ends too.
        """
        for line in self._lines.values():
            if line.serial == serial and line.greeted and line.retiring is None:
                line.link.go_away(GoAwayReason.REBALANCE, RETIRE_SPREAD_MS)
                self._retire_later(line)

    def _retire_later(self, line: _Line) -> None:
        line.retiring = asyncio.get_running_loop().call_later(RETIRE, self._retire, line)

    def _retire(self, line: _Line) -> None:
        others = (other for other in self._lines.values() if other.agent == line.agent and other.greeted)
        if any(other.serial != line.serial for other in others):
            line.driver.stop(CloseCode.GOING_AWAY, "another link took its place")
        else:
            self._retire_later(line)

    async def serve(
        self, websocket: ServerConnection, agent: AgentId, serial: str = "", head: LedgerHead | None = None
    ) -> None:
        """Carries one agent's link until it ends. `agent` and `serial` are what the certificate says.

        `head` is what the agent is told that its ledger was; see `Heads`.
        """
        if self._of_agent[agent] >= LINKS_PER_AGENT or len(self._lines) >= LINKS:
            _log.warning("link_refused", site=agent.site, agent=agent.agent, why="too many links")
            await websocket.close(CloseCode.TOO_MANY, "too many links")
            return
        number = self._next
        self._next += 1
        link = Link(End.RELAY, number, now())
        driver = Driver(link, websocket, lambda data, at: self._deliver(line, data, at))
        line = self._lines[number] = _Line(link, driver, agent, serial, head)
        self._of_agent[agent] += 1
        unanswered = asyncio.get_running_loop().call_later(HANDSHAKE, self._unanswered, line)
        try:
            await driver.run(lambda ended: self._gone(line, ended))
        finally:
            unanswered.cancel()
            if line.retiring is not None:
                line.retiring.cancel()

    def _gone(self, line: _Line, ended: Ended) -> None:
        number, agent = line.link.number, line.agent
        del self._lines[number]
        self._of_agent[agent] -= 1
        if not self._of_agent[agent]:
            del self._of_agent[agent]
        line.link.close()
        if self.heads is not None:
            self.heads.gone(line.link)
        if self.notices is not None:
            self.notices.gone(agent, line.link)
        self._registry.remove(number, now(), time.time())
        self._origin.link_gone(number, now())
        self._dispatch()
        self._changed()
        _log.info(
            "link_ended",
            site=agent.site,
            agent=agent.agent,
            link=number,
            code=ended.code,
            why=ended.text,
            ours=ended.ours,
        )

    def _unanswered(self, line: _Line) -> None:
        if not line.greeted:
            line.driver.stop(CloseCode.WRONG_STATE, "no HELLO in time")

    def _deliver(self, line: _Line, data: bytes, at: float) -> None:
        try:
            frames = self._origin.receive(line.link, data, at)
            if not line.greeted and line.link.hello is not None:
                self._greet(line, line.link.hello, at)
            for frame in frames:  # some may have come right behind HELLO
                self._of_link(line, frame, at)
        finally:
            self._dispatch()

    def _greet(self, line: _Line, hello: Hello, at: float) -> None:
        """Judges a HELLO and answers it; RemoteError refuses the link."""
        if hello.role is not Role.AGENT or hello.name != line.agent.agent:
            raise RemoteError(CloseCode.IDENTITY, "HELLO names another agent than the certificate")
        common = set(VERSIONS) & set(hello.versions)
        if not common:
            ours = ", ".join(map(str, VERSIONS))
            raise RemoteError(CloseCode.VERSION, f"no version in common: the relay speaks {ours}")
        line.greeted = True
        servers = _servers(hello.servers)
        line.link.admit(
            Welcome(
                version=max(common),
                replica=self._replica,
                boot=self._origin.boot,
                replicas=1,
                public_url=self.public_url,
                heartbeat_ms=int(HEARTBEAT * 1000),
                max_exchanges=MAX_EXCHANGES,
                answer_budget=ANSWER_BUDGET_AGENT,
                max_request=MAX_REQUEST,
            )
        )
        if line.head is not None and line.link.version >= SINCE[FrameType.LEDGER]:
            line.link.control(ledgerhead.to_frame(line.head))
        if self.draining:
            line.link.go_away(GoAwayReason.RESTART, 1000)
        self._registry.add(Entry(line.link.number, line.agent, servers, self.draining))
        self._origin.link_up(line.link, line.agent.uri, hello.epoch, at)
        self._changed()
        _log.info(
            "link_up",
            site=line.agent.site,
            agent=line.agent.agent,
            link=line.link.number,
            servers=len(servers),
        )

    def _of_link(self, line: _Line, frame: Frame, at: float) -> None:
        match frame:
            case Offer():
                self._registry.offer(line.link.number, _servers(frame.servers))
                self._changed()
            case GoAway():
                self._registry.drain(line.link.number, at)
            case Ledger() if self.heads is not None:
                self.heads.arrived(line.agent, line.link, frame, at)
            case Notice() if self.notices is not None:
                self.notices.arrived(line.agent, line.link, frame, at)
            case _:
                pass

    def drain(self, spread_ms: int) -> None:
        """Asks every agent to look for another replica; calls go on over the links that stand."""
        self.draining = True
        for line in self._lines.values():
            if line.greeted:
                line.link.go_away(GoAwayReason.RESTART, spread_ms)
                self._registry.drain(line.link.number, now())
        self._changed()

    def stop(self) -> None:
        """Ends every link."""
        for line in self._lines.values():
            line.driver.stop(CloseCode.GOING_AWAY)


def _servers(names: Sequence[str]) -> frozenset[str]:
    if len(names) > SERVERS_PER_AGENT:
        raise RemoteError(CloseCode.TOO_MANY, f"an agent offers at most {SERVERS_PER_AGENT} servers")
    try:
        return frozenset(parse_name(name, "server") for name in names)
    except BadName:
        raise RemoteError(CloseCode.MALFORMED, "a server name that is not one") from None
