"""The origin of every call of this replica: its links, its exchanges, its attempts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.server import ServerConnection

from penstock import http, ledgerhead, log
from penstock.ledgerhead import LedgerHead
from penstock.link import Driver, Ended, now
from penstock.names import AgentId, BadName, parse_name, tag_of
from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.frames import (
    EndReason,
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
    DEADLINE_SLACK,
    HANDSHAKE,
    HEARTBEAT,
    MAX_EXCHANGES,
    MAX_REQUEST,
    VERSIONS,
)
from penstock.tunnel.link import Link
from penstock.tunnel.origin import Origin
from penstock.tunnel.origin_exchange import (
    Answered,
    DataArrived,
    HeadArrived,
    NotStarted,
    OutcomeUnknown,
)
from penstock.tunnel.states import SINCE, End
from penstock_relay.switchboard.answer import LiveAnswer, NeverStarted
from penstock_relay.switchboard.calls import Answer, Call, NotExecuted, Offline
from penstock_relay.switchboard.heads import Heads
from penstock_relay.switchboard.notices import Notices
from penstock_relay.switchboard.registry import Entry, Registry
from penstock_relay.switchboard.request import request_of

ATTEMPTS: Final = 3
"""Keys that are tried for one call before it is given up as not executed."""
LINKS_PER_AGENT: Final = 8
LINKS: Final = 10_000
"""Links of one replica."""
SERVERS_PER_AGENT: Final = 256
RETIRE: Final = 30.0
"""Seconds that a link of an old certificate may finish what is under way, before it moves to the new link."""
SUSPENDED_AGAIN: Final = 60
"""Seconds after which a caller of a suspended site may ask again."""
RETIRE_SPREAD_MS: Final = 5000
"""Over how long agents spread their next dialling when theirs was renewed."""

_REFUSED: Final = {
    EndReason.BUSY: "The site's agent has as many requests under way as it can hold.",
    EndReason.DRAINING: "The site's agent is stopping.",
    EndReason.UNKNOWN_SERVER: "The site's agent no longer serves this server.",
    EndReason.TOO_LARGE: "The request is larger than the site's agent accepts.",
}
_NOT_DELIVERED: Final = "The link to the site broke before the request was delivered."
_NOT_IN_TIME: Final = "The request could not be delivered to the site in time."
_UNFIT: Final = "A header of the request is too long for the link to the site. It was not executed."
_SUSPENDED: Final = (
    "The site '{site}' is suspended: the relay's operator lets no request go to it. This one was not "
    "executed. Ask the operator, who lets it go on with 'penstock-relay site resume {site}'."
)
_WITHDRAWN: Final = (
    "The site was suspended by the relay's operator while this request ran: it may or may not have run on "
    "site. Check what it changed, and ask the operator."
)
_STOPPING: Final = "The relay is stopping. The request was not executed; try again."

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


class Switchboard:
    """One object per life of a replica."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self.public_url = ""
        """What WELCOME tells agents; known once the public listener is bound."""
        self.heads: Heads | None = None
        """Keeps the heads of the agents' ledgers, where somebody does."""
        self.notices: Notices | None = None
        """Keeps what waits on their sites, where somebody does."""
        self._suspended: frozenset[str] = frozenset()
        self._origin = Origin(secrets.token_bytes(16))
        self._registry = Registry()
        self._lines: dict[int, _Line] = {}
        self._of_agent: Counter[AgentId] = Counter()
        self._next = 1
        self._changed: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._draining = False
        self.calls = 0
        """Calls under way, without those that only listen."""
        self.idle = asyncio.Event()
        """Set while there are none."""
        self.idle.set()

    # -- calls ----------------------------------------------------------------------------------------

    async def exchange(self, call: Call) -> Answer:
        """Carries `call` to its site. Returns at HEAD; raises Offline, NotExecuted, OutcomeUnknown.

        A call whose request provably never started is tried again, under a new key, at most three times.
        """
        left = self._count(call)
        try:
            return await self._attempt(call, left)
        except BaseException:
            left()
            raise

    async def _attempt(self, call: Call, left: Callable[[], None]) -> Answer:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        deadline = begun + call.deadline_s
        silent = begun + call.no_byte_s
        why = _NOT_IN_TIME
        for _ in range(ATTEMPTS):
            entry = await self._route(call, min(deadline, silent))
            if loop.time() >= min(deadline, silent):
                why = _NOT_IN_TIME
                break
            answer = LiveAnswer(self._origin, deadline + DEADLINE_SLACK, left)
            try:
                request = request_of(call, deadline - loop.time())
                answer.opened(self._origin.open(request, entry.number, answer))
            except LocalError:
                raise NotExecuted(_UNFIT) from None
            except ValueError as error:
                raise NotExecuted(f"{error} The request was not executed.") from None
            try:
                await answer.begun(min(deadline + DEADLINE_SLACK, silent), call.ending)
            except NeverStarted as error:
                why = _NOT_DELIVERED if error.reason is None else _REFUSED.get(error.reason, _NOT_DELIVERED)
                continue
            return answer
        raise NotExecuted(f"{why} It was not executed; try again.")

    def _count(self, call: Call) -> Callable[[], None]:
        """Counts a call that is not just listening, until what it returns is called."""
        if http.only_listens(call.method, call.headers):
            return _uncounted
        self.calls += 1
        self.idle.clear()

        def left() -> None:
            self.calls -= 1
            if not self.calls:
                self.idle.set()

        return left

    async def _route(self, call: Call, until: float) -> Entry:
        """The link for a call. Waits a little for an agent that was lost a moment ago.

        Raises Offline, NotExecuted.
        """
        loop = asyncio.get_running_loop()
        # Since 2026-07-28 there are no sessions, and what a client still sends as one is ignored.
        modern = http.is_modern(http.first(call.headers, http.VERSION))
        session = None if modern else http.first(call.headers, "mcp-session-id")
        tag = tag_of(session) if session else None
        while True:
            if call.site in self._suspended:
                raise NotExecuted(_SUSPENDED.format(site=call.site), SUSPENDED_AGAIN)
            entry = self._registry.pick(call.site, call.server, tag, call.principal.identity)
            if entry is not None and (tag is None or entry.agent.tag == tag):
                return entry
            if self._draining:
                raise NotExecuted(_STOPPING)
            wait = min(self._registry.expected(call.site, call.server, tag, now()), until - loop.time())
            if wait <= 0:
                if entry is not None:
                    return entry
                if self._registry.linked(call.site):
                    what = "serves this server" if call.server else "takes calls"
                    raise NotExecuted(f"No agent of the site {what} now. It was not executed.", 5)
                raise Offline(self._registry.offline_since(call.site))
            await self._change(wait)

    async def _change(self, wait: float) -> None:
        """Waits until the set of links changes, `wait` seconds at most."""
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._changed,), timeout=wait)

    def suspend(self, sites: frozenset[str]) -> None:
        """No call goes to these sites from now on, and to all others calls do; what runs there ends.

        Their links stand: nothing but calls comes over them that the operator would not want.
        """
        begun, self._suspended = sites - self._suspended, sites
        if not begun:
            return
        for exchange in self._origin.exchanges():
            if exchange.request.site in begun and isinstance(exchange.owner, LiveAnswer):
                exchange.owner.withdraw(_WITHDRAWN)
        self._announce()  # some may wait for an agent there
        _log.warning("sites_suspended", sites=sorted(begun))

    def lacks(self, site: str, server: str) -> bool:
        """Whether agents of the site are linked and none, nor one lost a moment ago, offers `server`."""
        return self._registry.lacks(site, server, now())

    def servers(self, site: str) -> frozenset[str]:
        """What the site's agents offer now; nothing while it is offline."""
        return self._registry.servers(site)

    @property
    def links(self) -> int:
        """Links that are greeted."""
        return len(self._registry)

    # -- links ----------------------------------------------------------------------------------------

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
        self._announce()
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
        if self._draining:
            line.link.go_away(GoAwayReason.RESTART, 1000)
        self._registry.add(Entry(line.link.number, line.agent, servers, self._draining))
        self._origin.link_up(line.link, line.agent.uri, hello.epoch, at)
        self._announce()
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
                self._announce()
            case GoAway():
                self._registry.drain(line.link.number, at)
            case Ledger() if self.heads is not None:
                self.heads.arrived(line.agent, line.link, frame, at)
            case Notice() if self.notices is not None:
                self.notices.arrived(line.agent, line.link, frame, at)
            case _:
                pass

    def _announce(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def drain(self, spread_ms: int) -> None:
        """Asks every agent to look for another replica; calls go on over the links that stand."""
        self._draining = True
        for line in self._lines.values():
            if line.greeted:
                line.link.go_away(GoAwayReason.RESTART, spread_ms)
                self._registry.drain(line.link.number, now())
        self._announce()

    def stop(self) -> None:
        """Ends every link."""
        for line in self._lines.values():
            line.driver.stop(CloseCode.GOING_AWAY)

    # -- events and time --------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        for event in self._origin.events():
            answer = event.exchange.owner
            if not isinstance(answer, LiveAnswer):
                continue
            match event:
                case HeadArrived():
                    answer.head_arrived(event.status, event.headers)
                case DataArrived():
                    answer.data_arrived(event.data)
                case Answered():
                    answer.answered()
                case NotStarted():
                    answer.not_started(event)
                case OutcomeUnknown():
                    answer.unknown(event)
        self._arm()

    def _arm(self) -> None:
        due = self._origin.due
        if due is None or self._alarm is not None:
            return
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, due - now()), self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._origin.tick(now())
        self._dispatch()


def _uncounted() -> None:
    """A stream that listens ends when the relay does."""


def _servers(names: Sequence[str]) -> frozenset[str]:
    if len(names) > SERVERS_PER_AGENT:
        raise RemoteError(CloseCode.TOO_MANY, f"an agent offers at most {SERVERS_PER_AGENT} servers")
    try:
        return frozenset(parse_name(name, "server") for name in names)
    except BadName:
        raise RemoteError(CloseCode.MALFORMED, "a server name that is not one") from None
