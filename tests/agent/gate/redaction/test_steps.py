"""Work in steps."""

from __future__ import annotations

import pytest

from penstock_agent.gate.redaction.steps import AT_ONCE, Steps, finish, let_go, portions


def test_all_steps_are_done_and_what_they_are_for_is_returned() -> None:
    done = []

    def work() -> Steps[str]:
        for number in range(3):
            done.append(number)
            yield
        return "end"

    assert finish(work()) == "end"
    assert done == [0, 1, 2]


@pytest.mark.parametrize("size", [0, 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
def test_portions_are_all_of_it_in_order_and_none_is_large(size: int) -> None:
    many = list(range(size))
    parts = list(portions(many))
    assert [one for part in parts for one in part] == many
    assert all(len(part) <= AT_ONCE for part in parts)


@pytest.mark.parametrize("size", [0, AT_ONCE, 3 * AT_ONCE + 1])
def test_what_is_let_go_is_gone_a_portion_at_a_time(size: int) -> None:
    many = list(range(size))
    left = []
    for _ in let_go(many):
        left.append(len(many))
    assert many == []
    assert left == [size - AT_ONCE * n for n in range(1, len(left) + 1)]
    assert len(left) == max(0, -(-size // AT_ONCE) - 1)
