"""Which rules count for which item, and what several of them are together."""

from __future__ import annotations

import pytest

from penstock_agent.gate.expose import Item, parse_pattern
from penstock_agent.gate.redaction.custom import compile_pattern
from penstock_agent.gate.redaction.rules import Action, Rule, Rules

CARDS = Rule(find=("card",))
READS = Rule(
    (parse_pattern("read_*"), parse_pattern("resource:file:///a/**")), ("email",), action=Action.BLOCK
)
STRICT = Rule((parse_pattern("read_secret"),), ("card",), fields=(("x",),), action=Action.ASK)
RULES = Rules((CARDS, READS, STRICT))


@pytest.mark.parametrize(
    ("item", "name", "found"),
    [
        (Item.TOOL, "list", {"card": Action.MASK}),
        (Item.TOOL, "read_file", {"card": Action.MASK, "email": Action.BLOCK}),
        (Item.TOOL, "read_secret", {"card": Action.ASK, "email": Action.BLOCK}),
        (Item.RESOURCE, "file:///a/b/c", {"card": Action.MASK, "email": Action.BLOCK}),
        (Item.RESOURCE, "file:///b", {"card": Action.MASK}),
        (Item.PROMPT, "read_file", {"card": Action.MASK}),
        (None, None, {"card": Action.ASK, "email": Action.BLOCK}),
        (Item.TOOL, None, {"card": Action.ASK, "email": Action.BLOCK}),
        (Item.RESOURCE, None, {"card": Action.MASK, "email": Action.BLOCK}),
    ],
)
def test_what_is_looked_for(item: Item | None, name: str | None, found: dict[str, Action]) -> None:
    plan = RULES.plan(item, name)
    assert plan is not None
    assert plan.actions == found
    assert {one.name for one in plan.detectors} == set(found)
    assert (plan.fields is not None) is (found["card"] is Action.ASK)


def test_where_no_rule_counts_nothing_is_looked_for() -> None:
    assert Rules((READS,)).plan(Item.TOOL, "list") is None
    assert Rules((READS,)).plan(Item.PROMPT, "read_x") is None


def test_the_same_rules_are_the_same_plan() -> None:
    assert RULES.plan(Item.TOOL, "a") is RULES.plan(Item.TOOL, "b")


def test_two_patterns_of_one_name_are_both_looked_for() -> None:
    one, two = (Rule(patterns=(compile_pattern("id", text),)) for text in ("a+", "b+"))
    plan = Rules((one, two, one)).plan(None, None)
    assert plan is not None
    assert [custom.pattern for custom in plan.customs] == ["a+", "b+"]
