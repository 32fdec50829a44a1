"""How names are read out of what children list."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate import read
from penstock_agent.gate.read import MAX_ITEMS, filtered, items, name_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\u00e4\n"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("ab\n\u00e4"), values, max_size=4), st.booleans(), st.booleans())
def test_an_object_without_duplicates_has_its_name_however_it_is_written(
    members: dict[str, object], compact: bool, ascii_only: bool
) -> None:
    item = {**members, "name": "x"}
    raw = json.dumps(item, ensure_ascii=ascii_only, separators=(",", ":") if compact else None).encode()
    assert name_of(raw, "name") == "x"


@given(st.dictionaries(st.text("ab"), st.integers(), max_size=3), st.booleans())
def test_a_name_that_stands_twice_is_none(members: dict[str, int], spaced: bool) -> None:
    inner = "".join(f'"{key}":{value},' for key, value in members.items())
    raw = f'{{"name":"x",{inner}"name":"y"{" " if spaced else ""}}}'
    assert name_of(raw.encode(), "name") is None


@pytest.mark.parametrize("raw", [b"{}", b"[]", b"", b"{", b'{"name":1}', b'{"name":"\\ud800"}', b"[" * 5000])
def test_what_has_no_name_has_none(raw: bytes) -> None:
    assert name_of(raw, "name") is None


def test_numbers_of_any_length_do_not_hide_an_item() -> None:
    raw = b'{"name": "x", "n": ' + b"9" * 5000 + b"}"
    assert name_of(raw, "name") == "x"


@given(st.lists(values, max_size=5))
def test_shown_items_keep_their_bytes_and_order(items: list[object]) -> None:
    raws = [json.dumps(item, indent=1).encode() for item in items]
    shown = filtered(b'{"l": [%b]}' % b" , ".join(raws), "l", lambda raw: None if raw == b"null" else raw)
    assert shown == b'{"l":[%b]}' % b",".join(raw for raw in raws if raw != b"null")


def test_a_list_of_too_many_items_is_none() -> None:
    many = b"[" + b",".join([b"{}"] * MAX_ITEMS) + b"]"
    assert items(many) == [b"{}"] * MAX_ITEMS
    assert items(many[:-1] + b",{}]") is None
    assert filtered(b'{"tools":%b}' % (many[:-1] + b",{}]"), "tools", lambda raw: raw) is None


def test_a_list_that_may_be_far_too_long_is_none_before_it_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read, "MAX_COMMAS", 3)
    assert items(b"[1,2,3,4]") == [b"1", b"2", b"3", b"4"]
    assert items(b"[1,2,3,4,5]") is None
