from __future__ import annotations

from penstock_relay.oauth.throttle import MAX_FAILURES, MAX_NAMES, WINDOW_S, Throttle


def test_a_name_that_failed_too_often_waits_until_the_window_is_over() -> None:
    throttle = Throttle()
    for _ in range(MAX_FAILURES):
        assert not throttle.refuses("alice", 0.0)
        throttle.failed("alice", 0.0)
    assert throttle.refuses("alice", WINDOW_S - 1)
    assert not throttle.refuses("bob", 1.0)
    assert not throttle.refuses("alice", WINDOW_S)
    throttle.failed("alice", WINDOW_S)
    assert not throttle.refuses("alice", WINDOW_S + 1)


def test_a_login_forgets_the_failures_before_it() -> None:
    throttle = Throttle()
    for _ in range(MAX_FAILURES):
        throttle.failed("alice", 0.0)
    throttle.succeeded("alice")
    assert not throttle.refuses("alice", 1.0)


def test_guessing_names_costs_bounded_memory() -> None:
    throttle = Throttle()
    for number in range(MAX_NAMES + 50):
        throttle.failed(str(number), 0.0)
    assert len(throttle._failures) == MAX_NAMES


def test_guessing_other_names_does_not_free_one_that_must_wait() -> None:
    throttle = Throttle()
    for _ in range(MAX_FAILURES):
        throttle.failed("alice", 0.0)
    for number in range(MAX_NAMES + 50):
        throttle.failed(str(number), 1.0)
    assert throttle.refuses("alice", 2.0)
    assert len(throttle._failures) == MAX_NAMES


def test_another_window_and_another_number_can_be_had() -> None:
    throttle = Throttle(2, 10.0)
    for _ in range(2):
        throttle.failed("alice", 0.0)
    assert throttle.refuses("alice", 9.9)
    assert not throttle.refuses("alice", 10.0)
