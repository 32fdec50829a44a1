"""Whatever either side says, each call of the session is answered once, and no id is used twice."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from penstock.envelope import Kind, Message, notification, request
from penstock_agent.endpoint.bridge.up.interpreter import Interpreter
from penstock_agent.endpoint.bridge.up.out import Out
from tests.agent.endpoint.bridge.up.newer import DISCOVERED
from tests.agent.endpoint.talk import hello


def interpreter() -> Interpreter:
    numbers = itertools.count(1)
    begun = request(b'"hello"', "initialize", json.dumps(hello()["params"]).encode())
    return Interpreter("files", begun, json.dumps(DISCOVERED).encode(), lambda: f"n{next(numbers)}")


def test_a_question_says_of_which_call_it_is() -> None:
    one = interpreter()
    one.from_client(request(b'"abc"', "tools/call", b'{"name":"t"}'))
    asked = {"resultType": "input_required", "inputRequests": {"k": {"method": "elicitation/create"}}}
    (line,) = one.from_server(_answer(b'"abc"', asked)).client
    assert json.loads(line)["id"].startswith("abc/")


def test_what_nobody_asked_for_is_dropped_and_counted() -> None:
    one = interpreter()
    assert one.from_server(_answer(b'"what"', {})) == Out()
    assert one.from_server(notification("notifications/message", b'{"level":"debug"}')) == Out()
    other = b'{"_meta":{"io.modelcontextprotocol/subscriptionId":"not ours"}}'
    assert one.from_server(notification("notifications/tools/list_changed", other)) == Out()
    assert one.dropped == 3


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), max_size=60))
def test_each_call_is_answered_once_unless_it_is_cancelled(acts: list[tuple[int, int]]) -> None:
    one = interpreter()
    calls: list[bytes] = []
    cancelled: set[bytes] = set()
    answered: list[bytes] = []
    at_server: dict[bytes, None] = {}
    ever: set[bytes] = set()
    questions: list[bytes] = []
    pauses: list[bytes] = []

    def took(out: Out) -> None:
        for line in out.client:
            told = json.loads(line)
            if told.get("method") == "elicitation/create":
                questions.append(json.dumps(told["id"]).encode())
            elif "id" in told:
                answered.append(json.dumps(told["id"]).encode())
        for message in out.server:
            if message.kind is Kind.REQUEST and message.id is not None:
                assert message.id not in ever
                ever.add(message.id)
                at_server[message.id] = None
        pauses.extend(id for _, id in out.later)

    for act, which in acts:
        if act <= 1:
            calls.append(b'"c%d"' % len(calls))
            took(one.from_client(request(calls[-1], "tools/call", b'{"name":"t"}')))
        elif act == 2 and calls:
            cancelled.add(calls[which % len(calls)])
            params = b'{"requestId":%b}' % calls[which % len(calls)]
            took(one.from_client(notification("notifications/cancelled", params)))
        elif act <= 5 and at_server:
            id = list(at_server)[which % len(at_server)]
            if act == 3:
                del at_server[id]
            result: dict[str, object] = {"resultType": "complete"}
            if act == 4:
                question = {"method": "elicitation/create", "params": {"message": "?"}}
                result = {"resultType": "input_required", "inputRequests": {"a": question, "b": question}}
            elif act == 5:
                result = {"resultType": "input_required", "requestState": "s"}
            took(one.from_server(_answer(id, result)))
        elif act <= 7 and questions:
            id = questions[which % len(questions)]
            kind = Kind.RESPONSE if act == 6 else Kind.ERROR
            took(one.from_client(Message(kind, id, None, None, b"{}", None)))
        elif pauses:
            took(one.again(pauses[which % len(pauses)]))
    for _ in range(40):  # the client answers, and the server as well
        for id in questions:
            took(one.from_client(Message(Kind.RESPONSE, id, None, None, b"{}", None)))
        for id in pauses:
            took(one.again(id))
        for id in list(at_server):
            took(one.from_server(_answer(id, {"resultType": "complete"})))
    assert len(answered) == len(set(answered))
    assert set(calls) - cancelled <= set(answered)


def _answer(id: bytes, result: object) -> Message:
    return Message(Kind.RESPONSE, id, None, None, json.dumps(result).encode(), None)
