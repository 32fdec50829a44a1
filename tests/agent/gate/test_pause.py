"""What is stopped, and for whom."""

from __future__ import annotations

import pytest

from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_agent.gate.pause import MOST, Entry, Kind, Paused, TooMany

ALICE = Principal("https://idp.example", "alice", email="Alice@Example.com", client="assistant")
BOB = Principal("https://idp.example", "bob")
EVERYTHING = Entry(Kind.EVERYTHING)
FILES = Entry(Kind.SERVER, "files")


@pytest.mark.parametrize(
    ("entry", "server", "caller", "stopped"),
    [
        (EVERYTHING, "files", ALICE, True),
        (EVERYTHING, WHOLE_SITE, BOB, True),
        (FILES, "files", ALICE, True),
        (FILES, "crm", ALICE, False),
        (FILES, WHOLE_SITE, ALICE, False),
        (Entry(Kind.CALLER, "alice"), "files", ALICE, True),
        (Entry(Kind.CALLER, "ALICE"), WHOLE_SITE, ALICE, True),
        (Entry(Kind.CALLER, "alice@example.com"), "crm", ALICE, True),
        (Entry(Kind.CALLER, "alice"), "files", BOB, False),
        (Entry(Kind.CALLER, ""), "files", BOB, False),
    ],
)
def test_who_is_stopped_where(entry: Entry, server: str, caller: Principal, stopped: bool) -> None:
    paused = Paused((entry,))
    assert (paused.why(server, caller) is not None) is stopped


def test_what_is_stopped_twice_goes_on_at_once() -> None:
    paused = Paused().with_(FILES).with_(Entry(Kind.SERVER, "files", 5.0, 0)).with_(EVERYTHING)
    assert paused.entries == (FILES, EVERYTHING)
    assert paused.servers == {"files"}
    assert paused.without(Kind.SERVER, "files").without(Kind.EVERYTHING, "") == Paused()
    assert paused.without(Kind.CALLER, "files") == paused


def test_what_a_server_and_a_caller_may_not_do_is_told_apart() -> None:
    assert Paused((FILES,)).server("files")
    assert not Paused((FILES,)).caller(ALICE)
    assert Paused((EVERYTHING,)).server("crm")
    assert Paused((Entry(Kind.CALLER, "bob"),)).caller(BOB)


def test_there_is_an_end_to_entries() -> None:
    full = Paused(tuple(Entry(Kind.CALLER, f"c{number}") for number in range(MOST)))
    with pytest.raises(TooMany):
        full.with_(FILES)
    assert full.with_(Entry(Kind.CALLER, "c1")) == full
