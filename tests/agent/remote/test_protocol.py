from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value

from penstock.envelope import Kind
from penstock_agent.remote.protocol import (
    MAX_BATCH,
    Cursor,
    Handshake,
    Outgoing,
    answers,
    encode,
    media_type,
    messages,
    refusal,
    session_lost,
)
from tests.agent.remote.kit import INITIALIZED, Json, call, line, modern, result


def test_a_line_is_a_request_a_notification_or_an_answer() -> None:
    assert Outgoing.of(line(call("a"))) == Outgoing(Kind.REQUEST, "tools/call", b'"a"')
    assert Outgoing.of(line(INITIALIZED)) == Outgoing(Kind.NOTIFICATION, "notifications/initialized")
    assert Outgoing.of(line(result("x"))) == Outgoing(Kind.RESPONSE, id=b'"x"')


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (modern(), "find"),
        (modern(method="prompts/get", name="p"), "p"),
        (modern(method="resources/read", uri="file:///a"), "file:///a"),
        (modern(method="tasks/get", taskId="t1"), "t1"),
        (modern(method="tools/list", cursor="x"), None),
        (modern(method="tools/call", name=7), None),
    ],
)
def test_a_modern_envelope_says_version_method_and_name_in_headers(message: Json, name: str | None) -> None:
    out = Outgoing.of(line(message))
    assert out.modern
    headers = Handshake(session_id="old", version="2025-11-25").headers(out)
    expected = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": str(message["method"])}
    assert headers == (expected if name is None else {**expected, "Mcp-Name": name})


def test_a_version_whose_key_is_escaped_is_found_as_the_server_finds_it() -> None:
    text = line(modern()).replace(b"protocolVersion", b"protocol\\u0056ersion")
    assert Outgoing.of(text).version == "2026-07-28"


def test_headers_for_parameters_are_those_of_whoever_sends() -> None:
    out = Outgoing.of(line(modern()))
    given_headers = (("Mcp-Param-Region", "eu"), ("Authorization", "x"), ("mcp-session-id", "y"))
    found = Handshake().headers(out, given_headers)
    assert found["Mcp-Param-Region"] == "eu"
    assert set(found) == {"MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Param-Region"}


def test_in_a_session_every_message_names_it_and_the_version() -> None:
    agreed = Handshake()
    assert agreed.headers(Outgoing.of(line(call()))) == {}
    agreed.met("s-1", b'{"id":1,"result":{"protocolVersion":"2025-06-18"}}')
    expected = {"Mcp-Session-Id": "s-1", "MCP-Protocol-Version": "2025-06-18"}
    assert agreed.headers(Outgoing.of(line(call()))) == expected
    assert agreed.headers(None) == expected


@pytest.mark.parametrize("id", ["", "a b", "a\tb", "grün", "x" * 1025])
def test_a_session_id_that_is_none_is_not_used(id: str) -> None:
    agreed = Handshake()
    agreed.met(id, b'{"id":1,"result":{"protocolVersion":"2025-06-18"}}')
    assert agreed.session_id is None


@pytest.mark.parametrize(
    "answer", [b'{"id":1,"error":{}}', b"junk", b'{"id":1,"result":{"protocolVersion":7}}']
)
def test_an_answer_that_agrees_on_nothing_begins_no_session(answer: bytes) -> None:
    agreed = Handshake()
    agreed.met("s-1", answer)
    assert agreed == Handshake()


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("get_weather", "get_weather"),
        ("a b", "a b"),
        ("", ""),
        (" a", "=?base64?IGE=?="),
        ("grün", "=?base64?Z3LDvG4=?="),
        ("a\nb", "=?base64?YQpi?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ],
)
def test_values_that_no_header_can_carry_are_encoded(value: str, encoded: str) -> None:
    assert encode(value) == encoded


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_the_official_decoder_reads_what_we_encode(value: str) -> None:
    assert decode_header_value(encode(value)) == value
    assert encode(value).isascii()
    assert encode(value).isprintable()


def test_a_cancellation_names_the_request_by_its_key() -> None:
    note: Json = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}}
    assert Outgoing.of(line(note)).cancels == b'"a'
    note["params"] = {}
    assert Outgoing.of(line(note)).cancels is None
    note["params"] = {"requestId": 7}
    assert Outgoing.of(line(note)).cancels == b"7"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b'{"id":"a","result":{}}', b'"a'),
        (b'{"id":"\\u0061","error":{}}', b'"a'),
        (b'{"id":7,"result":{}}', b"7"),
        (b'{"id":"a","method":"ping"}', None),
        (b'{"method":"x"}', None),
        (b'{"id":null,"error":{}}', None),
        (b"junk", None),
        (b"[" * 2000, None),
    ],
)
def test_which_request_a_line_answers(text: bytes, key: bytes | None) -> None:
    assert answers(text) == key


@given(st.binary(max_size=200))
def test_no_line_of_a_server_breaks_the_bookkeeping(text: bytes) -> None:
    answers(text)
    refusal(text, b'"a"')
    session_lost(400, text)
    assert all(isinstance(one, bytes) for one in messages(text))
    Handshake().met("s", text)


def test_a_batch_is_its_messages_up_to_a_bound() -> None:
    assert messages(b' [{"a":1}, {"b":[2]}] ') == [b'{"a":1}', b'{"b":[2]}']
    assert messages(b'{"a":1}\n') == [b'{"a":1}']
    assert messages(b"  ") == []
    assert messages(b"[broken") == [b"[broken"]
    assert len(messages(json.dumps([{}] * (MAX_BATCH + 5)).encode())) == MAX_BATCH


def test_an_error_of_the_transport_becomes_the_answer_to_the_request() -> None:
    body = b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no"}}'
    assert refusal(body, b'"a"') == b'{"jsonrpc":"2.0","id":"a","error":{"code":-32600,"message":"no"}}'
    assert refusal(line(result()), b'"a"') is None
    assert refusal(b"<html>", b'"a"') is None


def error(code: int, text: str) -> bytes:
    return line({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": text}})


@pytest.mark.parametrize(
    ("status", "body", "lost"),
    [
        (404, b"", True),
        (404, error(-32001, "Session not found"), True),
        (400, error(-32000, "Bad Request: No valid session ID provided"), True),
        (400, error(-32000, "Bad Request: Server not initialized"), True),
        (400, error(-32602, "unknown session tool"), False),
        (400, error(-32000, "bad arguments"), False),
        (400, b"", False),
        (500, error(-32000, "No valid session ID provided"), False),
        (401, b"", False),
    ],
)
def test_when_a_server_has_forgotten_the_session(status: int, body: bytes, lost: bool) -> None:
    assert session_lost(status, body) is lost


def test_where_a_stream_stands_is_kept_over_responses() -> None:
    cursor = Cursor()
    assert cursor.headers() == {}
    cursor.moved("7", 0.5)
    cursor.moved(None, None)
    assert cursor.headers() == {"Last-Event-ID": "7"}
    assert cursor.retry_s == 0.5


def test_media_types_are_compared_without_what_follows() -> None:
    assert media_type("Application/JSON; charset=utf-8") == "application/json"
    assert media_type(None) == ""
