"""When a rotation may go on: agents and join strings as values, time as an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.names import AgentId
from penstock_relay.ca.rotation import (
    NEXT,
    RENEWABLE,
    SETTLE,
    Fleet,
    Holder,
    Invitation,
    Phase,
    Progress,
    Waiting,
    due,
    next_step,
    waiting,
)

DAY = 86_400.0
WEEK = 7 * DAY
T = 1_800_000_000.0
AGENT = AgentId("mill", "a1")
END = T + 3650 * DAY
"""Of the old anchor."""


def announced(*, vouched: bool = True) -> Progress:
    return Progress(Phase.ANNOUNCED, T, T, vouched, END)


def signing(*, signs_since: float = T) -> Progress:
    return Progress(Phase.SIGNING, T, signs_since, vouched=True, ends=END)


def holds(issued_at: float, agent: AgentId = AGENT) -> Holder:
    return Holder(agent, issued_at, issued_at + WEEK)


def test_a_relay_without_agents_is_through_with_it_in_seconds() -> None:
    assert not due(announced(), Fleet(), T)
    assert not due(announced(), Fleet(), T + SETTLE - 1)
    assert due(announced(), Fleet(), T + SETTLE)
    assert due(signing(), Fleet(), T + SETTLE)


def test_the_new_one_signs_once_every_agent_has_come_for_the_bundle() -> None:
    other = AgentId("mill", "a2")
    fleet = Fleet([holds(T - DAY), holds(T + DAY, other)])
    assert waiting(announced(), fleet, T + DAY) == Waiting((AGENT,))
    assert not due(announced(), fleet, T + DAY)
    assert due(announced(), Fleet([holds(T + 2 * DAY), holds(T + DAY, other)]), T + 2 * DAY)


def test_what_a_process_issued_that_had_not_noticed_yet_counts_as_before() -> None:
    assert waiting(announced(), Fleet([holds(T + SETTLE - 1)]), T + DAY).agents == (AGENT,)
    assert not waiting(announced(), Fleet([holds(T + SETTLE)]), T + DAY)
    assert waiting(signing(), Fleet([holds(T + SETTLE - 1)]), T + DAY).agents == (AGENT,)
    assert not waiting(signing(), Fleet([holds(T + SETTLE)]), T + DAY)


def test_an_agent_that_is_switched_off_is_waited_for_as_long_as_it_may_come_back() -> None:
    fleet = Fleet([holds(T - DAY)])
    end = T - DAY + WEEK
    assert waiting(announced(), fleet, end + RENEWABLE - 1)
    assert not waiting(announced(), fleet, end + RENEWABLE)


def test_the_old_one_goes_once_no_certificate_of_it_is_good() -> None:
    fleet = Fleet([holds(T - DAY)])
    assert waiting(signing(), fleet, T + 6 * DAY - 1).agents == (AGENT,)
    # It may still renew: by its old key, and it trusts the new one already.
    assert not waiting(signing(), fleet, T + 6 * DAY)


def test_the_new_one_may_have_signed_since_it_was_announced() -> None:
    fleet = Fleet([holds(T - DAY)])
    assert waiting(signing(), fleet, T + 1)
    assert not waiting(signing(signs_since=T - 2 * DAY), fleet, T + 1)


def test_join_strings_of_the_old_pin_are_waited_for_where_nothing_leads_on_from_it() -> None:
    fleet = Fleet((), [Invitation(T - DAY, T + DAY), Invitation(T + 60, T + 2 * DAY)])
    assert not waiting(announced(), fleet, T + 100)
    assert waiting(announced(vouched=False), fleet, T + 100) == Waiting((), 2)
    assert waiting(announced(vouched=False), fleet, T + DAY) == Waiting((), 1)
    assert not waiting(announced(vouched=False), fleet, T + 2 * DAY)


def test_the_old_one_is_shown_as_long_as_a_join_string_pins_it() -> None:
    just_before = Invitation(T + SETTLE - 1, T + 2 * DAY)
    assert waiting(signing(), Fleet((), [just_before]), T + DAY) == Waiting((), 1)
    fleet = Fleet((), [Invitation(T - DAY, T + DAY), Invitation(T + SETTLE, T + 2 * DAY)])
    assert waiting(signing(), fleet, T + DAY - 1) == Waiting((), 1)
    assert not waiting(signing(), fleet, T + DAY)


def test_nobody_is_waited_for_once_the_old_one_has_ended() -> None:
    fleet = Fleet([holds(T - DAY)], [Invitation(T - DAY, END)])
    for phase in (Phase.ANNOUNCED, Phase.SIGNING):
        progress = Progress(phase, T, T, vouched=False, ends=T + 60)
        assert waiting(progress, fleet, T + 59)
        assert not waiting(progress, fleet, T + 60)
        assert due(progress, fleet, T + 60)


def test_nobody_is_waited_for_when_nothing_is_under_way() -> None:
    steady = Progress(Phase.STEADY, T, T, vouched=False, ends=0)
    fleet = Fleet([holds(T - DAY)], [Invitation(T - DAY, T + DAY)])
    assert not waiting(steady, fleet, T)
    assert not due(steady, fleet, T + 1000 * DAY)


def test_the_phases_are_a_circle() -> None:
    assert set(NEXT) == set(NEXT.values()) == set(Phase)
    assert NEXT[NEXT[NEXT[Phase.STEADY]]] is Phase.STEADY


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("left", [Waiting(), Waiting((AGENT,)), Waiting((), 2)])
def test_every_state_has_a_next_step_in_words(phase: Phase, left: Waiting) -> None:
    text = next_step(phase, left)
    assert "penstock-relay ca rotate" in text
    assert ("--force" in text) == (phase is not Phase.STEADY and bool(left))
    assert ("the new CA signs" in text) == (phase is Phase.ANNOUNCED)
    assert ("the old CA is no longer trusted" in text) == (phase is Phase.SIGNING)


def test_a_ca_from_a_file_is_replaced_there() -> None:
    text = next_step(Phase.STEADY, Waiting(), "/etc/ca.pem")
    assert "/etc/ca.pem" in text
    assert "ca rotate" not in text
    assert next_step(Phase.SIGNING, Waiting(), "/etc/ca.pem") == next_step(Phase.SIGNING, Waiting())


moments = st.floats(T - 200 * DAY, T + 200 * DAY)
holders = st.lists(
    st.builds(
        lambda name, issued_at, life: Holder(AgentId("mill", name), issued_at, issued_at + life),
        st.sampled_from(["a1", "a2", "a3"]),
        moments,
        st.floats(0, 365 * DAY),
    ),
    max_size=5,
)
invitations = st.lists(
    st.builds(lambda at, life: Invitation(at, at + life), moments, st.floats(0, WEEK)), max_size=5
)
fleets = st.builds(Fleet, holders, invitations)
progresses = st.builds(
    lambda phase, back, vouched, life: Progress(phase, T, T - back, vouched, T + life),
    st.sampled_from(list(Phase)),
    st.floats(0, 100 * DAY),
    st.booleans(),
    st.floats(0, 3650 * DAY),
)


@given(progresses, fleets, st.floats(0, 400 * DAY), st.floats(0, 400 * DAY))
def test_waiting_ends_by_itself_and_never_begins_again(
    progress: Progress, fleet: Fleet, first: float, more: float
) -> None:
    earlier, later = waiting(progress, fleet, T + first), waiting(progress, fleet, T + first + more)
    assert set(later.agents) <= set(earlier.agents)
    assert later.join_strings <= earlier.join_strings
    assert not waiting(progress, fleet, T + 1000 * DAY)


@given(fleets, st.floats(0, 400 * DAY), st.booleans())
def test_no_step_leaves_an_agent_behind(fleet: Fleet, after: float, vouched: bool) -> None:
    now = T + after
    if due(announced(vouched=vouched), fleet, now):
        # Whoever could still connect has a bundle with the new one.
        assert all(h.issued_at >= T + SETTLE for h in fleet.holders if h.not_after > now)
    if due(signing(), fleet, now):
        # Whoever could still connect has a certificate of the new one.
        assert all(h.issued_at >= T + SETTLE for h in fleet.holders if h.not_after > now)
