"""penstock-relay audit: who did what, and whether the log is whole."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from penstock_relay import audit
from penstock_relay.audit import Kind
from penstock_relay.cli import common
from penstock_relay.cli.audit import parse_time
from penstock_relay.cli.common import Usage
from penstock_relay.store import Store
from tests.relay.cli.test_cli import Run, failed

Stored = Callable[..., Any]
PAGE = Path(__file__).parents[3] / "docs/relay.md"


@pytest.fixture(autouse=True)
def some_history(run: Run, stored: Stored) -> None:
    assert run("site", "add", "mill").exit_code == 0
    assert run("user", "add", "alice").exit_code == 0
    assert run("access", "add", "--user", "alice", "--site", "mill").exit_code == 0

    async def work(store: Store) -> None:
        await store.by(audit.user("alice")).audit.happened(Kind.LOGIN, method="password")
        await store.by(audit.client("dcr-1", "alice")).audit.happened(Kind.LOGOUT)

    stored(work)


def shown(run: Run, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("audit", "show", *options, "--json").stdout)
    return found


def kinds(run: Run, *options: str) -> list[str]:
    return [each["kind"] for each in shown(run, *options)]


def by_hand(state: Path, *statements: str) -> None:
    with closing(sqlite3.connect(state / "relay.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


ALL = ["site_added", "agent_invited", "user_added", "access_added", "login", "logout"]


def test_what_commands_did_is_recorded_in_the_name_of_who_ran_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "carol")
    run("site", "add", "dam")
    first, *_ = shown(run, "--site", "dam")
    assert first["actor"] == {
        "kind": "command",
        "uid": os.getuid(),
        "name": pwd.getpwuid(os.getuid()).pw_name,
        "host": socket.gethostname(),
        "sudo_user": "carol",
    }
    assert first["about"] == {"site": "dam"}


def test_a_user_without_a_name_is_named_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert dict(common.operator().about)["name"] == "4000000000"


def test_the_log_is_shown_newest_last_with_its_head(run: Run) -> None:
    result = run("audit", "show")
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["TIME", "WHAT", "WHO", "ABOUT"]
    assert [row.split()[1] for row in rows] == ALL
    assert "kind=" not in result.stdout
    assert re.search(r"login +user name=alice +method=password$", result.stdout, re.MULTILINE)
    newest = shown(run)[-1]
    assert f"Head: {newest['hash']}@{newest['sequence']}" in result.stderr


def test_it_is_narrowed_by_user_site_kind_time_and_number(run: Run) -> None:
    assert kinds(run) == ALL
    assert kinds(run, "--user", "ALICE") == ["user_added", "access_added", "login", "logout"]
    assert kinds(run, "--site", "mill") == ["site_added", "agent_invited", "access_added"]
    assert kinds(run, "--kind", "login", "--kind", "site_added") == ["site_added", "login"]
    assert kinds(run, "--user", "alice", "--site", "mill") == ["access_added"]
    assert kinds(run, "--user", "root") == []  # a user of the relay, not of the machine
    assert kinds(run, "--since", "1h") == ALL
    assert kinds(run, "--since", "2000-01-01", "--last", "2") == ["login", "logout"]
    assert kinds(run, "--last", "0") == ALL
    assert "Nothing that fits" in run("audit", "show", "--user", "zoe").stderr
    assert run("audit", "show", "--user", "zoe").stdout == ""


def test_that_there_are_more_is_said_and_only_then(run: Run) -> None:
    assert "--last 30" in run("audit", "show", "--last", "3").stderr
    assert "older ones" not in run("audit", "show", "--last", "6").stderr
    assert "older ones" not in run("audit", "show", "--last", "0").stderr


def test_a_wrong_option_is_named(run: Run) -> None:
    assert "login_failed" in failed(run("audit", "show", "--kind", "log_in"), 2)
    assert "length of time" in failed(run("audit", "show", "--since", "yesterday"), 2)
    assert "not in the past" in failed(run("audit", "show", "--since", "2999-01-01"), 2)
    assert "HASH@SEQUENCE" in failed(run("audit", "verify", "--head", "abc"), 2)


def test_times_are_lengths_or_moments() -> None:
    now = 1_000_000.0
    assert parse_time("24h", now) == now - 86_400
    assert parse_time("1970-01-02", now) == 86_400
    assert parse_time("1970-01-02T01:00:00+01:00", now) == 86_400
    with pytest.raises(Usage, match="at most 3650d"):
        parse_time("9999d", now)


def test_what_strangers_call_themselves_cannot_move_the_cursor(run: Run, stored: Stored) -> None:
    async def work(store: Store) -> None:
        await store.by(audit.user("alice")).audit.happened(
            Kind.CONSENT_DENIED, client="x\x1b[2J", client_name="A name\u202e\n=user"
        )

    stored(work)
    row = run("audit", "show", "--last", "1").stdout.splitlines()[1]
    assert row.isprintable()
    assert row.endswith(r"client='x\x1b[2J' client_name='A name\u202e\n=user'")


def test_a_whole_log_is_verified_and_its_head_can_be_noted(run: Run) -> None:
    result = run("audit", "verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "The audit log is whole: 6 records, from 1 on."
    head = result.stdout.splitlines()[1].removeprefix("Head: ")
    assert f"--head {'HASH@N'}" in result.stderr
    run("site", "add", "dam")
    again = run("audit", "verify", "--head", head)
    assert (again.exit_code, again.stderr) == (0, "")
    found = json.loads(run("audit", "verify", "--json").stdout)
    assert (found["ok"], found["first"], found["records"]) == (True, 1, 8)


def test_a_changed_log_is_broken_with_status_1_and_the_record_is_named(run: Run, state: Path) -> None:
    by_hand(
        state,
        "DROP TRIGGER audit_no_update",
        "UPDATE audit SET record = CAST(replace(record, 'alice', 'mallo') AS BLOB) WHERE sequence = 4",
    )
    text = failed(run("audit", "verify"), 1)
    assert "The audit log is broken: record 4 was changed" in text
    result = run("audit", "verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["sequence"] == 4
    assert run("audit", "show").exit_code == 0  # what is left can still be read


def test_a_record_that_was_destroyed_is_still_shown(run: Run, state: Path) -> None:
    by_hand(
        state, "DROP TRIGGER audit_no_update", "UPDATE audit SET record = X'FF00' WHERE sequence IN (4, 5)"
    )
    result = run("audit", "show", "--user", "alice")
    assert result.exit_code == 0
    assert "record 4 cannot be read" in result.stdout
    assert shown(run)[3] == {"sequence": 4, "problem": "cannot be read", "hash": shown(run)[3]["hash"]}
    assert len(run("audit", "export").stdout.splitlines()) == 6


def test_a_log_that_was_cut_is_found_out_by_its_head(run: Run, state: Path) -> None:
    head = json.loads(run("audit", "verify", "--json").stdout)["head"]
    by_hand(state, "DROP TRIGGER audit_no_delete", "DELETE FROM audit WHERE sequence = 6")
    assert run("audit", "verify").exit_code == 0
    assert "the end of the log was cut off" in failed(run("audit", "verify", "--head", head), 1)


def exported(run: Run, *options: str) -> str:
    result = run("audit", "export", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_the_log_is_exported_as_json_lines(run: Run) -> None:
    lines = [json.loads(line) for line in exported(run).splitlines()]
    assert [line["kind"] for line in lines] == ALL
    assert lines == shown(run, "--last", "0")
    assert [json.loads(line)["sequence"] for line in exported(run, "--after", "4").splitlines()] == [5, 6]
    assert exported(run, "--after", "6") == ""


def verified_by_the_page(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The program that the page gives to whoever wants to check without Penstock."""
    chapter = PAGE.read_text().split("\n## Audit\n")[1].split("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    assert len(program.splitlines()) <= 30
    script = tmp_path / "verify.py"
    script.write_text(program)
    return subprocess.run(
        [sys.executable, "-I", str(script)], input=text, capture_output=True, text=True, check=False
    )


def test_the_program_on_the_page_agrees(run: Run, tmp_path: Path) -> None:
    text = exported(run)
    newest = shown(run)[-1]
    good = verified_by_the_page(text, tmp_path)
    assert (good.returncode, good.stdout) == (0, f"whole, head {newest['hash']}@6\n")
    lines = text.splitlines(keepends=True)
    for bad in (
        text.replace("alice", "mallo", 1),
        "".join(lines[:2] + lines[3:]),
        "".join([*lines[:2], lines[3], lines[2], *lines[4:]]),
        lines[0] + text,
    ):
        assert verified_by_the_page(bad, tmp_path).returncode != 0
    # Written by another program in its own way, it is the same log.
    again = "".join(json.dumps(json.loads(line), indent=None) + "\n" for line in lines)
    assert verified_by_the_page(again, tmp_path).stdout == good.stdout


def test_old_records_are_pruned_and_the_rest_is_whole(run: Run) -> None:
    head = json.loads(run("audit", "verify", "--json").stdout)["head"]
    assert json.loads(run("audit", "prune", "--before", "1d", "--json").stdout)["removed"] == 0
    result: Result = run("audit", "prune", "--before", "1s")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert run("audit", "verify", "--head", head).exit_code == 0
    assert "length of time" in failed(run("audit", "prune", "--before", "all"), 2)
    assert run("audit", "prune").exit_code == 2


def test_pruning_everything_leaves_who_did_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert "Records removed: 6" in run("audit", "prune", "--before", "30s").stderr
    (left,) = shown(run)
    assert (left["kind"], left["actor"]["kind"], left["about"]["count"]) == ("audit_pruned", "command", 6)
    assert run("audit", "verify").stdout.startswith("The audit log is whole: 1 records, from 7 on.")
