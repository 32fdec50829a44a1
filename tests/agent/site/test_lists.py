"""Pages of several servers as one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate import read
from penstock_agent.gate.expose import Expose
from penstock_agent.site import cursors, lists
from penstock_agent.site.lists import Page
from penstock_agent.site.names import Names, Target

SHOWN = Expose.parse(["read_*", "resource:a://**"])


def page(result: bytes, method: str = "tools/list", names: Names = Names()) -> Page | None:  # noqa: B008 - frozen
    return lists.page(method, "docs", SHOWN, names, result)


def test_an_item_keeps_its_bytes_but_for_the_name() -> None:
    found = page(b'{"tools":[{"name":"read_a" , "inputSchema":{ "x":1.0e2 }},{"name":"write_a"}]}')
    assert found is not None
    assert found.withheld == 1
    assert [one.raw for one in found.items] == [b'{"name":"docs__read_a","inputSchema":{ "x":1.0e2 }}']


def test_a_resource_keeps_all_of_its_bytes() -> None:
    raw = b'{ "uri": "a://x/y", "name":"z" }'
    found = page(b'{"resources":[%b,{"uri":"b://x"}]}' % raw, "resources/list")
    assert found is not None
    assert [one.raw for one in found.items] == [raw]


@pytest.mark.parametrize("result", [b'{"tools":7}', b"[]", b"7", b'{"tools":{}}'])
def test_what_is_no_list_is_none(result: bytes) -> None:
    assert page(result) is None


def test_an_object_without_the_list_is_an_empty_one() -> None:
    assert page(b"{}") == Page([], 0)


def test_an_item_that_two_parsers_could_name_differently_is_withheld() -> None:
    found = page(b'{"tools":[{"name":"read_a","name":"write_a"},{"name":7},3]}')
    assert found == Page([], 3)


def test_of_two_items_with_one_name_the_first_counts() -> None:
    found = page(b'{"tools":[{"name":"read_a","n":1},{"name":"read_a","n":2}]}')
    assert found is not None
    assert [json.loads(one.raw)["n"] for one in found.items] == [1]


def test_an_alias_is_what_is_listed() -> None:
    names = Names({"read": Target("docs", "read_a")})
    found = page(b'{"tools":[{"name":"read_a"}]}', names=names)
    assert found is not None
    assert [one.outer for one in found.items] == ["read"]


def test_a_cursor_that_is_too_long_ends_the_list() -> None:
    found = page(b'{"tools":[],"nextCursor":"%b"}' % (b"x" * 5000))
    assert found is not None
    assert found.cursor is None


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.just("read_a")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["tools", "name", "nextCursor", "Tools", "x"]), inner, max_size=3),
    ),
)


@given(st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode())))
def test_whatever_a_server_says_only_what_is_exposed_is_listed(said: bytes) -> None:
    found = page(said)
    if found is not None:
        assert {one.plain for one in found.items} <= {"read_a"}
        result = json.loads(lists.joined("tools/list", [("docs", found)]))
        assert {tool["name"] for tool in result["tools"]} <= {"docs__read_a"}


def test_pages_are_joined_in_order_and_what_is_left_is_in_the_cursor() -> None:
    one, two = (
        lists.page(
            "tools/list", name, SHOWN, Names(), b'{"tools":[{"name":"read_a"}],"nextCursor":"7","x":1}'
        )
        for name in ("a", "b")
    )
    assert one is not None
    assert two is not None
    found = json.loads(lists.joined("tools/list", [("a", one), ("b", two)], [lists.STATUS_TOOL]))
    assert [tool["name"] for tool in found["tools"]] == ["penstock_status", "a__read_a", "b__read_a"]
    assert cursors.parse("tools/list", found["nextCursor"]) == {"a": "7", "b": "7"}
    assert found.keys() == {"tools", "nextCursor"}


def test_params_have_the_servers_own_cursor() -> None:
    assert lists.params(None, None) is None
    assert lists.params(b'{"_meta":{"a": 1}}', "7") == b'{"_meta":{"a": 1},"cursor":"7"}'
    assert lists.params(b'{"cursor":"x","_meta":{"a": 1}}', None) == b'{"_meta":{"a": 1}}'


def test_a_page_of_too_many_items_is_none() -> None:
    many = b",".join([b'{"name":"read_a"}'] * (read.MAX_ITEMS + 1))
    assert page(b'{"tools":[%b]}' % many) is None
