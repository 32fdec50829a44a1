"""One message of a server on its way to a caller: what of it leaves, and what was found in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from penstock.envelope import Kind, Message
from penstock_agent.gate.methods import LISTS, used
from penstock_agent.gate.redaction.detectors import DETECTORS, FIELD
from penstock_agent.gate.redaction.document import MAX_TEXT, MAX_VALUES, TooMuch, read
from penstock_agent.gate.redaction.rules import Action, Plan, Redactor, strictest
from penstock_agent.gate.redaction.scan import MAX_FOUND, REMOVED, Scan

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
    """None where the message may leave as it is. ``request``: what it answers."""
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
        doc = read(raw, plan.fields, numbers=bool(plan.customs))
        scan = Scan(plan.detectors, plan.customs)
        scan.look(doc)
    except TooMuch:
        action = Action.ASK if plan.default is Action.ASK else Action.BLOCK
        kept = message if action is Action.ASK else None
        return Outcome(None, action, {UNREAD: 1}, item, _TOO_MUCH, kept, "more than the site looks through")
    if not scan.found:
        return None
    actions = [plan.action(name) for name in scan.found if name != FIELD]
    actions += [Action(why) for each in doc.documents() for _, _, whys in each.cuts for why in whys]
    action = strictest(actions)
    if action is not Action.MASK:
        kept = _without_masked(plan, message, part, raw) if action is Action.ASK else None
        what = _what(plan, scan.found, action)
        return Outcome(None, action, dict(scan.found), item, _words(what, action), kept, what)
    new = doc.written(REMOVED)
    return Outcome(_with(message, part, new), action, dict(scan.found), item)


def _without_masked(plan: Plan, message: Message, part: str, raw: bytes) -> Message | None:
    """The message without what is taken out whatever anybody says; None where that cannot be found."""
    masking = plan.masking
    if masking is None:
        return message
    try:
        doc = read(raw, masking.fields, numbers=bool(masking.customs))
        scan = Scan(masking.detectors, masking.customs)
        scan.look(doc)
    except TooMuch:
        return None
    return _with(message, part, doc.written(REMOVED)) if scan.found else message


def _with(message: Message, part: str, raw: bytes) -> Message:
    if part == "result":
        return replace(message, result=raw)
    return replace(message, params=raw) if part == "params" else replace(message, error=raw)


_TOO_MUCH: Final = (
    "The site looks through what leaves it, and the answer has more in it than it looks through (above "
    f"{MAX_TEXT >> 20} MiB of text, {MAX_VALUES:,} values or {MAX_FOUND:,} findings), so nothing of it is "
    "shown. The request has run. Ask for less at once: a narrower query, a page, or a part."
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
