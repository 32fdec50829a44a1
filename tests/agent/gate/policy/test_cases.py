from __future__ import annotations

import pytest

from penstock_agent.gate.expose import Expose
from penstock_agent.gate.policy.cases import BadCases, Outcome, read, run
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
