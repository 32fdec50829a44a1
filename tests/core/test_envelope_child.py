"""What children write: cheap to read, refused by name, never more than an EnvelopeError."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.envelope import EnvelopeError, Kind, dump, parse_child
from tests.harness.jsontext import near_messages

MIB = 1 << 20


def refusal(line: bytes) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        parse_child(line)
    return caught.value


@pytest.mark.parametrize(
    "raw",
    [
        b'{"n":1234567890123456789012345678901234567890}',
        b'{"n":1e400}',
        b'{ "a" :\t[ 1 ,  2 ] }',
        b"[" * 500 + b"]" * 500,
        b'{"a":1,"a":2}',
        b"null",
        b'"\\ud83d\\ude00"',
        b'"\\\\ud800"',
    ],
)
def test_results_keep_their_exact_bytes(raw: bytes) -> None:
    message = parse_child(b' {"result": ' + raw + b' ,"jsonrpc":"2.0","id":"a"}\r')
    assert message.kind is Kind.RESPONSE
    assert message.id == b'"a"'
    assert message.result == raw
    assert dump(message) == b'{"jsonrpc":"2.0","id":"a","result":' + raw + b"}"


def test_members_that_are_not_of_the_envelope_end_here() -> None:
    message = parse_child(b'{"jsonrpc":"2.0","id":1,"Result":2,"result":3,"extra":{},"_meta":{}}')
    assert dump(message) == b'{"jsonrpc":"2.0","id":1,"result":3}'


def test_a_key_twice_is_re_emitted_once_as_we_read_it() -> None:
    message = parse_child(b'{"jsonrpc":"2.0","id":1,"id":2,"result":3,"result":4}')
    assert dump(message) == b'{"jsonrpc":"2.0","id":2,"result":4}'


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":"a","result":{"t":"cut \\ud83d"}}',
        b'{"jsonrpc":"2.0","id":"a","result":{"t":"\\ud83d\\u0041"}}',
        b'{"jsonrpc":"2.0","id":"a","result":{"\\ude00":1}}',
        b'{"result":{"t":"\\ud83d"},"jsonrpc":"2.0","id":"a"}',
        b'{"jsonrpc":"2.0","result":{"t":"ok \\ud83d\\ude00 \\uD83D"},"id":"a"}',
        b'{"jsonrpc":"2.0","extra":"\\udfff","error":{},"id":"a"}',
    ],
)
def test_half_a_surrogate_pair_is_named_and_the_waiting_call_found(line: bytes) -> None:
    error = refusal(line)
    assert error.code == -32700
    assert "half of a surrogate pair" in str(error)
    assert error.id == b'"a"'


def test_an_id_with_half_a_pair_is_nobodys_id() -> None:
    assert refusal(b'{"jsonrpc":"2.0","id":"\\ud83d","result":{}}').id is None


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\x80"])
@pytest.mark.parametrize(
    "where", [b'"result":{"t":"%b"}', b'"result":{"%b":1}', b'"extra":"%b","result":1', b'"%b":1,"error":{}']
)
def test_bytes_that_are_not_utf8_are_found_wherever_they_are(bad: bytes, where: bytes) -> None:
    error = refusal(b'{"jsonrpc":"2.0","id":7,' + where % bad + b"}")
    assert "UTF-8" in str(error)
    assert error.id == b"7"


def test_bytes_that_are_not_utf8_are_found_at_the_end_of_a_large_line() -> None:
    for at in (MIB - 60, MIB, 3 * MIB):
        text = b"\xc3\xa9" * (at // 2) + b"\xc3" + b"x" * 100
        assert "UTF-8" in str(refusal(b'{"jsonrpc":"2.0","id":7,"result":"' + text + b'"}'))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"n":NaN}}', "NaN or Infinity"),
        (b'{"result":{"n":-Infinity},"jsonrpc":"2.0","id":7}', "NaN or Infinity"),
        (b'{"jsonrpc":"2.0","id":7,"result":' + b"[" * 3000 + b"]" * 3000 + b"}", "too deep"),
        (b'{"result":' + b"[" * 3000 + b"]" * 3000 + b',"jsonrpc":"2.0","id":7}', "too deep"),
        (b'{"jsonrpc":"2.0","result":' + b"[" * 3000 + b"]" * 3000 + b', "id" : 7 } ', "too deep"),
        (b'{"jsonrpc":"2.0","id":7,"result":{"t":"cut off', "not JSON"),
        (b'{"jsonrpc":"2.0","id":7,"error":{"code":1,}}', "not JSON"),
        (b'{"jsonrpc":"2.0","id":7,"result":1,"error":{"code":1}}', "both"),
    ],
)
def test_a_broken_answer_is_named_and_the_waiting_call_found(line: bytes, words: str) -> None:
    error = refusal(line)
    assert words in str(error)
    assert error.id == b"7"


@pytest.mark.parametrize(
    "line",
    [
        b"Server listening on stdio, id: 7",
        b'DEBUG > {"jsonrpc":"2.0","id":7,"result":{}}',
        b'{"level":"info","msg":"result","id":7}',
        b'{"id":7,"result":{}}',
        b'{"id":7,"result":NaN}',
        b'{"result":NaN,"id":7}',
        b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"a":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"a":"\xff"}}',
        b'{"jsonrpc":"2.0","id":7,"method":"m","result":{}}',
        b'{"jsonrpc":"2.0","id":7}',
        b'{"msg":{"result":1,"jsonrpc":"2.0","id":7}',
    ],
)
def test_what_is_no_answer_ends_no_call(line: bytes) -> None:
    assert refusal(line).id is None


@given(near_messages)
def test_what_is_read_from_a_child_is_one_line_and_reads_the_same_again(line: bytes) -> None:
    try:
        message = parse_child(line)
    except EnvelopeError:
        return
    again = dump(message)
    assert b"\n" not in again
    assert dump(parse_child(again)) == again


@given(
    st.integers(0, 40),
    st.sampled_from([b"\\ud800", b"\\ud83d\\ude00", b"\\u", b"\\", b"x", b"\xf0\x9f\x98\x80"]),
)
def test_repetition_never_escapes_the_documented_error(times: int, unit: bytes) -> None:
    text = b'"' + unit * times + b'"'
    with contextlib.suppress(EnvelopeError):
        assert parse_child(b'{"jsonrpc":"2.0","id":7,"result":' + text + b"}").result == text


@pytest.mark.parametrize(
    "text",
    [b"x" * (20 * MIB), "é".encode() * (10 * MIB), b"\\ud83d\\ude00" * (20 * MIB // 12)],
    ids=["ascii", "utf-8", "escapes"],
)
def test_a_result_of_20_mib_is_read_without_being_parsed(text: bytes) -> None:
    line = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"' + text + b'"}]}}'
    started = time.process_time()
    message = parse_child(line)
    spent = time.process_time() - started
    assert message.result is not None
    assert len(message.result) == len(line) - 34
    assert dump(message) == line
    # Usually 20 ms; a pass over it in Python would take many seconds on any machine.
    assert spent < 1.0
