"""All servers as one: each is held to its own rules, and what may be of any of them to all."""

from __future__ import annotations

import pytest

from penstock.names import WHOLE_SITE
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.redaction.rules import Rules
from penstock_agent.gate.redaction.settings import RedactSettings, rules
from penstock_agent.site.names import Target, joined
from penstock_agent.site.redacting import SiteRedactor
from penstock_agent.site.spec import SiteView
from tests.agent.endpoint.talk import EVERYTHING
from tests.agent.site.kit import Script, endpoint, named, resource, site_spec, tool
from tests.agent.site.test_site_endpoint import begin, post, result

LONG = "read_" + "x" * 80


def made(*tables: dict[str, object]) -> Rules:
    found = rules(tuple(RedactSettings.model_validate(table) for table in tables))
    assert found is not None
    return found


RULES = {
    "a": made({"find": ["card"], "tools": ["read_*", "prompt:*", "resource:x:**"]}),
    "b": made({"find": ["email"]}),
}
SITE = site_spec(
    {"a": ("*", "resource:x:**"), "b": ("*", "resource:y:**"), "c": ("*",)},
    {"look": "a.read_it"},
    status=True,
)


@pytest.mark.parametrize(
    ("item", "name", "found"),
    [
        (Item.TOOL, "a__read_x", {"card"}),
        (Item.TOOL, "a__write", set()),
        (Item.TOOL, "b__read_x", {"email"}),
        (Item.TOOL, "c__read_x", set()),
        (Item.TOOL, "look", {"card"}),
        (Item.TOOL, joined(Target("a", LONG)), {"card"}),
        (Item.TOOL, joined(Target("b", LONG)), {"email"}),
        (Item.TOOL, "penstock_status", set()),
        (Item.TOOL, "what", {"card", "email"}),
        (Item.PROMPT, "a__hi", {"card"}),
        (Item.RESOURCE, "x:1", {"card"}),
        (Item.RESOURCE, "y:1", {"email"}),
        (Item.RESOURCE, "z:1", set()),
        (None, None, {"card", "email"}),
    ],
)
def test_which_rules_count(item: Item | None, name: str | None, found: set[str]) -> None:
    redactor = SiteRedactor.of(SITE, RULES)
    assert redactor is not None
    plan = redactor.plan(item, name)
    assert (set() if plan is None else set(plan.actions)) == found


def test_without_rules_there_is_nothing_to_do() -> None:
    assert SiteRedactor.of(SITE, {}) is None
    assert SiteRedactor.of(SITE, {"elsewhere": RULES["a"]}) is None


async def test_a_call_through_the_site_is_held_to_the_rules_of_its_server() -> None:
    text = "bob@example.com 4111 1111 1111 1111"
    scripts = {
        "a": Script(tools=[tool("read_x"), tool("write")], prompts=[named("hi")]),
        "b": Script(tools=[tool("read_x")], resources=[resource("b://1")], contents={"b://1": text}),
    }
    async with endpoint(scripts) as (talk, _):
        shared = talk.endpoint._shared
        whole = site_spec(dict.fromkeys(scripts, EVERYTHING))
        redactor = SiteRedactor.of(whole, RULES)
        assert redactor is not None
        exposed = {name: Expose.parse(EVERYTHING) for name in scripts}
        shared.gate = Gate({**exposed, WHOLE_SITE: SiteView(whole)}, {**RULES, WHOLE_SITE: redactor})
        session = await begin(talk)
        for name, left in (
            ("a__read_x", ("bob@example.com", "[card number")),
            ("a__write", ("bob@example.com", "4111 1111")),
            ("b__read_x", ("[e-mail", "4111 1111")),
        ):
            called = await result(post(talk, session, "tools/call", name=name, arguments={"t": text}))
            shown = called["content"][0]["text"]  # type: ignore[index]
            assert all(part in shown for part in left), (name, shown)
        read = await result(post(talk, session, "resources/read", uri="b://1"))
        assert "[e-mail address removed on site]" in str(read)
