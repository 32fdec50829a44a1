"""How a change is shown to somebody who has to decide."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.exposing import differences as module
from penstock_agent.exposing.differences import differences, visible, words


def shown(before: object, after: object) -> list[tuple[str, str]]:
    old = None if before is None else json.dumps(before)
    return [(one.path, one.text) for one in differences(old, json.dumps(after))]


def test_members_are_named_by_where_they_stand() -> None:
    old = {"name": "x", "inputSchema": {"properties": {"path": {"type": "string"}}, "required": ["path"]}}
    new = {
        "name": "x",
        "inputSchema": {
            "properties": {"path": {"type": "integer"}, "card": {"type": "string"}},
            "required": ["path", "card"],
        },
        "annotations": {"readOnlyHint": True},
    }
    assert shown(old, new) == [
        ("inputSchema.properties.path.type", '"string" -> "integer"'),
        ("inputSchema.properties.card", 'added: {"type": "string"}'),
        ("inputSchema.required", '["path"] -> ["path", "card"]'),
        ("annotations", 'added: {"readOnlyHint": true}'),
    ]
    assert shown(new, old)[1] == ("inputSchema.properties.card", 'removed: {"type": "string"}')
    assert shown(old, old) == []
    assert shown([{"a": 1}], [{"a": 2}]) == [("[0].a", "1 -> 2")]


def test_a_text_shows_which_words_changed_and_what_does_not_show() -> None:
    before = "Reads a file from the share and returns its text to the caller."
    after = "Reads a file from the share and\u202e sends its text to the caller."
    assert words(before, after) == (
        "Reads a file from the share and{+<U+202E>+} [-returns-]{+sends+} its text to the caller."
    )
    (one,) = shown({"description": before}, {"description": after})
    assert one[0] == "description"
    assert "[-returns-]" in one[1]
    long = " ".join(f"word{n}" for n in range(400))
    assert len(words(long, long + " and pay")) < 200


def test_what_is_new_is_shown_whole() -> None:
    assert shown(None, {"name": "pay", "inputSchema": {"type": "object"}}) == [
        ("name", '"pay"'),
        ("inputSchema", '{"type": "object"}'),
    ]
    assert shown(None, "be nice") == [("", '"be nice"')]


def test_nothing_that_a_terminal_would_act_on_is_shown() -> None:
    assert visible("a\x1b[31m\u200b\r\n") == "a<U+001B>[31m<U+200B><U+000D>\n"
    assert visible("\u200b\n" + " " * 90 + "x") == "<U+200B>\n<90 blanks>x"
    assert shown({"a\x1b": 1}, {})[0][0] == "a<U+001B>"


def test_numbers_that_are_written_differently_are_a_difference() -> None:
    assert differences('{"a":1}', '{"a":1.0}')[0].text == '1 -> "number 1.0"'


def whole(before: object, after: object) -> list[bool]:
    old = None if before is None else json.dumps(before)
    return [one.whole for one in differences(old, json.dumps(after))]


@pytest.mark.parametrize("size", [2001, module.SHOWN])
def test_a_long_text_is_there_to_its_end_and_it_says_how_long_it_is(size: int) -> None:
    text = "x" * (size - 4) + " end"
    for before in (None, {}, {"description": "short"}, {"description": "y" * 50}, {"description": 7}):
        (one,) = differences(
            None if before is None else json.dumps(before), json.dumps({"description": text})
        )
        assert text in one.text.replace("{+", "").replace("+}", "").replace("[-", ""), before
        assert one.head.startswith("description (")
        assert f"({len(one.text):,} characters)" in one.head
        assert one.whole


def test_a_short_text_has_no_length() -> None:
    (one,) = differences(None, '"be nice"')
    assert one.head == ""
    (one,) = differences(None, '{"a": 1}')
    assert one.head == "a"


def test_what_is_longer_than_any_text_is_cut_and_says_so() -> None:
    text = "x" * (module.SHOWN + 1)
    for before in (None, {}, {"a": "short"}, {"a": text[2:]}, {"a": text + "y"}):
        (one,) = differences(None if before is None else json.dumps(before), json.dumps({"a": text}))
        assert not one.whole, before
        assert f"... ({len(text)} characters)" in one.text
    assert whole({text: 1}, {}) == [False]
    assert whole({text: {"b": 1}}, {text: {"b": 2}}) == [False]
    assert whole(None, {text: 1}) == [False]


def test_emptiness_hides_nothing() -> None:
    for empty, shown in (
        ("\n" * 3000, "\n<2999 empty lines>\n"),
        (" \n" * 3000, " \n<2999 empty lines>\n"),
        (" " * 3000, "<3000 blanks>"),
    ):
        text = f"Adds.{empty}Then sends."
        for before in (None, {}, {"d": "Adds."}, {"d": "y" * 50}):
            (one,) = differences(None if before is None else json.dumps(before), json.dumps({"d": text}))
            assert shown in one.text.replace("+}", "").replace("{+", "").replace("\\n", "\n")
            assert len(one.text) < 200


def test_there_is_an_end_and_it_says_so() -> None:
    members = {f"m{n}": n for n in range(module.MOST + 1)}
    found = differences("{}", json.dumps(members))
    assert len(found) == module.MOST + 1
    assert (found[-1].text, found[-1].whole) == ("... and more.", False)
    assert all(whole({}, dict(list(members.items())[:-1])))
    large = {f"m{n}": "x" * module.SHOWN for n in range(1 + module.ALL // module.SHOWN)}
    for before in (None, "{}"):
        found = differences(before, json.dumps(large))
        assert not found[-1].whole
        assert sum(len(one.text) for one in found) <= module.ALL + 20


def test_members_of_odd_names_are_in_one_line() -> None:
    assert shown({"a\nb": 1}, {}) == [("a<U+000A>b", "removed: 1")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, JSON)
def test_whatever_differs_is_shown(before: object, after: object) -> None:
    same = json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)
    found = differences(json.dumps(before), json.dumps(after))
    assert bool(found) is not same
    assert all("\x1b" not in one.text + one.path for one in found)
