"""One message of a server on its way to a caller: what of it leaves, and what was found in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from penstock.envelope import Kind, Message
from penstock_agent.gate.methods import LISTS, used
from penstock_agent.gate.redaction.detectors import DETECTORS, FIELD
from penstock_agent.gate.redaction.document import MAX_TEXT, MAX_VALUES, read
from penstock_agent.gate.redaction.rules import Action, Plan, Redactor, strictest
from penstock_agent.gate.redaction.scan import MAX_FOUND, REMOVED, Scan
from penstock_agent.gate.redaction.steps import Steps, TooMuch, finish

UNREAD: Final = "unread"
"""What a message is counted as that has more in it than is looked through."""

#: Answers that describe what there is, and hold no data of anybody.
DESCRIBING: Final = frozenset({"initialize", "server/discover", *LISTS})


@dataclass(frozen=True, slots=True)
class Outcome:
    """``message``: what leaves; None for nothing."""

    message: Message | None
    action: Action
    found: Mapping[str, int]
    """How often, by what it was. Never a value."""
    item: str
    text: str = ""
    """Why nothing leaves, for the caller."""
    kept: Message | None = None
    """What leaves when somebody on site has looked at it and says so; None where that is not asked."""
    what: str = ""
    """What the rules do not let out, in words, with ``found`` where that is known."""


def redacted(redactor: Redactor, request: Message | None, message: Message) -> Outcome | None:
    """None where the message may leave as it is. ``request``: what it answers. For small messages: of a long
    one nothing else is done for seconds. See ``redacting``.
    """
    return finish(redacting(redactor, request, message))


def size(message: Message) -> int:
    """Bytes that are looked through."""
    return len(message.result or message.error or message.params or b"")


def redacting(redactor: Redactor, request: Message | None, message: Message) -> Steps[Outcome | None]:
    """The same in steps. Thrown :exc:`~penstock_agent.gate.redaction.steps.TooMuch` between them, it ends
    as with any message that is too much.
    """
    if request is not None and message.kind is Kind.RESPONSE and request.method in DESCRIBING:
        return None
    use = None if request is None else used(request)
    plan = redactor.plan(*((None, None) if use is None else (use.item, use.name)))
    if plan is None:
        return None
    item = "" if use is None else str(use)
    part = "result" if message.result is not None else "error" if message.error is not None else "params"
    raw = message.params if part == "params" else message.result or message.error
    if raw is None:
        return None
    try:
        done = yield from _done(plan, raw)
    except TooMuch:
        asks = plan.default is Action.ASK
        # What is masked whatever anybody says cannot be found in it.
        waits = message if asks and plan.masking is None else None
        action, what = Action.ASK if asks else Action.BLOCK, "more than the site looks through"
        return Outcome(None, action, {UNREAD: 1}, item, _TOO_MUCH, waits, what)
    if done is None:
        return None
    action = done.action
    if action is not Action.MASK:
        what, waits = _what(plan, done.found, action), None
        if action is Action.ASK:
            waits = yield from _without_masked(plan, message, part, raw)
        return Outcome(None, action, dict(done.found), item, _words(what, action), waits, what)
    return Outcome(_with(message, part, done.new), action, dict(done.found), item)


@dataclass(frozen=True, slots=True)
class _Done:
    found: Counter[str]
    action: Action
    new: bytes
    """What leaves, where all that is found is masked."""


def _without_masked(plan: Plan, message: Message, part: str, raw: bytes) -> Steps[Message | None]:
    """The message without what is taken out whatever anybody says; None where that cannot be found."""
    if plan.masking is None:
        return message
    try:
        done = yield from _done(plan.masking, raw)
    except TooMuch:
        return None
    return message if done is None else _with(message, part, done.new)


def _done(plan: Plan, raw: bytes) -> Steps[_Done | None]:
    """None where nothing is found."""
    doc = yield from read(raw, plan.fields, numbers=bool(plan.customs))
    scan, done = Scan(plan.detectors, plan.customs), None
    try:
        yield from scan.look(doc)
        if scan.found:
            actions = {plan.action(name) for name in scan.found if name != FIELD}
            for each in doc.documents():
                actions |= {Action(why) for why in each.reasons}
                yield
            action = strictest(actions)
            new = (yield from doc.written(REMOVED)) if action is Action.MASK else raw
            done = _Done(scan.found, action, new)
    except TooMuch:
        yield from doc.let_go()
        raise
    yield from doc.let_go()
    return done


def _with(message: Message, part: str, raw: bytes) -> Message:
    if part == "result":
        return replace(message, result=raw)
    return replace(message, params=raw) if part == "params" else replace(message, error=raw)


_TOO_MUCH: Final = (
    "The site looks through what leaves it, and the answer has more in it than it looks through (above "
    f"{MAX_TEXT >> 20} MiB of text, {MAX_VALUES:,} values or {MAX_FOUND:,} findings, or more work than one "
    "answer is worth), so nothing of it is shown. The request has run. Ask for less at once: a narrower "
    "query, a page, or a part."
)
_ENDS: Final = {
    Action.BLOCK: "so nothing of the answer is shown. The request has run: do not repeat it as it is. Ask "
    "for something else, or ask the site's administrator.",
    Action.ASK: "and somebody on site has to approve that, which cannot be waited for with an answer of this "
    "kind or size; so nothing of the answer is shown. The request has run: do not repeat it. Ask for less at "
    "once, or ask the site's administrator.",
}


def _what(plan: Plan, found: Counter[str], action: Action) -> str:
    names = [name for name in found if name == FIELD or plan.action(name) is action]
    return ", ".join(
        "a field of the site's list" if name == FIELD else DETECTORS[name].what if name in DETECTORS else name
        for name in names
    )


def _words(what: str, action: Action) -> str:
    return f"The site found in the answer what its rules do not let out ({what}), {_ENDS[action]}"
