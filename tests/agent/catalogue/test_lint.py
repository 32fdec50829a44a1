"""What there is to say about tools before an assistant, or somebody in front of one, stumbles over them."""

from __future__ import annotations

import pytest

from penstock_agent.catalogue.lint import Finding, Weight, lint
from penstock_agent.catalogue.offer import Catalogue, Effect, Offer
from penstock_agent.gate.expose import Item


def tool(
    name: str = "read", description: str = "Reads.", effect: Effect = Effect.READ, title: str = "Read"
) -> Offer:
    return Offer(Item.TOOL, name, description, effect, title)


def found(*items: Offer, instructions: str = "") -> list[Finding]:
    return lint([Catalogue("files", list(items), instructions)])


def test_a_good_tool_is_worth_no_word() -> None:
    assert found(tool(), Offer(Item.PROMPT, "p"), Offer(Item.RESOURCE, "a://b"), instructions="x" * 512) == []


@pytest.mark.parametrize(
    ("item", "weight", "word"),
    [
        (tool("n" * 65), Weight.TROUBLE, "65 characters; Claude takes 64"),
        (tool(description=" \n"), Weight.TROUBLE, "no description"),
        (tool(effect=Effect.UNMARKED), Weight.TROUBLE, "neither readOnlyHint nor destructiveHint"),
        (tool(title=""), Weight.ADVICE, "no title"),
        (tool("re\u200bad"), Weight.SUSPECT, "name holds characters that do not show: U+200B"),
        (
            tool(description="Reads.\u202e"),
            Weight.SUSPECT,
            "description holds characters that do not show: U+202E",
        ),
        (tool(description="a\U000e0041"), Weight.SUSPECT, "U+E0041"),
        (tool(title="R\u2066"), Weight.SUSPECT, "title holds"),
        (tool("re\u0430d"), Weight.SUSPECT, "several scripts"),
        (Offer(Item.PROMPT, "p", "\u200b"), Weight.SUSPECT, "description holds"),
        (Offer(Item.RESOURCE, "a://\u2060"), Weight.SUSPECT, "name holds"),
    ],
)
def test_what_is_said_of_an_item(item: Offer, weight: Weight, word: str) -> None:
    (finding,) = found(item)
    assert (finding.weight, finding.server, finding.kind, finding.name) == (
        weight, "files", item.kind.value, item.name,
    )  # fmt: skip
    assert word in finding.text


@pytest.mark.parametrize(
    "text", ["Two\nlines\tand a\u00a0space", "\u26a0\ufe0f careful", "\U0001f469\u200d\U0001f4bb"]
)
def test_what_is_usual_in_prose_is_no_secret(text: str) -> None:
    assert found(tool(description=text)) == []


def test_instructions_are_looked_at_too_and_the_suspect_comes_first() -> None:
    said = found(tool(title=""), instructions="x" * 600 + "\u200b")
    assert [each.weight for each in said] == [Weight.SUSPECT, Weight.ADVICE, Weight.ADVICE]
    assert [each.name for each in said[:2]] == ["", ""]
    assert "601 characters; ChatGPT reads the first 512" in said[1].text


def test_tools_that_look_alike_are_named_within_a_server_and_across() -> None:
    inside = found(tool("pay_bill"), tool("pay_biII"))
    assert [(each.weight, each.name) for each in inside] == [
        (Weight.SUSPECT, "pay_bill"), (Weight.SUSPECT, "pay_biII"),
    ]  # fmt: skip
    across = lint(
        [Catalogue("a", [tool("search")]), Catalogue("b", [tool("search")]), Catalogue("c", [tool()])]
    )
    assert [(each.weight, each.server) for each in across] == [(Weight.TROUBLE, "a"), (Weight.TROUBLE, "b")]
    assert "A tool of b has this name" in across[0].text
