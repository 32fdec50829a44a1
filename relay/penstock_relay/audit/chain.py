"""The chain of the audit log: each record names the hash of the one before it. Pure.

A record is one JSON object in canonical form: keys sorted, no spaces, all but ASCII escaped, only whole
numbers. So whoever has the values can make the very bytes again. Its hash is

    SHA-256("penstock-relay-audit-1" LF record)

and the next record has it as ``previous``; the first one has 64 zeros there. Who changes, removes or inserts
a record must change all that come after it. Who can write the database can do that, so the newest hash, the
*head*, is worth knowing in another place.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from penstock_relay.audit.actor import Actor
from penstock_relay.audit.events import Event, Kind, moment

DOMAIN: Final = b"penstock-relay-audit-1\n"
"""Stands before what is hashed: no hash of anything else is ever one of a record."""
START: Final = "0" * 64
"""``previous`` of the first record."""

_HEAD: Final = re.compile(r"([0-9a-f]{64})@([0-9]{1,18})")


class Broken(Exception):
    """The log is not what was written; ``sequence`` is the first record that shows it, the text how."""

    def __init__(self, sequence: int, text: str) -> None:
        super().__init__(text)
        self.sequence = sequence


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record of a log at some time."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.hash}@{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Reads what ``str`` made. Raises ValueError."""
        found = _HEAD.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError("a head is written HASH@SEQUENCE, with 64 hexadecimal digits before the @")
        return cls(int(found[2]), found[1])


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it is kept. ``at`` repeats what ``record`` says, in seconds since the epoch."""

    sequence: int
    at: float
    record: bytes
    hash: str

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.hash)

    def values(self) -> dict[str, Any]:
        """The record, read. Raises ValueError for what is none, in exactly its form."""
        try:
            found = json.loads(self.record)
        except RecursionError:
            raise ValueError("a record is not nested deeply") from None
        if not isinstance(found, dict) or canonical(found) != self.record:
            raise ValueError("a record is one JSON object in canonical form")
        if {name: type(value) for name, value in found.items()} != _FORM:
            raise ValueError(f"a record has {', '.join(_FORM)}")
        return found

    def line(self) -> str:
        """The record with its hash, as it is exported: one JSON object on one line."""
        try:
            return canonical({**self.values(), "hash": self.hash}).decode()
        except ValueError:
            return canonical(self.wreck()).decode()

    def wreck(self) -> dict[str, Any]:
        """What stands in the place of a record that cannot be read."""
        return {"sequence": self.sequence, "problem": "cannot be read", "hash": self.hash}


_FORM: Final = {"about": dict, "actor": dict, "at": str, "kind": str, "previous": str, "sequence": int}


def seal(before: Head | None, at: float, actor: Actor, event: Event) -> Entry:
    """The record that follows ``before``."""
    sequence = 1 if before is None else before.sequence + 1
    record = canonical(
        {
            "about": event.about(),
            "actor": actor.fields(),
            "at": moment(at),
            "kind": event.kind.text,
            "previous": START if before is None else before.hash,
            "sequence": sequence,
        }
    )
    return Entry(sequence, at, record, hash_of(record))


def canonical(values: dict[str, Any]) -> bytes:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def hash_of(record: bytes) -> str:
    """Of a canonical record, in hexadecimal."""
    return hashlib.sha256(DOMAIN + record).hexdigest()


class Verifier:
    """Takes the entries of a log from its beginning, one by one, and says where it is broken.

    ``known`` are heads that somebody wrote down elsewhere: without one, a log that was cut at its end, or
    written anew as a whole, cannot be told from a good one.
    """

    def __init__(self, known: Collection[Head] = ()) -> None:
        self._known = {head.sequence: head.hash for head in known}
        self._compared: set[int] = set()
        self._begun_after: Head | None = None
        self._pruned: list[tuple[object, object]] = []
        self.head: Head | None = None
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Raises Broken."""
        here = entry.sequence
        try:
            values = entry.values()
            said, previous, at = values["sequence"], values["previous"], moment(entry.at)
        except (ValueError, TypeError, OverflowError):
            raise Broken(here, "is not a record") from None
        if self.head is not None and here != self.head.sequence + 1:
            due = self.head.sequence + 1
            raise Broken(here, f"stands where record {due} is due: records are missing, or out of order")
        if hash_of(entry.record) != entry.hash:
            raise Broken(here, "was changed: it does not have the hash that is kept with it")
        if said != here or values["at"] != at:
            raise Broken(here, "is kept under another number, or another time, than it says of itself")
        if self.head is None:
            self._begin(here, previous)
        elif previous != self.head.hash:
            raise Broken(
                here, f"does not follow from record {self.head.sequence}: one of the two was replaced"
            )
        self._compare(entry.head)
        if values["kind"] == Kind.AUDIT_PRUNED.text:
            self._pruned.append((values["about"].get("through"), values["about"].get("hash")))
        self.head = entry.head
        self.count += 1

    def end(self) -> None:
        """After the last entry. Raises Broken."""
        begun = self._begun_after
        if begun is not None and (begun.sequence, begun.hash) not in self._pruned:
            raise Broken(
                begun.sequence + 1,
                f"is the first, and no later one says that those up to {begun.sequence} were pruned",
            )
        last = 0 if self.head is None else self.head.sequence
        for sequence in sorted(self._known.keys() - self._compared):
            if sequence > last:
                raise Broken(sequence, "is not there, but its hash is known: the end of the log was cut off")
            raise Broken(sequence, "was pruned, and cannot be compared with the hash that is known")

    def _begin(self, first: int, previous: str) -> None:
        if first == 1:
            if previous != START:
                raise Broken(1, "is the first record and names one before it")
            return
        self._begun_after = Head(first - 1, previous)
        self._compare(self._begun_after)

    def _compare(self, head: Head) -> None:
        known = self._known.get(head.sequence)
        if known is None:
            return
        self._compared.add(head.sequence)
        if known != head.hash:
            raise Broken(
                head.sequence, "is not the one whose head is known: the log was written anew, or restored"
            )
