"""What a consent page is told: what is exposed, and no more than fits."""

from __future__ import annotations

import json

from penstock_agent.catalogue.offer import Catalogue, Effect, Offer
from penstock_agent.endpoint import offers
from penstock_agent.gate.expose import Item


def everything(_item: Item, _name: str) -> bool:
    return True


def tool(name: str, description: str = "", effect: Effect = Effect.READ, title: str = "") -> Offer:
    return Offer(Item.TOOL, name, description, effect, title)


def told(*items: Offer) -> dict[str, object]:
    found = json.loads(offers.answer(Catalogue("files", list(items)), everything))
    assert isinstance(found, dict)
    return found


def test_each_tool_is_told_with_what_it_says_of_itself() -> None:
    assert told(tool("read", "Reads.", Effect.READ, "Read it"), tool("drop", effect=Effect.DESTRUCTIVE)) == {
        "tools": [
            {"name": "read", "effect": "read", "title": "Read it", "description": "Reads."},
            {"name": "drop", "effect": "destructive"},
        ],
        "prompts": 0,
        "resources": 0,
    }


def test_prompts_and_resources_are_only_counted() -> None:
    found = told(Offer(Item.PROMPT, "p"), Offer(Item.RESOURCE, "a://b"), Offer(Item.RESOURCE, "a://{c}"))
    assert found == {"tools": [], "prompts": 1, "resources": 2}


def test_what_the_site_hides_is_not_told() -> None:
    catalogue = Catalogue("files", [tool("read"), tool("drop"), Offer(Item.PROMPT, "p")])
    found = offers.answer(catalogue, lambda item, name: item is Item.TOOL and name == "read")
    assert json.loads(found) == {"tools": [{"name": "read", "effect": "read"}], "prompts": 0, "resources": 0}


def test_texts_are_cut_and_put_on_one_line() -> None:
    (found,) = json.loads(
        offers.answer(Catalogue("f", [tool("a", "x\n y" * 500, title="t" * 500)]), everything)
    )["tools"]
    assert found["description"].startswith("x yx y")
    assert len(found["description"]) == offers.DESCRIPTIONS[0]
    assert found["description"].endswith("…")
    assert len(found["title"]) == offers.MAX_TITLE


def test_ten_thousand_tools_fit() -> None:
    many = [tool(f"{n:05}" + "n" * 100, "d" * 400) for n in range(10_000)]
    data = offers.answer(Catalogue("f", many), everything)
    assert len(data) <= offers.MAX_BYTES
    assert len(json.loads(data)["tools"]) >= 5_000


def test_a_name_that_no_client_takes_is_left_out() -> None:
    assert told(tool("a" * (offers.MAX_NAME + 1)))["tools"] == []
