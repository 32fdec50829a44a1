"""Several messages of a caller in one array (MCP 2025-03-26): each is judged as if it came alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.envelope import (
    MAX_BATCH,
    EnvelopeError,
    is_batch,
    notification,
    parse_batch,
    parse_caller,
    request,
)
from penstock.outcome import INVALID_REQUEST, PARSE_ERROR
from tests.harness.jsontext import json_texts, near_messages

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
NOTE = b'{"jsonrpc":"2.0","method":"note"}'


def refusal(data: bytes) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        parse_batch(data)
    return caught.value


def test_the_messages_come_in_order_and_byte_for_byte() -> None:
    params = b'{ "n" : 1.10e+400 }'
    call = b'{"jsonrpc":"2.0","id":"\\u0041","method":"m","params":%b}' % params
    assert parse_batch(b" [ %b ,\n%b]\r\n" % (call, NOTE)) == [
        request(b'"\\u0041"', "m", params),
        notification("note", None),
    ]


@given(near_messages)
def test_a_message_in_an_array_is_what_it_is_alone(message: bytes) -> None:
    try:
        alone = parse_caller(message)
    except EnvelopeError:
        with pytest.raises(EnvelopeError):
            parse_batch(b"[%b,%b]" % (PING, message))
    else:
        assert parse_batch(b"[%b,%b]" % (PING, message))[1] == alone


@given(st.one_of(st.binary(), json_texts.map(str.encode), st.binary().map(lambda data: b"[%b]" % data)))
def test_whatever_it_is_there_are_messages_or_a_refusal(data: bytes) -> None:
    try:
        messages = parse_batch(data)
    except EnvelopeError:
        return
    assert 1 <= len(messages) <= MAX_BATCH


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[]", INVALID_REQUEST),
        (b"[1]", INVALID_REQUEST),
        (b"[[%b]]" % PING, INVALID_REQUEST),
        (b"[null]", INVALID_REQUEST),
        (PING, INVALID_REQUEST),
        (b"[%b" % PING, PARSE_ERROR),
        (b"[%b]]" % PING, PARSE_ERROR),
        (b"[%b,]" % PING, PARSE_ERROR),
        (b"[" + b",".join([PING] * (MAX_BATCH + 1)) + b"]", INVALID_REQUEST),
        (b"[" * 100_000, PARSE_ERROR),
        (b'[{"a":' + b"[" * 70 + b"]" * 70 + b"}]", PARSE_ERROR),
        (b"[" + b"{}," * 100_001 + b"{}]", PARSE_ERROR),
        (b'[%b,{"jsonrpc":"2.0","id":2,"method":"a","method":"b"}]' % PING, PARSE_ERROR),
        (b'[%b,{"jsonrpc":"2.0","id":2,"Method":"a"}]' % PING, INVALID_REQUEST),
        (b'["\xff"]', INVALID_REQUEST),
        (b'[{"jsonrpc":"2.0","method":"a","params":{"x":"\xff"}}]', PARSE_ERROR),
    ],
)
def test_one_that_is_not_clean_refuses_all(data: bytes, code: int) -> None:
    assert refusal(data).code == code


def test_the_largest_batch_is_taken() -> None:
    assert len(parse_batch(b"[" + b",".join([PING] * MAX_BATCH) + b"]")) == MAX_BATCH


def test_the_first_character_tells_an_array() -> None:
    assert is_batch(b" \r\n\t[")
    assert not is_batch(b"{")
    assert not is_batch(b"")
