from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.config import Options
from penstock_agent.exposing.rules import diff, with_rules
from penstock_agent.gate.policy.suggest import Proposal
from penstock_agent.settings_file import ConfigError

PATH = Path("agent.toml")
FILE = """\
# ours
[servers.files]  # the share
command = ["s"]
expose = ["*"]

[servers.files.env]
A = "b"

[servers.crm]
url = "http://crm/mcp"  # inside
"""
BEFORE = """\
[servers.files]
command = ["s"]

# everybody, for now
[[servers.files.rules]]
name = "all"
allow = ["*"]

# never
[[servers.files.rules]]
name = "suggested 1"
deny = ["drop"]
"""
ONE = Proposal("suggested 1", ["alice@example.com"], ["claude"], ["tool:read"], 20)


def written(text: str) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    server = config.parse(text, PATH, Options(), {}).server("files")
    return [(rule.name, rule.allow, rule.deny) for rule in server.rules]


def test_rules_are_added_and_all_else_stays() -> None:
    text = with_rules(FILE, PATH, {"files": [ONE], "unknown": [ONE], "crm": []})
    assert written(text) == [("suggested 1", ("tool:read",), ())]
    assert [line for line in FILE.splitlines() if line not in text.splitlines()] == []
    assert config.parse(text, PATH, Options(), {}).server("files").env == {"A": "b"}


def test_rules_that_only_allow_give_way_and_those_with_more_stay() -> None:
    text = with_rules(BEFORE, PATH, {"files": [ONE]})
    assert written(text) == [("suggested 1", (), ("drop",)), ("suggested 1'", ("tool:read",), ())]


def test_the_diff_is_one_that_patch_takes(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    for text in (FILE, BEFORE, BEFORE.rstrip("\n")):
        file.write_text(text)
        change = diff(text, Path("agent.toml"), {"files": [ONE]})
        assert change.startswith("--- agent.toml\n+++ agent.toml (suggested)\n")
        done = subprocess.run(
            ["git", "apply", "-p0", "--unidiff-zero", "-"],
            input=change.replace(" (suggested)", ""),
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert file.read_text() == with_rules(text, PATH, {"files": [ONE]})


def test_nothing_to_change_is_no_diff() -> None:
    assert diff(FILE, PATH, {}) == ""
    assert diff("", PATH, {"files": [ONE]}) == ""


def test_a_file_that_is_no_toml_is_said() -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        diff("[", PATH, {})
