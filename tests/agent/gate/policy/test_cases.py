from __future__ import annotations

import pytest

from penstock_agent.gate.expose import Expose
from penstock_agent.gate.overrides import Override, Overrides
from penstock_agent.gate.policy.cases import BadCases, Outcome, read, run
from penstock_agent.gate.policy.taint import Taint
from tests.agent.gate.policy.kit import rules

RULES = """
[[rules]]
name = "finance reads"
groups = ["finance"]
allow = ["tool:read_*", "prompt:sum"]
[rules.arguments.read_file]
path = { below = "/srv/finance" }
"""
CASE = """
[[cases]]
as = "alice@example.com"
groups = ["finance"]
server = "files"
tool = "read_file"
arguments = { path = "/srv/finance/a" }
expect = "allowed"
because = "finance reads"
"""


def tried(text: str) -> list[Outcome]:
    found = rules(RULES, 'profile = "read_only"')
    return run(read(text), {"files": (Expose.parse(["*", "prompt:*"]), found)})


def test_a_case_that_is_as_expected_has_nothing_wrong() -> None:
    (one,) = tried(CASE)
    assert (one.number, one.found, one.by, one.wrong) == (1, "allowed", 'rule "finance reads"', "")


def test_a_case_may_say_who_says_who_they_are() -> None:
    found = rules('[[rules]]\nname = "ours"\nissuers = ["https://a.example"]\nallow = ["read_*"]\n')
    case = (
        '[[cases]]\nas = "alice"\nserver = "files"\ntool = "read_file"\nexpect = "allowed"\nissuer = "{}"\n'
    )
    text = case.format("https://a.example") + case.format("https://b.example")
    ours, theirs = run(read(text), {"files": (Expose.parse(["*"]), found)})
    assert (ours.wrong, theirs.found) == ("", "denied")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("/srv/finance/a", "/etc/passwd"), "expected allowed, but it is denied: The rule"),
        (('["finance"]', '["staff"]'), "expected allowed, but it is denied: No rule allows it."),
        (('"allowed"', '"denied"'), "expected denied, but it is allowed: The rule"),
        (
            ('because = "finance reads"', 'because = "other"'),
            'expected because of "other", but it is because of',
        ),
        (('expect = "allowed"', 'expect = "approval"'), "expected approval, but it is allowed"),
        (("[[cases]]", "[[cases]]\nread_only = false"), 'it is denied: profile = "read_only"'),
        (('"read_file"', '"prompt:other"'), "No rule allows it"),
        (('"read_file"', '"resource:file:///a"'), "No entry of expose"),
    ],
)
def test_a_case_that_is_not_says_what_it_is_instead(change: tuple[str, str], wrong: str) -> None:
    (one,) = tried(CASE.replace(*change))
    assert wrong in one.wrong


TAINTED = """
[[cases]]
as = "alice"
server = "files"
tool = "read_file"
tainted = true
"""
OURS = {"files": {"read_file": Override(annotations={"openWorldHint": False})}}
CHANGES = {"files": {"read_file": Override(annotations={"openWorldHint": False, "readOnlyHint": False})}}


@pytest.mark.parametrize(
    ("more", "overrides", "found"),
    [
        ("", {}, "denied"),  # as MCP prescribes where nobody says anything
        ("open_world = false", {}, "allowed"),
        ("open_world = false\nread_only = false", {}, "denied"),
        ("", OURS, "allowed"),
        ("open_world = true", OURS, "denied"),
        ("", CHANGES, "denied"),
        ("tainted = false", {}, "allowed"),
    ],
)
def test_a_case_may_begin_after_something_sensitive_was_read(
    more: str, overrides: Overrides, found: str
) -> None:
    text = TAINTED.replace("tainted = true", more) if "tainted" in more else TAINTED + more
    servers = {"files": (Expose.parse(["*", "prompt:*"]), rules("", ""))}
    expect = f'\nexpect = "{found}"\nbecause = "{"taint" if found == "denied" else ""}"'
    taint = Taint({"mail": Expose.parse(["*"])})
    (one,) = run(read(text + expect), servers, taint, overrides)
    assert one.wrong == ""
    asks = Taint({"mail": Expose.parse(["*"])}, approve=True)
    (one,) = run(read(text + expect), servers, asks, overrides)
    assert one.found == ("allowed" if found == "allowed" else "approval")


def test_what_is_denied_anyway_is_not_denied_for_the_taint() -> None:
    taint = Taint({"mail": Expose.parse(["*"])})
    text = TAINTED.replace("read_file", "resource:file:///a") + 'expect = "denied"\nbecause = "expose"'
    servers = {"files": (Expose.parse(["*", "prompt:*"]), rules("", ""))}
    assert run(read(text), servers, taint)[0].wrong == ""


def test_a_case_with_a_taint_needs_something_sensitive() -> None:
    with pytest.raises(BadCases, match="case 1: no server has anything sensitive"):
        tried(TAINTED + 'expect = "denied"')


@pytest.mark.parametrize("because", ["rules", "expose", "profile"])
def test_a_case_may_say_that_no_rule_decides(because: str) -> None:
    more = {
        "rules": 'tool = "drop"',
        "expose": 'tool = "method:x"',
        "profile": 'tool = "read_a"\nread_only = false',
    }
    text = (
        f'[[cases]]\nas = "a"\nserver = "files"\n{more[because]}\nexpect = "denied"\nbecause = "{because}"\n'
    )
    assert [one.wrong for one in tried(text)] == [""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[cases]", "not valid TOML"),
        ("", "missing required field `cases`"),
        ('[[cases]]\nas = "a"\n', "missing required field"),
        (CASE.replace('"allowed"', '"maybe"'), "Invalid enum value"),
        (CASE + "more = 1\n", "unknown field `more`"),
        (CASE.replace('"files"', '"crm"'), "case 1: there is no server 'crm' (configured: files)"),
        (CASE.replace('"read_file"', '"what:x"'), "starts with no known kind"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(text: str, words: str) -> None:
    with pytest.raises(BadCases) as refused:
        tried(text)
    assert words in str(refused.value)
