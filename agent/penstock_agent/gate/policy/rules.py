"""The rules of one server, and what follows from them for a caller. Pure and deterministic.

Where there are rules, what none of them allows is denied. Of those that concern the caller: a ``deny`` wins
over everything, then a rule that asks for approval, then the first that allows. A rule's conditions about
arguments narrow what it allows, and never what it denies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.principal import Principal
from penstock_agent.gate.expose import Expose, Item, Pattern
from penstock_agent.gate.policy import arguments as given
from penstock_agent.gate.policy.arguments import BadArguments, Condition
from penstock_agent.ledger.entries import Verdict

CALLERS_MAX: Final = 1000
"""Callers whose rules are kept at hand; with one more, all are found out again."""
ITEMS_MAX: Final = 100
"""The same for items of one caller."""
NAME_MAX: Final = 200
"""Longer names of items are not kept at hand."""

#: What decides where it is no rule by its name, for the ledger.
NO_RULE: Final = "rules"
READ_ONLY: Final = "profile"

_CHANGE_OR_ASK: Final = "Change the arguments so that they fit, or ask the site's administrator."


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of a tool one person may use. None: as much as there is. Sizes are bytes, of answers."""

    calls_per_minute: int | None = None
    concurrent: int | None = None
    calls_per_day: int | None = None
    bytes_per_day: int | None = None
    max_result: int | None = None


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call of this item has to look like."""

    of: Pattern
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """None of ``users``, ``groups``, ``clients`` or ``issuers``: any."""

    name: str
    users: frozenset[str] | None = None
    """Subjects and e-mail addresses, exact."""
    groups: frozenset[str] | None = None
    clients: tuple[Pattern, ...] | None = None
    """Ids of clients, by the globs of tools."""
    issuers: frozenset[str] | None = None
    """Who said who the caller is: a subject or a group may exist at several. Exact."""
    allow: Expose = Expose()  # noqa: RUF009 - frozen
    deny: Expose = Expose()  # noqa: RUF009 - frozen
    arguments: tuple[Arguments, ...] = ()
    budget: Budget | None = None
    approve: bool = False

    def __str__(self) -> str:
        return f'rule "{self.name}"'

    def stranger(self, who: Principal) -> str | None:
        """Why it does not concern the caller: which of its conditions; None if it does."""
        if self.issuers is not None and who.issuer not in self.issuers:
            return "issuers"
        if self.users is not None and not (
            who.subject in self.users or (bool(who.email) and who.email in self.users)
        ):
            return "users"
        if self.groups is not None and self.groups.isdisjoint(who.groups):
            return "groups"
        if self.clients is not None and not any(one.matches(who.client) for one in self.clients):
            return "clients"
        return None

    def conditions(self, item: Item, name: str) -> tuple[Condition, ...]:
        """What the arguments of this item have to keep to."""
        return tuple(
            condition
            for one in self.arguments
            if one.of.kind is item and one.of.matches(name)
            for condition in one.conditions
        )

    @property
    def shape(self) -> object:
        """What lists depend on."""
        return (self.users, self.groups, self.clients, self.issuers, self.allow, self.deny)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say about one request. ``verdict``: ALLOWED, DENIED or WAITING (for approval)."""

    verdict: Verdict
    by: str
    """For the ledger."""
    text: str = ""
    """For a caller who may see the item: what is wrong with this use of it, and what to do. Empty for one
    who may not even know that it is there.
    """
    rule: Rule | None = None


class Arrived:
    """The arguments of a call, parsed when the first rule looks at them. ``raw``: None where there are none
    to look at.
    """

    __slots__ = ("_parsed", "raw")

    def __init__(self, raw: bytes | None) -> None:
        self.raw = raw
        self._parsed: Mapping[str, object] | None = None

    def parsed(self) -> Mapping[str, object] | None:
        """None for what no condition holds of."""
        if self._parsed is None and self.raw is not None:
            try:
                self._parsed = given.parse(self.raw)
            except BadArguments:
                self.raw = None
        return self._parsed


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rule that allows an item, if the arguments fit."""

    rule: Rule
    conditions: tuple[Condition, ...]
    ruling: Ruling
    """What follows if they do."""

    def wrong(self, arguments: Mapping[str, object] | None) -> Condition | None:
        """The first condition that these arguments do not keep to. None for arguments: there are none to
        look at (a completion), which no condition holds of.
        """
        for condition in self.conditions:
            if arguments is None or not condition.holds(arguments):
                return condition
        return None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the rules say to one caller about one item. ``denied``: by the rule, or by none that allows."""

    denied: Ruling | None
    allowed: tuple[Candidate, ...] = ()


class Mine:
    """The rules that concern one caller."""

    __slots__ = ("_deny", "_known", "allow")

    def __init__(self, found: Sequence[Rule]) -> None:
        self._deny = tuple(rule for rule in found if rule.deny != _NOTHING)
        self.allow = sorted(
            (rule for rule in found if rule.allow != _NOTHING), key=lambda one: not one.approve
        )
        """Those that ask for approval first, else in the order of the file."""
        self._known: dict[tuple[str, str], Chosen] = {}

    def choose(self, item: Item, name: str) -> Chosen:
        """What they say about an item; found out once, for names that are not too long."""
        key = (item.value, name)
        found = self._known.get(key)
        if found is None:
            found = self._choose(item, name)
            if len(name) <= NAME_MAX:
                if len(self._known) >= ITEMS_MAX:
                    self._known.clear()
                self._known[key] = found
        return found

    def _choose(self, item: Item, name: str) -> Chosen:
        for rule in self._deny:
            if rule.deny.touches(item, name):
                return Chosen(Ruling(Verdict.DENIED, str(rule)))
        if not any(rule.allow.shows(item, name) for rule in self.allow):
            return _NONE_ALLOWS
        # Another spelling of a URI is no way around the approval or the budget of what it means.
        return Chosen(
            None,
            tuple(
                Candidate(
                    rule,
                    rule.conditions(item, name),
                    Ruling(Verdict.WAITING if rule.approve else Verdict.ALLOWED, str(rule), rule=rule),
                )
                for rule in self.allow
                if rule.allow.touches(item, name)
            ),
        )


class Policy:
    """The rules of one server. Without any, everybody may use all that is exposed.

    ``read_only``: of the tools only those that the server marks as read-only, whatever a rule says, and no
    method by its name, which may do anything.
    """

    __slots__ = ("_mine", "read_only", "rules", "shape")

    def __init__(self, rules: tuple[Rule, ...] = (), read_only: bool = False) -> None:
        self.rules = rules
        self.read_only = read_only
        self.shape: object = (tuple(rule.shape for rule in rules), read_only)
        """Equal shapes show everybody the same."""
        self._mine: dict[tuple[str, str, str, tuple[str, ...], str], Mine] = {}

    def of(self, who: Principal) -> Mine:
        """The rules that concern this caller."""
        key = (who.issuer, who.subject, who.email, who.groups, who.client)
        found = self._mine.get(key)
        if found is None:
            if len(self._mine) >= CALLERS_MAX:
                self._mine.clear()
            found = Mine([rule for rule in self.rules if rule.stranger(who) is None])
            self._mine[key] = found
        return found

    def hides(self, who: Principal, item: Item, name: str, marked: Collection[str]) -> str | None:
        """What keeps this caller from this item whatever the arguments are, for the ledger; None: nothing.

        ``marked``: names of the tools that the server marks as read-only.
        """
        if self.withholds(item, name, marked):
            return READ_ONLY
        denied = self.of(who).choose(item, name).denied if self.rules else None
        return None if denied is None else denied.by

    def withholds(self, item: Item, name: str, marked: Collection[str]) -> bool:
        """Whether the profile keeps everybody from it."""
        return self.read_only and (item is Item.METHOD or (item is Item.TOOL and name not in marked))

    def nothing_for(self, who: Principal) -> bool:
        """Whether this caller may use nothing of the server."""
        return bool(self.rules) and not self.of(who).allow


_NOTHING: Final = Expose()
_FREE: Final = Ruling(Verdict.ALLOWED, "expose")
_NONE_ALLOWS: Final = Chosen(Ruling(Verdict.DENIED, NO_RULE))
_WITHHELD: Final = Ruling(Verdict.DENIED, READ_ONLY)


def decide(
    policy: Policy, who: Principal, item: Item, name: str, arguments: Arrived, marked: Collection[str]
) -> Ruling:
    """What the rules say about this use. Whether the item is exposed at all is decided elsewhere."""
    if policy.read_only and policy.withholds(item, name, marked):
        return _WITHHELD
    if not policy.rules:
        return _FREE
    chosen = policy.of(who).choose(item, name)
    if chosen.denied is not None:
        return chosen.denied
    unfit: tuple[Rule, Condition] | None = None
    for one in chosen.allowed:
        wrong = one.wrong(arguments.parsed()) if one.conditions else None
        if wrong is None:
            return one.ruling
        unfit = unfit or (one.rule, wrong)
    assert unfit is not None  # noqa: S101 - some rule allows it, or it were denied
    text = (
        f"The site allows this {item.value}, but not with these arguments: {unfit[1].words}. Nothing was "
        f"done. {_CHANGE_OR_ASK}"
    )
    return Ruling(Verdict.DENIED, str(unfit[0]), text)
