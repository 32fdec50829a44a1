"""One reading of the ledger: the newest records, and what went on over time."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path

from penstock.principal import Principal
from penstock_agent.console.history import MAX_NAMES, OTHERS, SHOWN, STEPS, History, Lines, history
from penstock_agent.ledger.reading import read
from penstock_agent.ledger.segments import FOLDER
from penstock_agent.ledger.showing import Filter
from tests.agent.ledger.book import ALICE, BOB, Clock, decision, ledger, sent

START = Clock().now
DAY = 86_400.0


def of(state: Path, wanted: Filter, calls: list[tuple[float, Principal, int]]) -> History:
    """``calls``: seconds since the start, who, and bytes of the answer."""

    async def write() -> None:
        clock = Clock()
        with ledger(state, clock=clock) as writer:
            for number, (at, who, size) in enumerate(calls):
                clock.now = START + at
                writer.record(decision(number, who))
                writer.record(sent(number, b"x" * size, who=who))

    asyncio.run(write())
    return history(read(state / FOLDER, 0.0, inf), wanted, START, START + DAY)


def test_calls_and_bytes_are_counted_by_person_and_tool_over_the_time(tmp_path: Path) -> None:
    found = of(tmp_path, Filter(), [(0, ALICE, 5), (1, ALICE, 6), (DAY - 1, BOB, 100)])
    alice, bob = found.people.most(5, bytes=False)
    assert (alice.name, alice.calls[0], sum(alice.calls), alice.bytes[0]) == (
        "Alice Example <alice@example.com>", 2, 2, 11,
    )  # fmt: skip
    assert (bob.name, bob.calls[STEPS - 1], bob.bytes[STEPS - 1]) == ("bob", 1, 100)
    assert [line.name for line in found.people.most(5, bytes=True)] == ["bob", alice.name]
    (tool,) = found.tools.most(5, bytes=True)
    assert (tool.name, sum(tool.calls), sum(tool.bytes)) == ("files: read_file", 3, 111)


def test_only_what_is_asked_for_and_the_newest(tmp_path: Path) -> None:
    calls = [(float(number), (ALICE, BOB)[number % 2], 1) for number in range(2 * SHOWN)]
    found = of(tmp_path, Filter(person="bob"), calls)
    assert (found.matched, len(found.latest)) == (2 * SHOWN, SHOWN)
    assert {each.who.subject for each in found.latest} == {"bob"}
    assert found.latest[-1].text("exchange") == f"k-{2 * SHOWN - 1}"
    assert [line.name for line in found.people.most(5, bytes=False)] == ["bob"]


def test_what_is_not_among_the_largest_is_the_others() -> None:
    lines = Lines()
    for number in range(9):
        lines.of(f"n{number}").calls[0] = number
    assert [(each.name, each.calls[0]) for each in lines.most(3, bytes=False)] == [
        ("n8", 8), ("n7", 7), ("n6", 6), (OTHERS, 15),
    ]  # fmt: skip


def test_names_without_end_take_no_room_without_end() -> None:
    lines = Lines()
    for number in range(MAX_NAMES + 9):
        lines.of(f"n{number}").calls[0] += 1
    assert len(lines.most(10**6, bytes=False)) == MAX_NAMES + 1
