"""The tightest rules that would have allowed what was allowed, from decisions of the ledger. Pure.

Arguments are in the ledger as hashes only, so nothing is said about them: this is about who uses what with
which application, and how often in a day.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from penstock_agent.gate.expose import BadPattern, Item, parse_pattern
from penstock_agent.ledger.entries import Decision, Verdict

ROOM: Final = 2
"""So many times what was used in the busiest day is suggested as the budget of a day."""
LEAST: Final = 10
"""No smaller budget is suggested."""

Dated = tuple[datetime, Decision]
"""When, in UTC."""


class Proposal(msgspec.Struct, frozen=True):
    """One rule."""

    name: str
    users: list[str]
    clients: list[str]
    """Empty for any: one of those that were used cannot be written as a glob."""
    allow: list[str]
    calls_per_day: int


class Found(msgspec.Struct, frozen=True):
    """``left_out``: items that no entry can name: there is a wildcard in the name, or it is only known what
    the whole site calls it.
    """

    rules: dict[str, list[Proposal]]
    left_out: list[str]
    decisions: int


def suggest(found: Iterable[Dated]) -> Found:
    """Rules for each server, from what was allowed."""
    days: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    items: dict[tuple[str, str], set[str]] = defaultdict(set)
    clients: dict[tuple[str, str], set[str]] = defaultdict(set)
    left_out: set[str] = set()
    count = 0
    for at, one in found:
        server = one.of or one.server
        if one.verdict is not Verdict.ALLOWED or not one.item or not server:
            continue
        count += 1
        entry = _named(one.item)
        if not one.server and f":{server}__" in one.item:
            entry = None  # the site's name for it: the server's own was not known
        if entry is None:
            left_out.add(one.item)
            continue
        person = one.who.email or one.who.subject
        items[server, person].add(entry)
        clients[server, person].add(one.who.client)
        days[server, person, entry][at.date().isoformat()] += 1
    grouped: dict[str, dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]]] = defaultdict(dict)
    for (server, person), used in items.items():
        alike = tuple(sorted(used)), _plain_clients(clients[server, person])
        grouped[server].setdefault(alike, []).append(person)
    rules = {}
    for server, groups in sorted(grouped.items()):
        ordered = sorted(groups.items(), key=lambda each: sorted(each[1]))
        rules[server] = [
            Proposal(
                f"suggested {number}",
                sorted(people),
                list(applications),
                list(entries),
                max(LEAST, ROOM * _busiest(days, server, people, entries)),
            )
            for number, ((entries, applications), people) in enumerate(ordered, 1)
        ]
    return Found(rules, sorted(left_out), count)


def _busiest(
    days: Mapping[tuple[str, str, str], Counter[str]],
    server: str,
    people: Iterable[str],
    entries: Iterable[str],
) -> int:
    return max(max(days[server, person, entry].values(), default=0) for person in people for entry in entries)


def _named(item: str) -> str | None:
    """The entry that names just this item."""
    try:
        pattern = parse_pattern(item)
    except BadPattern:
        return None
    wild = "*" if pattern.kind is Item.RESOURCE else "*?"
    return None if any(c in pattern.glob for c in wild) else str(pattern)


def _plain_clients(clients: Iterable[str]) -> tuple[str, ...]:
    found = sorted(clients)
    return () if any(not c or "*" in c or "?" in c for c in found) else tuple(found)
