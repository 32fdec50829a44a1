"""What a server offers, as values."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from penstock_agent.catalogue.mirrored import Mirrored
from penstock_agent.gate import pins
from penstock_agent.gate.expose import Item as Kind
from penstock_agent.problem import Problem


class CatalogueError(Problem):
    """The server could not say what it offers."""


class Effect(StrEnum):
    """What a tool says that it does. A claim of the server, not a fact."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    UNMARKED = "unmarked"


class Offer(msgspec.Struct, frozen=True):
    """One tool, prompt or resource; for a resource the name is its URI or URI template."""

    kind: Kind
    name: str
    description: str = ""
    #: Only tools have one.
    effect: Effect | None = None
    title: str = ""
    #: Arguments of a tool that callers of 2026-07-28 repeat in headers.
    mirrored: tuple[Mirrored, ...] = ()
    #: The whole of it as the server sends it, raw JSON; of resources nothing, which are not pinned.
    definition: bytes = b""
    #: Of a tool, whether it says that it reaches nothing beyond the site. Without a word it does.
    inside: bool = False


class Catalogue(msgspec.Struct, frozen=True):
    """Everything that one server offers, in its own order."""

    server: str
    items: list[Offer] = []
    #: What the server tells every model that uses it.
    instructions: str = ""

    def of(self, kind: Kind) -> list[Offer]:
        """The items of one kind."""
        return [item for item in self.items if item.kind is kind]

    @property
    def marked(self) -> frozenset[str]:
        """Names of the tools that say that they only read."""
        return frozenset(one.name for one in self.of(Kind.TOOL) if one.effect is Effect.READ)

    @property
    def contained(self) -> frozenset[str]:
        """Of those, the ones that say that they reach nothing beyond the site."""
        return frozenset(one.name for one in self.of(Kind.TOOL) if one.effect is Effect.READ and one.inside)

    @property
    def definitions(self) -> dict[str, bytes]:
        """What is pinned, by the keys of :mod:`penstock_agent.gate.pins`. The first of a name counts."""
        found: dict[str, bytes] = {}
        for item in self.items:
            if item.definition:
                found.setdefault(pins.key(item.kind, item.name), item.definition)
        return found
