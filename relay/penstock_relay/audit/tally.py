"""How often others can make the audit log grow. Pure.

What a stranger causes is only counted, and written once a minute: so a thousand wrong passwords are one
record, and how long an answer takes says nothing about what was written. What a known user causes is written
at once, a few times a minute each; the rest is counted too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from penstock_relay.audit.actor import Actor
from penstock_relay.audit.events import Event, Kind, event

WINDOW_S: Final = 60.0
"""How often what was counted is written."""
MOST: Final = 16
"""Different things that are counted apart in a window; further ones are counted by kind, without fields."""
AT_ONCE: Final = 5
"""Records of one kind that one actor causes in a window before they are counted."""


@dataclass(slots=True)
class Counted:
    """What happened alike, how often, and when first (seconds since the epoch)."""

    actor: Actor
    what: Event
    times: int
    first_at: float

    def event(self) -> Event:
        """What is recorded of it."""
        return event(self.what.kind, **dict(self.what.given), count=self.times, first_at=self.first_at)


class Tally:
    """One per process. Who owns it calls :meth:`take` every ``WINDOW_S`` and writes what it gets."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Actor, Event], Counted] = {}
        self._seen: dict[tuple[Actor, Kind], int] = {}

    def often(self, actor: Actor, kind: Kind) -> bool:
        """Whether it has happened too often to be written at once; only for actors that an operator made."""
        times = self._seen.get((actor, kind), 0) + 1
        self._seen[actor, kind] = times
        return times > AT_ONCE

    def count(self, actor: Actor, what: Event, now: float) -> None:
        self._add(Counted(actor, what, 1, now))

    def take(self) -> list[Counted]:
        """What was counted; begins anew."""
        taken = list(self._counts.values())
        self._counts.clear()
        self._seen.clear()
        return taken

    def give_back(self, taken: Iterable[Counted]) -> None:
        """What could not be written: it is counted with what came meanwhile."""
        for counted in taken:
            self._add(counted)

    def _add(self, counted: Counted) -> None:
        key = counted.actor, counted.what
        if key not in self._counts and len(self._counts) >= MOST:
            counted.what = event(counted.what.kind)
            key = counted.actor, counted.what
        found = self._counts.setdefault(key, counted)
        if found is not counted:
            found.times += counted.times
            found.first_at = min(found.first_at, counted.first_at)
