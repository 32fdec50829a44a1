"""What of a child's message may leave towards a caller: what the gate shows, as it was approved, without what
is taken out, and within budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

import msgspec

from penstock.envelope import Kind, Message, member, parse_child, replaced, text_member
from penstock.log import get
from penstock.principal import Principal
from penstock_agent.endpoint import failures, keeping
from penstock_agent.endpoint.failures import Failure, denied
from penstock_agent.endpoint.held import Share
from penstock_agent.endpoint.permits import Permit
from penstock_agent.endpoint.shared import Shared
from penstock_agent.gate.definitions import GREETINGS, INVALID_PARAMS, Definitions, Sight, refresh
from penstock_agent.gate.methods import used
from penstock_agent.gate.redaction.outgoing import DESCRIBING, Outcome, redacted, redacting, size
from penstock_agent.ledger.entries import MAX_ITEM, CannotRecord, Masked

SHORT: Final = 16 << 10
"""Bytes of a message that are looked through at once."""
NOT_SHOWN: Final = (
    "What the site takes out of this answer could not be recorded in its ledger, so nothing of the answer is "
    "shown. The request has run: check before you repeat it. The site's administrator finds the reason with "
    "penstock-agent status."
)

_log = get(__name__)


def let_out(
    shared: Shared,
    server: str,
    caller: Principal,
    request: Message | None,
    message: Message,
    key: str,
    sight: Sight | None = None,
) -> Message | None:
    """What may leave; None for nothing. ``key``: of the exchange whose request it belongs to; empty where it
    is not known. ``sight``: of the process that says it now; None for what was said earlier.

    For what describes the server, and for short messages: see ``passing``.
    """
    out = _compared(shared, server, caller, request, message, key, sight)
    redactor = shared.gate.redactors.get(server)
    if redactor is None or out is None:
        return out
    return _redacted(shared, server, caller, request, out, key, redacted(redactor, request, out))


def passing(
    shared: Shared,
    server: str,
    caller: Principal,
    request: Message | None,
    message: Message,
    key: str,
    sight: Sight | None,
    held: Share,
    then: Callable[[Message | None], None],
) -> Coroutine[object, object, None] | None:
    """Call ``then`` with what may leave: at once; or where that takes a while, in what is returned. No other
    message of the process must be taken until that is over. It is cancelled when the process ends, and much
    else may change meanwhile. ``held``: where the bytes count that wait.
    """
    describes = request is not None and request.method in DESCRIBING
    if describes or size(message) <= SHORT or server not in shared.gate.redactors:
        then(let_out(shared, server, caller, request, message, key, sight))
        return None

    async def look() -> None:
        out = _compared(shared, server, caller, request, message, key, sight)
        length = 0 if out is None else size(out)
        held.take(length)
        try:
            while out is not None and (redactor := shared.gate.redactors.get(server)) is not None:
                outcome = await shared.turns.run(redacting(redactor, request, out))
                if shared.gate.redactors.get(server) is redactor:  # those rules hold still
                    out = _redacted(shared, server, caller, request, out, key, outcome)
                    break
        finally:
            held.give(length)
        then(out)

    return look()


def _redacted(
    shared: Shared,
    server: str,
    caller: Principal,
    request: Message | None,
    message: Message,
    key: str,
    outcome: Outcome | None,
) -> Message | None:
    """A message after it was looked through, once that is on record."""
    if outcome is None:
        return message
    text = outcome.text
    try:
        masked(shared, server, caller, key, outcome)
    except CannotRecord:
        text = NOT_SHOWN
    else:
        if (
            request is not None
            and (waits := keeping.keep(shared, server, caller, request, outcome)) is not None
        ):
            text = waits
    if not text or request is None:
        return None if text else outcome.message
    return parse_child(denied(text).answer(request, key)[1])


def measured(
    shared: Shared, permit: Permit | None, server: str, caller: Principal, request: Message, answer: Message
) -> Failure | None:
    """Count the answer to a request, just before it leaves; why it must not, where it is too much."""
    over = shared.permits.answered(permit, server, caller, request, answer)
    if over is None:
        return None
    _log.warning("answer_over_budget", method=request.method)
    return failures.outcome_unknown(over.text)


def masked(shared: Shared, server: str, caller: Principal, key: str, outcome: Outcome) -> None:
    """Record what was taken out of a message, or why it is not let out: how much of what, never what it
    said. Raises :exc:`~penstock_agent.ledger.entries.CannotRecord`.
    """
    item, action, found = outcome.item[:MAX_ITEM], outcome.action.value, dict(outcome.found)
    shared.ledger.record(Masked(key, server, caller, item, action, found))
    _log.info("masked", server=server, exchange=key, action=action, **found)


def _compared(
    shared: Shared,
    server: str,
    caller: Principal,
    request: Message | None,
    message: Message,
    key: str,
    sight: Sight | None,
) -> Message | None:
    """What the gate lets out, without what is not as approved."""
    sight = sight or Sight()
    listing = request is not None and request.method == "tools/list" and message.result is not None
    if key and listing and shared.definitions is not None:
        shared.definitions.told(server, caller)
    result, definitions = message.result, shared.definitions
    outbound = partial(shared.gate.outbound, server, caller, request)
    marked, known = shared.marked(server), shared.catalogues
    if definitions is None or request is None:
        return outbound(message, marked, known)
    if request.method == "tools/call" and message.kind is Kind.ERROR:
        message = _hinted(shared, definitions, server, caller, request, message)
    if result is None:
        return outbound(message, marked, known)
    if request.method in GREETINGS:
        result = definitions.greeted(server, sight, result)
        message = Message(message.kind, message.id, None, None, result, None)
    shown = partial(definitions.shown, server, sight) if definitions.sees(server, request) else None
    out = outbound(message, marked, known, shown)
    if shown is not None and out is not None and out.kind is Kind.RESPONSE:
        definitions.listed(server, sight, request, result)
    return out


def _hinted(
    shared: Shared,
    definitions: Definitions,
    server: str,
    caller: Principal,
    request: Message,
    message: Message,
) -> Message:
    """An error about arguments, for a caller that knows an older definition: with that said."""
    error, use = message.error or b"{}", used(request)
    if use is None or member(error, "code") != b"%d" % INVALID_PARAMS:
        return message
    if (meant := shared.gate.owner(server, use, shared.catalogues)) is None:
        return message
    at = definitions.outdated(*meant, server, caller)
    if not at:
        return message
    text = f"{text_member(error, 'message') or ''} {refresh(at)}".strip()
    error = replaced(error, msgspec.json.encode(text), "message")
    return Message(message.kind, message.id, None, None, None, error)
