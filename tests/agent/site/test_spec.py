"""The whole site, and what the gate shows of it."""

from __future__ import annotations

import pytest

from penstock.names import WHOLE_SITE
from penstock_agent.gate.expose import Item
from penstock_agent.site.names import Target, joined
from penstock_agent.site.spec import SiteView
from tests.agent.site.kit import site_spec

SERVERS = {"a": ("read_*", "prompt:hi"), "b": ("resource:b://**", "b__c"), "a-b": ("secret",)}


def test_another_policy_is_another_spec() -> None:
    one = site_spec({"a": ("*",), "b": ("*",)})
    assert one.name == WHOLE_SITE
    assert one == site_spec({"a": ("*",), "b": ("*",)})
    assert one != site_spec({"a": ("*",), "b": ("x",)})
    assert one != site_spec({"a": ("*",), "b": ("*",)}, {"x": "a.x"})
    assert one != site_spec({"a": ("*",), "b": ("*",)}, status=True)


@pytest.mark.parametrize(
    ("item", "name", "shown"),
    [
        (Item.TOOL, "a__read_x", True),
        (Item.TOOL, "a__write_x", False),
        (Item.TOOL, "read_x", False),
        (Item.TOOL, "b__read_x", False),
        (Item.TOOL, "b__b__c", True),
        (Item.TOOL, "a__b__c", False),
        (Item.TOOL, "b__c", False),
        (Item.TOOL, "A__read_x", False),
        (Item.TOOL, "a__a__read_x", False),
        (Item.TOOL, "a__secret", False),
        (Item.TOOL, "a-b__secret", True),
        (Item.TOOL, "-b__secret", False),
        (Item.TOOL, " a__read_x", False),
        (Item.TOOL, "__read_x", False),
        (Item.TOOL, "penstock_status", False),
        (Item.PROMPT, "a__hi", True),
        (Item.PROMPT, "hi", False),
        (Item.PROMPT, "a__read_x", False),
        (Item.RESOURCE, "b://x/y", True),
        (Item.RESOURCE, "b__b://x/y", False),
        (Item.RESOURCE, "a://x", False),
        (Item.METHOD, "a__x", False),
        (Item.METHOD, "x", False),
    ],
)
def test_an_item_is_shown_where_its_server_shows_it(item: Item, name: str, shown: bool) -> None:
    assert SiteView(site_spec(SERVERS)).shows(item, name) is shown


def test_an_aliased_tool_is_shown_under_its_alias_only() -> None:
    view = SiteView(site_spec(SERVERS, {"find": "a.read_x", "hidden": "a.write_x"}))
    assert view.shows(Item.TOOL, "find")
    assert not view.shows(Item.TOOL, "a__read_x")
    assert not view.shows(Item.TOOL, "hidden")
    assert not view.shows(Item.PROMPT, "find")


def test_a_shortened_name_is_left_to_the_aggregate_where_its_server_exposes_anything() -> None:
    view = SiteView(site_spec(SERVERS))
    assert view.shows(Item.TOOL, joined(Target("a", "write_" + "x" * 80)))
    assert not view.shows(Item.PROMPT, joined(Target("b", "x" * 80)))
    assert not view.shows(Item.TOOL, joined(Target("c", "x" * 80)))


def test_the_status_tool_is_shown_where_there_is_one() -> None:
    assert SiteView(site_spec(SERVERS, status=True)).shows(Item.TOOL, "penstock_status")
