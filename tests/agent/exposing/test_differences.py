"""How a change is shown to somebody who has to decide."""

from __future__ import annotations

import json

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
    assert visible("x" * 5000).endswith("... (5000 characters)")
    assert shown({"a\x1b": 1}, {})[0][0] == "a<U+001B>"


def test_numbers_that_are_written_differently_are_a_difference() -> None:
    assert differences('{"a":1}', '{"a":1.0}')[0].text == '1 -> "number 1.0"'


def test_there_is_an_end() -> None:
    found = shown({}, {f"m{n}": n for n in range(1000)})
    assert len(found) == module.MOST + 1
    assert found[-1][1] == f"... and {1000 - module.MOST} more."


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
