"""The rules of all servers, as the gate asks them: at a server's own URL, and where all servers are one.

There, an item is judged by the rules of the server that has it, under the name that this server has for it.
Where several may have it (a resource), all of them have to allow it; where that cannot be known (a shortened
name of a server that has not said what it offers), it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy.books import Charge
from penstock_agent.gate.policy.rules import NO_RULE, Arrived, Policy, decide
from penstock_agent.ledger.entries import Verdict

Offered = Callable[[str, Item], frozenset[str] | None]
"""What a server calls its items of a kind; None as long as it was not asked."""


class Known(Protocol):
    """What is known of what servers offer."""

    def marked(self, server: str, /) -> Collection[str]:
        """Names of the tools that the server marks as read-only."""
        ...

    def offered(self, server: str, item: Item, /) -> frozenset[str] | None: ...


class Whole(Protocol):
    """All servers as one."""

    @property
    def servers(self) -> Sequence[str]: ...

    def owners(self, item: Item, name: str, offered: Offered, /) -> Sequence[tuple[str, str | None]]:
        """The servers that may have the item, and what each calls it; None where that is not known."""
        ...


class NothingKnown:
    """Of servers that were never asked."""

    def marked(self, server: str, /) -> Collection[str]:
        return frozenset()

    def offered(self, server: str, item: Item, /) -> frozenset[str] | None:
        return None


@dataclass(frozen=True, slots=True)
class Ruled:
    """What the rules of all servers concerned say; as :class:`rules.Ruling`."""

    verdict: Verdict
    by: str
    of: str
    text: str = ""
    charges: tuple[Charge, ...] = ()


_FREE: Final = Ruled(Verdict.ALLOWED, "expose", "")


class Policies:
    """Those of one configuration."""

    def __init__(self, policies: Mapping[str, Policy], whole: Whole | None) -> None:
        self._policies = dict(policies)
        self._whole = whole
        self._in_whole = [name for name in (() if whole is None else whole.servers) if name in self._policies]

    def look(self, server: str, who: Principal, known: Known) -> Look | None:
        """What this caller meets at this server; None where there are no rules."""
        if not self._policies:
            return None
        if server != WHOLE_SITE:
            policy = self._policies.get(server)
            return None if policy is None else Look({server: policy}, None, server, who, known)
        if not self._in_whole:
            return None
        policies = {name: self._policies[name] for name in self._in_whole}
        return Look(policies, self._whole, server, who, known)

    def shape(self, server: str) -> object:
        """Equal ones show everybody the same of this server."""
        names = self._in_whole if server == WHOLE_SITE else [server] if server in self._policies else []
        return [(name, self._policies[name].shape) for name in names]


@dataclass(frozen=True, slots=True)
class Look:
    """One caller at one server, or at all of them as one."""

    policies: Mapping[str, Policy]
    whole: Whole | None
    server: str
    who: Principal
    known: Known

    def hides(self, item: Item, name: str) -> Ruled | None:
        """What keeps the caller from the item, whatever the arguments are; None for nothing."""
        for owner, plain in self._owners(item, name):
            policy = self.policies.get(owner)
            if policy is None:
                continue
            if plain is None:
                return Ruled(Verdict.DENIED, NO_RULE, self._of(owner))
            marked = self.known.marked(owner) if policy.read_only else ()
            if (by := policy.hides(self.who, item, plain, marked)) is not None:
                return Ruled(Verdict.DENIED, by, self._of(owner))
        return None

    def rule(self, item: Item, name: str, arguments: bytes | None, *, counts: bool = True) -> Ruled:
        """About one use. ``counts``: whether it is one that budgets are for."""
        arrived = Arrived(arguments)
        found, charges = _FREE, list[Charge]()
        for owner, plain in self._owners(item, name):
            policy = self.policies.get(owner)
            if policy is None:
                continue
            if plain is None:
                return Ruled(Verdict.DENIED, NO_RULE, self._of(owner))
            marked = self.known.marked(owner) if policy.read_only else ()
            ruling = decide(policy, self.who, item, plain, arrived, marked)
            if ruling.verdict is Verdict.DENIED:
                return Ruled(ruling.verdict, ruling.by, self._of(owner), ruling.text)
            rule = ruling.rule
            if counts and rule is not None and rule.budget is not None:
                charges.append(Charge(owner, rule.name, item, plain, rule.budget))
            if found.verdict is not Verdict.WAITING:
                found = Ruled(ruling.verdict, ruling.by, self._of(owner))
        return found if not charges else Ruled(found.verdict, found.by, found.of, "", tuple(charges))

    def to_ask(self, item: Item, name: str) -> list[str]:
        """The servers that have to say what they offer before this item can be judged."""
        return [
            owner
            for owner, plain in self._owners(item, name)
            if (policy := self.policies.get(owner)) is not None
            and (plain is None or (policy.read_only and item is Item.TOOL))
        ]

    def to_list(self, item: Item) -> list[str]:
        """The same before a list of these items can be shown whole."""
        if self.whole is None:
            return [self.server] if item is Item.TOOL and self.policies[self.server].read_only else []
        return list(self.policies) if item in (Item.TOOL, Item.PROMPT) else []

    @property
    def asks(self) -> bool:
        """Whether anything here can depend on what servers say."""
        return self.whole is not None or self.policies[self.server].read_only

    @property
    def nothing(self) -> bool:
        """Whether there is a server here of which the caller may use nothing."""
        return any(policy.nothing_for(self.who) for policy in self.policies.values())

    def _owners(self, item: Item, name: str) -> Sequence[tuple[str, str | None]]:
        if self.whole is None:
            return ((self.server, name),)
        return self.whole.owners(item, name, self.known.offered)

    def _of(self, owner: str) -> str:
        return "" if self.whole is None else owner
