"""Raw JSON taken apart and put together again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate.redaction import document
from penstock_agent.gate.redaction.document import Document, read
from penstock_agent.gate.redaction.pointers import Tree, parse
from penstock_agent.gate.redaction.steps import TooMuch, finish

REMOVED = b'"-"'


def _read(raw: bytes, fields: Tree[str] | None, *, numbers: bool) -> Document:
    return finish(read(raw, fields, numbers=numbers))


def texts(raw: bytes, *, numbers: bool = False) -> list[str]:
    return [leaf.text for leaf in _read(raw, None, numbers=numbers).all_leaves()]


def cut(raw: bytes, *pointers: str) -> bytes:
    """``raw`` without the fields that ``pointers`` name, in its texts as well."""
    doc = _read(raw, Tree.of([(parse(pointer), "mask") for pointer in pointers]), numbers=False)
    for leaf in doc.outer():
        assert leaf.inner is not None
        new = finish(leaf.inner.written(REMOVED)).decode()
        leaf.new = new if new != leaf.text else None
    return finish(doc.written(REMOVED))


def encoded(data: bytes | str, **members: str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return json.dumps({"contents": [{"blob": base64.b64encode(data).decode(), **members}]}).encode()


def test_names_strings_and_long_numbers_are_looked_at() -> None:
    raw = b'{"a" : "x\\u0040y", "b":[1, "z", {"c":4111111111111111}, true, null, -1234567890123.5e3]}'
    assert texts(raw) == ["a", "x@y", "b", "z", "c", "4111111111111111", "-1234567890123.5e3"]
    assert "1" in texts(raw, numbers=True)


def test_a_string_that_holds_json_is_taken_apart_and_one_within_as_well() -> None:
    raw = json.dumps(
        {"text": ' {"mail": "a\\u0040b", "inner": "[\\"c\\\\u0040d\\", \\"{\\\\\\"deep\\\\\\": 1}\\"]"}\n'}
    )
    assert texts(raw.encode()) == ["text", "mail", "a@b", "inner", "c@d", '{"deep": 1}']


@pytest.mark.parametrize(
    "text",
    [
        '{"a" "b"}',
        '{"a":01}',
        '{"a":"\\x"}',
        "{",
        "[1,",
        "{]",
        "[a]",
        "{'a': 1}",
        "[1] and more",
        "",
        "[note]",
    ],
)
def test_a_string_that_only_begins_like_json_is_text(text: str) -> None:
    assert texts(json.dumps([text]).encode()) == [text]


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        ("a@b", "text/plain"), ("a@b", "image/png"), ("a@b", ""), ("é a@b", "application/octet-stream"),
        (b"a@b \xff", "text/plain"), (b"a@b" * 2000 + b"\xff", ""), (b"a\0@b", "application/json"),
        ("\ufeffa@b".encode("utf-16-le"), "text/plain"), ("\ufeffa@b".encode("utf-16-be"), ""),
        ("<svg>a@b</svg>", "image/svg+xml"), ("x a@b" * 2000, "text/csv"),
    ],
)  # fmt: skip
def test_base64_that_is_text_is_looked_at_and_written_as_it_was(data: bytes | str, mime: str) -> None:
    raw = encoded(data, **({"mimeType": mime} if mime else {}))
    doc = _read(raw, None, numbers=False)
    (leaf,) = [leaf for leaf in doc.all_leaves() if "a" in leaf.text and "@b" in leaf.text]
    leaf.new = leaf.text.replace("@", "$")
    (item,) = json.loads(finish(doc.written(REMOVED)))["contents"]
    plain = data.encode() if isinstance(data, str) else data
    assert base64.b64decode(item["blob"]) == plain.replace(b"@", b"$")


def test_base64_that_is_json_is_taken_apart() -> None:
    assert "c@d" in texts(encoded('{"a": "c\\u0040d"}', mimeType="application/json"))


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n a@b", b"%PDF-1.4\n%\xe2\xe3\xcf\xd3 a@b", b"\0\0a@b"])
def test_base64_that_is_no_text_is_not_looked_at(data: bytes) -> None:
    found = texts(encoded(data, mimeType="image/png"))
    assert found == ["contents", "blob", "mimeType", "image/png"]


@pytest.mark.parametrize("blob", ["a@b", "YUBi\nYUBi!", "YUB", "iVBORw0KGgo=x", "YUBi====", "é"])
def test_what_is_not_base64_is_looked_at_as_it_stands(blob: str) -> None:
    assert blob in texts(json.dumps({"mimeType": "text/plain", "data": blob}).encode())


def test_base64_in_lines_is_base64() -> None:
    assert "a@ba@b" in texts(b'{"blob":"YUBi\\r\\nYUBi"}')


def test_what_both_ends_know_messages_by_is_not_looked_at() -> None:
    raw = (
        b'{"progressToken":"t","requestState":"s","nextCursor":{"x":"c"},"_meta":{"progressToken":"p",'
        b'"io.modelcontextprotocol/subscriptionId":{"y":"q"},"own":"m"},"message":{"requestId":"r"}}'
    )
    found = texts(raw)
    assert not {"t", "s", "c", "p", "q"} & set(found)
    assert {"m", "r"} <= set(found)


RESULT = (
    b'{"phone":"1","content":[{"type":"text","text":"{\\"customer\\": {\\"phone\\" : 2}}"}],'
    b'"structuredContent" : {"customer":{"phone": "3","name":"n"},'
    b'"rows":[ {"x":[1,{"y":2}]}, {"x":null}, 7 ], "a/b":true}}'
)


@pytest.mark.parametrize(
    ("pointers", "changes"),
    [
        (["/nothing"], []),
        (
            ["/customer/phone"],
            [(b'\\"phone\\" : 2', b'\\"phone\\" : \\"-\\"'), (b'"phone": "3"', b'"phone": "-"')],
        ),
        (["/customer"], [(b'{\\"phone\\" : 2}', b'\\"-\\"'), (b'{"phone": "3","name":"n"}', b'"-"')]),
        (["/rows/*/x"], [(b'[1,{"y":2}]', b'"-"'), (b"null", b'"-"')]),
        (["/rows/0/x/1"], [(b'{"y":2}', b'"-"')]),
        (["/rows/2", "/a~1b"], [(b", 7 ]", b', "-" ]'), (b"true", b'"-"')]),
        (["/rows/*", "/rows/0/x"], [(b'{"x":[1,{"y":2}]}', b'"-"'), (b'{"x":null}', b'"-"'), (b"7", b'"-"')]),
    ],
)
def test_a_pointer_takes_its_fields_out_and_nothing_else(
    pointers: list[str], changes: Iterable[tuple[bytes, bytes]]
) -> None:
    expected = RESULT
    for old, new in changes:
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert cut(RESULT, *pointers) == expected


def test_a_name_that_stands_twice_is_cut_out_twice() -> None:
    raw = b'{"structuredContent":{"a":1,"a":2},"structuredContent":{"a":3}}'
    assert cut(raw, "/a") == raw.replace(b"1", b'"-"').replace(b"2", b'"-"').replace(b"3", b'"-"')


def test_a_text_that_is_itself_the_field_is_no_document() -> None:
    assert cut(b'{"content":[{"text":"[1]"}]}', "/0") == b'{"content":[{"text":"[\\"-\\"]"}]}'


def test_texts_next_to_each_other_make_a_row() -> None:
    raw = (
        b'{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"image"},'
        b'{"text":"c"}],"lines":["d","e",1]}'
    )
    rows = _read(raw, None, numbers=False).rows
    assert [(joint, [leaf.text for leaf in row]) for joint, row in rows] == [
        ("", ["a", "b"]),
        ("\n", ["d", "e"]),
    ]


def test_there_is_an_end_to_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_TEXT", 20)
    assert texts(json.dumps({"data": base64.b64encode(b"\xff" * 99).decode(), "mimeType": "a/b"}).encode())
    with pytest.raises(TooMuch):
        _read(json.dumps({"text": "[" + " " * 20 + "]"}).encode(), None, numbers=False)


def test_there_is_an_end_to_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_VALUES", 10)
    assert len(texts(b'["a","a","a","a"]')) == 4
    with pytest.raises(TooMuch):
        _read(b'{"text":"' + b"[]," * 3 + b'","x":' + b"[" * 10 + b"]" * 10 + b"}", None, numbers=False)
    with pytest.raises(TooMuch):
        _read(json.dumps({"text": json.dumps(["a"] * 9)}).encode(), None, numbers=False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=json_values, ascii=st.booleans(), indent=st.sampled_from([None, 0, 2]), fields=st.booleans())
def test_nothing_changes_where_nothing_is_changed(
    value: object, ascii: bool, indent: int | None, fields: bool
) -> None:
    raw = json.dumps({"v": value}, ensure_ascii=ascii, indent=indent).encode("utf-8", "surrogatepass")
    doc = _read(raw, Tree.of([(("no", "such"), "mask")]) if fields else None, numbers=fields)
    assert finish(doc.written(REMOVED)) == raw


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for one in value for text in _strings(one)]
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (key, *_strings(one))]
    return []


@given(value=json_values)
def test_every_string_is_seen(value: object) -> None:
    raw = json.dumps({"v": value}).encode()
    leaves = _read(raw, None, numbers=False).leaves
    assert [leaf.text for leaf in leaves if not leaf.is_number] == ["v", *_strings(value)]
    for leaf in leaves:
        leaf.new = "new" + leaf.text
    again = json.loads(finish(_read(raw, None, numbers=False).written(REMOVED)))
    assert again == {"v": value}
