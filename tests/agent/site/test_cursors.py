"""Cursors of a list that several servers have a part in."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.site import cursors
from penstock_agent.site.cursors import MAX_CURSOR, BadCursor

LEFT = st.dictionaries(st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True), st.text(max_size=200), max_size=5)


@given(LEFT)
def test_a_cursor_comes_back_as_it_was(left: dict[str, str]) -> None:
    cursor = cursors.joined("tools/list", left)
    if not left:
        assert cursor is None
    else:
        assert cursor is not None
        assert cursors.parse("tools/list", cursor) == left


@given(LEFT)
def test_a_cursor_is_good_for_its_own_list_only(left: dict[str, str]) -> None:
    cursor = cursors.joined("tools/list", left)
    if cursor is not None:
        with pytest.raises(BadCursor):
            cursors.parse("prompts/list", cursor)


@given(st.one_of(st.text(max_size=300), st.from_regex(r"[A-Za-z0-9_-]{0,80}", fullmatch=True)))
def test_what_was_never_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        cursors.parse("tools/list", cursor)


def spelt(value: object, *, spaces: bool = False) -> str:
    text = json.dumps(value, separators=None if spaces else (",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        spelt(["tools/list", {}]),
        spelt(["tools/list", {"a": 1}]),
        spelt(["tools/list", {"a": "1"}, "more"]),
        spelt(["tools/list", {"a": "x" * (MAX_CURSOR + 1)}]),
        spelt(["tools/list", {"a": "1"}], spaces=True),
        spelt(["tools/list", {"b": "1", "a": "2"}]),
        spelt(["tools/list", {"a": "1"}]) + "=",
        "x" * (cursors.MAX_BYTES + 1),
    ],
)
def test_other_spellings_are_refused(cursor: str) -> None:
    assert cursors.parse("tools/list", spelt(["tools/list", {"a": "1"}])) == {"a": "1"}
    with pytest.raises(BadCursor):
        cursors.parse("tools/list", cursor)


def test_a_server_cursor_that_is_too_long_is_of_no_use() -> None:
    assert cursors.usable("x" * MAX_CURSOR)
    assert not cursors.usable("x" * (MAX_CURSOR + 1))
    assert not cursors.usable("")
