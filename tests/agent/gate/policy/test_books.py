"""Budgets, on a clock that the test sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy import books as module
from penstock_agent.gate.policy.books import Books, Charge, Over, Taken
from penstock_agent.gate.policy.rules import Budget

ALICE, BOB = ("i", "alice"), ("i", "bob")
NOON = 1_795_867_200.0
"""2026-11-28T12:00:00Z"""
MIDNIGHT = NOON + 12 * 3600


def charge(name: str = "read", item: Item = Item.TOOL, rule: str = "r", **limits: int) -> Charge:
    return Charge("files", rule, item, name, Budget(**limits))


def call(
    books: Books, now: float, one: Charge, who: tuple[str, str] = ALICE, until: float = 0.0
) -> Taken | Over:
    return books.take(who, [one], now, until or now + 120, runs=True)


def ok(found: Taken | Over) -> Taken:
    assert isinstance(found, Taken), found
    return found


def over(found: Taken | Over | None) -> Over:
    assert isinstance(found, Over), found
    return found


def test_calls_of_a_minute_come_at_once_and_then_one_by_one() -> None:
    books, one = Books(), charge(calls_per_minute=3)
    for _ in range(3):
        ok(call(books, NOON, one))
    found = over(call(books, NOON + 1, one))
    assert found.at == pytest.approx(NOON + 20)
    assert found.text == (
        "You have used up what the site allows you of this: 3 calls in a minute. Nothing was done. Try again "
        "at 2026-11-28T12:00:20Z, in 19 s."
    )
    over(call(books, NOON + 19.9, one))
    ok(call(books, NOON + 20, one))
    over(call(books, NOON + 20, one))
    ok(call(books, NOON + 500, one))


def test_what_was_refused_is_not_counted() -> None:
    books, one = Books(), charge(calls_per_minute=1, calls_per_day=2)
    ok(call(books, NOON, one))
    for _ in range(50):
        over(call(books, NOON + 1, one))
    ok(call(books, NOON + 60, one))
    assert "2 calls in a day" in over(call(books, NOON + 300, one)).text


def test_calls_at_a_time_end_when_they_are_released() -> None:
    books, one = Books(), charge(concurrent=2)
    first, second = ok(call(books, NOON, one, until=NOON + 30)), ok(call(books, NOON + 1, one))
    found = over(call(books, NOON + 2, one))
    assert found.text.endswith(
        "2 calls at a time. Nothing was done. Try again when one of them has ended, at 2026-11-28T12:00:30Z "
        "at the latest."
    )
    books.release(first)
    books.release(first)
    third = ok(call(books, NOON + 3, one))
    over(call(books, NOON + 3, one))
    books.release(second)
    books.release(third)
    books.hold(third)
    books.release(third)
    ok(call(books, NOON + 4, one))
    ok(call(books, NOON + 4, one))


def test_a_day_is_one_of_utc_and_ends() -> None:
    books, one = Books(), charge(calls_per_day=1)
    ok(call(books, NOON, one))
    found = over(call(books, NOON + 3600, one))
    assert found.at == MIDNIGHT
    assert "1 call in a day (of UTC)" in found.text
    assert "at 2026-11-29T00:00:00Z, in 39600 s." in found.text
    over(call(books, MIDNIGHT - 0.5, one))
    ok(call(books, MIDNIGHT, one))


def test_a_clock_that_is_set_back_gives_nothing() -> None:
    books, one = Books(), charge(calls_per_day=1, calls_per_minute=1)
    ok(call(books, MIDNIGHT + 5, one))
    over(call(books, NOON, one))
    over(call(books, NOON - 86400 * 30, one))
    over(call(books, MIDNIGHT + 10, one))


def test_bytes_of_a_day_stop_the_answer_and_then_the_call() -> None:
    books, one = Books(), charge(bytes_per_day=1000)
    assert books.answered(ok(call(books, NOON, one)), 600, NOON) is None
    found = over(books.answered(ok(call(books, NOON, one)), 401, NOON))
    assert "The answer has 401 bytes, and of the 1000 bytes that this site lets you have" in found.text
    assert "400 are left. The call has run; nothing of its answer is shown." in found.text
    assert books.answered(ok(call(books, NOON, one)), 400, NOON) is None
    assert "1000 bytes of answers in a day" in over(call(books, NOON, one)).text
    ok(call(books, MIDNIGHT, one))


def test_one_answer_has_a_greatest_size_and_is_not_counted_when_it_stays() -> None:
    books, one = Books(), charge(max_result=10, bytes_per_day=12)
    assert "at most in one answer" in over(books.answered(ok(call(books, NOON, one)), 11, NOON)).text
    assert books.answered(ok(call(books, NOON, one)), 10, NOON) is None


def test_each_person_tool_rule_and_server_is_counted_by_itself() -> None:
    books = Books()
    for one, who in [
        (charge(calls_per_day=1), ALICE),
        (charge(calls_per_day=1), BOB),
        (charge("write", calls_per_day=1), ALICE),
        (charge(rule="other", calls_per_day=1), ALICE),
        (Charge("crm", "r", Item.TOOL, "read", Budget(calls_per_day=1)), ALICE),
        (charge("read", Item.PROMPT, calls_per_day=1), ALICE),
    ]:
        ok(call(books, NOON, one, who))
        over(call(books, NOON, one, who))
    ok(call(books, NOON, charge("file:///a", Item.RESOURCE, calls_per_day=1)))
    over(call(books, NOON, charge("file:///b", Item.RESOURCE, calls_per_day=1)))


def test_several_charges_are_taken_together_or_not_at_all() -> None:
    books = Books()
    wide, narrow = charge(rule="wide", calls_per_day=5), charge(rule="narrow", calls_per_day=1)
    ok(books.take(ALICE, [wide, narrow], NOON, NOON, runs=True))
    for _ in range(9):
        over(books.take(ALICE, [wide, narrow], NOON, NOON, runs=True))
    for _ in range(4):
        ok(call(books, NOON, wide))
    over(call(books, NOON, wide))


def test_a_limit_that_is_changed_counts_from_the_next_call() -> None:
    books = Books()
    ok(call(books, NOON, charge(calls_per_day=1, calls_per_minute=100)))
    ok(call(books, NOON, charge(calls_per_day=2, calls_per_minute=100)))
    over(call(books, NOON, charge(calls_per_day=2, calls_per_minute=100)))
    ok(call(books, NOON, charge(calls_per_minute=1)))
    over(call(books, NOON, charge(calls_per_minute=1)))


def test_what_was_used_of_the_day_is_known_to_the_next_run() -> None:
    books, one = Books(), charge(calls_per_day=2, bytes_per_day=100)
    books.answered(ok(call(books, NOON, one)), 60, NOON)
    assert books.changed
    data = books.dump(NOON)
    assert not books.changed
    again = Books()
    again.load(data)
    assert "40 are left" in over(again.answered(ok(call(again, NOON, one)), 41, NOON)).text
    over(call(again, NOON, one))
    assert Books().dump(NOON) == again.dump(MIDNIGHT) == b"[]", "a day that is over is not kept"


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'[[["a"],1,2,3]]', b"\xff", b"[" * 2000])
def test_what_no_dump_wrote_is_not_loaded(data: bytes) -> None:
    with pytest.raises(ValueError, match="not what this agent writes"):
        Books().load(data)


def test_names_that_a_caller_makes_up_fill_only_their_own_accounts() -> None:
    books = Books()
    for n in range(module.PER_PERSON_MAX + 50):
        ok(call(books, NOON, charge(f"tool{n}", calls_per_day=50)))
    assert len(books) == module.PER_PERSON_MAX + 1
    over(call(books, NOON, charge("another", calls_per_day=50)))
    ok(call(books, NOON, charge("tool0", calls_per_day=50)))
    ok(call(books, NOON, charge("another", calls_per_day=50), BOB))


def test_accounts_are_bounded_and_those_that_say_nothing_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCOUNTS_MAX", 3)
    books, one = Books(), charge(calls_per_day=5)
    first = ok(call(books, NOON, one, ("i", "0")))
    for n in range(1, 3):
        books.release(ok(call(books, NOON, one, ("i", str(n)))))
    assert "more people and tools than it can keep" in over(call(books, NOON, one, ("i", "3"))).text
    ok(call(books, NOON, one, ("i", "1")))
    books.release(first)
    ok(call(books, MIDNIGHT + 100, one, ("i", "3")))


@given(
    st.lists(st.tuples(st.sampled_from(["call", "end", "wait"]), st.integers(0, 40)), max_size=60),
    st.integers(1, 5),
    st.integers(1, 30),
)
def test_never_more_than_the_limits(steps: list[tuple[str, int]], concurrent: int, rate: int) -> None:
    books, one, now = Books(), charge(concurrent=concurrent, calls_per_minute=rate, calls_per_day=20), NOON
    running: list[Taken] = []
    times: list[float] = []
    for what, n in steps:
        if what == "wait":
            now += n
        elif what == "end" and running:
            books.release(running.pop(n % len(running)))
        elif what == "call" and isinstance(taken := call(books, now, one), Taken):
            running.append(taken)
            times.append(now)
    assert len(running) <= concurrent
    assert len(times) <= 20
    for begin in times:
        assert sum(begin <= at < begin + 60 for at in times) <= 2 * rate
