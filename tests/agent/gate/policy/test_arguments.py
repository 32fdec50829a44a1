"""Conditions about arguments, as they are written, against what callers might send."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate.policy import arguments
from penstock_agent.ledger.entries import Verdict
from tests.agent.gate.policy.kit import one, ruling


def fits(condition: str, raw: str | bytes, place: str = "path") -> bool:
    data = raw.encode() if isinstance(raw, str) else raw
    return ruling(one(condition, place), arguments=data).verdict is Verdict.ALLOWED


def fits_value(condition: str, value: str) -> bool:
    """``value`` is JSON."""
    return fits(condition, f'{{"path": {value}}}')


@pytest.mark.parametrize(
    ("condition", "good", "bad"),
    [
        ('equals = "a"', ['"a"', '"\\u0061"'], ['"b"', '"A"', '""', "null", "1", '["a"]', "true"]),
        ("equals = 1", ["1", "1.0", "1e0", "10e-1", "1.000"], ["2", '"1"', "true", "1.00000000000000001"]),
        ("equals = true", ["true"], ["false", "1", '"true"', "null"]),
        ("equals = 0", ["0", "-0", "0.0", "0e5", "-0.0e-1"], ["1e-400", "false", '"0"']),
        ('one_of = ["a", 2, false]', ['"a"', "2", "false"], ['"2"', "0", '"b"', "true", "null"]),
        ('prefix = "ab"', ['"ab"', '"abc"'], ['"a"', '"xab"', '["ab"]', "null", "12"]),
        ("min = 1\nmax = 10".replace("\n", ", "), ["1", "10", "5.5", "1e1"], ["0", "11", "1e400", "-1e400"]),
        ("max = 10", ["-5", "-1e308", "-0", "10.0"], ["10.000000000000000001", "1e309", "true", '"1"']),
        ("min = 0", ["-0", "1e308", "0.1"], ["1e309", "1e99999", "-1e-5", "false", "9" * 500]),
        ("min = 9007199254740993", ["9007199254740993", "9007199254740994"], ["9007199254740992", "9e15"]),
        ("min = 0.1, max = 0.3", ["0.1", "0.3", "0.2"], ["0.09999999999999999999", "0.30000000000000000001"]),
        ('matches = "[a-z]+"', ['"abc"'], ['"abC"', '""', '"abc\\n"', "1", "null"]),
        ("max_length = 3", ['"abc"', '""', "[1,2,3]", "[]"], ['"abcd"', "[1,2,3,4]", "12", "{}", "null"]),
        ('type = "integer"', ["1", "-0", "1.0", "1e3"], ["1.5", "1e-1", "true", '"1"', "1e400", "null"]),
        ('type = "number"', ["1", "1.5"], ["true", '"1"', "1e400", "null"]),
        ('type = "string"', ['"a"'], ["1", "null", "[]"]),
        ('type = "boolean"', ["true"], ["1", "null"]),
        ('type = "null"', ["null"], ["0", '""', "false"]),
        ('type = "array"', ["[]"], ["{}", '"[]"']),
        ('type = "object"', ["{}"], ["[]", '"{}"', "null"]),
        ('below = "/srv/a"', ['"/srv/a/b"', '"\\/srv\\/a\\/b"'], ['"/srv/b"', '"/srv/a/../b"', '["/srv/a"]']),
        ('below = ["/srv/a", "/srv/b"]', ['"/srv/a"', '"/srv/b/c"'], ['"/srv/c"', '"\\u002fsrv/a/\\u002e."']),
        ('prefix = "a", max_length = 2', ['"ab"'], ['"abc"', '"b"']),
    ],
)  # fmt: skip
def test_a_condition_holds_of_what_it_says_and_of_nothing_else(
    condition: str, good: list[str], bad: list[str]
) -> None:
    assert [value for value in good if not fits_value(condition, value)] == []
    assert [value for value in bad if fits_value(condition, value)] == []


def test_an_argument_that_is_missing_fits_only_where_it_is_optional() -> None:
    for raw in ("{}", '{"other": 1}', '{"Path": "a"}', '{"path ": "a"}'):
        assert not fits('equals = "a"', raw)
    assert fits('equals = "a", optional = true', "{}")
    assert fits('equals = "a", optional = true', '{"other": 1}')
    assert not fits('equals = "a", optional = true', '{"path": "b"}')
    assert not fits('equals = "a", optional = true', '{"path": null}'), "null is there"


@pytest.mark.parametrize("key", ["Path", "PATH", "pat\\u0068 ".strip().upper(), "ｐath", "paTh"])
def test_a_key_that_a_lenient_server_takes_for_the_argument_fits_nothing(key: str) -> None:
    """encoding/json of Go reads PATH as path, and the last one counts."""
    assert not fits('below = "/srv"', f'{{"path": "/srv/a", "{key}": "/etc/passwd"}}')
    assert not fits('below = "/srv", optional = true', f'{{"{key}": "/etc/passwd"}}')


@pytest.mark.parametrize(
    ("place", "good", "bad"),
    [
        ("a.b", '{"a": {"b": "x"}}', ['{"a": "x"}', '{"a": {}}', '{"a.b": "x"}', '{"a": [{"b": "x"}]}']),
        ("/a.b/c~1d", '{"a.b": {"c/d": "x"}}', ['{"a": {"b": {"c/d": "x"}}}', '{"a.b": {"c~1d": "x"}}']),
        ("/~01", '{"~1": "x"}', ['{"/": "x"}']),
        ("paths.*", '{"paths": ["x", "x"]}', ['{"paths": ["x", "y"]}', '{"paths": []}', '{"paths": "x"}']),
        ("edits.*.file", '{"edits": [{"file": "x"}, {"file": "x", "n": 1}]}',
         ['{"edits": [{"file": "x"}, {}]}', '{"edits": [{"file": "x"}, "x"]}', '{"edits": {"file": "x"}}']),
        ("env.*", '{"env": {"A": "x", "B": "x"}}', ['{"env": {"A": "x", "B": "y"}}', '{"env": {}}']),
        ("/list/1", '{"list": ["y", "x"]}', ['{"list": ["x"]}', '{"list": ["x", "y"]}', '{"list": {}}']),
    ],
)  # fmt: skip
def test_a_place_leads_into_objects_and_arrays(place: str, good: str, bad: list[str]) -> None:
    assert fits('equals = "x"', good, place)
    assert [raw for raw in bad if fits('equals = "x"', raw, place)] == []


def test_something_else_on_the_way_is_not_missing_but_wrong() -> None:
    optional = 'equals = "x", optional = true'
    assert fits(optional, "{}", "a.b")
    assert fits(optional, '{"a": {}}', "a.b")
    assert not fits(optional, '{"a": "x"}', "a.b")
    assert not fits(optional, '{"a": null}', "a.b")


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b'"x"', b"1", b"{", b'{"path": NaN}', b'{"path": Infinity}', b"\xff", b"[" * 5000],
)
def test_what_is_no_object_fits_nothing(raw: bytes) -> None:
    assert not fits('equals = "x", optional = true', raw)


def test_large_numbers_cost_nothing() -> None:
    assert not fits_value("min = 0", "1" + "0" * 100_000)
    assert not fits_value("max = 5", "1e999999999999999999999")
    assert not fits_value('type = "integer"', "1e-999999999999999999999")


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e9, 1e9))
def test_numbers_compare_as_numbers(value: float, limit: float) -> None:
    assert fits_value(f"max = {limit!r}".replace("e+", "e"), json.dumps(value)) == (value <= limit)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_any_value_is_judged_without_an_error(value: object) -> None:
    for condition in (
        'equals = "a"',
        "min = 1",
        'below = "/a"',
        "max_length = 2",
        'type = "object"',
        'matches = "a"',
    ):
        fits("optional = true, " + condition, json.dumps({"path": value}))
        fits("optional = true, " + condition, json.dumps({"path": value}), "path.*.x")


def test_arguments_that_are_absent_are_none() -> None:
    assert arguments.parse(None) == {}


@pytest.mark.parametrize("text", ["", ".", "a.", "a..b", "/", "//a", "/a/"])
def test_a_place_has_names(text: str) -> None:
    with pytest.raises(ValueError, match="names no argument"):
        arguments.place(text)
