"""When a certificate is renewed, and when again after a failure: times and chances are arguments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.renewal.schedule import BACKDATED, LEAST_PAUSE, MOST_PAUSE, due, pause

DAY = 86_400.0
BEGIN, END = 100 * DAY, 107 * DAY
CHANCES = st.floats(0, 1)


def test_it_is_renewed_once_a_third_of_its_life_is_over() -> None:
    assert due(BEGIN, END, BEGIN, 0.0) == BEGIN + 7 * DAY / 3
    assert due(BEGIN, END, BEGIN, 1.0) == BEGIN + 7 * DAY / 3 + 7 * DAY / 12


@given(CHANCES, st.floats(BEGIN, END - 1))
def test_it_stays_due_at_its_moment_whenever_it_is_asked(chance: float, now: float) -> None:
    moment = due(BEGIN, END, now, chance)
    assert moment == due(BEGIN, END, BEGIN, chance)
    assert BEGIN + 7 * DAY / 3 <= moment <= BEGIN + 7 * DAY / 2, "more than half of it is left"


@given(CHANCES, st.one_of(st.floats(0, BEGIN - BACKDATED - 1), st.floats(END, 1000 * DAY)))
def test_a_clock_that_puts_now_outside_of_it_is_settled_at_once(chance: float, now: float) -> None:
    assert due(BEGIN, END, now, chance) == now


def test_a_clock_that_is_a_little_slow_is_no_reason() -> None:
    assert due(BEGIN, END, BEGIN - BACKDATED, 0.0) > BEGIN


@given(CHANCES, st.integers(1, 10_000), st.floats(-1000 * DAY, 100 * DAY))
def test_a_pause_has_bounds_whatever_happened(chance: float, failures: int, left: float) -> None:
    found = pause(failures, chance, left)
    assert LEAST_PAUSE / 2 <= found <= MOST_PAUSE
    assert found <= max(LEAST_PAUSE, left / 10)
    assert pause(failures, 0.0, left) <= found <= pause(failures, 1.0, left)


def test_it_grows_while_there_is_time_and_does_not_once_there_is_none() -> None:
    assert [pause(n, 1.0, 4 * DAY) for n in range(1, 10)] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert [pause(n, 1.0, -DAY) for n in range(1, 10)] == [30] * 9
    assert pause(9, 1.0, 3000.0) == 300
