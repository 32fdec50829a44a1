"""The agent's half of the tunnel: takes exchanges, starts each at most once, keeps answers through cuts.

Sans-I/O, one object per life of an agent. What a request means and who may ask it belongs to the caller
of this module; that it starts once, or provably never, belongs here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from hashlib import sha256

from penstock.tunnel.agent_exchange import AgentEvent, Exchange, Gone, Started
from penstock.tunnel.credit import Budget, beyond
from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Attach,
    Credit,
    Data,
    Done,
    DoneReason,
    End,
    EndReason,
    Frame,
    GoAwayReason,
    Head,
    Headers,
    Lost,
    Offer,
    Open,
    Principal,
)
from penstock.tunnel.limits import (
    BOOTS,
    FREE_WINDOW,
    MAX_EXCHANGES,
    MAX_REQUEST,
    MAX_WINDOW,
    ORPHANED,
    REQUEST_BUDGET,
)
from penstock.tunnel.link import Link
from penstock.tunnel.principals import Principals
from penstock.tunnel.states import LAST_WORDS, AgentInput, AgentState


class Agent:
    """All exchanges of one life of an agent. `epoch` is 64 random bits, made for this life."""

    def __init__(
        self,
        epoch: int,
        *,
        orphaned: float = ORPHANED,
        max_exchanges: int = MAX_EXCHANGES,
        request_budget: int = REQUEST_BUDGET,
    ) -> None:
        """LocalError when `request_budget` could not hold one request of the largest size."""
        if request_budget < MAX_REQUEST - FREE_WINDOW:
            raise LocalError("a budget that no large request fits into would hold them up for ever")
        self.epoch = epoch
        self._orphaned = orphaned
        self._max_exchanges = max_exchanges
        self._servers: frozenset[str] = frozenset()
        self._draining = False
        self._held: dict[Key, Exchange] = {}
        self._floor: dict[bytes, int] = {}
        """Per boot: an OPEN below this never starts. Raised by ATTACH of a key that is not held."""
        self._lost: dict[bytes, int] = {}
        """Per boot: keys below this may have run and were freed without the origin's DONE."""
        self._principals: dict[int, Principals] = {}
        self._links: dict[int, Link] = {}
        self._grants: dict[Key, Exchange] = {}
        """Long requests that wait for credit, in the order in which they came."""
        self._budget = Budget(request_budget)
        self._orphans: list[tuple[float, Key]] = []
        """A heap of `orphaned_at` and keys. An entry counts while the exchange says the same."""
        self._events: list[AgentEvent] = []

    # -- links --------------------------------------------------------------------------------------

    def offer(self, servers: Iterable[str]) -> None:
        """The servers that may be asked for from now on; every link is told of a change (OFFER)."""
        found = frozenset(servers)
        if found == self._servers:
            return  # that a file on site was read again is nothing to tell the relay
        self._servers = found
        digest, names = digest_of(found)
        for link in self._links.values():
            link.control(Offer(digest, names))

    def drain(self) -> None:
        """No exchange starts from now on: OPEN is refused."""
        self._draining = True

    def link_up(self, link: Link) -> None:
        """`link` is greeted. Call it before anything behind WELCOME is read (`Link.greeted`)."""
        self._links[link.number] = link
        self._principals[link.number] = Principals()
        digest, names = digest_of(self._servers)
        if link.hello is not None and link.hello.digest != digest:
            link.control(Offer(digest, names))  # they changed between HELLO and WELCOME
        if self._draining:
            link.go_away(GoAwayReason.DRAIN, 0)

    def link_gone(self, number: int, now: float) -> None:
        """The link is closed or dead. Its exchanges wait for an ATTACH."""
        link = self._links.pop(number, None)
        if link is None:
            return  # it was never greeted
        del self._principals[number]
        for exchange in self._held.values():
            if exchange.link is link:
                self._cut(exchange, now)

    def _cut(self, exchange: Exchange, now: float) -> None:
        exchange.advance(AgentInput.LINK_GONE)
        exchange.link = None
        exchange.orphaned_at = now + self._orphaned
        heapq.heappush(self._orphans, (exchange.orphaned_at, exchange.key))

    def receive(self, link: Link, data: bytes, now: float) -> list[Frame]:
        """What arrived on `link`; RemoteError closes it (then call `link_gone`).

        Returns the frames that are for whoever dials: GOAWAY and LEDGER.
        """
        others = []
        for hop, frame in link.receive(data, now):
            if hop:
                raise RemoteError(CloseCode.MALFORMED, "only replicas name the link of an agent")
            if not self.frame(link, frame, now):
                others.append(frame)
        return others

    def frame(self, link: Link, frame: Frame, now: float) -> bool:
        """One frame of an origin, or LOST; False when it is not about exchanges."""
        match frame:
            case Open():
                self._open(link, frame)
            case Attach():
                self._attach(link, frame)
            case Principal():
                if sha256(frame.content).digest() != frame.digest:
                    raise RemoteError(CloseCode.MALFORMED, "a principal with the digest of another")
                self._principals[link.number].add(frame.digest, frame.content)
            case Data() | End() | Credit() | Done():
                exchange = self._held.get(frame.key)
                if exchange is not None:
                    self._of_exchange(exchange, frame)
            case Lost(boot):
                for exchange in self._held.values():
                    if exchange.link is link and exchange.key.boot == boot:
                        self._cut(exchange, now)
            case _:
                return False
        return True

    def _of_exchange(self, exchange: Exchange, frame: Data | End | Credit | Done) -> None:
        match frame:
            case Data():
                exchange.advance(AgentInput.DATA)
                self._bytes(exchange, frame.offset, frame.data)
                if frame.end:
                    self._request_end(exchange, frame.offset + len(frame.data))
            case End():
                if frame.reason is not EndReason.OK:
                    raise RemoteError(CloseCode.MALFORMED, "a request ends with reason ok")
                self._request_end(exchange, frame.offset)
            case Credit():
                exchange.advance(AgentInput.CREDIT)
                exchange.sending.credit(frame.have, frame.limit)
                self._ready(exchange)
            case Done():
                exchange.advance(AgentInput.DONE)
                if frame.reason is DoneReason.REVOKED and exchange.link is not None:
                    # The origin attaches again until it has heard this, or that the key is unknown. It
                    # listens where it attached last: this DONE may be a late one of an older link.
                    exchange.link.control(End(exchange.key, exchange.sending.sent, EndReason.REVOKED))
                self._free(exchange, frame.reason)

    # -- OPEN and ATTACH ----------------------------------------------------------------------------

    def _open(self, link: Link, frame: Open) -> None:
        held = self._held.get(frame.key)
        if held is not None:
            held.advance(AgentInput.OPEN)
        if frame.limit > MAX_WINDOW:
            raise RemoteError(CloseCode.CREDIT, "a window of more than 4 MiB")
        principal = self._principals[link.number].use(frame.principal)
        refusal = self._refusal(link, frame, principal)
        if refusal is not None or principal is None:
            link.control(End(frame.key, 0, refusal or EndReason.UNKNOWN_PRINCIPAL))
            return
        exchange = self._held[frame.key] = Exchange(frame, link, principal, self._note)
        self._bytes(exchange, 0, frame.data)
        frame.data = b""
        if frame.length > FREE_WINDOW:
            self._grants[frame.key] = exchange
            self._grant()
        if frame.end:
            self._request_end(exchange, exchange.received)

    def _refusal(self, link: Link, frame: Open, principal: bytes | None) -> EndReason | None:
        if frame.epoch != self.epoch:
            return EndReason.WRONG_EPOCH
        if frame.key.seq < self._floor.get(frame.key.boot, 0):
            return EndReason.STALE
        if frame.length > MAX_REQUEST:
            return EndReason.TOO_LARGE
        if self._draining or link.leaving:
            return EndReason.DRAINING
        if len(self._held) >= self._max_exchanges:
            return EndReason.BUSY
        if frame.server and frame.server not in self._servers:
            return EndReason.UNKNOWN_SERVER
        if principal is None:
            return EndReason.UNKNOWN_PRINCIPAL
        return None

    def _attach(self, link: Link, frame: Attach) -> None:
        key = frame.key
        if frame.epoch != self.epoch:
            link.control(End(key, 0, EndReason.WRONG_EPOCH))
            return
        exchange = self._held.get(key)
        if exchange is None:
            if key.seq < self._lost.get(key.boot, 0):
                link.control(End(key, 0, EndReason.FORGOTTEN))
                return
            if key.boot not in self._floor and len(self._floor) >= BOOTS:
                raise RemoteError(CloseCode.TOO_MANY, "ATTACH of more lives of replicas than there can be")
            # From now on it is certain that this key never starts: a late OPEN is stale.
            self._floor[key.boot] = max(self._floor.get(key.boot, 0), key.seq + 1)
            link.control(End(key, 0, EndReason.UNKNOWN))
            return
        if frame.counter <= exchange.counter:
            return
        exchange.advance(AgentInput.ATTACH)
        exchange.counter = frame.counter
        exchange.link = link
        exchange.orphaned_at = None
        exchange.sending.credit(frame.have, frame.limit)
        exchange.sending.rewind(frame.have)
        exchange.head_sent = False
        exchange.end_said = False
        link.control(Credit(key, exchange.received, exchange.granted))
        self._ready(exchange)

    # -- the request --------------------------------------------------------------------------------

    def _grant(self) -> None:
        """Credit for long requests, each whole, in order of arrival: granted piecewise they deadlock."""
        for key, exchange in list(self._grants.items()):
            if not self._budget.take(exchange.open.length - FREE_WINDOW):
                return
            del self._grants[key]
            exchange.granted = exchange.open.length
            if exchange.link is not None:
                exchange.link.control(Credit(exchange.key, exchange.received, exchange.granted))

    def _bytes(self, exchange: Exchange, offset: int, data: bytes) -> None:
        data = beyond(data, offset, exchange.received)
        if not data or exchange.state is not AgentState.RECEIVING:
            return
        if exchange.received + len(data) > exchange.granted:
            raise RemoteError(CloseCode.CREDIT, "more bytes than the credit allows")
        exchange.body.append(data)
        exchange.received += len(data)

    def _request_end(self, exchange: Exchange, offset: int) -> None:
        if exchange.state is AgentState.RECEIVING:
            if exchange.received < offset:
                return  # a gap can only be a frame of an older link; it is repeated
            if offset != exchange.open.length:
                raise RemoteError(CloseCode.MALFORMED, "a request of another length than OPEN said")
            body = exchange.body[0] if len(exchange.body) == 1 else b"".join(exchange.body)
            exchange.body = []
            exchange.advance(AgentInput.END)
            self._events.append(Started(exchange, body, exchange.principal))
        else:
            exchange.advance(AgentInput.END)

    # -- the answer ---------------------------------------------------------------------------------

    def head(self, exchange: Exchange, status: int, headers: Headers) -> None:
        """Status and headers of the answer; once, before the first `write`.

        LocalError when they do not fit into a frame.
        """
        if exchange.state is AgentState.FREED:
            return
        exchange.advance(AgentInput.WRITE)
        if exchange.head is not None:
            raise LocalError("an answer has one head")
        exchange.head = Head.metadata(exchange.key, status, headers)
        self._ready(exchange)

    def write(self, exchange: Exchange, data: bytes) -> None:
        """Bytes of the answer. They wait here for credit: look at `exchange.sending.unsent`."""
        if exchange.state is AgentState.FREED:
            return
        exchange.advance(AgentInput.WRITE)
        if exchange.head is None:
            raise LocalError("the head of an answer comes first")
        exchange.sending.write(data)
        self._ready(exchange)

    def end(self, exchange: Exchange, reason: EndReason = EndReason.OK) -> None:
        """The last word. Any reason but OK: the request may have run, and what was not sent is dropped."""
        if exchange.state is AgentState.FREED:
            return
        if reason not in LAST_WORDS:
            raise LocalError(f"{reason.name} says that nothing started")
        if reason is EndReason.OK and exchange.head is None:
            raise LocalError("an answer without a head")
        exchange.advance(AgentInput.LAST_WORD)
        if reason is not EndReason.OK:
            exchange.sending.truncate()
        exchange.last_word = reason
        self._ready(exchange)

    def _ready(self, exchange: Exchange) -> None:
        if exchange.link is not None and exchange.state is not AgentState.RECEIVING:
            exchange.link.ready(exchange)

    def _free(self, exchange: Exchange, reason: DoneReason | None) -> None:
        del self._held[exchange.key]
        self._grants.pop(exchange.key, None)
        exchange.sending.clear()
        exchange.body = []
        if exchange.granted > FREE_WINDOW:
            self._budget.give_back(exchange.granted - FREE_WINDOW)
        self._grant()
        self._events.append(Gone(exchange, reason))

    # -- time and events ----------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When `tick` must be called next (CLOCK_BOOTTIME); None when nothing waits."""
        return self._orphans[0][0] if self._orphans else None

    def tick(self, now: float) -> None:
        """Frees exchanges whose link has been gone for 120 s, and remembers that they may have run."""
        while self._orphans and self._orphans[0][0] <= now:
            at, key = heapq.heappop(self._orphans)
            exchange = self._held.get(key)
            if exchange is None or exchange.orphaned_at != at:
                continue  # done, attached again, or cut again since
            if exchange.state is not AgentState.RECEIVING:
                self._lost[key.boot] = max(self._lost.get(key.boot, 0), key.seq + 1)
            exchange.advance(AgentInput.ORPHANED)
            self._free(exchange, None)

    def _note(self, event: AgentEvent) -> None:
        self._events.append(event)

    def events(self) -> Sequence[AgentEvent]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    @property
    def open_exchanges(self) -> int:
        return len(self._held)


def digest_of(servers: Iterable[str]) -> tuple[bytes, tuple[str, ...]]:
    """The digest of server names in HELLO and OFFER, and the names as they stand there."""
    names = tuple(sorted(servers))
    return sha256("\n".join(names).encode()).digest(), names
