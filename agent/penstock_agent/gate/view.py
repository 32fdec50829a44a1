"""What one caller may see and use of one server, and what is said of the rest. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from penstock.allowance import Allowance
from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy.books import Charge
from penstock_agent.gate.policy.policies import Look
from penstock_agent.ledger.entries import Verdict


@dataclass(frozen=True, slots=True)
class Allowed:
    """The message may go on to the server."""

    rule: str = "expose"
    """What allows it, for the ledger."""
    charges: tuple[Charge, ...] = ()
    """The budgets that it is counted for."""
    of: str = ""
    """The server that has the item, where it is used through the whole site."""
    approve: bool = False
    """Whether somebody on site has to approve it first."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The message must not reach the server."""

    text: str
    """For the caller: cause and next step, without anything that the caller sent."""
    rule: str = "expose"
    """What denies it, for the ledger."""
    of: str = ""
    """The server that has the item, where it is used through the whole site."""


ALLOWED: Final = Allowed()

_DENIED: Final[Mapping[Item, Denied]] = {
    Item.TOOL: Denied(
        "This site exposes no tool of that name on this server. Use a tool that tools/list shows, "
        "or ask the site's administrator to expose it."
    ),
    Item.PROMPT: Denied(
        "This site exposes no prompt of that name on this server. Use a prompt that prompts/list shows, "
        "or ask the site's administrator to expose it."
    ),
    Item.RESOURCE: Denied(
        "This site exposes no resource of that URI on this server. Use a resource that resources/list shows, "
        "or ask the site's administrator to expose it."
    ),
    Item.METHOD: Denied(
        "This site does not expose that method on this server. Ask the site's administrator to expose it."
    ),
}
_NOT_ALLOWED: Final[Mapping[Item, Denied]] = {
    Item.TOOL: Denied(
        "This application may use no tool of that name on this server: its user did not allow it, or the "
        "site does not expose it. Use a tool that tools/list shows, or ask the user to change what this "
        "application may use, on the relay's page of connected applications.",
        "grant",
    ),
    Item.METHOD: Denied(
        "This application may use only tools of this server, as its user chose. Ask the user to change that "
        "on the relay's page of connected applications.",
        "grant",
    ),
}


class Exposed(Protocol):
    """What the site exposes of one server: an :class:`Expose`, or what follows from several."""

    def shows(self, item: Item, name: str, /) -> bool:
        """Whether callers may see the item of this name (resources: this URI or URI template)."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """What one caller sees of one server: what the site exposes, of that what its rules allow the caller, and
    of that what the user allowed the application.
    """

    exposed: Exposed
    allowance: Allowance | None
    marked: Collection[str]
    look: Look | None = None
    """None where there are no rules."""

    def shows(self, item: Item, name: str) -> bool:
        if not self._grants(item, name):
            return False
        return self.look is None or self.look.hides(item, name) is None

    def _grants(self, item: Item, name: str) -> bool:
        """Whether the site exposes it and the user allowed it, whatever the rules say."""
        allowance = self.allowance
        if not self.exposed.shows(item, name):
            return False
        if allowance is None:
            return True
        return allowance.allows_tool(name, self.marked) if item is Item.TOOL else allowance.others

    @property
    def others(self) -> bool:
        """Whether the caller may use what is no tool."""
        return self.allowance is None or self.allowance.others

    def judge(self, item: Item, name: str | None) -> Allowed | Denied:
        return ALLOWED if name is not None and self.shows(item, name) else self._denied(item)

    def _denied(self, item: Item) -> Denied:
        if self.allowance is None or (item is not Item.TOOL and self.others):
            return _DENIED[item]
        # One text for what the site does not expose and for what the user did not allow: callers who may
        # not use all of a server need not learn what else there is.
        return _NOT_ALLOWED[Item.TOOL if item is Item.TOOL else Item.METHOD]

    def use(self, item: Item, name: str | None, arguments: bytes | None, *, counts: bool) -> Allowed | Denied:
        """As ``judge``, and by the site's rules for this use of it."""
        look = self.look
        if look is None or name is None or not self._grants(item, name):
            return self.judge(item, name)
        ruled = look.rule(item, name, arguments, counts=counts)
        if ruled.verdict is not Verdict.DENIED:
            return Allowed(ruled.by, ruled.charges, ruled.of, ruled.verdict is Verdict.WAITING)
        return Denied(ruled.text or self._denied(item).text, ruled.by, ruled.of)


def not_exposed(item: Item) -> str:
    """What is said of an item that is not exposed, or not there."""
    return _DENIED[item].text
