"""How entries become lines, each bound to all before it."""

from __future__ import annotations

import json
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.principal import Principal
from penstock_agent.ledger import record
from penstock_agent.ledger.entries import Decision, Entry, Event, Masked, Opened, Sent, Unsent, Verdict
from tests.agent.ledger.book import ALICE

ENTRIES: list[Entry] = [
    Decision("k", "files", ALICE, "tools/call", Verdict.DENIED, "expose", "7", "tool:read_file"),
    Opened("k", "files", ALICE, 200, ["mcp-session-id"], "ab" * 32),
    Sent("k", "files", ALICE, 0, 12, "ab" * 32, "other"),
    Unsent("k", "files", ALICE, 12),
    Masked("k", "files", ALICE, "tool:read_file", "mask", {"card": 2}),
    Event("paused", 0, {"server": "files"}),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_written_as_it_is_with_a_number_for_its_caller(entry: Entry) -> None:
    written = msgspec.json.decode(b"{%b}" % record.fields(entry, 3))
    expected = msgspec.to_builtins(entry)
    if "who" in expected:
        expected["who"] = 3
    assert written == expected


def test_a_caller_is_introduced_with_all_that_people_know_them_by() -> None:
    caller = Principal("https://idp", "u1", "Ann", "ann@x", ("staff",), "claude", proof=b"secret")
    assert json.loads(b"{%b}" % record.introduction(2, caller)) == {
        "kind": "who",
        "who": 2,
        "issuer": "https://idp",
        "subject": "u1",
        "name": "Ann",
        "email": "ann@x",
        "client": "claude",
        "groups": ["staff"],
    }


def test_what_is_said_of_a_caller_is_bounded() -> None:
    caller = Principal("i" * 9999, "s" * 9999, groups=tuple("g" * 9999 for _ in range(99)))
    written = b"{%b}" % record.introduction(1, caller)
    assert len(written) < 36 * 1024 + 200
    assert json.loads(written)["more_groups"] == 99 - record.MAX_GROUPS


@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**53), st.text())
def test_the_hash_is_over_the_hash_before_and_the_bytes_before_it(before: bytes, n: int, text: str) -> None:
    digest, line = record.seal(before, n, 1.5, record.members({"kind": "event", "what": text}))
    body = line[: -record.SEAL_BYTES - 1]
    assert digest == sha256(before + body).digest()
    said = json.loads(line)
    assert said["h"] == digest.hex()
    assert list(said)[:3] == ["n", "at", "kind"]
    assert said["n"] == n
    assert said["what"] == text
    assert line.count(b"\n") == 1


def test_moments_are_rfc_3339_in_utc_with_microseconds() -> None:
    assert record.moment(1_790_000_000.25) == b"2026-09-21T14:13:20.250000Z"
    assert record.moment(0) == b"1970-01-01T00:00:00.000000Z"
