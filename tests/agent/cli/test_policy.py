"""The policy commands, as an administrator gives them."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agent.ledger.book import BOB, Clock, decision, ledger
from tests.harness.agent_site import SERVER, Site

RULES = """
[[servers.files.rules]]
name = "finance reads"
groups = ["finance"]
allow = ["read_*"]
[servers.files.rules.arguments.read_file]
path = { below = "/srv/finance" }
"""


@pytest.fixture
def files(site: Site, tmp_path: Path) -> Site:
    program = tmp_path / "server.py"
    program.write_text(SERVER)
    command = json.dumps([sys.executable, str(program)])
    site.configure(f'[servers.files]\ncommand = {command}\nexpose = ["*"]\nprofile = "read_only"\n{RULES}')
    return site


def test_explain_says_which_rule_decides_and_why_the_others_do_not(files: Site) -> None:
    for arguments, status, words in (
        ('{"path": "/srv/finance/a"}', 0, 'ALLOWED  The rule "finance reads" allows it.'),
        (
            '{"path": "/etc/passwd"}',
            1,
            "> finance reads: allows it, but not with these arguments: path must be",
        ),
    ):
        done = files.run(
            "policy", "explain", "--as", "alice", "--group", "finance", "files", "read_file", arguments
        )
        assert done.status == status, done.stderr
        assert words in done.stdout
        assert "Note: profile" in done.stdout
    done = files.run("policy", "explain", "--as", "alice@example.com", "files", "read_all")
    assert (done.status, "its groups name others" in done.stdout) == (1, True)


def test_explain_asks_the_server_when_it_is_told_to(files: Site) -> None:
    options = ("policy", "explain", "--ask", "--json", "--as", "a", "--group", "finance", "files")
    done = files.run(*options, "read_all")
    assert done.json["verdict"] == "allowed"
    assert (done.json["unknown"], done.json["by"]) == ("", 'rule "finance reads"')
    assert files.run(*options, "read_other").json["by"] == "profile"


def test_explain_says_what_follows_after_something_sensitive_was_read(files: Site) -> None:
    options = ("policy", "explain", "--as", "a", "--group", "finance", "files", "read_all")
    refused = files.run(*options, "--tainted")
    assert (refused.status, "No server has anything sensitive" in refused.stderr) == (2, True)
    text = files.config.read_text().replace("profile =", 'sensitive = ["read_*"]\nprofile =')
    files.config.write_text(text)
    plain = files.run(*options)
    assert plain.status == 0
    assert "Note: this reads something sensitive" in plain.stdout
    said = files.run(*options, "--tainted")
    assert said.status == 1
    assert "DENIED  The server does not say of this tool both that it only reads" in said.stdout
    assert "--ask" in said.stdout
    inside = "[servers.files.tools.read_all]\nannotations = { openWorldHint = false }\n"
    files.config.write_text(text + inside)
    asked = files.run(*options, "--tainted", "--ask", "--json")
    assert (asked.status, asked.json["verdict"], asked.json["unknown"]) == (0, "allowed", "")
    files.config.write_text(text + '[taint]\nafter_sensitive = "approve"\n')
    asked = files.run(*options, "--tainted", "--ask", "--json")
    assert (asked.status, asked.json["verdict"], asked.json["by"]) == (1, "waiting", "taint")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("files", "read"), "Say for whom, with --as"),
        (("--as", "a", "crm", "read"), "has no server named 'crm'"),
        (("--as", "a", "files", "what:x"), "starts with no known kind"),
        (("--as", "a", "files", "read", "[1]"), "ARGUMENTS is no JSON object"),
        (("--as", "a", "files", "read", '{"a":1,"a":2}'), "has a key twice"),
    ],
)
def test_explain_says_what_it_needs(files: Site, arguments: tuple[str, ...], words: str) -> None:
    done = files.run("policy", "explain", *arguments)
    assert (done.status, words in done.stderr) == (2, True), done.stderr


CASE = """
[[cases]]
as = "alice"
groups = ["finance"]
server = "files"
tool = "read_all"
expect = "allowed"
because = "finance reads"
"""


def test_cases_are_compared_and_a_difference_is_status_1(files: Site) -> None:
    cases = files.config.parent / "policy-cases.toml"
    cases.write_text(CASE)
    done = files.run("policy", "test")
    assert (done.status, done.stdout) == (0, "1 cases, all good.\n")
    cases.write_text(CASE + CASE.replace('"finance"', '"staff"'))
    done = files.run("policy", "test", str(cases))
    assert done.status == 1
    assert done.stdout.splitlines() == [
        "case 2: alice files read_all",
        "  - allowed   because finance reads",
        "  + denied   because rules",
        "  expected allowed, but it is denied: No rule allows it.",
        "2 cases, 1 of them not as expected.",
    ]
    found = files.run("policy", "test", "--json").json["cases"]
    assert isinstance(found, list)
    assert [bool(one["wrong"]) for one in found] == [False, True]


def test_cases_are_tried_after_something_sensitive_was_read(files: Site) -> None:
    cases = files.config.parent / "policy-cases.toml"
    tainted = CASE + "tainted = true\n"
    cases.write_text(tainted)
    done = files.run("policy", "test")
    assert (done.status, "no server has anything sensitive" in done.stderr) == (2, True)
    text = files.config.read_text().replace("profile =", 'sensitive = ["read_*"]\nprofile =')
    files.config.write_text(text)
    done = files.run("policy", "test")
    assert (done.status, "+ denied   because taint" in done.stdout) == (1, True)
    files.config.write_text(
        text + "[servers.files.tools.read_all]\nannotations = { openWorldHint = false }\n"
    )
    assert files.run("policy", "test").status == 0


def test_cases_that_cannot_be_read_are_status_2(files: Site) -> None:
    done = files.run("policy", "test")
    assert (done.status, "policy-cases.toml cannot be read" in done.stderr) == (2, True)
    cases = files.config.parent / "policy-cases.toml"
    cases.write_text("[[cases]]\n")
    done = files.run("policy", "test")
    assert (done.status, "missing required field" in done.stderr) == (2, True)


def used(state: Path, *, age: timedelta) -> None:
    """Somebody has used a tool so long ago."""

    async def write() -> None:
        with ledger(state, clock=Clock((datetime.now(UTC) - age).timestamp())) as writer:
            writer.record(decision(who=BOB))

    asyncio.run(write())


def test_suggest_proposes_a_change_of_the_file_and_writes_nothing(files: Site) -> None:
    files.join()
    before = files.config.read_text()
    used(files.state, age=timedelta(hours=1))
    done = files.run("policy", "suggest")
    assert done.status == 0, done.stderr
    for line in (
        '+name = "suggested 1"',
        '+users = ["bob"]',
        '+clients = ["c2"]',
        '+allow = ["tool:read_file"]',
    ):
        assert line in done.stdout.splitlines()
    assert "From 1 call that was allowed" in done.stderr
    assert "only hashes" in done.stderr
    assert files.config.read_text() == before


def test_suggest_looks_at_the_time_that_it_is_told(files: Site, tmp_path: Path) -> None:
    used(tmp_path, age=timedelta(days=3))
    for since, found in (("yesterday", 0), ("7d", 1), ("12h", 0), ("2020-01-01", 1)):
        copy = str(tmp_path / "ledger")
        done = files.run("policy", "suggest", "--dir", copy, "--since", since, "--json")
        assert done.json["decisions"] == found, since
        assert bool(done.json["diff"]) is bool(found)


def test_suggest_says_what_it_needs(files: Site) -> None:
    assert "There is no ledger in" in files.run("policy", "suggest").stderr
    assert "There is no ledger in /nowhere" in files.run("policy", "suggest", "--dir", "/nowhere").stderr
    done = files.run("policy", "suggest", "--since", "soon")
    assert (done.status, "is no moment" in done.stderr) == (2, True)


def test_config_check_shows_rules_in_words_and_what_cannot_work(files: Site) -> None:
    done = files.run("config", "check")
    assert '  rule "finance reads": group finance: may use read_*; of read_file: path must be' in done.stdout
    assert 'profile = "read_only"' in done.stdout
    shown = files.run("config", "check", "--json").json["servers"]
    assert isinstance(shown, dict)
    assert shown["files"]["rules"][0]["name"] == "finance reads"
    files.configure(
        '[servers.files]\ncommand = ["/bin/cat"]\nexpose = ["read_*"]\n[[servers.files.rules]]\nname = "d"\n'
        'deny = ["x"]\n'
    )
    assert "none of them allows anything" in files.run("config", "check").stdout
    files.configure(
        '[servers.files]\ncommand = ["/bin/cat"]\nexpose = ["read_*"]\n[[servers.files.rules]]\nname = "d"\n'
        'allow = ["write", "read_a", "r*"]\n'
    )
    text = files.run("config", "check").stdout
    assert "'d' allows write, which is not exposed" in text
    assert "read_a, which" not in text
