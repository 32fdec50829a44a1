"""What is kept of event streams, for how long, and whose ids are believed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.endpoint.session.eventlog import Budget, Event, EventIds, EventLog, Place, Record, after

TAG = "abcdefgh"
IDS = EventIds(TAG, b"\1" * 8, b"k" * 32)
LATER = EventIds(TAG, b"\2" * 8, b"l" * 32)
PLACE = Place(3, 7, b'"a b"')


def log(budget: Budget[str] | None = None, *, limit: int = 100, age: float = 300.0) -> EventLog[str]:
    return EventLog(budget or Budget(1000), limit, age)


def event(number: int, size: int = 10, *, needed: bool = True, last: bool = False) -> Event:
    return Event(number, b"x" * size, needed, last)


def numbers(record: Record[str], since: int = 0) -> list[int] | None:
    found = after(record, since)
    return None if found is None else [each.number for each in found]


# Ids.


@pytest.mark.parametrize("request_id", [b"1", b'"x"', b"-1.5e3", b'"\\u0041"', None, b"9" * 512])
def test_an_id_says_in_its_session_what_it_was_made_of(request_id: bytes | None) -> None:
    place = Place(2**32 - 1, 0, request_id)
    text = IDS.make("s", place)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 800
    assert IDS.read("s", text) == place


def test_an_id_of_another_session_is_none() -> None:
    assert IDS.read("other", IDS.make("s", PLACE)) is None


def test_no_single_character_of_an_id_can_be_changed() -> None:
    text = IDS.make("s", PLACE)
    for at, character in enumerate(text):
        changed = text[:at] + ("A" if character != "A" else "B") + text[at + 1 :]
        read = IDS.read("s", changed)
        # The last character may hold bits that are of no byte.
        assert read is None or (at == len(text) - 1 and read == PLACE), at


@given(st.text())
def test_whatever_else_is_sent_is_none(text: str) -> None:
    assert IDS.read("s", text) is None
    assert IDS.of_another_life(text) is None


@given(st.binary(max_size=200))
def test_whatever_is_packed_like_one_is_none_or_of_another_life(packed: bytes) -> None:
    text = f"{TAG}.{base64.urlsafe_b64encode(packed).rstrip(b'=').decode()}"
    assert IDS.read("s", text) is None
    IDS.of_another_life(text)


def test_an_id_of_another_life_says_which_request_it_was_for_and_nothing_else() -> None:
    text = IDS.make("s", PLACE)
    assert LATER.read("s", text) is None
    assert LATER.of_another_life(text) == b'"a b"'
    assert IDS.of_another_life(text) is None
    assert EventIds("hgfedcba", b"\2" * 8, b"").of_another_life(text) is None


@pytest.mark.parametrize(
    "request_id", [None, b"", b"null", b"{}", b"[1]", b"true", b'"a', b" 1", b"1\n", b"\xff"]
)
def test_an_id_of_another_life_without_a_request_id_says_nothing(request_id: bytes | None) -> None:
    assert LATER.of_another_life(IDS.make("s", Place(1, 1, request_id))) is None


def test_a_request_id_that_is_too_long_for_a_header_is_left_out() -> None:
    text = IDS.make("s", Place(1, 1, b'"%b"' % (b"x" * 4000)))
    assert len(text) < 100
    assert IDS.read("s", text) == Place(1, 1, None)


# What is kept.


def test_each_stream_gives_back_its_own_events_after_the_one_named() -> None:
    kept = log()
    one, two = kept.open("one", b"1"), kept.open("two", b"2")
    for number in (1, 2, 3):
        kept.add(one, event(number), 0.0)
        kept.add(two, event(number), 0.0)
    assert kept.find(one.number, 1.0) is one
    assert (one.owner, one.request) == ("one", b"1")
    assert numbers(one, 0) == [1, 2, 3]
    assert numbers(one, 2) == [3]
    assert numbers(two, 3) == []
    assert kept.find(99, 1.0) is None


def test_the_oldest_make_room_and_what_was_needed_is_missed() -> None:
    kept = log(limit=30)
    one = kept.open("one", b"1")
    for number in (1, 2, 3, 4):
        kept.add(one, event(number), 0.0)
    assert kept.bytes == 30
    assert numbers(one, 0) is None
    assert numbers(one, 1) == [2, 3, 4]


def test_what_was_not_needed_is_not_missed() -> None:
    kept = log(limit=30)
    one = kept.open("one", b"1")
    for number in (1, 2, 3):
        kept.add(one, event(number, needed=False), 0.0)
    kept.add(one, event(4, last=True), 0.0)
    assert numbers(one, 0) == [2, 3, 4]


def test_an_event_that_is_too_large_is_missed_and_costs_the_others_nothing() -> None:
    kept = log(limit=30)
    one, two = kept.open("one", b"1"), kept.open("two", b"2")
    kept.add(two, event(1), 0.0)
    kept.add(one, event(1, 31, last=True), 0.0)
    assert kept.find(one.number, 0.0) is None
    assert numbers(two) == [1]


def test_events_age_and_an_ended_stream_goes_with_its_last() -> None:
    kept = log(age=300.0)
    ended, running = kept.open("ended", b"1"), kept.open("running", b"2")
    kept.add(ended, event(1), 0.0)
    kept.add(ended, event(2, last=True), 100.0)
    kept.add(running, event(1), 0.0)
    assert kept.find(ended.number, 299.0) is ended
    assert numbers(ended) == [1, 2]
    assert kept.find(ended.number, 300.0) is ended
    assert numbers(ended, 1) == [2]
    assert kept.find(ended.number, 400.0) is None
    assert kept.find(running.number, 400.0) is running
    assert numbers(running, 0) is None
    assert kept.bytes == 0


def test_a_stream_that_nobody_reads_and_that_is_empty_is_forgotten_until_somebody_comes_back() -> None:
    kept = log()
    one = kept.open("one", None)
    kept.end(one)
    assert kept.find(one.number, 0.0) is None
    two = kept.open("two", None)
    kept.add(two, event(1), 0.0)
    kept.end(two)
    assert kept.find(two.number, 0.0) is two
    kept.resume(two)
    kept.expire(1000.0)
    assert kept.find(two.number, 1000.0) is two


def test_what_goes_another_way_is_not_given_back() -> None:
    kept = log()
    one = kept.open("one", None)
    for number in (1, 2, 3):
        kept.add(one, event(number), 0.0)
    kept.withdraw(one, 2)
    kept.add(one, event(4), 1.0)
    assert numbers(one) == [1, 4]
    kept.expire(300.0)
    assert (numbers(one, 3), kept.bytes) == ([4], 10)
    kept.expire(301.0)
    assert kept.bytes == 0


def test_over_all_sessions_the_one_that_holds_most_gives_way() -> None:
    budget: Budget[str] = Budget(100)
    small, large = log(budget), log(budget)
    own, other = small.open("small", b"1"), large.open("large", b"1")
    small.add(own, event(1), 0.0)
    for number in range(1, 10):
        large.add(other, event(number), 0.0)
    small.add(own, event(2), 0.0)
    assert budget.bytes == 100
    assert numbers(own) == [1, 2]
    assert numbers(other) is None
    assert numbers(other, 1) == [2, 3, 4, 5, 6, 7, 8, 9]
    large.close()
    small.close()
    assert budget.bytes == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 60), st.booleans(), st.integers(0, 200)), max_size=60
    )
)
def test_nothing_is_ever_held_beyond_the_bounds_or_counted_wrong(
    steps: list[tuple[int, int, bool, int]],
) -> None:
    budget: Budget[str] = Budget(150)
    logs = [log(budget, limit=100) for _ in range(2)]
    records = [(kept, kept.open("x", b"1")) for kept in logs for _ in range(2)]
    counts, now = [0] * 4, 0.0
    for which, size, last, pause in steps:
        kept, record = records[which]
        now += pause
        counts[which] += 1
        kept.add(record, event(counts[which], size, last=last), now)
        assert budget.bytes == sum(each.bytes for each in logs) <= 150
        assert all(each.bytes <= 100 for each in logs)
    for kept in logs:
        held = sum(len(e.data) for owner, record in records if owner is kept for e in record.events)
        assert held == kept.bytes
        kept.close()
    assert budget.bytes == 0
