"""Entries as they are written."""

from __future__ import annotations

import msgspec

from penstock.principal import Principal
from penstock_agent.ledger.entries import Decision, Entry, Event, Masked, Sent, Verdict

ALICE = Principal("https://idp", "alice")
ENTRIES: list[Entry] = [
    Decision("k", "files", ALICE, "tools/call", Verdict.ALLOWED, "expose", "7", "tool:read_file"),
    Sent("k", "files", ALICE, 0, 12, "ab" * 32),
    Masked("k", "files", ALICE, "tool:read_file", "mask", {"card": 2}),
    Event("paused", 0, {"server": "files"}),
]


def test_every_kind_of_entry_is_told_from_the_others() -> None:
    written = [msgspec.json.encode(entry) for entry in ENTRIES]
    assert [msgspec.json.decode(line, type=Entry) for line in written] == ENTRIES


def test_what_is_not_known_is_not_written() -> None:
    assert msgspec.json.decode(msgspec.json.encode(Event("started"))) == {"kind": "event", "what": "started"}
