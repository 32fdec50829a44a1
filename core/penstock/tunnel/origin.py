"""The origin's half of the tunnel: opens exchanges, holds them through cuts, decides what is proven.

Sans-I/O, one object per life of a replica. Who may call, which link to use, how often to try and how
long to wait belongs to the caller of this module; that a request never runs twice belongs here.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from penstock.tunnel.credit import Budget
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
from penstock.tunnel.states import OriginInput, OriginState, Verdict, verdict


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
        self.boot = boot
        self._grace = grace
        self._budget = Budget(budget)
        self._agent_budget = agent_budget
        self._agent_budgets: dict[str, Budget] = {}
        self._next = 1
        self._open: dict[int, Exchange] = {}
        self._paths: dict[int, AgentLink] = {}
        self._cut: list[tuple[float, int]] = []  # heap of (when to give up, sequence number)
        self._events: list[OriginEvent] = []

    # -- links --------------------------------------------------------------------------------------

    def link_up(self, link: Link, agent: str, epoch: int, now: float) -> None:
        """`link` is greeted and leads to this life of `agent`: exchanges that were cut go on over it."""
        path = AgentLink(link, agent, epoch)
        self._paths[link.number] = path
        living = {p.epoch for p in self._paths.values() if p.agent == agent}
        for exchange in list(self._open.values()):
            if exchange.path is not None or exchange.agent != agent:
                continue
            if exchange.epoch == epoch:
                self._attach(exchange, path)
            elif exchange.epoch not in living:
                # The agent has begun another life: the one that knew the exchange is over.
                self._give_up(exchange)

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
        patience = REVOKE_GRACE if exchange.state is OriginState.REVOKING else self._grace
        heapq.heappush(self._cut, (now + patience, exchange.key.seq))
        for path in self._paths.values():
            if path.agent == exchange.agent and path.epoch == exchange.epoch:
                self._attach(exchange, path)
                return

    def _attach(self, exchange: Exchange, path: AgentLink) -> None:
        exchange.advance(OriginInput.LINK_FOUND)
        exchange.path = path
        exchange.attaches += 1
        exchange.to_attach = True
        exchange.to_revoke = exchange.state is OriginState.REVOKING
        exchange.request_end = True  # until the agent's CREDIT says what it lacks
        path.link.ready(exchange)

    def receive(self, link: Link, data: bytes, now: float) -> list[Frame]:
        """What arrived on `link`; RemoteError closes it (then call `link_gone`).

        Returns the frames that are for whoever routes: OFFER and GOAWAY.
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
        if key.boot != self.boot or key.seq >= self._next:
            raise RemoteError(CloseCode.UNKNOWN_EXCHANGE, "a sequence number that was never used")
        return self._open.get(key.seq)

    def _of_exchange(self, exchange: Exchange, frame: Head | Data | End | Credit, now: float) -> None:
        match frame:
            case Head():
                exchange.advance(OriginInput.HEAD)
                if not exchange.headed and exchange.state is OriginState.ANSWERING:
                    exchange.headed = True
                    exchange.sending.clear()  # it has the END of the request: nothing is repeated any more
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
        if not data or offset != exchange.answer.received or exchange.state is not OriginState.ANSWERING:
            return  # only what continues is taken
        exchange.answer.arrived(len(data))
        self._events.append(DataArrived(exchange, data))

    def _credit(self, exchange: Exchange, frame: Credit) -> None:
        if exchange.headed or exchange.state is OriginState.REVOKING:
            return
        exchange.sending.credit(frame.have, frame.limit)
        if exchange.state is OriginState.WAITING and exchange.attaches:
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
        given = {
            Verdict.ANSWERED: OriginInput.ANSWERED,
            Verdict.NOT_STARTED: OriginInput.NOT_STARTED,
            Verdict.UNKNOWN: OriginInput.UNKNOWN,
        }[proof]
        revoking = exchange.state is OriginState.REVOKING
        exchange.advance(given)
        if exchange.path is not None and proof is not Verdict.NOT_STARTED:
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
        """A new key for `request`, on the link of that number; LocalError when there is none."""
        path = self._paths.get(number)
        if path is None:
            raise LocalError(f"link {number} is gone")
        key = Key(self.boot, self._next)
        self._next += 1
        exchange = self._open[key.seq] = Exchange(key, request, path, self._budgets(path.agent), owner)
        path.link.ready(exchange)
        return exchange

    def taken(self, exchange: Exchange, n: int, now: float) -> None:
        """The caller's connection took `n` bytes of the answer; credit goes back when worth a frame."""
        if (
            exchange.answer.took(n, now)
            and exchange.path is not None
            and exchange.state is OriginState.ANSWERING
        ):
            exchange.path.link.control(Credit(exchange.key, exchange.answer.received, exchange.answer.told()))

    def done(self, exchange: Exchange, reason: DoneReason) -> bool:
        """The caller, its deadline or its slowness ends the exchange; frees it at once.

        True when the request may have run. No event follows. A revoked exchange is kept, without its
        caller, until the agent has said that it stopped.
        """
        if exchange.state is OriginState.FINISHED:
            return False  # its event has said what is known
        may_have_run = exchange.state not in (OriginState.QUEUED, OriginState.OPENING)
        if reason is DoneReason.REVOKED:
            self._revoke(exchange)
            return may_have_run
        known = exchange.state is not OriginState.QUEUED
        exchange.advance(OriginInput.GIVE_UP)
        if known and exchange.path is not None:
            exchange.path.link.control(Done(exchange.key, reason))
        self._forget(exchange)
        return may_have_run

    def _revoke(self, exchange: Exchange) -> None:
        known = exchange.state is not OriginState.QUEUED
        exchange.advance(OriginInput.REVOKE)
        exchange.sending.clear()
        if exchange.path is not None and known:
            if exchange.to_attach:
                exchange.to_revoke = True
            else:
                exchange.path.link.control(Done(exchange.key, DoneReason.REVOKED))
        if exchange.state is OriginState.FINISHED:
            self._forget(exchange)

    # -- time and events ----------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When `tick` must be called next; None when nothing waits."""
        return self._cut[0][0] if self._cut else None

    def tick(self, now: float) -> None:
        """Gives up exchanges whose grace has passed without a link."""
        while self._cut and self._cut[0][0] <= now:
            _, seq = heapq.heappop(self._cut)
            exchange = self._open.get(seq)
            if exchange is not None and exchange.path is None:
                if any(at[1] == seq for at in self._cut):
                    continue  # it was cut again since: the later entry counts
                self._give_up(exchange)

    def _give_up(self, exchange: Exchange) -> None:
        revoking = exchange.state is OriginState.REVOKING
        exchange.advance(OriginInput.GIVE_UP)
        if revoking:
            self._forget(exchange)
        else:
            self._finish(exchange, OutcomeUnknown(exchange, None))

    def _finish(self, exchange: Exchange, event: OriginEvent) -> None:
        self._forget(exchange)
        self._events.append(event)

    def _forget(self, exchange: Exchange) -> None:
        if self._open.pop(exchange.key.seq, None) is not None:
            exchange.answer.release()
            exchange.sending.clear()

    def events(self) -> Sequence[OriginEvent]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    @property
    def open_exchanges(self) -> int:
        return len(self._open)
