"""When the dialer tries again: bounds of the jitter, growth, and what starts it anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.dialer.redial import CAP, CAP_UNFINISHED, FIRST, REFUSED, STABLE, WAITING, Redial

CHANCES = st.floats(0, 1)


@given(CHANCES, st.integers(0, 10_000), st.booleans())
def test_a_wait_is_anything_between_nothing_and_its_bound(
    chance: float, failures: int, unfinished: bool
) -> None:
    redial = Redial(failures)
    most = redial.wait(1.0, unfinished=unfinished)
    assert redial.wait(chance, unfinished=unfinished) == chance * most
    assert redial.wait(0.0, unfinished=unfinished) == 0
    assert FIRST <= most <= (CAP_UNFINISHED if unfinished else CAP)


def test_the_bound_doubles_up_to_its_cap() -> None:
    redial, bounds = Redial(), []
    for _ in range(9):
        redial = redial.after(None)
        bounds.append(redial.wait(1.0, unfinished=False))
    assert bounds == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, CAP, CAP, CAP]


def test_callers_that_wait_shorten_it() -> None:
    assert Redial(20).wait(1.0, unfinished=True) == CAP_UNFINISHED


def test_only_a_link_that_stood_for_long_starts_it_anew() -> None:
    redial = Redial(6)
    assert redial.after(None).failures == 7
    assert redial.after(0.0).failures == 7
    assert redial.after(STABLE - 0.001).failures == 7
    assert redial.after(STABLE).failures == 1


@given(CHANCES, st.integers(0, 100), st.booleans())
def test_an_agent_that_the_relay_does_not_know_asks_every_5_to_15_minutes(
    chance: float, failures: int, unfinished: bool
) -> None:
    wait = Redial(failures).wait(chance, unfinished=unfinished, refused=True)
    assert REFUSED[0] <= wait <= REFUSED[1]


@given(CHANCES, st.integers(0, 100), st.booleans())
def test_an_agent_that_waits_for_approval_asks_every_minute_or_oftener(
    chance: float, failures: int, unfinished: bool
) -> None:
    wait = Redial(failures).wait(chance, unfinished=unfinished, refused=True, waiting=True)
    assert WAITING[0] <= wait <= WAITING[1] <= 60
