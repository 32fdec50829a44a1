"""What the whole site is, to whoever starts it, and to the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from penstock.names import WHOLE_SITE
from penstock_agent.children.child import ChildSpec
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.policy.policies import Offered
from penstock_agent.site.names import STATUS, Names, Shortened, Target, joined

GREET_S: Final = 7.0
"""So long a server's answer to ``initialize`` is waited for by those who want something of the site."""
READING_S: Final = 30.0
"""The same for who reads what all of them offer, and keeps it: a page where users choose, above all."""


@dataclass(frozen=True, slots=True)
class Member:
    """A server of the site, and what of it callers may see."""

    spec: ChildSpec
    expose: Expose

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class SiteSpec(ChildSpec):
    """``members`` in the order of the configuration, at least one. What they expose is a part of it: with
    another policy it is another spec, and open sessions get a new child.
    """

    members: tuple[Member, ...]
    names: Names = field(default_factory=Names)
    title: str = ""
    instructions: str = ""
    status: bool = False
    """Whether there is a tool that says how the servers are."""
    patience_s: float = GREET_S

    def patient(self) -> SiteSpec:
        return replace(self, patience_s=READING_S)

    @classmethod
    def of(
        cls,
        members: Sequence[Member],
        *,
        names: Names | None = None,
        title: str = "",
        instructions: str = "",
        status: bool = False,
    ) -> SiteSpec:
        return cls(WHOLE_SITE, tuple(members), names or Names(), title, instructions, status)


class SiteView:
    """What the gate shows of the site: what the servers' own expose lists show, by the names of the site.

    A shortened name is one of its server's tools, and which one is known where the server's list is: the
    aggregate asks that server's expose list, as it does for every item.
    """

    def __init__(self, site: SiteSpec) -> None:
        self._site = site
        self._by_name = {member.name: member.expose for member in site.members}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SiteView) and self._site == other._site

    def __hash__(self) -> int:
        return hash(WHOLE_SITE)

    @property
    def servers(self) -> Sequence[str]:
        """Those that are one here."""
        return tuple(self._by_name)

    def owners(self, item: Item, name: str, offered: Offered) -> Sequence[tuple[str, str | None]]:
        """The servers that may have the item, and what each calls it; None for a shortened name whose server
        has not said what it offers, or offers nothing of that name.
        """
        if item is Item.RESOURCE:
            return [(one.name, name) for one in self._site.members if one.expose.shows(item, name)]
        if item is Item.METHOD or (item is Item.TOOL and name == STATUS):
            return ()
        match self._site.names.inner(item, name):
            case Target(server, plain) if server in self._by_name:
                return ((server, plain),)
            case Shortened(server) if server in self._by_name:
                names = offered(server, item)
                return ((server, None if names is None else _shortened(server, names).get(name)),)
        return ()

    def shows(self, item: Item, name: str) -> bool:
        if item is Item.RESOURCE:
            return any(member.expose.shows(item, name) for member in self._site.members)
        if item is Item.METHOD:
            return False
        if item is Item.TOOL and name == STATUS:
            return self._site.status
        match self._site.names.inner(item, name):
            case Target(server, plain):
                expose = self._by_name.get(server)
                return expose is not None and expose.shows(item, plain)
            case Shortened(server):
                expose = self._by_name.get(server)
                return expose is not None and bool(expose.tools if item is Item.TOOL else expose.prompts)
        return False


@lru_cache(maxsize=64)
def _shortened(server: str, names: frozenset[str]) -> dict[str, str]:
    """What the long names among these are shortened to. Two that are shortened alike are neither: which one
    the server's list shows first decides what is called, and rules could not tell.
    """
    found: dict[str, str] = {}
    twice = set()
    for name in names:
        outer = joined(Target(server, name))
        if outer in found:
            twice.add(outer)
        found[outer] = name
    return {outer: name for outer, name in found.items() if outer not in twice}
