from __future__ import annotations

from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.policy.explain import Explanation, explain, tainted
from tests.agent.gate.policy.kit import ALICE, rules

RULES = """
[[rules]]
name = "bob only"
users = ["bob"]
allow = ["*"]
[[rules]]
name = "finance"
groups = ["finance"]
allow = ["read_*"]
[rules.arguments.read_file]
path = { below = "/srv/finance" }
[[rules]]
name = "staff"
groups = ["staff"]
allow = ["list_*"]
[[rules]]
name = "everybody"
allow = ["read_file", "list_all"]
deny = ["drop"]
[rules.arguments.read_file]
path = { below = "/srv/public" }
"""


def said(
    name: str, raw: bytes = b"{}", marked: frozenset[str] | None = None, profile: str = ""
) -> Explanation:
    return explain(Expose.parse(["*"]), rules(RULES, profile), ALICE, Item.TOOL, name, raw, marked)


def steps(found: Explanation) -> list[tuple[str, bool, str]]:
    return [(step.rule, step.decides, step.words) for step in found.steps]


def test_each_rule_says_what_became_of_it() -> None:
    found = said("read_file", b'{"path": "/srv/public/a"}')
    assert (found.verdict, found.by, found.words) == (
        "allowed", 'rule "everybody"', 'The rule "everybody" allows it.'
    )  # fmt: skip
    wrong = "allows it, but not with these arguments: path must be a plain absolute path below /srv/finance/"
    assert steps(found) == [
        ("bob only", False, "does not concern this caller: its users name others"),
        ("finance", False, f"{wrong} (no .. and nothing encoded)"),
        ("staff", False, "does not allow tool:read_file"),
        ("everybody", True, "allows it"),
    ]


def test_what_comes_first_and_what_comes_too() -> None:
    found = said("list_all")
    assert found.by == 'rule "staff"'
    assert steps(found)[3] == ("everybody", False, 'would allow it too, but rule "staff" comes first')


def test_a_deny_is_named_and_so_is_no_rule() -> None:
    assert said("drop").words == 'The rule "everybody" denies it.'
    assert said("other").words == "No rule allows it."
    assert said("read_file", b'{"path": "/etc"}').words == (
        'The rule "finance" would allow it, but not with these arguments, and no other rule does.'
    )


def test_what_is_not_exposed_needs_no_rule() -> None:
    found = explain(Expose.parse(["read"]), rules(RULES), ALICE, Item.TOOL, "drop", None, None)
    assert (found.by, found.words, found.steps) == ("expose", "No entry of expose names tool:drop.", [])


def test_without_the_servers_marks_the_profile_is_not_known_and_that_is_said() -> None:
    profile = 'profile = "read_only"'
    unknown = said("list_all", profile=profile)
    assert (unknown.verdict, "--ask" in unknown.unknown) == ("allowed", True)
    known = said("list_all", marked=frozenset(), profile=profile)
    assert (known.verdict, known.by, known.unknown) == ("denied", "profile", "")
    assert steps(known)[2] == ("staff", False, "would allow it, were it not for the profile")
    assert said("list_all", marked=frozenset({"list_all"}), profile=profile).verdict == "allowed"


def after(name: str, item: Item = Item.TOOL, approve: bool = False, asked: bool = True) -> Explanation:
    """After something sensitive was read; ``list_all`` only reads, on site."""
    found = explain(Expose.parse(["*", "prompt:*", "method:*"]), rules(""), ALICE, item, name, b"{}", None)
    return tainted(found, item, name, approve, frozenset({"list_all"}) if asked else None)


def test_what_follows_after_something_sensitive_was_read() -> None:
    assert (after("list_all").verdict, after("p", Item.PROMPT).verdict) == ("allowed", "allowed")
    found = after("write")
    assert (found.verdict, found.by) == ("denied", "taint")
    assert "does not say of this tool both that it only reads" in found.words
    assert found.words.endswith("it is refused.")
    assert "Methods may do anything" in after("x/y", Item.METHOD).words
    waits = after("write", approve=True)
    assert (waits.verdict, waits.by, waits.unknown) == ("waiting", "taint", "")
    assert "--ask" in after("list_all", asked=False).unknown


def test_who_may_not_use_it_anyway_and_who_needs_approval_anyway_is_told_that() -> None:
    denied = tainted(said("drop"), Item.TOOL, "drop", True, None)
    assert (denied.verdict, denied.by) == ("denied", 'rule "everybody"')
    asks = rules('[[rules]]\nname = "r"\nallow = ["*"]\napprove = "always"\n')
    found = explain(Expose.parse(["*"]), asks, ALICE, Item.TOOL, "w", b"{}", None)
    assert tainted(found, Item.TOOL, "w", True, None).by == 'rule "r"'
    assert tainted(found, Item.TOOL, "w", False, None).verdict == "denied"


def test_it_says_which_calls_read_something_sensitive() -> None:
    sensitive = Expose.parse(["read_*"])
    for name, reads in (("read_mail", True), ("write", False)):
        found = explain(Expose.parse(["*"]), rules(""), ALICE, Item.TOOL, name, b"{}", None, sensitive)
        assert found.sensitive is reads
