"""For whom something sensitive was read, and that somebody on site ends it, on record."""

from __future__ import annotations

import msgspec
import pytest

from penstock_agent import untainting
from penstock_agent.control import Peer, Tainted, TaintedPerson
from penstock_agent.gate.policy.taint import Mark, Marks
from penstock_agent.ledger.entries import CannotRecord, Entry, Event, Unrecorded
from penstock_agent.problem import Exit, Problem
from penstock_agent.untainting import Untainting

NOON = 1_795_867_200.0
OURS, THEIRS = "https://idp.example", "https://other.example"
ROOT = Peer(0, 1)


class Book(Unrecorded):
    """A ledger that keeps what it is told, or fails."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.full = False

    def record(self, entry: Entry, /) -> None:
        if self.full:
            raise CannotRecord("no space left")
        assert isinstance(entry, Event)
        self.events.append(entry)


def desk(*marks: Mark) -> tuple[Untainting, Marks, Book]:
    held, book = Marks(), Book()
    for mark in marks:
        held.set(mark, NOON - 9)
    held.changed = False
    return Untainting(held, book, lambda: NOON), held, book


def mark(subject: str, issuer: str = OURS, lasts: float = 60) -> Mark:
    return Mark((issuer, subject), NOON + lasts, "claude", "mail")


async def listed(one: Untainting) -> Tainted:
    return msgspec.convert(await one.handlers["tainted"](ROOT, {}), Tainted)


async def test_who_is_tainted_is_listed_the_longest_first_and_what_is_over_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, _, _ = desk(mark("alice"), mark("bob", lasts=90), mark("carol", lasts=0))
    assert await listed(one) == Tainted(
        [
            TaintedPerson("bob", OURS, NOON + 90, "mail", "claude"),
            TaintedPerson("alice", OURS, NOON + 60, "mail", "claude"),
        ]
    )
    monkeypatch.setattr(untainting, "MOST_SHOWN", 1)
    found = await listed(one)
    assert ([each.subject for each in found.people], found.more) == (["bob"], 1)


async def test_it_ends_at_once_for_the_one_who_is_named_and_is_on_record() -> None:
    one, held, book = desk(mark("alice"), mark("bob"))
    done = await one.handlers["untaint"](Peer(1000, 1), {"subject": "alice"})
    assert done["subject"] == "alice"
    assert held.of((OURS, "alice"), NOON) is None
    assert held.of((OURS, "bob"), NOON) is not None
    assert held.changed, "a restart is to know it"
    about: dict[str, str | int] = {"subject": "alice", "issuer": OURS, "server": "mail"}
    assert book.events == [Event("untainted", 1000, about)]


async def test_of_several_of_one_name_the_issuer_says_who_is_meant() -> None:
    one, held, _ = desk(mark("alice"), mark("alice", THEIRS))
    with pytest.raises(Problem, match=f"2 people are called alice.*--issuer.*{OURS}, {THEIRS}") as refused:
        await one.handlers["untaint"](ROOT, {"subject": "alice"})
    assert refused.value.status is Exit.USAGE
    await one.handlers["untaint"](ROOT, {"subject": "alice", "issuer": THEIRS})
    assert held.of((OURS, "alice"), NOON) is not None
    assert held.of((THEIRS, "alice"), NOON) is None


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"subject": "bob"}, "Nothing sensitive was read lately for bob, so nothing was changed"),
        ({"subject": "alice", "issuer": THEIRS}, "policy tainted"),
        ({"subject": "carol"}, "Nothing sensitive was read lately"),
        ({"subject": "b\x1b[2J"}, "for b\\?\\[2J"),
        ({}, "Say for whom"),
        ({"subject": "alice", "issuer": 7}, "Say for whom"),
    ],
)
async def test_who_is_not_there_is_refused_in_words(args: dict[str, object], words: str) -> None:
    one, held, book = desk(mark("alice"), mark("carol", lasts=0))
    with pytest.raises(Problem, match=words) as refused:
        await one.handlers["untaint"](ROOT, args)
    assert refused.value.status is Exit.USAGE
    assert (len(held), book.events) == (2, [])


async def test_what_cannot_be_recorded_is_not_done() -> None:
    one, held, book = desk(mark("alice"))
    book.full = True
    with pytest.raises(Problem, match="nothing was changed: no space left"):
        await one.handlers["untaint"](ROOT, {"subject": "alice"})
    assert held.of((OURS, "alice"), NOON) is not None
