"""What is decided about a request of a caller before its server hears of it. Each decision is recorded first.

In this order: what is exposed, granted and ruled; whether it is what was approved; whether something
sensitive was read for the same person before; whether somebody on site has to let it pass; and what it is
counted for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from penstock import canonical
from penstock.allowance import Later
from penstock.envelope import Kind, Message, member, parse_child
from penstock.principal import Principal
from penstock_agent.catalogue.offer import CatalogueError
from penstock_agent.endpoint import failures, keeping, outbound
from penstock_agent.endpoint.approving import Passed, Stopped
from penstock_agent.endpoint.failures import UNMARKED, Ending, Failure, denied
from penstock_agent.endpoint.keeping import Collected
from penstock_agent.endpoint.shared import Shared
from penstock_agent.exchange import Exchange
from penstock_agent.gate.approval import Call, Request
from penstock_agent.gate.definitions import refresh
from penstock_agent.gate.methods import Use, used
from penstock_agent.gate.policy import taint
from penstock_agent.gate.view import Allowed, Denied
from penstock_agent.ledger.entries import MAX_ITEM, CannotRecord, Decision, Verdict

#: What a grant of "all read-only tools" decides by how the server marks them.
_BY_MARK: Final = frozenset({"tools/call", "tools/list"})
#: Uses that are over with their answer, and so take a place among the calls that run.
_RUNS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
LIST_WAIT_S: Final = 5.0
"""So long a list waits for what the rules need to know of servers; without it, what depends on it is not
shown."""

#: Characters of what a caller wrote that an entry of the ledger holds at most.
MAX_METHOD: Final = 200
MAX_ID: Final = 200

NOT_RECORDED: Final = (
    "This could not be recorded in the site's ledger, so nothing was done. Try again in a minute; if it "
    "lasts, the site's administrator finds the reason with penstock-agent status."
)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was decided, by which rule. ``of``: the server that has the item, where all are asked as one."""

    verdict: Verdict
    rule: str
    failure: Ending | None = None
    of: str = ""
    approval: str = ""


async def judge(shared: Shared, exchange: Exchange, message: Message) -> Ending | None:
    """What this message of a caller is answered, and goes no further; None when it may go on to the server.

    What is decided about a request is in the ledger before this returns, and what cannot be recorded goes no
    further.
    """
    if message.kind is not Kind.REQUEST:
        return None  # see ``tells``; answers are matched with what the child asked
    if (why := shared.ledger.refuses) is not None:
        return failures.not_executed(why)
    use = used(message)
    found = await _decide(shared, exchange, message, use)
    lost = _record(shared, exchange.key, exchange.server, exchange.principal, message, use, found)
    if lost is None and isinstance(found.failure, Collected):
        shared.approving.collected(found.failure.request)
    return lost or found.failure


def tells(shared: Shared, server: str, caller: Principal, message: Message) -> bool:
    """Whether a notification or an answer of a caller may go on to the server."""
    found = shared.gate.inbound(server, caller, message, shared.marked(server), shared.catalogues)
    if isinstance(found, Allowed):
        found = shared.tainting.judge(shared.gate, shared.catalogues, server, caller, message, None, found)
    return isinstance(found, Allowed) and not found.approve  # nobody waits for a notification


def refused(shared: Shared, exchange: Exchange, message: Message, rule: str, failure: Failure) -> Failure:
    """Record that a request was denied before anything of it was looked at. Returns what is told."""
    found = _Found(Verdict.DENIED, rule, failure)
    server, who, use = exchange.server, exchange.principal, used(message)
    return _record(shared, exchange.key, server, who, message, use, found) or failure


def withheld(shared: Shared, key: str, server: str, who: Principal, request: Message, text: str) -> Failure:
    """A request that was let through is not given to the process after all: what it has shown meanwhile is
    not as approved, or it has shown nothing. ``key``: of the exchange. Returns what the caller is told.
    """
    failure = denied(text)
    found = _Found(Verdict.WITHHELD, "pin", failure)
    return _record(shared, key, server, who, request, used(request), found) or failure


async def all_known(shared: Shared, servers: Collection[str]) -> None:
    """Have these servers say what they offer, as far as they do that soon."""

    async def ask(server: str) -> None:
        with suppress(CatalogueError):
            await shared.catalogues.known(server)

    with suppress(TimeoutError):
        async with asyncio.timeout(LIST_WAIT_S), asyncio.TaskGroup() as tasks:
            for server in servers:
                tasks.create_task(ask(server))


async def _decide(shared: Shared, exchange: Exchange, message: Message, use: Use | None) -> _Found:
    server, caller = exchange.server, exchange.principal
    allowance = caller.allowance
    if (
        allowance is not None
        and allowance.later is Later.READ_ONLY
        and message.method in _BY_MARK
        and not await _knows(shared, server)
    ):
        return _Found(Verdict.FAILED, "grant", UNMARKED)
    needed, wanted = shared.gate.to_ask(server, caller, message, shared.catalogues)
    for each in needed:
        if not await _knows(shared, each):
            return _Found(Verdict.FAILED, "rules", failures.UNSAID, "" if each == server else each)
    for each in shared.tainting.to_ask(shared.gate, shared.catalogues, server, caller, message, use):
        if keeping.found(shared, server, caller, message) is None and not await _knows(shared, each):
            return _Found(Verdict.FAILED, taint.RULE, failures.UNSAID, "" if each == server else each)
    if wanted:
        await all_known(shared, wanted)
    kept = keeping.found(shared, server, caller, message)
    found = _ruled(shared, server, caller, message, use, runs=kept is None)
    if isinstance(found, _Found):
        return found
    if kept is not None:
        return await _collected(shared, exchange, message, use, found, kept)
    approval = ""
    if found.approve:
        outcome = await _approved(shared, exchange, message, use, found)
        if isinstance(outcome, _Found):
            return outcome
        approval = outcome.id
        # Much may have changed while it waited.
        if (stopped := shared.stopped(server, caller)) is not None:
            return _Found(Verdict.DENIED, "paused", stopped, found.of, approval)
        found = _ruled(shared, server, caller, message, use)
        if isinstance(found, _Found):
            return found
    if found.charges and (why := _take(shared, exchange, message, found)) is not None:
        return _Found(Verdict.OVER_BUDGET, found.rule, why, found.of, approval)
    if (full := _noted(shared, exchange, message, use)) is not None:
        return _Found(Verdict.DENIED, full.rule, denied(full.text), found.of, approval)
    return _Found(Verdict.ALLOWED, found.rule, None, found.of, approval)


def _ruled(
    shared: Shared, server: str, caller: Principal, message: Message, use: Use | None, *, runs: bool = True
) -> Allowed | _Found:
    """By what is exposed, granted, ruled and approved of the server's definitions. ``runs``: whether the
    server will hear of it, and so could carry something out.
    """
    found = shared.gate.inbound(server, caller, message, shared.marked(server), shared.catalogues)
    if isinstance(found, Denied):
        return _Found(Verdict.DENIED, found.rule, denied(found.text), found.of)
    if (text := _unlike(shared, server, caller, message, use)) is not None:
        return _Found(Verdict.WITHHELD, "pin", denied(text), found.of)
    if not runs:
        return found
    found = shared.tainting.judge(shared.gate, shared.catalogues, server, caller, message, use, found)
    if isinstance(found, Denied):
        return _Found(Verdict.DENIED, found.rule, denied(found.text), found.of)
    return found


def _unlike(shared: Shared, server: str, caller: Principal, message: Message, use: Use | None) -> str | None:
    """Why what is used is not used as the server defines it now, in words; None when it may be."""
    definitions = shared.definitions
    if definitions is None or use is None:
        return None
    if (meant := shared.gate.owner(server, use, shared.catalogues)) is None:
        return None
    own, inner = meant
    if (text := definitions.refusal(own, inner)) is not None:
        return text
    at = definitions.outdated(own, inner, server, caller)
    if at and definitions.misfit(own, inner, member(message.params or b"{}", "arguments")):
        return f"The arguments do not fit this tool. {refresh(at)} Nothing was done."
    return None


async def _approved(
    shared: Shared, exchange: Exchange, message: Message, use: Use | None, found: Allowed
) -> Passed | _Found:
    """Whether somebody on site lets this one call pass. May wait for that."""
    arguments = keeping.all_of_it(message)
    if use is None:
        return _Found(Verdict.DENIED, found.rule, failures.NO_ONE_MEANING, found.of)
    try:
        digest = canonical.digest(arguments)
    except ValueError:
        return _Found(Verdict.DENIED, found.rule, failures.NO_ONE_MEANING, found.of)
    server, inner = shared.gate.owner(exchange.server, use, shared.catalogues) or (exchange.server, use)
    why = found.rule if message.method in _RUNS else f"{found.rule}, for {message.method}"
    call = Call(exchange.principal, server, str(inner), digest, arguments, why, message.method or "")
    outcome = await shared.approving.approved(call, exchange)
    return outcome if isinstance(outcome, Passed) else _stopped(found, outcome)


def _stopped(found: Allowed, outcome: Stopped) -> _Found:
    verdict = Verdict.WAITING if outcome.waits else Verdict.DENIED
    return _Found(verdict, found.rule, outcome.failure, found.of, outcome.id)


async def _collected(
    shared: Shared, exchange: Exchange, message: Message, use: Use | None, found: Allowed, kept: Request
) -> _Found:
    """The answer that was kept of an equal call, or why it does not leave. May wait for somebody on site."""
    server, caller = exchange.server, exchange.principal
    outcome = await shared.approving.released(kept, exchange)
    if isinstance(outcome, Stopped):
        return _stopped(found, outcome)
    answer = parse_child(kept.call.answer)
    redacted = await keeping.looked_through(shared, server, message, kept, answer)
    # Another call may have collected it meanwhile. From here on nothing waits.
    outcome = await shared.approving.released(kept, exchange)
    if isinstance(outcome, Stopped):
        return _stopped(found, outcome)
    if (stopped := shared.stopped(server, caller)) is not None:
        return _Found(Verdict.DENIED, "paused", stopped, found.of, kept.id)
    again = _ruled(shared, server, caller, message, use, runs=False)
    if isinstance(again, _Found):
        return again
    if redacted is not None:
        try:
            outbound.masked(shared, server, caller, exchange.key, redacted)
        except CannotRecord:
            return _Found(Verdict.FAILED, "redact", failures.not_executed(NOT_RECORDED), found.of, kept.id)
        if redacted.message is None:
            return _Found(Verdict.DENIED, "redact", denied(redacted.text), found.of, kept.id)
        answer = redacted.message
    if again.charges and (why := _take(shared, exchange, message, again, runs=False)) is not None:
        return _Found(Verdict.OVER_BUDGET, again.rule, why, found.of, kept.id)
    permit = shared.permits.of(exchange.key)
    if (over := outbound.measured(shared, permit, server, caller, message, answer)) is not None:
        return _Found(Verdict.OVER_BUDGET, again.rule, over, found.of, kept.id)
    if (full := _noted(shared, exchange, message, use)) is not None:
        return _Found(Verdict.DENIED, full.rule, denied(full.text), found.of, kept.id)
    return _Found(Verdict.ALLOWED, again.rule, Collected(kept, answer), found.of, kept.id)


def _take(
    shared: Shared, exchange: Exchange, message: Message, found: Allowed, *, runs: bool = True
) -> Failure | None:
    """Count it; why not, where a budget is used up."""
    left, runs = _left(shared, exchange), runs and message.method in _RUNS
    over = shared.permits.take(exchange.key, message, exchange.principal, found.charges, left, runs=runs)
    return None if over is None else denied(over.text)


def _noted(shared: Shared, exchange: Exchange, message: Message, use: Use | None) -> Denied | None:
    """That something sensitive is about to be read, if it is; why it must not, where that cannot be."""
    who, left = exchange.principal, _left(shared, exchange)
    return shared.tainting.let_through(
        shared.gate, shared.catalogues, exchange.server, who, message, use, left
    )


def _left(shared: Shared, exchange: Exchange) -> float:
    """Seconds until it is given up at the latest."""
    return shared.until(exchange.deadline) - asyncio.get_running_loop().time()


def _record(
    shared: Shared,
    key: str,
    server: str,
    who: Principal,
    message: Message,
    use: Use | None,
    found: _Found,
) -> Failure | None:
    """Returns why it could not be recorded; None when it was."""
    digest, of = "", found.of
    if use is not None and (meant := shared.gate.owner(server, use, shared.catalogues)) is not None:
        owner, use = meant
        of = of or ("" if owner == server else owner)
    if message.params is not None and (arguments := member(message.params, "arguments")) is not None:
        with suppress(ValueError):
            digest = canonical.digest(arguments)
    entry = Decision(
        key,
        server,
        who,
        (message.method or "")[:MAX_METHOD],
        found.verdict,
        found.rule,
        (message.id or b"").decode("utf-8", "replace")[:MAX_ID],
        "" if use is None else str(use)[:MAX_ITEM],
        of,
        digest,
        found.approval,
    )
    try:
        shared.ledger.record(entry)
    except CannotRecord:
        return failures.not_executed(shared.ledger.refuses or NOT_RECORDED)
    return None


async def _knows(shared: Shared, server: str) -> bool:
    """Whether the server has said what it offers, and which of its tools only read; else it is asked."""
    try:
        async with asyncio.timeout(shared.limits.commit_after):
            await shared.catalogues.known(server)
    except (CatalogueError, TimeoutError):
        return False
    return True
