"""After something sensitive was read for a person, what writes or reaches out is refused to them. Pure.

A model that has read a mail may have read an attacker's instructions with it, and the way out for what it
read is a tool that sends. It may open another session, or use another server or a second connector of the
same person, and requests of 2026-07-28 have no session at all: so what counts is the person (issuer and
subject), for some time, and neither the session nor the application.

A tool goes on if the server (or the site in its place) says both that it only reads and that it stays
inside: ``readOnlyHint`` true and ``openWorldHint`` false. What is not said counts as MCP prescribes: it may
write, and it reaches out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Final, Protocol, TypeAlias

import msgspec

from penstock.envelope import Kind, Message
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.methods import TOLD, Use, knows
from penstock_agent.gate.policy.books import Person

PEOPLE_MAX: Final = 20_000
"""People of whom it is remembered; with one more, what is sensitive is not read for that one."""
RULE: Final = "taint"
"""What decides, for the ledger."""

Owners: TypeAlias = Sequence[tuple[str, str | None]]
"""The servers that may have what is used, and what each calls it; None where that is not known."""

_FETCH: Final = frozenset({"tasks/get", "tasks/result"})
_GIVE: Final = frozenset({"tasks/update"})
"""Answers for a call that has begun: which one is not known here."""


@dataclass(frozen=True, slots=True)
class Taint:
    """What one configuration says of it."""

    sensitive: Mapping[str, Expose]
    """By server, what is sensitive of it; servers of which nothing is are not among them."""
    approve: bool = False
    """Whether somebody on site may let a single call pass all the same."""
    lasts: float = 3600.0
    """Seconds, from when the answer must have come."""

    def reads(self, owners: Owners, message: Message, use: Use | None) -> str | None:
        """The server of which this request may bring something sensitive; None for none.

        A name that is not known may be any.
        """
        for server, name in owners:
            listed = self.sensitive.get(server)
            if listed is None:
                continue
            if message.method in _FETCH:
                # Which tool a task is of is not known here: of a server with sensitive ones it may be that.
                if listed.tools:
                    return server
            elif use is not None:
                if name is None or listed.touches(use.item, name):
                    return server
            elif not knows(message.method) and listed.touches(Item.METHOD, message.method or ""):
                return server
        return None


class Contained(Protocol):
    """What is known of what servers say of their tools."""

    def contained(self, server: str, /) -> Collection[str]:
        """Names of the tools that only read, and reach nothing beyond the site."""
        ...


def escapes(owners: Owners, message: Message, use: Use | None, known: Contained) -> bool:
    """Whether this message may change something, or carry something out."""
    if message.kind is not Kind.REQUEST:
        return message.method not in TOLD
    if message.method == "tools/call":
        return use is None or any(name not in known.contained(server) for server, name in owners)
    return message.method in _GIVE or not knows(message.method)


class Mark(msgspec.Struct, array_like=True, frozen=True):
    """Something sensitive was read for somebody. ``until``: seconds since 1970."""

    person: Person
    until: float
    client: str
    server: str

    def words(self, client: str) -> str:
        """For a caller whose call is refused. Which server it was is told to the application that read."""
        what = (
            f"Something that this site counts as sensitive was read from {self.server} for you"
            if client == self.client
            else "Something that this site counts as sensitive was read for you through another application"
        )
        until = datetime.fromtimestamp(ceil(self.until), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            f"{what}, so until {until} you may use no tool that changes something or reaches beyond the "
            "site, in this session or another. Nothing was done. Tools that only read on site still work. "
            "For this one, try again after that time, or ask the site's administrator."
        )


FULL: Final = (
    "The site counts this as sensitive, and has to remember for whom such things were read; it remembers "
    "more people now than it can. Nothing was done. Try again in an hour, or tell the site's administrator."
)
_decoder = msgspec.json.Decoder(list[Mark])


class Marks:
    """Of one agent; those that are over make room. ``now`` is in seconds since 1970."""

    def __init__(self) -> None:
        self._marks: dict[Person, Mark] = {}
        self.changed = False
        """Whether there is something that ``dump`` has not said."""

    def __len__(self) -> int:
        return len(self._marks)

    def of(self, person: Person, now: float) -> Mark | None:
        """None for a person for whom nothing sensitive was read lately."""
        mark = self._marks.get(person)
        return mark if mark is not None and now < mark.until else None

    def set(self, mark: Mark, now: float) -> bool:
        """False when there is no room to remember it, and so it must not be read."""
        before = self._marks.get(mark.person)
        if before is None and len(self._marks) >= PEOPLE_MAX and not self._tidy(now):
            return False
        if before is not None and before.until > mark.until:
            mark = msgspec.structs.replace(mark, until=before.until)
        self._marks[mark.person] = mark
        self.changed = True
        return True

    def held(self, now: float) -> list[Mark]:
        """All that count."""
        return [mark for mark in self._marks.values() if now < mark.until]

    def end(self, person: Person) -> None:
        """As if nothing had been read for them."""
        if self._marks.pop(person, None) is not None:
            self.changed = True

    def dump(self, now: float) -> bytes:
        """For a later run."""
        self.changed = False
        return msgspec.json.encode(self.held(now))

    def load(self, data: bytes) -> None:
        """Raises ValueError for what no ``dump`` wrote."""
        try:
            marks = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ValueError("It is not what this agent writes.") from None
        if len(marks) > PEOPLE_MAX:
            raise ValueError("It is not what this agent writes.")
        self._marks.update((mark.person, mark) for mark in marks)

    def _tidy(self, now: float) -> bool:
        """Forget what is over. False when there is nothing to forget."""
        for person in [person for person, mark in self._marks.items() if mark.until <= now]:
            del self._marks[person]
        return len(self._marks) < PEOPLE_MAX
