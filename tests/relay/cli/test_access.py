"""penstock-relay access: who may use a site, or one of its servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock_relay.store import Store
from tests.relay.cli.test_cli import Run, failed

Stored = Callable[..., Any]


@pytest.fixture(autouse=True)
def people_and_sites(run: Run) -> None:
    for name in ("alice", "bob"):
        assert run("user", "add", name).exit_code == 0
    for name in ("mill", "dam"):
        assert run("site", "add", name).exit_code == 0


def allows(stored: Stored, user: str, site: str, server: str) -> bool:
    async def work(store: Store) -> bool:
        return await store.memberships.allows(user, site, server)

    found: bool = stored(work)
    return found


def listed(run: Run, *options: str) -> list[tuple[str, str, str | None]]:
    found = json.loads(run("access", "list", *options, "--json").stdout)
    return [(each["user"], each["site"], each["server"]) for each in found]


def test_nobody_may_use_anything_at_first(run: Run, stored: Stored) -> None:
    assert not allows(stored, "alice", "mill", "files")
    empty = run("access", "list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "penstock-relay access add --user USER --site SITE" in empty.stderr


def test_access_to_a_site_is_access_to_its_servers_and_no_others(run: Run, stored: Stored) -> None:
    result = run("access", "add", "--user", "alice", "--site", "mill")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "alice may use every server of site mill" in result.stderr
    assert allows(stored, "alice", "mill", "files")
    assert not allows(stored, "alice", "dam", "files")
    assert not allows(stored, "bob", "mill", "files")


def test_access_to_one_server_is_to_that_one(run: Run, stored: Stored) -> None:
    result = run("access", "add", "--user", "ALICE", "--site", "mill", "--server", "files")
    assert "alice may use server files of site mill" in result.stderr
    assert allows(stored, "alice", "mill", "files")
    assert not allows(stored, "alice", "mill", "wiki")


def test_adding_twice_is_harmless_and_said(run: Run) -> None:
    options = ("--user", "alice", "--site", "mill")
    first = json.loads(run("access", "add", *options, "--json").stdout)
    assert (first["user"], first["site"], first["server"], first["was_there"]) == (
        "alice",
        "mill",
        None,
        False,
    )
    assert json.loads(run("access", "add", *options, "--json").stdout)["was_there"] is True
    again = run("access", "add", *options)
    assert again.exit_code == 0
    assert "as before" in again.stderr
    assert listed(run) == [("alice", "mill", None)]


def test_access_needs_a_user_and_a_site(run: Run) -> None:
    nobody = run("access", "add", "--user", "carol", "--site", "mill")
    assert "penstock-relay user add carol" in failed(nobody, 1)
    nowhere = run("access", "add", "--user", "alice", "--site", "port")
    assert "penstock-relay site add port" in failed(nowhere, 1)
    assert listed(run) == []
    for command in ("add", "remove"):
        assert run("access", command, "--site", "mill").exit_code == 2
        assert run("access", command, "--user", "alice").exit_code == 2


@pytest.mark.parametrize(
    ("user", "site", "server"),
    [("", "mill", "files"), ("a b", "mill", "files"), ("alice", "Mill!", "files"), ("alice", "mill", "")],
)
def test_names_that_are_none_are_usage_errors(user: str, site: str, server: str, run: Run) -> None:
    for command in ("add", "remove"):
        failed(run("access", command, f"--user={user}", f"--site={site}", f"--server={server}"), 2)
    assert listed(run) == []


def test_removed_access_is_gone_and_twice_is_harmless(run: Run, stored: Stored) -> None:
    options = ("--user", "alice", "--site", "mill")
    run("access", "add", *options)
    result = run("access", "remove", *options)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "alice may no longer use every server of site mill" in result.stderr
    assert not allows(stored, "alice", "mill", "files")
    again = run("access", "remove", *options)
    assert again.exit_code == 0
    assert "had no such access" in again.stderr
    assert json.loads(run("access", "remove", *options, "--json").stdout) == {
        "user": "alice",
        "site": "mill",
        "server": None,
        "removed": False,
    }


def test_what_is_still_allowed_after_a_removal_is_said(run: Run, stored: Stored) -> None:
    options = ("--user", "alice", "--site", "mill")
    run("access", "add", *options)
    run("access", "add", *options, "--server", "files")
    run("access", "add", "--user", "alice", "--site", "dam", "--server", "pumps")
    one = run("access", "remove", *options, "--server", "files")
    assert "Still allowed at site mill: all servers." in one.stderr
    assert allows(stored, "alice", "mill", "files")
    run("access", "add", *options, "--server", "wiki")
    whole = run("access", "remove", *options)
    assert "Still allowed at site mill: wiki." in whole.stderr
    assert listed(run, "--site", "mill") == [("alice", "mill", "wiki")]


def test_access_is_listed_by_user_and_by_site(run: Run) -> None:
    run("access", "add", "--user", "bob", "--site", "mill")
    run("access", "add", "--user", "alice", "--site", "mill", "--server", "files")
    run("access", "add", "--user", "alice", "--site", "dam")
    dam, files, bob = ("alice", "dam", None), ("alice", "mill", "files"), ("bob", "mill", None)
    assert listed(run) == [dam, files, bob]
    assert listed(run, "--user", "Alice") == [dam, files]
    assert listed(run, "--site", "mill") == [files, bob]
    assert listed(run, "--user", "bob", "--site", "dam") == []
    lines = [line.split()[:3] for line in run("access", "list").stdout.splitlines()]
    assert lines == [
        ["USER", "SITE", "SERVER"],
        ["alice", "dam", "(all)"],
        ["alice", "mill", "files"],
        ["bob", "mill", "(all)"],
    ]
    assert "user name" in failed(run("access", "list", "--user", "a b"), 2)
