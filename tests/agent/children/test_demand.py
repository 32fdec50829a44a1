import pytest

from penstock_agent.children import demand
from penstock_agent.children.demand import (
    BORNE_S,
    BURST_S,
    BUSY_WINDOW_S,
    IDLE_S,
    PAUSE_MAX_S,
    PAUSE_S,
    USES_KEPT,
    Demand,
    ended,
    taken,
    used,
    wanted,
)


def used_at(*times: float, setting: int | None = None) -> Demand:
    found = Demand()
    for now in times:
        found = used(found, now, setting)
    return found


def test_a_server_that_is_used_once_in_a_while_keeps_none() -> None:
    assert wanted(Demand(), 0, None) == 0
    assert wanted(used_at(0), 0, None) == 0
    assert wanted(used_at(0, BUSY_WINDOW_S), BUSY_WINDOW_S, None) == 0


def test_the_second_use_within_minutes_makes_it_busy_until_nobody_comes_any_more() -> None:
    found = used_at(0, 100)
    assert wanted(found, 100, None) == 1
    assert wanted(found, 100 + IDLE_S - 1, None) == 1
    assert wanted(found, 100 + IDLE_S, None) == 0


def test_whoever_comes_before_that_keeps_it_busy() -> None:
    later = 100 + IDLE_S - 1
    assert wanted(used(used_at(0, 100), later, None), later + IDLE_S - 1, None) == 1


@pytest.mark.parametrize(
    ("times", "count"),
    [((0, 20, 40), 1), ((0, 1), 2), ((0, 50, 51, 52), 3), ((0, 1, 2, 3, 4, 5), 3), ((0, BURST_S), 1)],
)
def test_as_many_are_kept_as_were_needed_at_once_up_to_three(times: tuple[float, ...], count: int) -> None:
    assert wanted(used_at(*times), times[-1], None) == count


def test_a_burst_counts_for_as_long_as_it_is_remembered() -> None:
    found = used(used_at(0, 1, 2), BUSY_WINDOW_S + 1, None)
    assert wanted(found, BUSY_WINDOW_S + 1, None) == 1


def test_a_setting_is_kept_from_the_first_use_on_and_ends_like_the_others() -> None:
    assert wanted(Demand(), 0, 5) == 0
    assert wanted(used_at(0, setting=5), 0, 5) == 5
    assert wanted(used_at(0, setting=5), IDLE_S, 5) == 0


def test_a_setting_of_0_keeps_none() -> None:
    assert wanted(used_at(0, 1, 2, setting=0), 2, 0) == 0


def test_what_is_remembered_is_bounded() -> None:
    assert len(used_at(*range(1000)).uses) == USES_KEPT


def test_a_server_whose_processes_end_while_they_wait_keeps_none_for_longer_and_longer() -> None:
    found = ended(used_at(0, 1), 5)
    assert wanted(found, 5, None) == 2
    pauses = []
    for _ in range(5):
        found = ended(found, 6)
        pauses.append(found.none_before - 6)
    assert pauses == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S, PAUSE_MAX_S, PAUSE_MAX_S]
    busy = used(found, found.none_before - 1, 1)
    assert wanted(busy, found.none_before - 1, 1) == 0
    assert wanted(busy, found.none_before, 1) == 1


def test_one_that_waited_long_enough_ends_the_row() -> None:
    found = ended(used_at(0, 1), 5)
    assert taken(found, BORNE_S).ends == 0
    assert taken(found, BORNE_S - 1).ends == 1


def test_no_number_of_ends_is_too_many() -> None:
    found = Demand(ends=10**9)
    assert ended(found, 0).none_before == demand.PAUSE_MAX_S
