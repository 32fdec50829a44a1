"""What the ledger need not keep."""

from __future__ import annotations

from penstock_agent.ledger.retention import DAY, Retention

NOW = 1000 * DAY


def begun(*ages: float) -> list[float]:
    """Segments begun so many days ago."""
    return [NOW - age * DAY for age in ages]


def test_a_segment_goes_when_its_last_record_is_too_old() -> None:
    retention = Retention(10 * DAY, None)
    assert retention.surplus(begun(30, 20, 9, 1), [1, 1, 1, 1], NOW) == 1
    assert retention.surplus(begun(30, 20, 11, 1), [1, 1, 1, 1], NOW) == 2


def test_the_oldest_go_until_the_rest_is_small_enough() -> None:
    retention = Retention(None, 100)
    assert retention.surplus(begun(4, 3, 2), [60, 60, 10], NOW) == 1
    assert retention.surplus(begun(4, 3, 2), [60, 40, 0], NOW) == 0


def test_the_last_one_stays_whatever_it_is() -> None:
    assert Retention(DAY, 1).surplus(begun(99), [10**9], NOW) == 0
    assert Retention(DAY, 1).surplus(begun(99, 98), [10**9, 10**9], NOW) == 1


def test_without_bounds_everything_stays() -> None:
    assert Retention(None, None).surplus(begun(999, 998), [10**9, 10**9], NOW) == 0
