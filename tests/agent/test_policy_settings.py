"""Rules as they stand in agent.toml: what is read, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.config import Options
from penstock_agent.gate.policy.rules import Budget
from penstock_agent.policy_settings import RuleSettings, TaintSettings, in_words, policy
from penstock_agent.server_settings import ServerSettings
from penstock_agent.settings_file import ConfigError

HEAD = '[servers.files]\ncommand = ["s"]\nexpose = ["*"]\n'
RULE = '[[servers.files.rules]]\nname = "r"\nallow = ["read_*"]\n'


def parse(text: str) -> ServerSettings:
    return config.parse(HEAD + text, Path("/etc/agent.toml"), Options(), {}).server("files")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    return str(refused.value)


WHOLE = """
profile = "read_only"
[[servers.files.rules]]
name = "finance reads"
users = ["alice@example.com"]
groups = ["finance"]
clients = ["https://claude.ai/*"]
issuers = ["https://login.example.com"]
allow = ["tool:read_*"]
deny = ["tool:read_secret"]
[servers.files.rules.arguments.read_file]
path = { below = "/srv/share/finance" }
"options.limit" = { min = 1, max = 10.5, optional = true }
[servers.files.rules.arguments."*"]
kind = { one_of = ["a", 1, true] }
[servers.files.rules.budget]
calls_per_minute = 30
concurrent = 2
calls_per_day = 500
bytes_per_day = "50MB"
max_result = "1 MiB"
"""


def test_a_rule_is_read_whole() -> None:
    server = parse(WHOLE)
    found = policy(server.profile, server.rules)
    assert found is not None
    assert found.read_only
    (rule,) = found.rules
    assert rule.users == frozenset({"alice@example.com"})
    assert rule.groups == frozenset({"finance"})
    assert rule.issuers == frozenset({"https://login.example.com"})
    assert [each.of.glob for each in rule.arguments] == ["read_file", "*"]
    assert rule.budget == Budget(30, 2, 500, 50_000_000, 1_048_576)
    assert policy(None, ()) is None


def test_a_rule_in_words() -> None:
    (rule,) = parse(WHOLE).rules
    assert in_words(rule) == (
        "user alice@example.com and group finance and application https://claude.ai/* and issuer "
        "https://login.example.com: may use tool:read_* and never tool:read_secret; "
        "of read_file: path must be a plain absolute path below "
        "/srv/share/finance/ (no .. and nothing encoded); options.limit must be a number, 1 at least and 10.5"
        ' at most, where it is given; of *: kind must be one of "a", 1, true; each person and tool: '
        "calls_per_minute = 30, concurrent = 2, calls_per_day = 500, bytes_per_day = 50000000, "
        "max_result = 1048576"
    )
    assert in_words(RuleSettings(name="r", deny=("x",))) == "everybody: never x"


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ('"1"', 1), ('"2kB"', 2000), ('"2KiB"', 2048), ('"3 MB"', 3_000_000), ('"1gib"', 1 << 30)],
)
def test_sizes_have_units(text: str, size: int) -> None:
    (rule,) = parse(f"{RULE}[servers.files.rules.budget]\nmax_result = {text}\n").rules
    assert rule.budget is not None
    assert rule.budget.max_result == size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('profile = "write"\n', "servers.files.profile: should be 'read_only'"),
        (RULE + RULE, "servers.files.rules: has two rules with the name 'r'"),
        (RULE.replace('name = "r"\n', ""), "servers.files.rules.0.name: missing"),
        (RULE.replace('"r"', '"a\\"b"'), "servers.files.rules.0.name"),
        (RULE.replace('allow = ["read_*"]\n', ""), "'r' neither allows nor denies anything"),
        (RULE + "more = 1\n", "servers.files.rules.0.more: unknown key. Known here: name, users, groups"),
        (RULE + "users = []\n", "is empty, so the rule would concern nobody"),
        (RULE + 'users = "alice"\n', "servers.files.rules.0.users: should be a list"),
        (RULE + 'deny = ["what:x"]\n', "servers.files.rules.0.deny.0: starts with no known kind"),
        (RULE.replace("allow", "deny") + "[servers.files.rules.budget]\nconcurrent = 1\n", "only narrow"),
        (RULE + 'approve = "sometimes"\n', "rules.0.approve: should be 'always'"),
        (RULE + "[servers.files.rules.budget]\n", "budget: limits nothing"),
        (RULE + "[servers.files.rules.budget]\nconcurrent = 0\n", "greater than or equal to 1"),
        (RULE + "[servers.files.rules.budget]\nconcurrent = true\n", "valid integer"),
        (RULE + '[servers.files.rules.budget]\nmax_result = "1 XB"\n', 'is no size; write a number of bytes'),
        (RULE + "[servers.files.rules.budget]\nper_hour = 1\n", "Known here: calls_per_minute, concurrent"),
        (RULE + '[servers.files.rules.arguments."resource:x"]\np = { min = 1 }\n', "names no tool and no"),
        (RULE + '[servers.files.rules.arguments.x]\n"a..b" = { min = 1 }\n', "names no argument; write NAME"),
        (RULE + "[servers.files.rules.arguments.x]\np = {}\n", "p: asks for nothing"),
        (RULE + "[servers.files.rules.arguments.x]\np = { optional = true }\n", "p: asks for nothing"),
        (RULE + "[servers.files.rules.arguments.x]\np = { below = 'srv' }\n", "below.0: is not an absolute"),
        (RULE + "[servers.files.rules.arguments.x]\np = { below = '/a/../b' }\n", "is not a plain path"),
        (RULE + "[servers.files.rules.arguments.x]\np = { matches = '(a' }\n", "is no regular expression"),
        (RULE + "[servers.files.rules.arguments.x]\np = { min = true }\n", "p.min: must be a number"),
        (RULE + "[servers.files.rules.arguments.x]\np = { max = inf }\n", "p.max: must be a number"),
        (RULE + "[servers.files.rules.arguments.x]\np = { min = 2, max = 1 }\n", "has a min above its max"),
        (RULE + "[servers.files.rules.arguments.x]\np = { equals = [1] }\n", "p.equals: must be a"),
        (RULE + "[servers.files.rules.arguments.x]\noptions.path = { min = 1 }\n",
         "options.path: unknown key. Known here: equals, one_of"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_where_it_is_with_what_to_write(text: str, words: str) -> None:
    found = refusal(text)
    assert words in found, found
    assert found.startswith("/etc/agent.toml: servers.files")


@pytest.mark.parametrize("change", ["approve = true\n", "allow = [1]\n", 'bogus = ""\n'])
def test_a_mistake_in_one_rule_refuses_the_whole_file(change: str) -> None:
    refusal(RULE.replace('"r"', '"good"') + '[[servers.files.rules]]\nname = "bad"\n' + change)


MAIL = '[servers.mail]\ncommand = ["m"]\nsensitive = ["read_*", "resource:mail://**"]\n'


def test_what_is_sensitive_and_what_follows() -> None:
    found = config.parse(HEAD + MAIL, Path("/etc/agent.toml"), Options(), {})
    sensitive = {name: server.sensitive for name, server in found.servers.items()}
    taint = found.taint.taint(sensitive)
    assert taint is not None
    assert (list(taint.sensitive), taint.approve, taint.lasts) == (["mail"], False, 3600.0)
    text = HEAD + MAIL + '[taint]\nafter_sensitive = "approve"\nlasts = 60\n'
    taint = config.parse(text, Path("/etc/agent.toml"), Options(), {}).taint.taint(sensitive)
    assert taint is not None
    assert (taint.approve, taint.lasts) == (True, 60.0)
    assert TaintSettings().taint({"files": ()}) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[taint]\n", "taint: does nothing, because no server has anything sensitive"),
        (MAIL + '[taint]\nafter_sensitive = "ask"\n', "taint.after_sensitive: should be 'deny' or 'approve'"),
        (MAIL + "[taint]\nlasts = 59\n", "taint.lasts: should be greater than or equal to 60"),
        (MAIL + "[taint]\nlast = 60\n", "unknown key. Known here: after_sensitive, lasts."),
        (MAIL.replace("read_*", "x:y"), "servers.mail.sensitive.0: starts with no known kind"),
    ],
)
def test_what_cannot_be_meant_of_sensitive_things_is_refused(text: str, words: str) -> None:
    assert words in refusal(text)
