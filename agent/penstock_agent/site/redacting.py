"""What is taken out of what the servers of a site say when they are one: each server's rules, out of what
is its own. What may be of any of them (a progress report, what a server asks) is held to the rules of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from penstock_agent.gate.expose import Item
from penstock_agent.gate.redaction.rules import Plan, Rules
from penstock_agent.site.names import STATUS, Shortened, Target
from penstock_agent.site.spec import SiteSpec


@dataclass(frozen=True, slots=True)
class SiteRedactor:
    """A :class:`~penstock_agent.gate.redaction.rules.Redactor`."""

    site: SiteSpec
    owners: tuple[str, ...]
    """Whose each of the rules is."""
    rules: Rules

    @classmethod
    def of(cls, site: SiteSpec, rules: Mapping[str, Rules]) -> Self | None:
        """None where no server of the site has rules."""
        own = [
            (member.name, rule)
            for member in site.members
            for rule in (rules[member.name].rules if member.name in rules else ())
        ]
        if not own:
            return None
        return cls(site, tuple(name for name, _ in own), Rules(tuple(rule for _, rule in own)))

    def plan(self, item: Item | None, name: str | None) -> Plan | None:
        """For the answer about this item, by the name that it has at the site."""
        if item is Item.TOOL and name == STATUS and self.site.status:
            return None  # the agent's own
        plain = name
        if item is None or name is None:
            whose = {member.name for member in self.site.members}
        elif item is Item.RESOURCE:
            # Which of them answers is not known before it has.
            whose = {member.name for member in self.site.members if member.expose.shows(item, name)}
        else:
            match self.site.names.inner(item, name):
                case Target(server, plain):
                    whose = {server}
                case Shortened(server):
                    whose, plain = {server}, None  # only the server's list says for which of its tools
                case _:
                    whose, plain = {member.name for member in self.site.members}, None
        return self.rules.chosen(
            owner in whose and rule.applies(item, plain)
            for owner, rule in zip(self.owners, self.rules.rules, strict=True)
        )
