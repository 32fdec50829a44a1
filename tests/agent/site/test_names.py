"""Names of tools and prompts of a whole site."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock_agent.gate.expose import Item
from penstock_agent.site.names import (
    MAX_LENGTH,
    STATUS,
    BadAlias,
    Names,
    Shortened,
    Target,
    joined,
    parse_alias,
)

SERVERS = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)
TOOLS = st.one_of(
    st.text(min_size=1, max_size=200),
    st.from_regex(r"[a-z_]{1,80}", fullmatch=True),
    st.from_regex(r"[a-z]{10,60}_[a-z2-7]{10}", fullmatch=True),
)
TARGETS = st.builds(Target, SERVERS, TOOLS)


@given(TARGETS)
def test_every_name_fits_and_says_its_server(target: Target) -> None:
    name = joined(target)
    assert len(name) <= MAX_LENGTH
    assert name.startswith(target.server + "__")


@given(TARGETS)
def test_a_name_means_what_it_was_made_of_or_says_that_it_is_shortened(target: Target) -> None:
    meant = Names().inner(Item.TOOL, joined(target))
    assert meant in (target, Shortened(target.server, joined(target)))
    if isinstance(meant, Shortened):
        assert len(f"{target.server}__{target.name}") >= MAX_LENGTH


@given(TARGETS, TARGETS)
def test_no_two_tools_have_one_name(one: Target, other: Target) -> None:
    assume(one != other)
    assert joined(one) != joined(other)


@given(SERVERS, st.text(min_size=60, max_size=90), st.text(max_size=3), st.text(max_size=3))
def test_long_names_that_differ_at_the_end_only_stay_apart(server: str, head: str, a: str, b: str) -> None:
    assume(a != b)
    assert joined(Target(server, head + a)) != joined(Target(server, head + b))


def test_a_shortened_name_is_the_same_in_every_run() -> None:
    assert joined(Target("docs", "a" * 80)) == "docs__" + "a" * 47 + "_b5c6qwh3yq"


def test_a_name_that_looks_shortened_is_shortened() -> None:
    """Otherwise a server could have a tool under the name that stands for another one."""
    short = joined(Target("docs", "x" * 80))
    assert joined(Target("docs", short.removeprefix("docs__"))) != short


@pytest.mark.parametrize(
    ("name", "server", "tool"),
    [
        ("a__b__c", "a", "b__c"),
        ("a___b", "a", "_b"),
        ("a____b", "a", "__b"),
        ("A__b", "A", "b"),
    ],
)
def test_the_first_two_underscores_end_the_servers_name(name: str, server: str, tool: str) -> None:
    assert Names().inner(Item.TOOL, name) == Target(server, tool)


@pytest.mark.parametrize("name", ["", "a", "a_b", "__b", "a__", "__", "a__" + "b" * 62])
def test_other_names_mean_nothing(name: str) -> None:
    assert Names().inner(Item.TOOL, name) is None


def test_an_alias_is_the_only_name_of_its_tool() -> None:
    target = Target("docs", "search")
    names = Names({"search": target})
    assert names.outer(Item.TOOL, target) == "search"
    assert names.inner(Item.TOOL, "search") == target
    assert names.inner(Item.TOOL, "docs__search") is None
    assert names.outer(Item.PROMPT, target) == "docs__search"
    assert names.inner(Item.PROMPT, "docs__search") == target
    assert names.inner(Item.PROMPT, "search") is None


@pytest.mark.parametrize(
    ("alias", "meant", "why"),
    [
        ("", "docs.search", "clients take names"),
        ("a b", "docs.search", "clients take names"),
        ("a" * 65, "docs.search", "clients take names"),
        ("docs__search", "docs.search", "stands between"),
        (STATUS, "docs.search", "the agent's own tool"),
        ("search", "docs", "names no tool"),
        ("search", ".x", "names no tool"),
        ("search", "docs.", "names no tool"),
    ],
)
def test_an_alias_that_cannot_be_had_is_refused_in_words(alias: str, meant: str, why: str) -> None:
    with pytest.raises(BadAlias, match=why):
        parse_alias(alias, meant)


def test_a_tool_with_dots_can_have_an_alias() -> None:
    assert parse_alias("search", "docs.v1.search") == Target("docs", "v1.search")


def test_one_tool_has_one_alias() -> None:
    with pytest.raises(BadAlias, match="two aliases"):
        Names({"a": Target("docs", "search"), "b": Target("docs", "search")})
