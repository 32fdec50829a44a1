"""What every era of the endpoint works with: the configuration as it stands, the bounds, and the tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Final

from penstock import canonical
from penstock.allowance import Later
from penstock.envelope import Kind, Message, member, parse_child
from penstock.log import get
from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_agent.catalogue.catalogues import Catalogues
from penstock_agent.catalogue.offer import CatalogueError
from penstock_agent.children.child import ChildSpec
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.failures import UNMARKED, Failure, denied
from penstock_agent.endpoint.held import Held
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.memory import Memory
from penstock_agent.endpoint.permits import Permit, Permits
from penstock_agent.endpoint.ports import Children, Spawn
from penstock_agent.endpoint.session.eventlog import Budget, EventIds
from penstock_agent.endpoint.streams import Stream
from penstock_agent.exchange import Exchange
from penstock_agent.gate.gate import Allowed, Denied, Gate, used
from penstock_agent.gate.pause import Paused
from penstock_agent.gate.policy.books import Books
from penstock_agent.gate.redaction.outgoing import Outcome, redacted
from penstock_agent.ledger.entries import CannotRecord, Decision, Ledger, Masked, Unrecorded, Verdict
from penstock_agent.tolerance import Tolerance

#: What a grant of "all read-only tools" decides by how the server marks them.
_BY_MARK: Final = frozenset({"tools/call", "tools/list"})

#: Uses that are over with their answer, and so take a place among the calls that run.
_RUNS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
_LIST_WAIT: Final = 5.0
"""Seconds for which a list waits for what the rules need to know of servers; without it, what depends on it
is not shown.
"""

#: Characters of what a caller wrote that an entry of the ledger holds at most.
MAX_METHOD: Final = 200
MAX_ID: Final = 200
MAX_ITEM: Final = 2048

NOT_RECORDED: Final = (
    "This could not be recorded in the site's ledger, so nothing was done. Try again in a minute; if it "
    "lasts, the site's administrator finds the reason with penstock-agent status."
)
NOT_SHOWN: Final = (
    "What the site takes out of this answer could not be recorded in its ledger, so nothing of the answer is "
    "shown. The request has run: check before you repeat it. The site's administrator finds the reason with "
    "penstock-agent status."
)

_log = get(__name__)


@dataclass(slots=True, eq=False)
class Shared:
    """One per endpoint. ``servers`` and ``gate`` are replaced when the configuration is read again."""

    servers: Mapping[str, ChildSpec]
    gate: Gate
    children: Children
    faces: Children
    """The same for sessions: what speaks only 2026-07-28 looks to them like one of their era."""
    catalogues: Catalogues
    limits: Limits
    held: Held
    ids: EventIds
    logs: Budget[Stream]
    call_timeout: float
    """Seconds after which a call is given up, when its caller does not give up sooner."""
    spawn: Spawn
    """Starts a task that the endpoint owns. Raises Stopping."""
    tolerance: Tolerance
    memory: Memory
    ledger: Ledger = field(default_factory=Unrecorded)
    paused: Paused = Paused()  # noqa: RUF009 - frozen
    """What the administrator has stopped; replaced when that changes."""
    close_after: float = inf
    """Seconds after which an event stream that has not brought its answer yet is closed, for its client to
    come back; only for clients that know of this (2025-11-25)."""
    running: bool = False
    """Whether tasks can be started."""
    permits: Permits = field(default_factory=lambda: Permits(Books(), time.time))

    def stopped(self, server: str, caller: Principal) -> Failure | None:
        """Why nothing may be done here now; None when it may."""
        text = self.paused.why(server, caller) if self.paused.entries else None
        return None if text is None else denied(text)

    async def judge(self, exchange: Exchange, message: Message) -> Failure | None:
        """Why this message of a caller goes no further; None when it may go on to the server.

        What is decided about a request is in the ledger before this returns, and what cannot be recorded
        goes no further.
        """
        if message.kind is not Kind.REQUEST:
            return None  # notifications ask for nothing, and answers are matched with what the child asked
        if (why := self.ledger.refuses) is not None:
            return failures.not_executed(why)
        verdict, rule, of, failure = await self._decide(exchange, message)
        return self.decided(exchange, message, verdict, rule, failure, of)

    def decided(
        self,
        exchange: Exchange,
        message: Message,
        verdict: Verdict,
        rule: str,
        failure: Failure | None,
        of: str = "",
    ) -> Failure | None:
        """Record what was decided. Returns ``failure``, or the one that it could not be recorded."""
        use, digest = used(message), ""
        if use is not None and exchange.server == WHOLE_SITE:
            owner, use = self.gate.owner(use, self.catalogues)
            of = of or owner
        if message.params is not None and (arguments := member(message.params, "arguments")) is not None:
            with suppress(ValueError):
                digest = canonical.digest(arguments)
        entry = Decision(
            exchange.key,
            exchange.server,
            exchange.principal,
            (message.method or "")[:MAX_METHOD],
            verdict,
            rule,
            (message.id or b"").decode("utf-8", "replace")[:MAX_ID],
            "" if use is None else str(use)[:MAX_ITEM],
            of,
            digest,
        )
        try:
            self.ledger.record(entry)
        except CannotRecord:
            return failures.not_executed(self.ledger.refuses or NOT_RECORDED)
        return failure

    async def _decide(self, exchange: Exchange, message: Message) -> tuple[Verdict, str, str, Failure | None]:
        """The verdict, what decided, the server that has the item where that is not the exchange's, and why
        the message goes no further.
        """
        server, caller = exchange.server, exchange.principal
        allowance = caller.allowance
        if (
            allowance is not None
            and allowance.later is Later.READ_ONLY
            and message.method in _BY_MARK
            and not await self._knows(server)
        ):
            return Verdict.FAILED, "grant", "", UNMARKED
        needed, wanted = self.gate.to_ask(server, caller, message, self.catalogues)
        for each in needed:
            if not await self._knows(each):
                return Verdict.FAILED, "rules", "" if each == server else each, failures.UNSAID
        if wanted:
            await self.all_known(wanted)
        found = self.gate.inbound(server, caller, message, self.marked(server), self.catalogues)
        if isinstance(found, Denied):
            return Verdict.DENIED, found.rule, found.of, denied(found.text)
        if found.approve:
            return Verdict.WAITING, found.rule, found.of, failures.NOT_APPROVED
        if found.charges and (why := self._take(exchange, message, found)) is not None:
            return Verdict.OVER_BUDGET, found.rule, found.of, why
        return Verdict.ALLOWED, found.rule, found.of, None

    def _take(self, exchange: Exchange, message: Message, found: Allowed) -> Failure | None:
        """Count it; why not, where a budget is used up."""
        left = self.until(exchange.deadline) - asyncio.get_running_loop().time()
        over = self.permits.take(
            exchange.key, message, exchange.principal, found.charges, left, runs=message.method in _RUNS
        )
        return None if over is None else denied(over.text)

    def measured(
        self, permit: Permit | None, server: str, caller: Principal, request: Message, answer: Message
    ) -> Failure | None:
        """Count the answer to a request, just before it leaves; why it must not, where it is too much."""
        over = self.permits.answered(permit, server, caller, request, answer)
        if over is None:
            return None
        _log.warning("answer_over_budget", method=request.method)
        return failures.outcome_unknown(over.text)

    def let_out(
        self, server: str, caller: Principal, request: Message | None, message: Message, key: str
    ) -> Message | None:
        """What of a child's message may leave towards this caller; None for nothing. ``key``: of the exchange
        whose request it belongs to; empty where it is not known.
        """
        out = self.gate.outbound(server, caller, request, message, self.marked(server), self.catalogues)
        redactor = self.gate.redactors.get(server)
        if redactor is None or out is None:
            return out
        outcome = redacted(redactor, request, out)
        if outcome is None:
            return out
        text = outcome.text
        try:
            self.masked(server, caller, key, outcome)
        except CannotRecord:
            text = NOT_SHOWN
        if not text or request is None:
            return None if text else outcome.message
        return parse_child(denied(text).answer(request, key)[1])

    def masked(self, server: str, caller: Principal, key: str, outcome: Outcome) -> None:
        """Record what was taken out of a message, or why it is not let out: how much of what, never what it
        said. Raises :exc:`~penstock_agent.ledger.entries.CannotRecord`.
        """
        item, action, found = outcome.item[:MAX_ITEM], outcome.action.value, dict(outcome.found)
        self.ledger.record(Masked(key, server, caller, item, action, found))
        _log.info("masked", server=server, exchange=key, action=action, **found)

    def narrowed(self, server: str, caller: Principal, message: Message) -> Message:
        """An allowed request, without the items in it that this caller may not use."""
        return self.gate.narrowed(server, caller, message, self.marked(server), self.catalogues)

    def marked(self, server: str) -> Collection[str]:
        """Which tools of a server are marked as read-only, as far as that is known."""
        return self.catalogues.marked(server)

    def until(self, deadline: float) -> float:
        """When the answer to a call that comes now is due (loop time)."""
        return min(deadline, asyncio.get_running_loop().time() + self.call_timeout)

    async def all_known(self, servers: Collection[str]) -> None:
        """Have these servers say what they offer, as far as they do that soon."""

        async def ask(server: str) -> None:
            with suppress(CatalogueError):
                await self.catalogues.known(server)

        with suppress(TimeoutError):
            async with asyncio.timeout(_LIST_WAIT), asyncio.TaskGroup() as tasks:
                for server in servers:
                    tasks.create_task(ask(server))

    async def _knows(self, server: str) -> bool:
        """Whether the server has said what it offers, and which of its tools only read; it is asked if need
        be.
        """
        try:
            async with asyncio.timeout(self.limits.commit_after):
                await self.catalogues.known(server)
        except (CatalogueError, TimeoutError):
            return False
        return True
