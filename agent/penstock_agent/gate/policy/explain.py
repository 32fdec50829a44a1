"""Why the rules decide as they do, in words for the site's administrator. Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from penstock.principal import Principal
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.policy import rules, taint
from penstock_agent.gate.policy.rules import Arrived, Policy, Rule
from penstock_agent.ledger.entries import Verdict


class Step(msgspec.Struct, frozen=True):
    """What became of one rule."""

    rule: str
    decides: bool
    words: str


class Explanation(msgspec.Struct, frozen=True):
    """``by``: what decides, as the ledger names it."""

    verdict: Verdict
    by: str
    words: str
    steps: list[Step] = []
    unknown: str = ""
    """What this may be wrong about, and how to know; empty for nothing."""
    sensitive: bool = False
    """Whether such a call, let through, counts as reading something sensitive."""


_NOTHING = Expose()
_NO_MARKS = (
    'profile = "read_only" lets only those tools be used that the server marks as read-only, and the server '
    "was not asked. This is what the rules say about a tool that it does mark; --ask starts the server and "
    "asks it."
)
_NOT_ASKED = (
    "The server was not asked. A tool of which it says that it only reads (readOnlyHint true) and reaches "
    "nothing beyond the site (openWorldHint false) goes on; --ask starts the server and asks it."
)


def explain(
    exposed: Expose,
    policy: Policy,
    who: Principal,
    item: Item,
    name: str,
    arguments: bytes | None,
    marked: Collection[str] | None,
    sensitive: Expose = _NOTHING,
) -> Explanation:
    """``marked``: names of the tools that the server marks as read-only; None where it was not asked.
    ``sensitive``: what of the server is.
    """
    if not exposed.shows(item, name):
        return Explanation(Verdict.DENIED, "expose", f"No entry of expose names {item.value}:{name}.")
    unknown = _NO_MARKS if marked is None and policy.read_only and item is Item.TOOL else ""
    known = frozenset({name}) if marked is None else marked
    arrived = Arrived(arguments)
    ruling = rules.decide(policy, who, item, name, arrived, known)
    steps = [
        Step(rule.name, str(rule) == ruling.by, _words(rule, ruling, who, item, name, arrived))
        for rule in policy.rules
    ]
    reads = ruling.verdict is not Verdict.DENIED and sensitive.touches(item, name)
    return Explanation(ruling.verdict, ruling.by, _sum(policy, ruling, item), steps, unknown, reads)


def tainted(
    said: Explanation, item: Item, name: str, approve: bool, contained: Collection[str] | None
) -> Explanation:
    """The same for a person for whom something sensitive was read. ``approve``: whether somebody on site may
    let it pass then. ``contained``: names of the tools that only read on site; None where the server was not
    asked.
    """
    if said.verdict is Verdict.DENIED or item not in (Item.TOOL, Item.METHOD):
        return said
    if item is Item.TOOL and contained is not None and name in contained:
        return said
    what = (
        "Methods may do anything"
        if item is Item.METHOD
        else "The server does not say of this tool both that it only reads and that it reaches nothing "
        "beyond the site"
    )
    unknown = _NOT_ASKED if contained is None and item is Item.TOOL else ""
    verdict = Verdict.WAITING if approve else Verdict.DENIED
    by = said.by if approve and said.verdict is Verdict.WAITING else taint.RULE
    then = "it is allowed once somebody on site has approved it" if approve else "it is refused"
    words = f"{what}, so after something sensitive was read {then}."
    return msgspec.structs.replace(said, verdict=verdict, by=by, words=words, unknown=unknown or said.unknown)


def _sum(policy: Policy, ruling: rules.Ruling, item: Item) -> str:
    if ruling.by == rules.READ_ONLY:
        what = "the server does not mark it as read-only" if item is Item.TOOL else "methods may do anything"
        return f'profile = "read_only", and {what}.'
    if ruling.by == rules.NO_RULE:
        return "No rule allows it."
    if not policy.rules:
        return "There are no rules for this server: everybody may use all that is exposed."
    if ruling.verdict is Verdict.WAITING:
        return f"The {ruling.by} allows it once somebody on site has approved it."
    if ruling.verdict is Verdict.ALLOWED:
        return f"The {ruling.by} allows it."
    if ruling.text:
        return f"The {ruling.by} would allow it, but not with these arguments, and no other rule does."
    return f"The {ruling.by} denies it."


def _words(rule: Rule, ruling: rules.Ruling, who: Principal, item: Item, name: str, arrived: Arrived) -> str:
    stranger = rule.stranger(who)
    if stranger is not None:
        return f"does not concern this caller: its {stranger} name others"
    if rule.deny.touches(item, name):
        return "denies it"
    if not rule.allow.touches(item, name):
        return f"does not allow {item.value}:{name}"
    conditions = rule.conditions(item, name)
    wrong = rules.Candidate(rule, conditions, ruling).wrong(arrived.parsed()) if conditions else None
    if wrong is not None:
        return f"allows it, but not with these arguments: {wrong.words}"
    if str(rule) == ruling.by:
        return "allows it after approval" if rule.approve else "allows it"
    if ruling.by == rules.READ_ONLY:
        return "would allow it, were it not for the profile"
    if ruling.verdict is Verdict.DENIED:
        return f"would allow it, but {ruling.by} denies it"
    return f"would allow it too, but {ruling.by} comes first"
