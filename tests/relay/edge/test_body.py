"""Bodies within their size, their time and the replica's memory."""

import pytest

from penstock_relay.edge.body import Budget, Pace, Refused, Share
from penstock_relay.edge.limits import Limits
from penstock_relay.edge.stats import Stats


def test_the_next_byte_is_due_at_the_pace_of_what_has_come() -> None:
    pace = Pace(100.0, Limits(body_s=30.0, body_rate=1024, body_start_s=5.0))
    assert pace.until(0) == 105.0
    assert pace.until(1024) == 106.0
    assert pace.until(25 * 1024) == 130.0
    assert pace.until(4 * 1024 * 1024) == 130.0


def test_what_a_request_took_from_the_budget_is_given_back_once() -> None:
    stats = Stats()
    budget = Budget(100, stats)
    with Share(budget) as share:
        share.grow(60)
        share.grow(10)
        share.grow(100)
        assert stats.request_bytes == 100
    assert stats.request_bytes == 0


def test_a_request_above_the_budget_is_refused_and_takes_nothing() -> None:
    stats = Stats()
    budget = Budget(100, stats)
    with Share(budget) as first:
        first.grow(60)
        with Share(budget) as second:
            with pytest.raises(Refused) as refused:
                second.grow(41)
            assert refused.value.refusal.status == 503
            second.grow(40)
        assert stats.request_bytes == 60
