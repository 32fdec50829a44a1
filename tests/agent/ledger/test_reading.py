"""Reading a ledger, while it is written and when it is not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from penstock_agent.ledger import reading, segments
from penstock_agent.ledger.reading import NOBODY, Record, Tail, Who, follow, read
from penstock_agent.problem import Problem
from tests.agent.ledger.book import ALICE, BOB, Clock, decision, files, ledger

DAY = 86_400.0
START = Clock().now


def written(state: Path, days: int = 10, segment_bytes: int = 900) -> None:
    async def write() -> None:
        clock = Clock()
        with ledger(state, clock=clock, segment_bytes=segment_bytes) as writer:
            for day in range(days):
                writer.record(decision(day, who=(ALICE, BOB)[day % 2]))
                clock.now += DAY

    asyncio.run(write())


def decisions(records: list[Record]) -> list[tuple[str, str]]:
    return [(each.text("exchange"), each.who.subject) for each in records if each.kind == "decision"]


def test_every_record_comes_with_its_caller(tmp_path: Path) -> None:
    written(tmp_path, 4)
    found = list(read(tmp_path / "ledger"))
    assert decisions(found) == [("k-0", "alice"), ("k-1", "bob"), ("k-2", "alice"), ("k-3", "bob")]
    first = next(each for each in found if each.kind == "decision")
    assert first.who.person == "Alice Example <alice@example.com>"
    resolved = first.resolved()["who"]
    assert isinstance(resolved, dict)
    assert resolved["email"] == "alice@example.com"
    assert found[0].who is NOBODY


def test_a_time_is_read_without_what_is_before_it_and_who_they_were_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    folder, opened = tmp_path / "ledger", list[str]()
    records = reading._records

    def counted(path: Path, reader: reading.Reader) -> Iterator[Record]:
        opened.append(path.name)
        return records(path, reader)

    monkeypatch.setattr(reading, "_records", counted)
    found = decisions(list(read(folder, START + 6 * DAY, START + 9 * DAY)))
    assert found == [("k-6", "alice"), ("k-7", "bob"), ("k-8", "alice")]
    assert 1 < len(opened) < len(files(tmp_path))


def test_lines_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    written(tmp_path, 2)
    path = files(tmp_path)[0]
    path.write_bytes(b"junk\n" + path.read_bytes() + b'{"n":9,"at":"2026","kind":"x\xff"}\n\x00\x00')
    assert len(decisions(list(read(tmp_path / "ledger")))) == 2


def test_no_ledger_is_said_in_words(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(Problem, match="There is no ledger"):
            list(read(folder))


def test_who_may_not_read_it_is_told_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 1)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(Problem, match="as root or as the user that runs the agent"):
        list(read(tmp_path / "ledger"))


async def test_a_ledger_is_followed_from_file_to_file(tmp_path: Path) -> None:
    with ledger(tmp_path, segment_bytes=900) as writer:
        writer.record(decision(0))
        following = follow(tmp_path / "ledger", 0.0, lambda seconds: None)
        assert len(list(takewhile(lambda each: each is not None, following))) == 3
        for number in range(1, 6):
            writer.record(decision(number))
        assert len(files(tmp_path)) > 2
        found = [each for each in takewhile(lambda each: each is not None, following) if each is not None]
        assert [each.text("exchange") for each in found if each.kind == "decision"] == [
            f"k-{number}" for number in range(1, 6)
        ]
        assert next(following) is None


def test_half_a_line_is_waited_for(tmp_path: Path) -> None:
    written(tmp_path, 1)
    path = files(tmp_path)[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    following = follow(tmp_path / "ledger", 0.0, lambda seconds: None)
    before = [each for each in takewhile(lambda each: each is not None, following) if each is not None]
    path.write_bytes(whole)
    last = next(following)
    assert last is not None
    assert last.n == len(before) + 1


def test_people_are_found_by_what_they_are_called() -> None:
    alice = Who("i", "u-17", "Alice Example", "alice@example.com")
    for text in ("U-17", "ALICE@example.com", "alice", "example"):
        assert alice.called(text)
    assert not alice.called("alice@example")
    named = (("", ""), ("N", ""), ("", "e"), ("N", "e"))
    people = [Who("i", "s", name, email).person for name, email in named]
    assert people == ["s", "N", "e", "N <e>"]


def test_a_record_says_what_is_not_there_as_nothing() -> None:
    record = Record(1, "", "x", {"a": 1, "b": "t"}, NOBODY)
    assert (record.text("a"), record.text("c"), record.number("b"), record.number("a")) == ("1", "", 0, 1)
    assert segments.MAX_LINE > 0


@pytest.mark.parametrize("segment_bytes", [900, 1 << 20])
async def test_a_tail_has_the_newest_with_their_callers_and_goes_on_where_it_was(
    tmp_path: Path, segment_bytes: int
) -> None:
    clock = Clock()
    with ledger(tmp_path, clock=clock, segment_bytes=segment_bytes) as writer:
        tail = Tail(tmp_path / segments.FOLDER, 3, {"decision"})
        assert tail.look() == []
        for day in range(10):
            writer.record(decision(day, who=(ALICE, BOB)[day % 2]))
        newest = [("k-7", "bob"), ("k-8", "alice"), ("k-9", "bob")]
        assert decisions(tail.look()) == newest
        assert decisions(tail.look()) == newest
        for day in range(10, 15):
            writer.record(decision(day, who=(ALICE, BOB)[day % 2]))
            assert decisions(tail.look())[-1] == (f"k-{day}", ("alice", "bob")[day % 2])
        other = Tail(tmp_path / segments.FOLDER, 3, {"decision"})
        assert decisions(other.look())[-1] == ("k-14", "alice")


def test_a_tail_takes_a_line_only_when_it_is_whole(tmp_path: Path) -> None:
    written(tmp_path, days=2, segment_bytes=1 << 20)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-90])
    tail = Tail(tmp_path / segments.FOLDER, 9, {"decision"})
    before = len(tail.look())
    path.write_bytes(whole)
    assert [each for each, _ in decisions(tail.look())][-1:] == ["k-1"]
    assert before <= len(tail.look())


def test_a_tail_says_that_there_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="There is no ledger"):
        Tail(tmp_path, 3, {"decision"}).look()
