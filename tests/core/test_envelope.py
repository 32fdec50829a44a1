"""Callers' messages, ids and members; children's messages are in test_envelope_child.py."""

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock import envelope
from penstock.envelope import (
    EnvelopeError,
    Kind,
    Message,
    dump,
    id_key,
    is_modern,
    member,
    notification,
    parse_caller,
    parse_child,
    replaced,
    request,
    text_member,
    with_id,
)
from tests.harness.jsontext import json_objects, json_texts, near_messages


def refusal(data: bytes) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        parse_caller(data)
    return caught.value


def attempt(parse: Callable[[bytes], Message], data: bytes) -> Message | EnvelopeError:
    try:
        return parse(data)
    except EnvelopeError as error:
        return error


def call(params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + params + b"}"


def test_the_four_kinds_are_told_apart() -> None:
    assert parse_caller(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{}}') == request(b"1", "m", b"{}")
    assert parse_caller(b'{"jsonrpc":"2.0","method":"m"}') == notification("m", None)
    assert parse_caller(b'{"jsonrpc":"2.0","id":"a","result":{}}') == Message(
        Kind.RESPONSE, b'"a"', None, None, b"{}", None
    )
    assert parse_caller(b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}').kind is Kind.ERROR
    assert parse_caller(b'{"jsonrpc":"2.0","id":null,"error":{}}').id is None
    assert parse_caller(b'{"jsonrpc":"2.0","error":{}}').id is None


@given(st.one_of(st.binary(), st.text().map(str.encode), json_texts.map(str.encode), near_messages))
@example(b"")
@example(b"\0")
@example(b'{"jsonrpc":"2.0","id":1,"method":"\\ud83d"}')
def test_any_bytes_are_a_message_or_an_envelope_error(data: bytes) -> None:
    for parse in (parse_caller, parse_child):
        outcome = attempt(parse, data)
        if isinstance(outcome, EnvelopeError):
            assert outcome.code in (-32700, -32600)
            assert str(outcome).isprintable()
            assert outcome.id is None or outcome.id in data
        else:
            assert dump(parse(dump(outcome))) == dump(outcome)
            for raw in (outcome.id, outcome.params, outcome.result, outcome.error):
                assert raw is None or raw in data


@given(near_messages)
def test_what_is_accepted_means_the_same_to_another_parser(data: bytes) -> None:
    try:
        message = parse_caller(data)
    except EnvelopeError:
        return
    ours, theirs = json.loads(dump(message)), json.loads(data)
    for absent in ("params", "result", "error"):
        if theirs.get(absent, 0) is None and absent not in ours:
            del theirs[absent]  # null for absent
    theirs.setdefault("id", None)
    ours.setdefault("id", None)
    assert ours == theirs


@given(json_objects)
def test_params_and_results_keep_their_exact_bytes(text: str) -> None:
    raw = text.strip(" \t\r\n").encode()
    space = b" \t\r\n"
    params = parse_caller(
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + space + text.encode() + b"}"
    ).params
    result = parse_caller(b'{"jsonrpc":"2.0","id":1,"result":' + text.encode() + space + b"}").result
    assert params == raw
    assert result == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"n":1234567890123456789012345678901234567890}',
        b'{"n":1e400,"m":-0.0,"k":1E+2,"j":0.10}',
        b'{"n":' + b"9" * 5000 + b"}",
        b'{ "a" :\t[ 1 ,\r\n2 ] }',
        b'{"a":"\\u0041\\/\\ud83d\\ude00\\u0000"}',
        '{"a":"é😀"}'.encode(),
        b"{}",
    ],
)
def test_unusual_but_valid_params_keep_their_exact_bytes(raw: bytes) -> None:
    message = parse_caller(call(raw))
    assert message.params == raw
    line = dump(message)
    assert b"\n" not in line
    assert b"\r" not in line
    assert line == call(raw.replace(b"\n", b" ").replace(b"\r", b" "))


@pytest.mark.parametrize(
    "raw",
    [b"1", b"-7", b"1.5", b"1e400", b"1234567890123456789012345678901234567890", b'"1"', b'""', b'"\\u00e9"'],
)
def test_ids_keep_their_exact_bytes(raw: bytes) -> None:
    message = parse_caller(b'{"jsonrpc":"2.0","id": ' + raw + b' ,"method":"m"}')
    assert message.id == raw
    assert parse_caller(dump(message)) == message
    assert with_id(message, b'"x"') == request(b'"x"', "m", None)
    assert parse_caller(dump(with_id(message, b'"x"'))).id == b'"x"'


@pytest.mark.parametrize("raw", [b"null", b"true", b"{}", b"[1]", b'"' + b"x" * 4095 + b'"', b"1" * 4097])
def test_a_request_with_another_id_is_refused(raw: bytes) -> None:
    error = refusal(b'{"jsonrpc":"2.0","id":' + raw + b',"method":"m"}')
    assert error.code == -32600
    assert error.id is None
    assert "The id must" in str(error)


def test_the_largest_id_is_taken() -> None:
    raw = b'"' + b"x" * (envelope.MAX_ID_BYTES - 2) + b'"'
    assert parse_caller(b'{"jsonrpc":"2.0","id":' + raw + b',"method":"m"}').id == raw


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", -32700, "empty"),
        (b" \n", -32700, "empty"),
        (b"\xef\xbb\xbf{}", -32700, "byte order mark"),
        (b'{"jsonrpc":"2.0","method":"\xff"}', -32700, "not UTF-8"),
        (b'{"jsonrpc":"2.0","method":"\xed\xa0\x80"}', -32700, "not UTF-8"),
        (b"\xff\xfe{\0}\0", -32700, "not UTF-8"),
        (b'{"jsonrpc":"2.0","method":"m"} x', -32700, "not JSON: trailing characters"),
        (b'{"jsonrpc":"2.0","method":"m"}{}', -32700, "not JSON: trailing characters"),
        (b'{"jsonrpc":"2.0","method":"m"', -32700, "not JSON"),
        (b'{"jsonrpc":"2.0","method":"a\0b"}', -32700, "not JSON"),
        (b'{"jsonrpc":"2.0","method":"m"}\0', -32700, "not JSON"),
        (call(b'{"a":NaN}'), -32700, "NaN or Infinity"),
        (call(b'{"a":[1,-Infinity]}'), -32700, "NaN or Infinity"),
        (call(b'{"a":Infinity}'), -32700, "NaN or Infinity"),
        (call(b'{"a":"\\ud800"}'), -32700, "half of a surrogate pair"),
        (call(b'{"\\udfff":1}'), -32700, "half of a surrogate pair"),
        (call(b'{"a":"\\ude00\\ud83d"}'), -32700, "half of a surrogate pair"),
        (call(b'{"a":01}'), -32700, "not JSON"),
        (call(b"{'a':1}"), -32700, "not JSON"),
        (call(b'{"a":1,}'), -32700, "not JSON"),
        (b"[]", -32600, "batch"),
        (b' [{"jsonrpc":"2.0","id":1,"method":"m"}]', -32600, "batch"),
        (b"7", -32600, "not a JSON object"),
        (b"null", -32600, "not a JSON object"),
        (b"{}", -32600, "does not say"),
        (b'{"jsonrpc":"1.0","id":1,"method":"m"}', -32600, "does not say"),
        (b'{"jsonrpc":2.0,"id":1,"method":"m"}', -32600, "does not say"),
        (b'{"jsonrpc":"2.0","id":1}', -32600, "no method, no result and no error"),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600, "method must be a string"),
        (b'{"jsonrpc":"2.0","id":1,"method":null}', -32600, "method must be a string"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","result":{}}', -32600, "only be one"),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', -32600, "both a result and an error"),
        (b'{"jsonrpc":"2.0","result":{}}', -32600, "no id"),
        (b'{"jsonrpc":"2.0","id":null,"result":{}}', -32600, "no id"),
        (b'{"jsonrpc":"2.0","id":1,"error":"x"}', -32600, "error must be an object"),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"params":{}}', -32600, "params and no method"),
        (call(b"[1]"), -32600, "params must be an object"),
        (call(b'"x"'), -32600, "params must be an object"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, code: int, words: str) -> None:
    error = refusal(data)
    assert error.code == code
    assert words in str(error)


@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","\\u006dethod":"n"}',
        call(b'{"name":"a","name":"b"}'),
        call(b'{"arguments":{"a":[{"x":1,"y":2,"x":1}]}}'),
        call(b'{"arguments":{"":1,"":1}}'),
    ],
)
def test_a_key_twice_at_any_level_is_refused_with_the_id(data: bytes) -> None:
    error = refusal(data)
    assert error.code == -32700
    assert "twice" in str(error)
    assert error.id == b"1"


def test_an_id_twice_is_nobodys_id() -> None:
    assert refusal(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}').id is None


@pytest.mark.parametrize("key", ["Method", "METHOD", "paramſ", "ｍethod", "Id", "ID", "jsonRPC", "Result"])
def test_a_look_alike_of_an_envelope_key_is_refused(key: str) -> None:
    error = refusal(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", key: {}}).encode())
    assert error.code == -32600
    assert "looks like" in str(error)
    assert error.id == b"1"


def test_an_unknown_envelope_key_is_refused() -> None:
    error = refusal(b'{"jsonrpc":"2.0","id":1,"method":"m","canary":1}')
    assert "does not know" in str(error)
    assert "canary" not in str(error)


@pytest.mark.parametrize(
    "params",
    [b'{"name":"a","Name":"b"}', b'{"URI":"x"}', b'{"_meta":{"ProgressToken":1}}', b'{"ref":{"Uri":"x"}}'],
)
def test_a_look_alike_of_a_key_that_we_judge_by_is_refused(params: bytes) -> None:
    assert "looks like" in str(refusal(call(params)))


def test_any_keys_are_allowed_where_nothing_is_judged() -> None:
    params = b'{"name":"a","arguments":{"Name":1,"NAME":2,"method":3,"Method":4},"x-Other":{}}'
    assert parse_caller(call(params)).params == params


def test_depth_is_taken_at_its_limit_and_refused_above() -> None:
    inner = envelope.MAX_DEPTH - 2  # the message and its params are two
    parse_caller(call(b'{"a":' + b"[" * inner + b"]" * inner + b"}"))
    error = refusal(call(b'{"a":' + b"[" * (inner + 1) + b"]" * (inner + 1) + b"}"))
    assert error.code == -32700
    assert "too deep" in str(error)
    assert error.id == b"1"


@pytest.mark.parametrize("depth", [900, 5_000, 1_000_000])
@pytest.mark.parametrize("unit", [(b"[", b"]"), (b'{"a":', b"}")])
def test_any_depth_has_the_same_decent_end(depth: int, unit: tuple[bytes, bytes]) -> None:
    bottom = b"1" if unit[0] != b"[" else b""
    assert "too deep" in str(refusal(call(b'{"a":' + unit[0] * depth + bottom + unit[1] * depth + b"}")))


def test_members_are_taken_at_their_limit_and_refused_above() -> None:
    def params(count: int) -> bytes:
        return b"{" + b",".join(b'"a%d":1' % n for n in range(count)) + b"}"

    parse_caller(call(params(envelope.MAX_KEYS - 4)))
    assert "object members" in str(refusal(call(params(envelope.MAX_KEYS - 3))))


def test_containers_are_taken_at_their_limit_and_refused_above() -> None:
    def params(count: int) -> bytes:
        return b'{"a":[' + b",".join([b"[]"] * count) + b"]}"

    parse_caller(call(params(envelope.MAX_CONTAINERS - 3)))
    assert "arrays and objects" in str(refusal(call(params(envelope.MAX_CONTAINERS - 2))))


def test_punctuation_inside_strings_counts_for_nothing() -> None:
    params = b'{"a":"' + b'[{\\"' * 50_000 + b":" * 50_000 + b'"}'
    assert parse_caller(call(params)).params == params


def test_null_counts_as_absent_where_serializers_write_it() -> None:
    assert parse_caller(call(b"null")).params is None
    assert parse_caller(b'{"jsonrpc":"2.0","id":1,"result":{},"error":null}').kind is Kind.RESPONSE
    assert parse_caller(b'{"jsonrpc":"2.0","id":1,"result":null,"error":{}}').kind is Kind.ERROR
    assert parse_caller(b'{"jsonrpc":"2.0","id":1,"result":null}').result == b"null"


def test_the_version_may_be_written_with_escapes() -> None:
    assert parse_caller(b'{"jsonrpc":"2\\u002e0","id":1,"method":"m"}').method == "m"


def test_nothing_of_a_message_is_in_its_error_or_its_repr() -> None:
    for data in (
        call(b'{"canary":"canary","a":01}'),
        call(b'{"a":"canary","a":"canary"}'),
        b'{"canary":"canary"}',
    ):
        assert "canary" not in str(refusal(data))
    shown = repr(parse_caller(call(b'{"name":"canary"}')))
    assert "canary" not in shown
    assert "params=17 bytes" in shown


def test_an_error_message_without_id_is_dumped_with_null() -> None:
    assert (
        dump(Message(Kind.ERROR, None, None, None, None, b"{}")) == b'{"jsonrpc":"2.0","id":null,"error":{}}'
    )


def test_a_method_is_dumped_with_its_escapes() -> None:
    message = parse_caller('{"jsonrpc":"2.0","method":"a\\"\\n\\u00e9é"}'.encode())
    assert message.method == 'a"\néé'
    assert parse_caller(dump(message)) == message


def test_id_keys_tell_types_apart_and_spellings_not() -> None:
    assert id_key(b"1") != id_key(b'"1"')
    assert id_key(b'"\\u0041"') == id_key(b'"A"')
    assert id_key(b' "a"\n') == id_key(b'"a"')
    assert id_key(b"1") != id_key(b"1.0")
    assert id_key(b"9007199254740993") != id_key(b"9007199254740992")
    with pytest.raises(EnvelopeError, match="not a JSON string"):
        id_key(b'"\\ud800"')


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_id_keys_of_strings_are_equal_exactly_when_the_strings_are(a: str, b: str) -> None:
    spelt, escaped = json.dumps(a, ensure_ascii=False).encode(), json.dumps(a).encode()
    assert id_key(spelt) == id_key(escaped)
    assert (id_key(spelt) == id_key(json.dumps(b).encode())) == (a == b)


def test_members_are_found_with_their_exact_bytes() -> None:
    raw = b'{"_meta": { "progressToken" : 12345678901234567890123 , "s":"\\u0041"},"a":null,"n":[1]}'
    assert member(raw, "_meta", "progressToken") == b"12345678901234567890123"
    assert member(raw, "_meta", "s") == b'"\\u0041"'
    assert text_member(raw, "_meta", "s") == "A"
    assert member(raw, "a") == b"null"
    assert member(raw, "n") == b"[1]"
    assert member(raw) == raw
    for path in (("b",), ("a", "b"), ("n", "b"), ("_meta", "progressToken", "b"), ("_meta", "b")):
        assert member(raw, *path) is None
        assert text_member(raw, *path) is None
    assert text_member(raw, "_meta", "progressToken") is None


@given(
    st.one_of(st.binary(), near_messages),
    st.lists(st.sampled_from(["params", "_meta", "name", ""]), max_size=3),
)
def test_members_of_anything_are_bytes_or_none(data: bytes, path: list[str]) -> None:
    found = member(data, *path)
    assert found is None or found in data
    assert text_member(data, *path) is None or re.search(rb'"', data)
    assert member(b"[" * 100_000, "a") is None


def test_a_nested_member_is_replaced_and_all_else_keeps_its_bytes() -> None:
    raw = b'{"a":1.50,"_meta":{"x":"\\u00e9","t":7},"b":[1, 2]}'
    assert replaced(raw, b'"new"', "_meta", "t") == b'{"a":1.50,"_meta":{"x":"\\u00e9","t":"new"},"b":[1, 2]}'
    assert replaced(b"{}", b"1", "_meta", "t") == b'{"_meta":{"t":1}}'


@pytest.mark.parametrize("raw", [b"[]", b"1", b'{"a":1}', b'{"a":[]}', b"{", b'{"a":{"\xff":1}}'])
def test_nothing_is_replaced_in_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(ValueError, match="object"):
        replaced(raw, b"1", "a", "b")


def test_a_request_says_in_itself_that_it_is_modern() -> None:
    meta = b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}'
    assert is_modern(request(b"1", "x", meta))
    for params in (None, b"{}", b'{"_meta":{}}', b'{"io.modelcontextprotocol/protocolVersion":"x"}'):
        assert not is_modern(request(b"1", "x", params))
