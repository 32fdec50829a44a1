"""What the site's administrator has stopped, until it is resumed: everything, a server, or a caller. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from penstock.principal import Principal

MOST: Final = 1000
"""Entries that are kept."""
NOT_WHOLE: Final = "A server and a caller have a name, and everything has none."
TOO_MANY: Final = f"{MOST} things are paused already; resume some of them."


class Kind(StrEnum):
    EVERYTHING = "everything"
    SERVER = "server"
    CALLER = "caller"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is stopped. ``name`` is empty for everything; a caller's is its subject or e-mail."""

    kind: Kind
    name: str = ""
    since: float = 0.0
    """Seconds since 1970."""
    by_uid: int = -1
    """Who did it on this machine."""

    @property
    def whole(self) -> bool:
        """Whether it has a name where it needs one, and only there."""
        return bool(self.name) is not (self.kind is Kind.EVERYTHING)

    @property
    def what(self) -> str:
        """In words."""
        return "everything" if self.kind is Kind.EVERYTHING else f"the {self.kind.value} {self.name}"

    def server(self, name: str) -> bool:
        """Whether nobody may use this server."""
        return self.kind is Kind.EVERYTHING or (self.kind is Kind.SERVER and self.name == name)

    def caller(self, caller: Principal) -> bool:
        """Whether this caller may use nothing."""
        if self.kind is not Kind.CALLER:
            return self.kind is Kind.EVERYTHING
        name = self.name.casefold()
        return name == caller.subject.casefold() or (bool(caller.email) and name == caller.email.casefold())


_TEXTS: Final = {
    Kind.EVERYTHING: "The site's administrator has stopped all use of this site for now.",
    Kind.SERVER: "The site's administrator has stopped this server for now.",
    Kind.CALLER: "The site's administrator has stopped what you do here for now.",
}
_NEXT: Final = " Nothing was done. Ask the administrator when it goes on."


class TooMany(Exception):
    """MOST entries are kept already."""


@dataclass(frozen=True, slots=True)
class Paused:
    """All that is stopped."""

    entries: tuple[Entry, ...] = ()

    def why(self, server: str, caller: Principal) -> str | None:
        """What a caller is told who may not use this server now; None for one who may."""
        for entry in self.entries:
            if entry.server(server) or entry.caller(caller):
                return _TEXTS[entry.kind] + _NEXT
        return None

    def server(self, name: str) -> bool:
        """Whether nobody may use this server."""
        return any(entry.server(name) for entry in self.entries)

    def caller(self, caller: Principal) -> bool:
        """Whether this caller may use nothing."""
        return any(entry.caller(caller) for entry in self.entries)

    @property
    def servers(self) -> frozenset[str]:
        """Those that are stopped by name."""
        return frozenset(entry.name for entry in self.entries if entry.kind is Kind.SERVER)

    def with_(self, entry: Entry) -> Paused:
        """That too. What is stopped already stays as it was. Raises TooMany."""
        if any((one.kind, one.name) == (entry.kind, entry.name) for one in self.entries):
            return self
        if len(self.entries) >= MOST:
            raise TooMany
        return Paused((*self.entries, entry))

    def without(self, kind: Kind, name: str) -> Paused:
        """That no more."""
        return Paused(tuple(one for one in self.entries if (one.kind, one.name) != (kind, name)))
