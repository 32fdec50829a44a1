"""penstock-relay access: who may use a site, or one of its servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock.names import WHOLE_SITE
from penstock_relay.oauth.upstream.person import Person
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
    assert "https://mcp.example.com/mill/SERVER/mcp; all of them together" in result.stderr
    assert "have https://mcp.example.com/mill/mcp." in result.stderr
    assert allows(stored, "alice", "mill", WHOLE_SITE)
    assert allows(stored, "alice", "mill", "files")
    assert not allows(stored, "alice", "dam", "files")
    assert not allows(stored, "bob", "mill", "files")


def test_access_to_one_server_is_to_that_one(run: Run, stored: Stored) -> None:
    result = run("access", "add", "--user", "ALICE", "--site", "mill", "--server", "files")
    assert "alice may use server files of site mill" in result.stderr
    assert "Its URL is https://mcp.example.com/mill/files/mcp." in result.stderr
    assert not allows(stored, "alice", "mill", WHOLE_SITE)
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
        "group": None,
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


# -- groups and roles ------------------------------------------------------------------------------------


def logged_in(stored: Stored, name: str, *groups: str) -> None:
    """A user of the identity provider who is in these groups."""

    async def work(store: Store) -> None:
        person = Person("https://sso.example", name, groups=groups)
        await store.people.welcome(person, 1.0, name=name, spare="user-1")

    stored(work)


def test_a_group_has_access_and_with_it_whoever_is_in_it(run: Run, stored: Stored) -> None:
    logged_in(stored, "anna", "Staff of Oslo", "x")
    logged_in(stored, "bo", "staff of oslo")
    result = run("access", "add", "--group", "Staff of Oslo", "--site", "mill", "--server", "files")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Group Staff of Oslo may use server files of site mill." in result.stderr
    assert allows(stored, "anna", "mill", "files")
    assert not allows(stored, "anna", "mill", "wiki")
    assert not allows(stored, "bo", "mill", "files")
    assert not allows(stored, "alice", "mill", "files")
    again = run("access", "add", "--group", "Staff of Oslo", "--site", "mill", "--server", "files")
    assert "as before" in again.stderr
    (entry,) = json.loads(run("access", "list", "--json").stdout)
    assert (entry["user"], entry["group"], entry["role"]) == (None, "Staff of Oslo", "user")
    assert run("access", "list").stdout.splitlines()[1].startswith("group:Staff of Oslo")
    gone = run("access", "remove", "--group", "Staff of Oslo", "--site", "mill", "--server", "files")
    assert "Group Staff of Oslo may no longer use server files of site mill." in gone.stderr
    assert not allows(stored, "anna", "mill", "files")


def test_who_loses_access_but_is_in_a_group_that_has_it_is_told_of(run: Run, stored: Stored) -> None:
    logged_in(stored, "anna", "staff")
    run("access", "add", "--user", "anna", "--site", "mill")
    run("access", "add", "--group", "staff", "--site", "mill", "--server", "files")
    result = run("access", "remove", "--user", "anna", "--site", "mill")
    assert "Still allowed at site mill: files (by group staff)." in result.stderr
    assert allows(stored, "anna", "mill", "files")
    found = json.loads(run("access", "list", "--user", "anna", "--json").stdout)
    assert [(each["user"], each["group"]) for each in found] == [(None, "staff")]
    assert json.loads(run("access", "list", "--group", "other", "--json").stdout) == []


@pytest.mark.parametrize(("role", "may"), [("user", True), ("site-admin", True), ("auditor", False)])
def test_a_role_says_whether_its_holder_may_call(run: Run, stored: Stored, role: str, may: bool) -> None:
    logged_in(stored, "anna", "staff")
    for who in (("--user", "alice"), ("--group", "staff")):
        assert run("access", "add", *who, "--site", "mill", "--role", role).exit_code == 0
    assert allows(stored, "alice", "mill", "files") is may
    assert allows(stored, "anna", "mill", "files") is may
    assert [each["role"] for each in json.loads(run("access", "list", "--json").stdout)] == [role, role]


def test_there_is_one_role_at_a_place_and_another_one_replaces_it(run: Run, stored: Stored) -> None:
    place = ("--user", "alice", "--site", "mill")
    run("access", "add", *place)
    changed = json.loads(run("access", "add", *place, "--role", "auditor", "--json").stdout)
    assert (changed["role"], changed["was_there"]) == ("auditor", False)
    assert not allows(stored, "alice", "mill", "files")
    assert len(listed(run)) == 1
    assert (
        "is auditor of, and may not call, every server"
        in run("access", "add", *place, "--role", "auditor").stderr
    )
    # An auditor who may also use one server is both.
    run("access", "add", *place, "--server", "files")
    assert allows(stored, "alice", "mill", "files")
    assert not allows(stored, "alice", "mill", "wiki")
    assert "Still allowed" not in run("access", "remove", *place, "--server", "files").stderr


def test_relay_administrators_are_of_no_site(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    role = ("--role", "relay-admin")
    made = run("access", "add", "--user", "alice", *role)
    assert "alice is a relay administrator." in made.stderr
    assert "as before" in run("access", "add", "--user", "alice", *role).stderr
    monkeypatch.setenv("PENSTOCK_RELAY_ADMIN_GROUPS", '["ops"]')
    found = json.loads(run("access", "list", "--json").stdout)
    assert [(each["user"], each["group"], each["site"], each["role"]) for each in found] == [
        ("alice", None, None, "relay-admin"),
        (None, "ops", None, "relay-admin"),
    ]
    assert [line.split()[0] for line in run("access", "list").stdout.splitlines()[1:]] == [
        "alice",
        "group:ops",
    ]
    assert "no longer" in run("access", "remove", "--user", "alice", *role).stderr
    assert "was no relay administrator" in run("access", "remove", "--user", "alice", *role).stderr
    assert "user add zoe" in failed(run("access", "add", "--user", "zoe", *role), 1)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--site", "mill"), "--user USER and --group GROUP"),
        (("--user", "alice", "--group", "g", "--site", "mill"), "one of --user"),
        (("--user", "alice"), "--site SITE"),
        (("--group", " g", "--site", "mill"), "1 to 200 bytes"),
        (("--group", "", "--site", "mill"), "1 to 200 bytes"),
        (("--group", "\u00e9" * 101, "--site", "mill"), "1 to 200 bytes"),
        (("--group", "a\u202eb", "--site", "mill"), "1 to 200 bytes"),
        (("--user", "alice", "--site", "mill", "--role", "boss"), "user, site-admin, auditor, relay-admin"),
        (("--user", "alice", "--site", "mill", "--role", "relay-admin"), "leave --site"),
        (("--group", "g", "--role", "relay-admin"), "admin_groups"),
        (("--role", "relay-admin"), "--user USER"),
    ],
)
def test_what_is_no_membership_is_a_usage_error(run: Run, options: tuple[str, ...], hint: str) -> None:
    for command in ("add", "remove"):
        text = failed(run("access", command, *options), 2)
        assert hint in text
        assert text.isprintable()


def test_a_site_administrator_is_of_the_whole_site(run: Run) -> None:
    options = ("--user", "alice", "--site", "mill", "--server", "files", "--role", "site-admin")
    assert "whole site" in failed(run("access", "add", *options), 2)
