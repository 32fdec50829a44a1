"""The origin's half of the tunnel: opens exchanges, holds them through cuts, decides what is proven.

Sans-I/O, one object per life of a replica. Who may call, which link to use, how often to try and how
long to wait belongs to the caller of this module; that a request never runs twice belongs here.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from penstock.tunnel.credit import Budget, beyond
from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Credit,
    Data,
    Done,
    DoneReason,
    End,
    EndReason,
    Frame,
    Head,
    Lost,
)
from penstock.tunnel.limits import (
    ANSWER_BUDGET,
    ANSWER_BUDGET_AGENT,
    GRACE,
    REVOKE_GRACE,
)
from penstock.tunnel.link import Link
from penstock.tunnel.origin_exchange import (
    AgentLink,
    Answered,
    DataArrived,
    Exchange,
    HeadArrived,
    NotStarted,
    OriginEvent,
    OutcomeUnknown,
    Request,
)
from penstock.tunnel.states import LAST_WORDS, OriginInput, OriginState, Verdict, verdict

_GIVEN = {
    Verdict.ANSWERED: OriginInput.ANSWERED,
    Verdict.NOT_STARTED: OriginInput.NOT_STARTED,
    Verdict.UNKNOWN: OriginInput.UNKNOWN,
}


class Origin:
    """All exchanges of one life of a replica. `boot` is 16 random bytes, made for this life."""

    def __init__(
        self,
        boot: bytes,
        *,
        grace: float = GRACE,
        budget: int = ANSWER_BUDGET,
        agent_budget: int = ANSWER_BUDGET_AGENT,
    ) -> None:
        if len(boot) != 16:
            raise LocalError("a boot has 16 bytes")
        self.boot = boot
        self._grace = grace
        self._budget = Budget(budget)
        self._agent_budget = agent_budget
        self._agent_budgets: dict[str, Budget] = {}
        self._next = 1
        self._open: dict[int, Exchange] = {}
        self._paths: dict[int, AgentLink] = {}
        self._waits: list[tuple[float, int]] = []
        """A heap of `give_up_at` and sequence numbers. An entry counts while the exchange says the same."""
        self._events: list[OriginEvent] = []

    # -- links --------------------------------------------------------------------------------------

    def link_up(self, link: Link, agent: str, epoch: int, now: float) -> None:
        """`link` is greeted and leads to this life of `agent`: exchanges that were cut go on over it."""
        self._paths[link.number] = AgentLink(link, agent, epoch)
        for exchange in list(self._open.values()):
            if exchange.path is None and exchange.agent == agent:
                self._seek(exchange)

    def link_gone(self, number: int, now: float) -> None:
        """The link is closed, dead, or LOST. Its exchanges look for another one."""
        gone = self._paths.pop(number, None)
        if gone is None:
            return
        for exchange in list(self._open.values()):
            if exchange.path is gone:
                self._leave(exchange, now)

    def _leave(self, exchange: Exchange, now: float) -> None:
        exchange.path = None
        exchange.advance(OriginInput.LINK_GONE)
        if exchange.state is OriginState.FINISHED:
            self._finish(exchange, NotStarted(exchange, None))
            return
        if exchange.state is not OriginState.REVOKING:
            self._wait(exchange, now + self._grace)
        self._seek(exchange)

    def _wait(self, exchange: Exchange, until: float) -> None:
        exchange.give_up_at = until
        heapq.heappush(self._waits, (until, exchange.key.seq))

    def _seek(self, exchange: Exchange) -> None:
        """Looks for a link to the life of the agent that has the exchange; newest first."""
        reborn = False
        for path in reversed(self._paths.values()):
            if path.agent == exchange.agent:
                if path.epoch == exchange.epoch:
                    self._attach(exchange, path)
                    return
                reborn = True
        if reborn:
            # The agent has begun another life: the one that knew the exchange is over.
            self._give_up(exchange)

    def _attach(self, exchange: Exchange, path: AgentLink) -> None:
        exchange.advance(OriginInput.LINK_FOUND)
        if exchange.state is not OriginState.REVOKING:
            exchange.give_up_at = None
        exchange.path = path
        exchange.attaches += 1
        exchange.to_attach = True
        exchange.to_revoke = exchange.state is OriginState.REVOKING
        exchange.request_end = True  # until the agent's CREDIT says what it lacks
        path.link.ready(exchange)

    def receive(self, link: Link, data: bytes, now: float) -> list[Frame]:
        """What arrived on `link`; RemoteError closes it (then call `link_gone`).

        Returns the frames that are for whoever routes: OFFER, GOAWAY, LEDGER and NOTICE.
        """
        others = []
        for hop, frame in link.receive(data, now):
            if hop:
                raise RemoteError(CloseCode.MALFORMED, "only replicas name the link of an agent")
            if not self.frame(link, frame, now):
                others.append(frame)
        return others

    def frame(self, link: Link, frame: Frame, now: float) -> bool:
        """One frame of an agent, or LOST; False when it is not about exchanges."""
        match frame:
            case Head() | Data() | End() | Credit():
                exchange = self._find(frame.key)
                if exchange is None or exchange.path is None or exchange.path.link is not link:
                    return True  # finished, or of a link that it has left
                if exchange.state is OriginState.QUEUED:
                    raise RemoteError(CloseCode.UNKNOWN_EXCHANGE, "an exchange that was never opened")
                self._of_exchange(exchange, frame, now)
            case Lost():
                self.link_gone(link.number, now)
            case _:
                return False
        return True

    def _find(self, key: Key) -> Exchange | None:
        if key.boot != self.boot or not 0 < key.seq < self._next:
            raise RemoteError(CloseCode.UNKNOWN_EXCHANGE, "a sequence number that was never used")
        return self._open.get(key.seq)

    def _of_exchange(self, exchange: Exchange, frame: Head | Data | End | Credit, now: float) -> None:
        match frame:
            case Head():
                exchange.advance(OriginInput.HEAD)
                if not exchange.headed and exchange.state is OriginState.ANSWERING:
                    exchange.headed = True
                    exchange.request_end = True  # the agent has it: nothing is repeated any more
                    exchange.sending.clear()
                    self._events.append(HeadArrived(exchange, frame.status, frame.headers))
                self._bytes(exchange, 0, frame.data)
                if frame.end:
                    self._ended(exchange, len(frame.data), EndReason.OK)
            case Data():
                exchange.advance(OriginInput.DATA)
                self._bytes(exchange, frame.offset, frame.data)
                if frame.end:
                    self._ended(exchange, frame.offset + len(frame.data), EndReason.OK)
            case End():
                self._ended(exchange, frame.offset, frame.reason)
            case Credit():
                exchange.advance(OriginInput.CREDIT)
                self._credit(exchange, frame)

    def _bytes(self, exchange: Exchange, offset: int, data: bytes) -> None:
        data = beyond(data, offset, exchange.answer.received)
        if not data or exchange.state is not OriginState.ANSWERING:
            return
        exchange.answer.arrived(len(data))
        self._events.append(DataArrived(exchange, data))

    def _credit(self, exchange: Exchange, frame: Credit) -> None:
        if exchange.headed or exchange.state is OriginState.REVOKING:
            return
        exchange.sending.credit(frame.have, frame.limit)
        if exchange.state is OriginState.ATTACHING:
            # The answer to ATTACH: the agent may lack the end of the request, so it is repeated.
            exchange.sending.rewind(frame.have)
            exchange.request_end = False
        if exchange.path is not None:
            exchange.path.link.ready(exchange)

    def _ended(self, exchange: Exchange, offset: int, reason: EndReason) -> None:
        proof = verdict(reason, attached=exchange.attaches > 0, headed=exchange.headed)
        if proof is Verdict.ANSWERED and exchange.state is not OriginState.REVOKING:
            if exchange.answer.received > offset:
                raise RemoteError(CloseCode.CREDIT, "more bytes than the answer has")
            if exchange.answer.received < offset:
                return  # a gap can only be a frame of an older link; the end is repeated
            if exchange.state is OriginState.ATTACHING and not exchange.headed:
                return  # the same, before the head
        revoking = exchange.state is OriginState.REVOKING
        exchange.advance(_GIVEN[proof])
        if exchange.path is not None and reason in LAST_WORDS:
            exchange.path.link.control(Done(exchange.key, DoneReason.OK))
        if revoking:
            self._forget(exchange)
        elif proof is Verdict.ANSWERED:
            self._finish(exchange, Answered(exchange))
        elif proof is Verdict.NOT_STARTED:
            if reason is EndReason.UNKNOWN_PRINCIPAL and exchange.path is not None:
                exchange.path.principals.forget(exchange.request.digest)
            self._finish(exchange, NotStarted(exchange, reason))
        else:
            self._finish(exchange, OutcomeUnknown(exchange, reason))

    # -- exchanges ----------------------------------------------------------------------------------

    def _budgets(self, agent: str) -> tuple[Budget, Budget]:
        budget = self._agent_budgets.get(agent)
        if budget is None:
            budget = self._agent_budgets[agent] = Budget(self._agent_budget)
        return self._budget, budget

    def open(self, request: Request, number: int, owner: object) -> Exchange:
        """A new key for `request`, on the link of that number.

        LocalError when there is no such link, or `request` does not fit into its frames.
        """
        path = self._paths.get(number)
        if path is None:
            raise LocalError(f"link {number} is gone")
        key = Key(self.boot, self._next)
        exchange = Exchange(key, request, path, self._budgets(path.agent), owner)
        self._next += 1
        self._open[key.seq] = exchange
        path.link.ready(exchange)
        return exchange

    def taken(self, exchange: Exchange, n: int, now: float) -> None:
        """The caller's connection took `n` bytes of the answer; credit goes back when worth a frame."""
        if exchange.state in (OriginState.REVOKING, OriginState.FINISHED):
            return
        worth = exchange.answer.took(n, now)
        if worth and exchange.path is not None and not exchange.to_attach:
            exchange.path.link.control(Credit(exchange.key, exchange.answer.received, exchange.answer.told()))

    def release(self, exchange: Exchange) -> None:
        """The caller has all of the answer that it will get: what was promised for it is free. Idempotent.

        To be called after Answered and OutcomeUnknown: bytes of the answer may wait for the caller for
        long after the exchange is over.
        """
        exchange.answer.release()

    def done(self, exchange: Exchange, reason: DoneReason) -> bool:
        """The caller, its deadline or its slowness ends the exchange; frees it at once.

        True when the request may have run. No event follows. REVOKED has its own method.
        """
        if reason is DoneReason.REVOKED:
            raise LocalError("a revoked exchange is kept: `revoke`")
        if exchange.state in (OriginState.REVOKING, OriginState.FINISHED):
            return False  # its event has said what is known, or `revoke` has
        may_have_run = exchange.state not in (OriginState.QUEUED, OriginState.OPENING)
        known = exchange.state is not OriginState.QUEUED
        exchange.advance(OriginInput.GIVE_UP)
        if known and exchange.path is not None:
            exchange.path.link.control(Done(exchange.key, reason))
        self._forget(exchange)
        return may_have_run

    def revoke(self, exchange: Exchange, now: float) -> bool:
        """The caller's right is withdrawn: the agent must stop, and say so.

        As `done`, but the exchange is kept, without its caller, until any END came back, the agent began
        another life, or 300 s have passed.
        """
        if exchange.state in (OriginState.REVOKING, OriginState.FINISHED):
            return False
        known = exchange.state is not OriginState.QUEUED
        may_have_run = exchange.state not in (OriginState.QUEUED, OriginState.OPENING)
        exchange.advance(OriginInput.REVOKE)
        exchange.request_end = True
        exchange.sending.clear()
        if exchange.path is not None and known:
            if exchange.to_attach:
                exchange.to_revoke = True
            else:
                exchange.path.link.control(Done(exchange.key, DoneReason.REVOKED))
        if not may_have_run:
            self._forget(exchange)
            return False
        exchange.answer.release()
        self._wait(exchange, now + REVOKE_GRACE)
        return True

    # -- time and events ----------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When `tick` must be called next; None when nothing waits."""
        return self._waits[0][0] if self._waits else None

    def tick(self, now: float) -> None:
        """Gives up exchanges whose grace has passed."""
        while self._waits and self._waits[0][0] <= now:
            at, seq = heapq.heappop(self._waits)
            exchange = self._open.get(seq)
            if exchange is not None and exchange.give_up_at == at:
                self._give_up(exchange)

    def _give_up(self, exchange: Exchange) -> None:
        revoking = exchange.state is OriginState.REVOKING
        exchange.advance(OriginInput.GIVE_UP)
        if revoking:
            self._forget(exchange)
        else:
            self._finish(exchange, OutcomeUnknown(exchange, None))

    def _finish(self, exchange: Exchange, event: OriginEvent) -> None:
        if exchange.answer.taken < exchange.answer.received:
            self._open.pop(exchange.key.seq, None)  # the caller still takes: `release` gives the budget back
            exchange.sending.clear()
        else:
            self._forget(exchange)
        self._events.append(event)

    def _forget(self, exchange: Exchange) -> None:
        self._open.pop(exchange.key.seq, None)
        exchange.answer.release()
        exchange.sending.clear()

    def events(self) -> Sequence[OriginEvent]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def exchanges(self) -> Sequence[Exchange]:
        """Those that are not finished, and those that are revoked until the agent has said that it knows."""
        return list(self._open.values())

    @property
    def open_exchanges(self) -> int:
        return len(self._open)
