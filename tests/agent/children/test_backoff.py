import pytest

from penstock_agent.children import backoff
from penstock_agent.children.backoff import (
    History,
    calm,
    crashed,
    delay,
    refused_for,
    started,
    withdrawn,
    worked,
)

QUICK = 0.1
"""A life too short to count as stable, in seconds."""


def crash_at(*times: float) -> History:
    history = History()
    for now in times:
        history = crashed(started(history, now), now, QUICK)
    return history


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (9, 60), (10**9, 60)]
)
def test_the_longest_wait_doubles_up_to_a_minute(failures: int, longest: float) -> None:
    assert delay(failures, 0.0) == 0.0
    assert delay(failures, 0.5) == pytest.approx(longest / 2)
    assert delay(failures, 0.999999) == pytest.approx(longest, rel=1e-5)


def test_without_a_crash_there_is_no_wait() -> None:
    assert delay(0, 0.9) == 0.0
    assert refused_for(History(), 5.0) == 0.0


def test_crashes_in_a_row_are_counted_until_one_child_has_lived_a_minute() -> None:
    history = crash_at(0, 100, 200)
    assert history.failures == 3
    assert crashed(history, 300, backoff.STABLE_S).failures == 1


def test_four_crashes_in_a_minute_leave_the_circuit_closed_and_the_fifth_opens_it() -> None:
    assert refused_for(crash_at(0, 10, 20, 30), 30) == 0.0
    assert refused_for(crash_at(0, 10, 20, 30, 40), 40) == 60.0


def test_five_crashes_in_more_than_a_minute_leave_it_closed() -> None:
    assert refused_for(crash_at(0, 15, 30, 45, 60), 60) == 0.0


def test_an_open_circuit_refuses_for_a_minute_then_allows_one_trial() -> None:
    history = crash_at(0, 1, 2, 3, 4)
    assert refused_for(history, 63.0) == pytest.approx(1.0)
    assert refused_for(history, 64.0) == 0.0
    history = started(history, 64.0)
    assert refused_for(history, 64.0) == pytest.approx(backoff.TRIAL_S)


def test_a_failed_trial_opens_it_for_another_minute() -> None:
    history = started(crash_at(0, 1, 2, 3, 4), 64.0)
    history = crashed(history, 65.0, QUICK)
    assert refused_for(history, 65.0) == 60.0
    assert history.failures == 6


def test_a_trial_that_answers_closes_it() -> None:
    history = worked(started(crash_at(0, 1, 2, 3, 4), 64.0))
    assert refused_for(history, 64.5) == 0.0
    assert refused_for(crashed(history, 65.0, QUICK), 65.0) == 0.0


def test_a_trial_that_lives_long_enough_closes_it_too() -> None:
    history = started(crash_at(0, 1, 2, 3, 4), 64.0)
    later = 64.0 + backoff.TRIAL_S
    assert refused_for(history, later) == 0.0
    history = crashed(started(history, later), later + 1, backoff.TRIAL_S + 1)
    assert refused_for(history, later + 1) == 0.0


def test_a_trial_that_we_ended_ourselves_makes_room_for_another() -> None:
    history = withdrawn(started(crash_at(0, 1, 2, 3, 4), 64.0))
    assert refused_for(history, 64.5) == 0.0
    assert refused_for(started(history, 64.5), 65.0) > 0.0


def test_an_answer_outside_a_trial_changes_nothing() -> None:
    history = crash_at(0, 1, 2, 3, 4)
    assert worked(history) == history


def test_what_is_remembered_is_bounded() -> None:
    history = crash_at(*(now / 10 for now in range(10_000)))
    assert len(history.crashes) <= backoff.WINDOW_CRASHES


def test_a_server_is_calm_when_nothing_has_crashed_for_a_minute() -> None:
    assert calm(History(), 0)
    assert not calm(crash_at(0), 59)
    assert calm(crash_at(0), 60)


def test_a_circuit_that_is_open_or_on_trial_is_not_calm_until_one_has_worked() -> None:
    opened = crash_at(0, 1, 2, 3, 4)
    assert not calm(opened, 63)
    assert not calm(opened, 1000)
    trial = started(opened, 1000)
    assert not calm(trial, 1000)
    assert calm(worked(trial), 1000)
    assert calm(trial, 1000 + backoff.TRIAL_S)
