"""The rules of several servers, and of all of them as one."""

from __future__ import annotations

from collections.abc import Collection

from penstock.envelope import parse_caller
from penstock.names import WHOLE_SITE
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.policy.policies import NothingKnown, Policies
from penstock_agent.gate.policy.rules import Policy
from penstock_agent.gate.view import Allowed, Denied
from penstock_agent.ledger.entries import Verdict
from penstock_agent.site.names import Target, joined
from penstock_agent.site.spec import SiteView
from tests.agent.gate.policy.kit import ALICE, BOB, rules
from tests.agent.site.kit import site_spec

LONG = "read_" + "x" * 80
SHORT = joined(Target("a", LONG))
FINANCE = rules('[[rules]]\nname = "f"\ngroups = ["finance"]\nallow = ["read*", "resource:x:*"]\n')
BUDGETS = rules('[[rules]]\nname = "b"\nallow = ["*", "resource:x:*"]\n[rules.budget]\ncalls_per_day = 5\n')
VIEW = SiteView(site_spec({"a": ("*", "resource:x:*"), "b": ("*", "resource:x:*"), "c": ("*",)}))


class Knows:
    def marked(self, server: str, /) -> Collection[str]:
        return {"read"}

    def offered(self, server: str, item: Item, /) -> frozenset[str] | None:
        return frozenset({LONG, "read"}) if item is Item.TOOL else frozenset()


def hidden(policies: dict[str, Policy], name: str, item: Item = Item.TOOL) -> str | None:
    look = Policies(policies, VIEW).look(WHOLE_SITE, ALICE, NothingKnown())
    assert look is not None
    found = look.hides(item, name)
    return None if found is None else f"{found.of}: {found.by}"


def test_where_there_are_no_rules_there_is_nothing_to_look_at() -> None:
    assert Policies({}, VIEW).look("a", ALICE, NothingKnown()) is None
    assert Policies({"b": FINANCE}, VIEW).look("a", ALICE, NothingKnown()) is None
    assert Policies({"other": FINANCE}, VIEW).look(WHOLE_SITE, ALICE, NothingKnown()) is None


def test_an_item_of_the_site_is_judged_by_its_servers_rules_under_its_servers_name() -> None:
    assert hidden({"a": FINANCE}, "a__read") is None
    assert hidden({"a": FINANCE}, "a__write") == "a: rules"
    assert hidden({"a": FINANCE}, "b__write") is None


def test_a_shortened_name_is_refused_until_its_server_has_said_what_it_stands_for() -> None:
    assert hidden({"a": FINANCE}, SHORT) == "a: rules"
    assert hidden({"b": FINANCE}, SHORT) is None, "nothing depends on it"
    look = Policies({"a": FINANCE}, VIEW).look(WHOLE_SITE, ALICE, Knows())
    assert look is not None
    assert look.hides(Item.TOOL, SHORT) is None
    assert look.hides(Item.TOOL, SHORT[:-1] + ("a" if SHORT[-1] != "a" else "b")) is not None
    unknown = Policies({"a": FINANCE}, VIEW).look(WHOLE_SITE, ALICE, NothingKnown())
    assert unknown is not None
    assert (unknown.to_ask(Item.TOOL, SHORT), unknown.to_ask(Item.TOOL, "a__read")) == (["a"], [])


def test_a_resource_that_several_may_have_is_allowed_by_all_of_them_and_counted_for_each() -> None:
    strict = rules('[[rules]]\nname = "s"\nallow = ["resource:x:a"]\n')
    assert hidden({"a": FINANCE, "b": strict}, "x:a", Item.RESOURCE) is None
    assert hidden({"a": FINANCE, "b": strict}, "x:b", Item.RESOURCE) == "b: rules"
    look = Policies({"a": BUDGETS, "b": BUDGETS}, VIEW).look(WHOLE_SITE, ALICE, NothingKnown())
    assert look is not None
    ruled = look.rule(Item.RESOURCE, "x:a", b"{}")
    assert (ruled.verdict, [one.server for one in ruled.charges]) == (Verdict.ALLOWED, ["a", "b"])


def test_what_lists_and_calls_need_to_know_first() -> None:
    marked = rules("", 'profile = "read_only"')
    own = Policies({"a": marked, "b": FINANCE}, VIEW)
    a, b = own.look("a", ALICE, NothingKnown()), own.look("b", ALICE, NothingKnown())
    whole = own.look(WHOLE_SITE, ALICE, NothingKnown())
    assert a is not None
    assert b is not None
    assert whole is not None
    assert (a.to_ask(Item.TOOL, "read"), a.to_list(Item.TOOL), a.to_list(Item.PROMPT)) == (["a"], ["a"], [])
    assert (b.to_ask(Item.TOOL, "read"), b.to_list(Item.TOOL)) == ([], [])
    assert whole.to_ask(Item.TOOL, "a__read") == ["a"]
    assert whole.to_list(Item.TOOL) == ["a", "b"]
    assert whole.to_list(Item.RESOURCE) == []


def test_a_gate_differs_by_what_lists_show_and_by_nothing_else() -> None:
    def gate(policy: str) -> Gate:
        return Gate(
            {"a": Expose.parse(["*"]), WHOLE_SITE: VIEW},
            policies={"a": rules(policy)} if policy else {},
            whole=VIEW,
        )

    base = '[[rules]]\nname = "r"\nallow = ["read*"]\n'
    for server in ("a", WHOLE_SITE):
        assert not gate(base).differs(gate(base), server)
        assert not gate(base).differs(gate(base.replace('"r"', '"renamed"')), server)
        assert not gate(base).differs(gate(base + "[rules.budget]\nconcurrent = 1\n"), server)
        assert not gate(base).differs(gate(base + '[rules.arguments."*"]\nx = { min = 1 }\n'), server)
        for other in ("", base.replace("read*", "read"), base + 'users = ["a"]\n', base + 'deny = ["x"]\n'):
            assert gate(base).differs(gate(other), server)
    assert not gate(base).differs(gate(""), "b")


def test_the_gate_says_what_decides_and_who_has_the_item() -> None:
    gate = Gate({"a": Expose.parse(["read*"]), WHOLE_SITE: VIEW}, policies={"a": FINANCE}, whole=VIEW)

    def ask(server: str, name: str, who: object = ALICE) -> Allowed | Denied:
        call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%b"}}' % name.encode()
        return gate.inbound(server, ALICE if who is ALICE else BOB, parse_caller(call))

    assert ask("a", "read") == Allowed('rule "f"')
    assert ask(WHOLE_SITE, "a__read") == Allowed('rule "f"', of="a")
    assert ask(WHOLE_SITE, "b__read") == Allowed("expose")
    denied, unexposed, other = ask("a", "read", BOB), ask("a", "write"), ask(WHOLE_SITE, "a__write")
    assert isinstance(denied, Denied)
    assert isinstance(unexposed, Denied)
    assert isinstance(other, Denied)
    assert (denied.rule, unexposed.rule, other.rule, other.of) == ("rules", "expose", "rules", "a")
    assert denied.text == unexposed.text == other.text, "a caller cannot tell what denies it"
