"""Many callers in one process: every word of it reaches the one whom it is for, under that one's own ids."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.envelope import Message, parse_caller, parse_child
from penstock.principal import Principal
from penstock_agent.endpoint.meta import LEVEL, SUBSCRIPTION
from penstock_agent.endpoint.modern.flights import Flight, Flights

ALICE = Principal("https://idp.example", "alice")
BOB = Principal("https://idp.example", "bob")


def flights() -> Flights[str]:
    numbers = itertools.count()
    return Flights(lambda: f"w{next(numbers)}")


def asked(method: str, raw_id: str = "1", **meta: object) -> Message:
    text = f'{{"jsonrpc":"2.0","id":{raw_id},"method":"{method}","params":{{"_meta":{json.dumps(meta)}}}}}'
    return parse_caller(text.encode())


def opened(
    table: Flights[str],
    method: str = "tools/call",
    raw_id: str = "1",
    caller: Principal = ALICE,
    level: str | None = None,
) -> Flight[str]:
    meta: dict[str, object] = {} if level is None else {LEVEL: level}
    return table.open(asked(method, raw_id, **meta), caller, "stream")[0]


def says(raw: bytes) -> Message:
    return parse_child(raw)


IDS = ["1", '"1"', "1.0", "-7", "12345678901234567890123", '"é"', '"\\u00e9"', "1e3"]


@pytest.mark.parametrize("raw_id", IDS)
def test_an_answer_carries_the_id_as_its_caller_wrote_it(raw_id: str) -> None:
    table = flights()
    flight, message = table.open(asked("tools/call", raw_id), ALICE, "stream")
    assert message.id == flight.child_id == b'"w0"'
    found = table.answered(says(b'{"jsonrpc":"2.0","id":"w0","result":{}}'))
    assert found is not None
    assert found[0] is flight
    assert found[1].id == raw_id.encode()
    assert table.answered(says(b'{"jsonrpc":"2.0","id":"w0","result":{}}')) is None, "once"


def test_an_id_spelled_with_escapes_is_the_same_id() -> None:
    table = flights()
    opened(table)
    assert table.answered(says(b'{"jsonrpc":"2.0","id":"\\u00770","result":{}}')) is not None


@pytest.mark.parametrize("token", [1, "1", 0, -1.5, "é"])
def test_a_progress_token_is_ours_on_the_way_in_and_its_own_on_the_way_out(token: object) -> None:
    table = flights()
    flight, message = table.open(asked("tools/call", progressToken=token, keep=[1, {"a": 2}]), ALICE, "s")
    assert json.loads(message.params or b"") == {"_meta": {"progressToken": "w0", "keep": [1, {"a": 2}]}}
    found = table.progress(b'{"progress":1.50,"progressToken":"w0"}')
    assert found is not None
    assert found[0] is flight
    assert found[1] == b'{"progress":1.50,"progressToken":%b}' % json.dumps(token).encode()
    table.retire(flight)
    assert table.progress(b'{"progress":1.50,"progressToken":"w0"}') is None


def test_progress_without_a_token_of_the_caller_is_of_nobody() -> None:
    table = flights()
    opened(table)
    assert table.progress(b'{"progressToken":"w0"}') is None
    assert table.progress(b'{"progressToken":null}') is None
    assert table.progress(None) is None


@pytest.mark.parametrize("raw_id", IDS)
def test_a_subscription_is_tagged_with_the_id_of_its_caller(raw_id: str) -> None:
    table = flights()
    flight = opened(table, "subscriptions/listen", raw_id)
    params = b'{"uri":"a://1","_meta":{"%b":"w0","x":1}}' % SUBSCRIPTION.encode()
    found = table.notified(params)
    assert found is not None
    assert found[0] is flight
    assert found[1] == params.replace(b'"w0"', raw_id.encode())
    ended = table.answered(
        says(b'{"jsonrpc":"2.0","id":"w0","result":{"_meta":{"%b":"w0"}}}' % SUBSCRIPTION.encode())
    )
    assert ended is not None
    assert ended[1].result == b'{"_meta":{"%b":%b}}' % (SUBSCRIPTION.encode(), raw_id.encode())


def test_only_subscriptions_are_notified() -> None:
    table = flights()
    opened(table, "tools/call")
    assert table.notified(b'{"_meta":{"%b":"w0"}}' % SUBSCRIPTION.encode()) is None
    assert table.notified(b'{"_meta":[]}') is None
    assert table.notified(None) is None


def log(level: str = "error") -> bytes:
    return json.dumps({"level": level, "data": 1}).encode()


def test_a_log_message_is_of_the_only_request_that_wants_any() -> None:
    table = flights()
    opened(table)
    wants = opened(table, level="warning")
    assert table.logged(log()) is wants
    assert table.logged(log("info")) is None
    assert table.logged(log("of a later revision")) is wants
    opened(table, level="debug")
    assert table.logged(log()) is None


def test_a_log_message_is_of_nobody_while_others_are_served() -> None:
    table = flights()
    opened(table, level="debug")
    other = opened(table, caller=BOB)
    assert table.logged(log()) is None
    table.retire(other)
    assert table.logged(log()) is not None


def test_it_is_known_how_many_are_whose() -> None:
    table = flights()
    for caller in (ALICE, ALICE, BOB):
        opened(table, caller=caller)
    assert (len(table), table.of(ALICE.identity), table.of(BOB.identity)) == (3, 2, 1)
    assert len(table.clear()) == 3
    assert len(table) == 0


@given(st.lists(st.sampled_from(IDS), min_size=2, max_size=6))
def test_equal_ids_of_different_callers_are_kept_apart(ids: list[str]) -> None:
    table = flights()
    all_of_them = [opened(table, raw_id=raw_id) for raw_id in ids]
    for flight, raw_id in reversed(list(zip(all_of_them, ids, strict=True))):
        found = table.answered(says(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % flight.child_id))
        assert found is not None
        assert found[0] is flight
        assert found[1].id == raw_id.encode()


@given(st.binary(max_size=40))
def test_nothing_that_a_process_says_breaks_the_table(noise: bytes) -> None:
    table = flights()
    opened(table, "subscriptions/listen")
    for params in (noise, b'{"progressToken":' + noise + b"}", b'{"requestId":' + noise + b"}"):
        assert table.progress(params) is None
        assert table.cancelled(params) is None
        assert table.notified(params) is None
