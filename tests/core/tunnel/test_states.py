from enum import Enum

import pytest

from penstock.tunnel import states
from penstock.tunnel.errors import LocalError
from penstock.tunnel.frames import EndReason, FrameType
from penstock.tunnel.states import (
    AGENT,
    LAST_WORDS,
    LEGAL,
    LINK,
    ORIGIN,
    VERDICTS,
    AgentInput,
    AgentState,
    End,
    LinkInput,
    LinkState,
    OriginInput,
    OriginState,
    Verdict,
    legal,
    step,
    verdict,
)

FROM_AGENT = (
    OriginInput.HEAD,
    OriginInput.DATA,
    OriginInput.CREDIT,
    OriginInput.ANSWERED,
    OriginInput.NOT_STARTED,
    OriginInput.UNKNOWN,
)
FROM_ORIGIN = (
    AgentInput.OPEN,
    AgentInput.DATA,
    AgentInput.END,
    AgentInput.CREDIT,
    AgentInput.ATTACH,
    AgentInput.DONE,
)


def test_the_table_of_the_origin_has_an_answer_to_every_frame_wherever_there_is_a_link() -> None:
    for state in set(OriginState) - {OriginState.CUT}:
        for given in FROM_AGENT:
            assert (state, given) in ORIGIN


def test_the_table_of_the_agent_has_an_answer_to_every_frame_for_what_it_holds() -> None:
    for state in set(AgentState) - {AgentState.FREED}:
        for given in FROM_ORIGIN:
            assert (state, given) in AGENT


def test_every_table_of_legal_frames_is_there() -> None:
    assert set(LEGAL) == {(end, state) for end in End for state in LinkState}
    assert set(FrameType) == frozenset().union(*LEGAL.values())


def test_what_a_later_version_brought_is_taken_from_the_table_before_it() -> None:
    for end in End:
        for state in LinkState:
            assert legal(end, state, 2) == LEGAL[end, state]
            first = LEGAL[end, state] - {FrameType.LEDGER, FrameType.NOTICE}
            assert legal(end, state, 1) == legal(end, state, 0) == first


def test_what_the_replica_with_the_link_answers_goes_to_no_other_replica() -> None:
    assert not LEGAL[End.PAIR, LinkState.OPEN] & {FrameType.OFFER, FrameType.LEDGER, FrameType.NOTICE}


def test_a_notice_goes_from_agent_to_relay_and_no_other_way() -> None:
    taken = {place for place, frames in LEGAL.items() if FrameType.NOTICE in frames}
    assert taken == {(End.RELAY, LinkState.OPEN), (End.RELAY, LinkState.DRAINING)}


@pytest.mark.parametrize("state", OriginState)
def test_an_origin_can_always_give_up_and_revoke(state: OriginState) -> None:
    assert ORIGIN[state, OriginInput.GIVE_UP] is OriginState.FINISHED
    assert ORIGIN[state, OriginInput.REVOKE] in (OriginState.FINISHED, OriginState.REVOKING)


@pytest.mark.parametrize("state", [state for state in AgentState if state is not AgentState.FREED])
def test_done_and_time_always_free(state: AgentState) -> None:
    assert AGENT[state, AgentInput.DONE] is AgentState.FREED
    assert AGENT[state, AgentInput.ORPHANED] is AgentState.FREED


def test_nothing_leaves_a_final_state() -> None:
    assert {to for (state, _), to in ORIGIN.items() if state is OriginState.FINISHED} == {
        OriginState.FINISHED
    }
    assert {to for (state, _), to in LINK.items() if state is LinkState.CLOSED} == {LinkState.CLOSED}
    assert not [state for state, _ in AGENT if state is AgentState.FREED]


@pytest.mark.parametrize("table", [LINK, ORIGIN, AGENT])
def test_a_pair_that_no_peer_can_cause_is_our_own_error(table: dict[tuple[Enum, Enum], Enum | None]) -> None:
    states_, inputs = {key[0] for key in table}, {key[1] for key in table}
    missing = [(s, i) for s in states_ for i in inputs if (s, i) not in table]
    assert missing
    for state, given in missing:
        with pytest.raises(LocalError, match="cannot happen"):
            step(table, state, given)


def test_a_link_can_be_closed_in_every_state() -> None:
    assert {LINK[state, LinkInput.CLOSE] for state in LinkState} == {LinkState.CLOSED}


@pytest.mark.parametrize("reason", EndReason)
def test_what_has_answered_has_started(reason: EndReason) -> None:
    for attached in (False, True):
        proof = verdict(reason, attached=attached, headed=True)
        assert proof is (Verdict.ANSWERED if reason is EndReason.OK else Verdict.UNKNOWN)


def test_another_life_proves_nothing_once_the_exchange_was_attached() -> None:
    assert verdict(EndReason.WRONG_EPOCH, attached=False, headed=False) is Verdict.NOT_STARTED
    assert verdict(EndReason.WRONG_EPOCH, attached=True, headed=False) is Verdict.UNKNOWN
    assert verdict(EndReason.UNKNOWN, attached=True, headed=False) is Verdict.NOT_STARTED


def test_every_reason_has_a_verdict_and_last_words_never_deny_the_start() -> None:
    assert set(VERDICTS) == set(EndReason)
    assert all(VERDICTS[reason] is not Verdict.NOT_STARTED for reason in LAST_WORDS)
    assert set(EndReason) - LAST_WORDS - {EndReason.FORGOTTEN} == {
        r for r, v in VERDICTS.items() if v is Verdict.NOT_STARTED
    }


def test_members_are_their_own_hash() -> None:
    assert hash(states.OriginState.QUEUED) == object.__hash__(states.OriginState.QUEUED)
