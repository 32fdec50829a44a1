"""Answers that stay on site until somebody there lets them out, and how their callers get them.

The call has run. Its caller is told so, and makes the same call again: that is judged like any, and then
answered with what is kept, once; the server hears nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from penstock import canonical
from penstock.envelope import Kind, Message, dump, is_modern, member, members, replaced, with_id
from penstock.principal import Principal
from penstock_agent.endpoint.shared import Shared
from penstock_agent.gate.approval import MOST_ANSWER, Call, Request, TooMany
from penstock_agent.gate.methods import COMPLETE, used
from penstock_agent.gate.redaction.outgoing import Outcome, redacting
from penstock_agent.gate.redaction.rules import Action

#: Requests of which an answer can be kept: the same request says what is wanted.
KEEPS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
#: Members of a call's parameters that belong to this sending of it alone: another one has others.
_OF_ONE_SENDING: Final = frozenset({"_meta", "requestState"})
#: Those that say nothing beside the item and its arguments.
_KNOWN: Final = frozenset({"name", "uri", "arguments"}) | _OF_ONE_SENDING
#: Members of a request that goes on with what was begun before.
_CONTINUES: Final = frozenset({"requestState", "inputResponses"})
_COMPLETE: Final = b'"complete"'

_WAITS: Final = (
    "The call has run, and its answer waits for approval on site (request {id}): the site's rules ask for "
    "that because of what they found in it ({what}). Tell the user, and call again with the same arguments "
    "in a minute, within 10 minutes: that collects the answer, and does not run the call once more."
)
_ONE_WAITS: Final = (
    "The call has run, and the site found in its answer what somebody there has to approve ({what}). The "
    "answer of an earlier equal call of yours is kept for that already (request {id}), so nothing is shown "
    "or kept of this one. Call again with the same arguments to collect that answer."
)
_RULES_CHANGED: Final = (
    "This answer was approved on site, but the site's rules have changed since and find more in it, so "
    "nothing of it is shown. The call has run before; nothing was done now. Ask the site's administrator."
)


@dataclass(frozen=True, slots=True)
class Collected:
    """A kept answer that leaves. An :class:`~penstock_agent.endpoint.failures.Ending`."""

    request: Request
    message: Message
    text: str = ""

    def answer(self, request: Message, exchange: str) -> tuple[int, bytes]:
        """As the caller wants it now."""
        message = with_id(self.message, request.id)
        if is_modern(request) and message.result and member(message.result, "resultType") is None:
            message = Message(
                Kind.RESPONSE, message.id, None, None, replaced(message.result, _COMPLETE, "resultType"), None
            )
        return 200, dump(message)


def keep(shared: Shared, server: str, caller: Principal, request: Message, outcome: Outcome) -> str | None:
    """Keep an answer until somebody on site has looked at it: what the caller is told. None where it cannot
    be kept.
    """
    kept = outcome.kept
    if kept is None or kept.result is None or request.method not in KEEPS:
        return None
    params, ends = request.params or b"{}", member(kept.result, "resultType")
    if member(params, "task") is not None or (ends is not None and ends != _COMPLETE):
        return None
    answer = dump(kept)
    meant = None if len(answer) > MOST_ANSWER else _call(server, caller, request)
    if meant is None:
        return None
    counted = ", ".join(f"{name} ({number})" for name, number in sorted(outcome.found.items()))
    call = Call(
        meant.who,
        meant.server,
        meant.item,
        meant.digest,
        meant.arguments,
        f'redaction, action = "ask": {counted}',
        meant.method,
        answer,
        frozenset(outcome.found),
    )
    try:
        waiting = shared.approving.keep(call)
    except TooMany:
        return None
    text = _WAITS if waiting.call is call else _ONE_WAITS
    return text.format(id=waiting.id, what=outcome.what)


def found(shared: Shared, server: str, caller: Principal, request: Message) -> Request | None:
    """What is kept of an equal call of this caller, or was until lately."""
    if not shared.approving.keeps or request.method not in KEEPS:
        return None
    params = request.params or b"{}"
    if any(member(params, name) is not None for name in ("task", *_CONTINUES)):
        return None
    call = _call(server, caller, request)
    return None if call is None else shared.approving.kept(call.key)


async def looked_through(
    shared: Shared, server: str, request: Message, kept: Request, message: Message
) -> Outcome | None:
    """What the rules of now say to an answer that was let out, ``message``; None where it may leave as it
    is.
    """
    outcome: Outcome | None = None
    while (redactor := shared.gate.redactors.get(server)) is not None:
        outcome = await shared.turns.run(redacting(redactor, request, message))
        if shared.gate.redactors.get(server) is redactor:
            break
        outcome = None
    if outcome is None or outcome.action is not Action.ASK:
        return outcome
    if outcome.kept is None or not set(outcome.found) <= kept.call.found:
        return replace(outcome, message=None, text=_RULES_CHANGED)
    return (
        None if outcome.kept is message else Outcome(outcome.kept, Action.MASK, outcome.found, outcome.item)
    )


def all_of_it(message: Message, but_for: frozenset[str] = _OF_ONE_SENDING) -> bytes:
    """What somebody on site approves: the arguments, and with them whatever else the server acts upon."""
    said = members(message.params or b"{}") or {}
    left = {key: value for key, value in said.items() if key not in but_for}
    if message.method == COMPLETE or not left.keys() <= _KNOWN:
        return msgspec.json.encode(left)
    return bytes(said.get("arguments", b"{}"))


def _call(server: str, caller: Principal, request: Message) -> Call | None:
    """None where two calls cannot be told to be equal."""
    use, arguments = used(request), all_of_it(request, _OF_ONE_SENDING | _CONTINUES)
    if use is None:
        return None
    try:
        digest = canonical.digest(arguments)
    except ValueError:
        return None
    return Call(caller, server, f"answer of {use}", digest, arguments, "", request.method or "")
