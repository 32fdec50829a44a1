"""Which answer belongs to which call: examples, and a machine that tries every order of events."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.envelope import id_key, request
from penstock_agent.endpoint.session.correlate import MAX_ASKED, Asked, Call, Correlator


def correlator() -> Correlator[str]:
    counter = itertools.count()
    return Correlator(lambda: f"word-{next(counter)}")


def test_a_request_gets_an_id_of_ours_and_nothing_else_changes() -> None:
    table = correlator()
    call, renamed = table.open(request(b"7", "tools/call", b'{"name" : "x"}'), "stream")
    assert renamed == request(call.child_id, "tools/call", b'{"name" : "x"}')
    assert call.child_id == b'"word-0"'
    assert call.request.id == b"7"


@pytest.mark.parametrize("spelling", [b'"word-0"', b'"word\\u002d0"', b' "word-0" '])
def test_an_answer_finds_its_call_however_its_id_is_spelt_and_only_once(spelling: bytes) -> None:
    table = correlator()
    call, _ = table.open(request(b"1", "ping", None), "stream")
    assert table.answered(spelling) is call
    assert table.answered(spelling) is None
    assert not table.holds(call)


def test_ids_and_tokens_are_told_apart_by_type() -> None:
    table = correlator()
    number, _ = table.open(request(b"1", "x", b'{"_meta":{"progressToken":1}}'), "number")
    text, _ = table.open(request(b'"1"', "x", b'{"_meta":{"progressToken":"1"}}'), "text")
    assert table.progress(b'{"progressToken":1}') is number
    assert table.progress(b'{"progressToken":"\\u0031"}') is text
    assert table.progress(b'{"progressToken":1.0}') is None
    found = table.cancelled(b'{"reason":"r","requestId":"1"}')
    assert found == (text, b'{"reason":"r","requestId":"word-1"}')


def test_a_token_behind_an_escaped_key_is_found() -> None:
    table = correlator()
    call, _ = table.open(request(b"1", "x", b'{"_meta":{"progress\\u0054oken":"t"}}'), "s")
    assert table.progress(b'{"progressToken":"t"}') is call


def test_an_id_used_twice_at_a_time_gets_both_answers() -> None:
    table = correlator()
    first, _ = table.open(request(b"1", "x", None), "first")
    second, _ = table.open(request(b"1", "x", None), "second")
    found = table.cancelled(b'{"requestId":1}')
    assert found is not None
    assert found[0] is second
    assert table.answered(first.child_id) is first
    assert table.cancelled(b'{"requestId":1}') == found
    assert table.answered(second.child_id) is second
    assert table.cancelled(b'{"requestId":1}') is None


def test_initialize_cannot_be_cancelled() -> None:
    table = correlator()
    table.open(request(b"1", "initialize", b"{}"), "s")
    assert table.cancelled(b'{"requestId":1}') is None


def test_a_question_of_the_child_gets_an_id_of_ours_and_its_own_back() -> None:
    table = correlator()
    taken = table.ask(request(b"1", "roots/list", None))
    assert taken is not None
    asked, renamed = taken
    assert renamed == request(b'"word-0"', "roots/list", None)
    assert table.replied(b"1") is None
    assert table.replied(b'"word-0"') is asked
    assert asked.child_id == b"1"
    assert table.replied(b'"word-0"') is None


def test_questions_are_bounded() -> None:
    table = correlator()
    assert all(table.ask(request(b"%d" % n, "x", None)) for n in range(MAX_ASKED))
    assert table.ask(request(b'"more"', "x", None)) is None


def test_a_restart_forgets_everything_and_returns_what_was_in_flight() -> None:
    table = correlator()
    calls = [table.open(request(b"%d" % n, "x", None), "s")[0] for n in range(3)]
    table.ask(request(b"1", "roots/list", None))
    assert table.restart() == calls
    assert table.calls == table.asked == 0
    assert table.answered(calls[0].child_id) is None
    assert table.replied(b'"word-3"') is None


@given(st.binary(max_size=40))
def test_no_params_of_either_side_raise(raw: bytes) -> None:
    table = correlator()
    table.open(request(b"1", "x", None), "s")
    table.cancelled(raw)
    table.progress(raw)
    table.withdrawn(raw)


ids = st.sampled_from([b"1", b'"1"', b"-1", b'"a"', b'"\\u0061"', b"1.0", b"1" * 40])


class Conversation(RuleBasedStateMachine):
    """Against a list of what is in flight, kept the simplest way."""

    def __init__(self) -> None:
        super().__init__()
        self.table = correlator()
        self.calls: list[Call[str]] = []
        self.asked: list[Asked[str]] = []
        self.ever: set[bytes] = set()
        self.number = 0

    @rule(id=ids, token=st.none() | ids)
    def caller_asks(self, id: bytes, token: bytes | None) -> None:
        params = None if token is None else b'{"_meta":{"progressToken":%b}}' % token
        call, renamed = self.table.open(request(id, "x", params), str(self.number))
        assert renamed.id not in self.ever, "an id was used twice"
        assert renamed.id is not None
        self.ever.add(renamed.id)
        self.number += 1
        self.calls.append(call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def child_answers(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        assert self.table.answered(call.child_id) is call
        self.calls.remove(call)

    @rule(data=st.data())
    def child_answers_what_is_over_or_never_was(self, data: st.DataObject) -> None:
        over = sorted(self.ever - {call.child_id for call in self.calls})
        wrong = data.draw(st.sampled_from([*over, b'"made up"', b"1", b"null"]))
        assert self.table.answered(wrong) is None

    @rule(id=ids)
    def caller_cancels(self, id: bytes) -> None:
        found = self.table.cancelled(b'{"requestId":%b}' % id)
        meant = [call for call in self.calls if id_key(call.request.id or b"") == id_key(id)]
        if found is None:
            # Only after the newest of several with one id is over may an older one not be found.
            assert not meant or int(meant[-1].stream) < self.number - 1
            return
        call, params = found
        assert call is meant[-1]
        assert json.loads(params) == {"requestId": json.loads(call.child_id)}
        self.table.retire(call)
        self.calls.remove(call)

    @rule(token=ids)
    def child_reports_progress(self, token: bytes) -> None:
        found = self.table.progress(b'{"progressToken":%b}' % token)
        if found is not None:
            assert found in self.calls
            assert found.token == id_key(token)

    @rule(id=ids)
    def child_asks(self, id: bytes) -> None:
        taken = self.table.ask(request(id, "roots/list", None))
        assert (taken is None) == (len(self.asked) >= MAX_ASKED)
        if taken is not None:
            assert taken[1].id not in self.ever, "an id was used twice"
            assert taken[1].id is not None
            self.ever.add(taken[1].id)
            self.asked.append(taken[0])

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def caller_answers(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(self.asked))
        assert self.table.replied(asked.caller_id) is asked
        self.asked.remove(asked)

    @rule()
    def child_dies(self) -> None:
        assert self.table.restart() == self.calls
        self.calls, self.asked = [], []

    @invariant()
    def the_table_holds_what_is_in_flight(self) -> None:
        assert self.table.in_flight() == self.calls
        assert self.table.asked == len(self.asked)


TestConversation = Conversation.TestCase
