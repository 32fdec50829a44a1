"""Messages of one era as messages of the other: what is added, what is taken out, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.envelope import Kind, Message, request
from penstock_agent.endpoint.bridge.down import translate
from penstock_agent.endpoint.bridge.down.translate import Wanted

META = "io.modelcontextprotocol/"
NUMBERS = b'{"deep":{"n":1000000000000000000000000000000000000007,"f":1.10,"e":1E5}}'
SAID = b'{"capabilities":{},"serverInfo":{"name":"s","version":"1"}}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def call(params: str) -> Message:
    return request(b"1", "tools/call", params.encode())


def test_what_the_server_gets_is_byte_for_byte_what_the_caller_sent() -> None:
    params = '{"name":"x","arguments":%s,"_meta":{"%sprotocolVersion":"2026-07-28","mine":1.10}}'
    found = translate.for_server(call(params % (NUMBERS.decode(), META)))
    assert found.params == b'{"name":"x","arguments":%b,"_meta":{"mine":1.10}}' % NUMBERS


def test_an_envelope_alone_leaves_no_meta_behind() -> None:
    found = translate.for_server(call('{"name":"x","_meta":{"' + META + 'clientCapabilities":{}}}'))
    assert found.params == b'{"name":"x"}'


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "_meta"), JSON, max_size=4))
def test_a_result_keeps_all_its_members(members: dict[str, object]) -> None:
    found = json.loads(translate.result("tools/list", json.dumps(members).encode(), SAID))
    assert members.items() <= found.items()
    assert found["resultType"] == members.get("resultType", "complete")
    assert found["_meta"] == {META + "serverInfo": {"name": "s", "version": "1"}}


def test_numbers_of_a_result_are_its_own() -> None:
    assert NUMBERS[1:-1] in translate.result("tools/call", NUMBERS, SAID)


@pytest.mark.parametrize("given_", [b"[]", b"1", b"", b'{"_meta":7}'])
def test_a_result_that_is_no_object_is_refused(given_: bytes) -> None:
    with pytest.raises(ValueError, match="not an object"):
        translate.result("tools/call", given_, SAID)


@given(st.binary(max_size=64))
def test_any_error_of_a_server_is_passed_on_or_understood(raw: bytes) -> None:
    found = translate.error(raw)
    assert isinstance(found, Wanted) or found[0] in (200, 400, 404)


def test_a_call_is_the_same_whatever_the_order_of_its_members_and_what_comes_with_it() -> None:
    first = call('{"name":"x","arguments":{"a":1,"b":2},"_meta":{"progressToken":1}}')
    second = call('{"requestState":"s","arguments":{"b":2,"a":1},"inputResponses":{},"name":"x"}')
    other = call('{"name":"x","arguments":{"a":1,"b":3}}')
    assert translate.essence(first) == translate.essence(second) != translate.essence(other)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "7" * 5000, "1.50"])
def test_a_call_with_any_number_in_it_can_be_continued(number: str) -> None:
    asked = call(f'{{"name":"x","arguments":{{"a":{number}}}}}')
    again = call(f'{{"arguments":{{"a":{number}}},"name":"x","requestState":"s"}}')
    assert translate.essence(asked) == translate.essence(again)
    assert number.encode() in translate.essence(asked)


@pytest.mark.parametrize("params", ['{"requestState":7}', '{"inputResponses":[]}', "[]"])
def test_what_is_brought_back_in_another_form_is_refused(params: str) -> None:
    with pytest.raises(ValueError, match=r"requestState|object"):
        translate.brought(call(params))


def test_the_answer_has_the_callers_id() -> None:
    found = translate.answered(
        "tools/call", Message(Kind.RESPONSE, b"9", None, None, b"{}", None), b'"a"', SAID
    )
    assert not isinstance(found, Wanted)
    assert (found[0], found[1].id) == (200, b'"a"')


@pytest.mark.parametrize(
    ("params", "seen"),
    [('{"level":"error"}', True), ('{"level":"debug"}', False), ('{"level":7}', False), ("{}", False)],
)
def test_a_log_message_is_as_severe_as_it_says(params: str, seen: bool) -> None:
    assert translate.loud_enough(params.encode(), "warning") is seen
