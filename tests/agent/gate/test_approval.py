"""What waits for somebody on site."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.principal import Principal
from penstock_agent.gate.approval import (
    EXPIRY_S,
    MOST,
    MOST_BYTES,
    MOST_BYTES_OF_ONE,
    MOST_OF_ONE,
    REMEMBERED_S,
    Approvals,
    Call,
    Request,
    State,
    TooMany,
    Unknown,
)

ALICE = Principal("https://idp.example", "alice", client="assistant")
BOB = Principal("https://idp.example", "bob", client="assistant")
CALL = Call(ALICE, "files", "tool:write_file", "d1", b'{"path":"/a"}', 'rule "writes"')


def test_an_approval_is_used_once() -> None:
    approvals = Approvals()
    request = approvals.asked(CALL, "r1", 0.0)
    assert (request.state, approvals.waiting) == (State.WAITING, 1)
    assert not approvals.use(request, 1.0)
    approvals.answer("r1", True, 1000, 2.0)
    assert approvals.waiting == 0
    again = approvals.asked(CALL, "r2", 3.0)
    assert (again.id, again.by_uid) == ("r1", 1000)
    assert approvals.use(again, 3.0)
    assert not approvals.use(again, 3.0)
    assert approvals.asked(CALL, "r3", 4.0).state is State.WAITING


@pytest.mark.parametrize(
    "other",
    [
        replace(CALL, who=BOB),
        replace(CALL, who=replace(ALICE, client="another assistant")),
        replace(CALL, server="crm"),
        replace(CALL, item="tool:delete_file"),
        replace(CALL, digest="d2"),
    ],
)
def test_another_call_has_no_use_of_it(other: Call) -> None:
    approvals = Approvals()
    approvals.asked(CALL, "r1", 0.0)
    approvals.answer("r1", True, 0, 1.0)
    asked = approvals.asked(other, "r2", 2.0)
    assert (asked.id, asked.state) == ("r2", State.WAITING)
    assert not approvals.use(asked, 2.0)


ANSWER = replace(CALL, item="answer of tool:write_file", answer=b"x" * 100)


def test_an_answer_that_was_not_let_out_is_remembered_until_its_caller_is_told() -> None:
    approvals = Approvals()
    assert not approvals.keeps
    request = approvals.asked(ANSWER, "r1", 0.0)
    assert approvals.keeps
    assert approvals.kept(ANSWER.key, EXPIRY_S) is request
    assert (request.state, request.call.answer, request.call.arguments) == (State.EXPIRED, b"", b"")
    assert list(approvals) == []
    approvals.told(request)
    assert approvals.kept(ANSWER.key, EXPIRY_S) is None
    assert not approvals.keeps


def test_a_denied_answer_is_a_denied_one_when_it_has_expired_and_is_forgotten_at_last() -> None:
    approvals = Approvals()
    request = approvals.asked(ANSWER, "r1", 0.0)
    approvals.answer("r1", False, 0, 0.0)
    assert approvals.kept(ANSWER.key, EXPIRY_S) is request
    assert request.state is State.DENIED
    assert approvals.kept(ANSWER.key, EXPIRY_S + REMEMBERED_S) is None


def test_what_is_remembered_is_bounded_and_gives_way_to_a_new_answer() -> None:
    approvals = Approvals()
    who = ALICE
    for number in range(MOST + 10):
        who = replace(ALICE, subject=f"u{number}")
        approvals.asked(replace(ANSWER, who=who), f"r{number}", EXPIRY_S * number / MOST_OF_ONE)
    approvals.expire(EXPIRY_S * MOST)
    assert len(approvals._over) <= MOST
    fresh = approvals.asked(replace(ANSWER, who=who), "new", EXPIRY_S * MOST)
    assert approvals.kept(fresh.call.key, EXPIRY_S * MOST) is fresh


def test_one_caller_can_have_only_a_part_of_the_room() -> None:
    approvals = Approvals()
    half = replace(ANSWER, answer=b"x" * (MOST_BYTES_OF_ONE // 2 + 1))
    approvals.asked(half, "r1", 0.0)
    with pytest.raises(TooMany, match="your calls"):
        approvals.asked(replace(half, digest="d2"), "r2", 0.0)
    approvals.asked(replace(half, who=BOB), "r3", 0.0)


def test_what_nobody_answers_is_denied_when_it_expires() -> None:
    approvals = Approvals()
    request = approvals.asked(CALL, "r1", 0.0)
    assert approvals.due == EXPIRY_S
    assert approvals.expire(EXPIRY_S - 1) == []
    assert approvals.expire(EXPIRY_S) == [request]
    assert request.state is State.EXPIRED
    with pytest.raises(Unknown):
        approvals.answer("r1", True, 0, EXPIRY_S + 1)
    assert approvals.due is None


def test_an_approval_that_is_not_used_expires_too() -> None:
    approvals = Approvals()
    request = approvals.asked(CALL, "r1", 0.0)
    approvals.answer("r1", True, 0, 100.0)
    assert not approvals.use(request, 100.0 + EXPIRY_S)


def test_a_denial_is_told_once_and_answered_once() -> None:
    approvals = Approvals()
    request = approvals.asked(CALL, "r1", 0.0)
    approvals.answer("r1", False, 0, 1.0)
    with pytest.raises(Unknown):
        approvals.answer("r1", True, 0, 1.5)
    assert approvals.asked(CALL, "r2", 2.0) is request
    approvals.told(request)
    assert approvals.asked(CALL, "r3", 3.0).id == "r3"


def test_there_is_an_end_to_what_waits() -> None:
    approvals = Approvals()
    for number in range(MOST_OF_ONE):
        approvals.asked(replace(CALL, digest=str(number)), str(number), 0.0)
    with pytest.raises(TooMany, match="your calls"):
        approvals.asked(CALL, "one more", 0.0)
    for number in range(MOST_OF_ONE, MOST):
        who = Principal("https://idp.example", f"user {number}")
        approvals.asked(replace(CALL, who=who), str(number), 0.0)
    with pytest.raises(TooMany, match="this site"):
        approvals.asked(replace(CALL, who=BOB), "one more", 0.0)


def test_there_is_an_end_to_what_is_kept_of_arguments() -> None:
    approvals = Approvals()
    approvals.asked(replace(CALL, arguments=bytes(MOST_BYTES)), "r1", 0.0)
    with pytest.raises(TooMany):
        approvals.asked(replace(CALL, digest="d2"), "r2", 0.0)
    approvals.answer("r1", False, 0, 1.0)
    approvals.expire(1.0 + EXPIRY_S)
    assert approvals.asked(replace(CALL, digest="d2"), "r2", 1.0 + EXPIRY_S).id == "r2"


class Life(RuleBasedStateMachine):
    """Any order of what can happen: nothing runs that was not approved, and nothing twice."""

    def __init__(self) -> None:
        super().__init__()
        self.approvals = Approvals()
        self.now = 0.0
        self.number = 0
        self.approved: set[str] = set()
        self.seen: dict[str, Request] = {}

    @rule(who=st.sampled_from([ALICE, BOB]), digest=st.sampled_from("ab"))
    def call(self, who: Principal, digest: str) -> None:
        self.number += 1
        call = replace(CALL, who=who, digest=digest)
        request = self.approvals.asked(call, str(self.number), self.now)
        assert request.call.key == call.key
        self.seen[request.id] = request
        if self.approvals.use(request, self.now):
            self.approved.remove(request.id)  # it was approved, and not used before

    @rule(approve=st.booleans(), data=st.data())
    def answer(self, approve: bool, data: st.DataObject) -> None:
        waiting = [one.id for one in self.approvals if one.state is State.WAITING]
        if waiting:
            id = data.draw(st.sampled_from(waiting))
            try:
                self.approvals.answer(id, approve, 0, self.now)
            except Unknown:
                return  # it expired just now
            if approve:
                self.approved.add(id)

    @rule(seconds=st.sampled_from([1.0, 300.0, 601.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def what_is_over_cannot_be_used(self) -> None:
        for request in self.seen.values():
            if request.state in (State.EXPIRED, State.DENIED, State.WAITING):
                assert not self.approvals.use(request, self.now)


TestLife = Life.TestCase
