"""penstock-relay user: accounts, the links by which they begin, and their end."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from penstock_relay import listening
from penstock_relay.listening import Listening
from penstock_relay.oauth.upstream.person import Person
from penstock_relay.store import Factor, LoginRecord, Store, User
from tests.relay.cli.test_cli import Run, failed

Stored = Callable[..., Any]

ORIGIN = "https://mcp.example.com"


def word(link: str, origin: str = ORIGIN) -> str:
    """The secret of a link; it stands alone on a line."""
    found = re.fullmatch(re.escape(origin) + r"/invite/([A-Za-z0-9_-]{43})\n", link)
    assert found is not None, link
    return found[1]


def invited(stored: Stored, secret: str, now: float) -> User | None:
    async def work(store: Store) -> User | None:
        return await store.users.invited(sha256(secret.encode()).digest(), now)

    found: User | None = stored(work)
    return found


def accept(stored: Stored, secret: str, now: float) -> None:
    async def work(store: Store) -> User | None:
        return await store.users.accept(sha256(secret.encode()).digest(), "$hash", now)

    assert stored(work) is not None


def listed(run: Run) -> list[dict[str, Any]]:
    users: list[dict[str, Any]] = json.loads(run("user", "list", "--json").stdout)
    return users


def test_user_add_prints_a_link_alone_that_is_good_for_a_week(run: Run, stored: Stored, state: Path) -> None:
    result = run("user", "add", "alice", "--email", "alice@example.com")
    assert result.exit_code == 0
    secret = word(result.stdout)
    assert secret not in result.stderr
    assert "penstock-relay access add --user alice" in result.stderr
    now = time.time()
    user = invited(stored, secret, now)
    assert user is not None
    assert (user.name, user.email, user.password_hash) == ("alice", "alice@example.com", None)
    assert invited(stored, secret, now + 7 * 86_400 - 60) is not None
    assert invited(stored, secret, now + 7 * 86_400 + 1) is None
    assert secret.encode() not in b"".join(path.read_bytes() for path in state.glob("relay.db*"))


def test_the_link_is_good_for_as_long_as_was_asked(run: Run, stored: Stored) -> None:
    secret = word(run("user", "add", "alice", "--ttl", "2h").stdout)
    now = time.time()
    assert invited(stored, secret, now + 7_100) is not None
    assert invited(stored, secret, now + 7_201) is None


@pytest.mark.parametrize("ttl", ["31d", "0d", "-1h", "1", "1w", ""])
def test_a_ttl_that_is_none_or_too_long_makes_no_user(ttl: str, run: Run) -> None:
    assert "--ttl" in failed(run("user", "add", "alice", f"--ttl={ttl}"), 2)
    assert listed(run) == []


def test_a_user_that_exists_is_refused_and_the_other_command_named(run: Run) -> None:
    run("user", "add", "alice")
    assert "penstock-relay user invite alice" in failed(run("user", "add", "alice"), 1)
    assert [user["name"] for user in listed(run)] == ["alice"]


@pytest.mark.parametrize("name", ["a", "0", "alice@example.com", "a.b_c+d-e", "x" * 64])
def test_a_name_that_is_one(name: str, run: Run) -> None:
    assert run("user", "add", name).exit_code == 0
    assert [user["name"] for user in listed(run)] == [name]


def test_a_name_is_the_same_in_capitals(run: Run) -> None:
    run("user", "add", "Alice")
    assert [user["name"] for user in listed(run)] == ["alice"]
    assert "penstock-relay user invite alice" in failed(run("user", "add", "ALICE"), 1)
    assert run("user", "invite", "ALICE").exit_code == 0


@pytest.mark.parametrize("name", ["", ".a", "@a", "a b", "a/b", "é", "x" * 65, "a\n", "a\x1b[31m", "\u212a"])
def test_a_name_that_is_none_is_a_usage_error(name: str, run: Run) -> None:
    for command in ("add", "invite", "disable", "enable", "reset-factor"):
        text = failed(run("user", command, name), 2)
        assert "user name" in text
        assert text.isprintable()
    assert listed(run) == []


@pytest.mark.parametrize("email", ["alice", "@x", "a@", "a b@x", "a@b\n", "a@b@c", "é@x", "a" * 65 + "@x"])
def test_an_email_that_is_none_is_a_usage_error(email: str, run: Run) -> None:
    text = failed(run("user", "add", "alice", f"--email={email}"), 2)
    assert "--email" in text
    assert text.isprintable()
    assert listed(run) == []


def test_user_invite_ends_the_links_before_it_and_keeps_the_password(run: Run, stored: Stored) -> None:
    first = word(run("user", "add", "alice").stdout)
    second = word(run("user", "invite", "alice", "--ttl", "1h").stdout)
    now = time.time()
    assert invited(stored, first, now) is None
    assert invited(stored, second, now + 3_590) is not None
    assert invited(stored, second, now + 3_601) is None
    accept(stored, second, now)
    third = word(run("user", "invite", "alice").stdout)
    user = invited(stored, third, now)
    assert user is not None
    assert user.password_hash == "$hash"


def test_user_invite_and_disable_need_a_user(run: Run) -> None:
    assert "penstock-relay user add bob" in failed(run("user", "invite", "bob"), 1)
    assert "penstock-relay user add bob" in failed(run("user", "disable", "bob"), 1)


def test_users_are_listed_for_people_and_for_scripts(run: Run, stored: Stored) -> None:
    empty = run("user", "list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "penstock-relay user add NAME" in empty.stderr
    run("user", "add", "carol")
    secret = word(run("user", "add", "bob", "--email", "bob@example.com").stdout)
    accept(stored, secret, time.time())
    run("user", "add", "alice")
    run("user", "disable", "alice")
    assert [(user["name"], user["email"], user["state"]) for user in listed(run)] == [
        ("alice", "", "disabled"),
        ("bob", "bob@example.com", "active"),
        ("carol", "", "invited"),
    ]
    table = run("user", "list").stdout
    lines = [line.split() for line in table.splitlines()]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("NAME", "EMAIL", "STATE"),
        ("alice", "-", "disabled"),
        ("bob", "bob@example.com", "active"),
        ("carol", "-", "invited"),
    ]
    assert "$hash" not in table + json.dumps(listed(run))


def test_a_disabled_user_has_no_link_and_twice_is_harmless(run: Run, stored: Stored) -> None:
    secret = word(run("user", "add", "alice").stdout)
    result = run("user", "disable", "alice")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "alice is disabled. Grants ended: 0." in result.stderr
    assert invited(stored, secret, time.time()) is None
    again = json.loads(run("user", "disable", "alice", "--json").stdout)
    assert again == {
        "name": "alice",
        "disabled": True,
        "grants_ended": 0,
        "tokens_ended": 0,
        "logins_ended": 0,
    }
    assert "penstock-relay user enable alice" in failed(run("user", "invite", "alice"), 1)


def test_a_disabled_user_is_enabled_and_has_what_nothing_ended(run: Run, stored: Stored) -> None:
    secret = word(run("user", "add", "alice").stdout)
    run("user", "disable", "alice")
    result = run("user", "enable", "alice")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "alice may log in again" in result.stderr
    assert [user["state"] for user in listed(run)] == ["invited"]
    assert invited(stored, secret, time.time()) is not None
    assert "was not disabled" in run("user", "enable", "alice").stderr
    assert json.loads(run("user", "enable", "alice", "--json").stdout) == {
        "name": "alice",
        "disabled": False,
        "was_disabled": False,
    }
    assert "penstock-relay user add bob" in failed(run("user", "enable", "bob"), 1)


def test_an_account_in_wrong_hands_is_reset_at_once(run: Run, stored: Stored) -> None:
    accept(stored, word(run("user", "add", "alice").stdout), time.time())
    kept = run("user", "invite", "alice")
    assert [user["state"] for user in listed(run)] == ["active"]
    assert "good no more" not in kept.stderr
    result = run("user", "invite", "alice", "--reset")
    secret = word(result.stdout)
    assert "The password of alice is good no more. Grants ended: 0." in result.stderr
    assert [user["state"] for user in listed(run)] == ["invited"]
    accept(stored, secret, time.time())
    assert [user["state"] for user in listed(run)] == ["active"]


def test_the_first_administrator_is_made_with_the_account(run: Run) -> None:
    run("user", "add", "alice", "--admin")
    run("user", "add", "bob")
    assert [(user["name"], user["admin"]) for user in listed(run)] == [("alice", True), ("bob", False)]
    assert "yes" in run("user", "list").stdout.splitlines()[1].split()


def test_users_of_the_identity_provider_are_listed_with_who_they_are_there(
    run: Run, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(store: Store) -> None:
        person = Person("https://sso.example", "248289", "Anna Berg", "anna@example.com", ("staff", "ops"))
        await store.people.welcome(person, time.time(), name="anna@example.com", spare="user-1")

    stored(work)
    monkeypatch.setenv("PENSTOCK_RELAY_ADMIN_GROUPS", '["ops"]')
    (user,) = listed(run)
    assert user["name"] == user["email"] == "anna@example.com"
    assert (user["issuer"], user["subject"]) == ("https://sso.example", "248289")
    assert (user["full_name"], user["state"], user["admin"]) == ("Anna Berg", "active", True)
    assert user["groups"] == ["ops", "staff"]
    line = run("user", "list").stdout.splitlines()[1]
    assert "Anna Berg" in line
    assert "https://sso.example" in line
    assert "identity provider" in failed(run("user", "invite", "anna@example.com"), 1)
    assert "identity provider" in failed(run("user", "invite", "anna@example.com", "--reset"), 1)


def test_results_can_be_json(run: Run, stored: Stored) -> None:
    added = json.loads(run("--json", "user", "add", "alice").stdout)
    assert set(added) == {"name", "link", "expires_at"}
    assert added["name"] == "alice"
    first = word(added["link"] + "\n")
    assert invited(stored, first, time.time()) is not None
    again = json.loads(run("user", "invite", "alice", "--json").stdout)
    assert set(again) == {"name", "link", "expires_at"}
    assert word(again["link"] + "\n") != first


def test_the_link_takes_the_url_of_the_running_relay(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_RELAY_PUBLIC_URL")
    monkeypatch.setenv("PENSTOCK_RELAY_LISTEN", "127.0.0.1:0")
    assert "public_url" in failed(run("user", "add", "alice"), 2)
    assert listed(run) == []
    addresses = ("http://127.0.0.1:1", "127.0.0.1:1", "wss://127.0.0.1:2", "127.0.0.1:2", "127.0.0.1:3")
    listening.write(state, Listening(os.getpid(), *addresses))
    word(run("user", "add", "alice").stdout, "http://127.0.0.1:1")
    monkeypatch.setenv("PENSTOCK_RELAY_LISTEN", "127.0.0.1:8080")
    word(run("user", "add", "bob").stdout, "http://127.0.0.1:1")


def test_the_link_of_a_fixed_loopback_port_needs_no_running_relay(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_RELAY_PUBLIC_URL")
    word(run("user", "add", "alice").stdout, "http://127.0.0.1:8080")


def test_a_public_url_that_cannot_be_inferred_makes_no_user(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_RELAY_PUBLIC_URL")
    monkeypatch.setenv("PENSTOCK_RELAY_LISTEN", "0.0.0.0:8080")
    assert "Set public_url" in failed(run("user", "add", "alice"), 2)
    assert listed(run) == []


def test_a_relay_without_oauth_gives_no_links(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_OAUTH", "false")
    assert "oauth" in failed(run("user", "add", "alice"), 2)
    assert listed(run) == []


def test_where_issuers_log_users_in_an_account_is_an_address(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_OAUTH", "false")
    assert "Set oauth = true" in failed(run("user", "add", "alice", "--email", "a@example.com"), 2)
    tables = [{"url": "https://login.example.com", "match_email": True}]
    monkeypatch.setenv("PENSTOCK_RELAY_ISSUERS", json.dumps(tables))
    assert "--email" in failed(run("user", "add", "alice"), 2)
    result = run("user", "add", "alice", "--email", "a@example.com")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "a@example.com" in result.stderr
    value = json.loads(run("user", "add", "bob", "--email", "b@example.com", "--json").stdout)
    assert value == {"name": "bob", "link": None, "expires_at": None}


def test_where_all_users_log_in_elsewhere_no_account_is_made_here(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_LOCAL_ACCOUNTS", "false")
    assert "local_accounts is off" in failed(run("user", "add", "alice"), 2)
    assert listed(run) == []


def with_factor(stored: Stored, name: str = "alice") -> None:
    """The user has a password, a second factor, and is logged in somewhere."""

    async def work(store: Store) -> None:
        now = time.time()
        assert await store.factors.add(Factor(name, b"sealed", now, 1), [b"r" * 32], password_hash="$hash")
        assert await store.logins.add(LoginRecord(b"l" * 32, name, now, now + 1000), "$hash")

    stored(work)


def test_a_second_factor_that_was_lost_is_removed(run: Run, stored: Stored) -> None:
    accept(stored, word(run("user", "add", "alice").stdout), time.time())
    with_factor(stored)
    assert [user["second_factor"] for user in listed(run)] == [True]
    assert "yes" in run("user", "list").stdout.splitlines()[1].split()
    result = run("user", "reset-factor", "ALICE")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "The second factor of alice is removed. Logins ended: 1." in result.stderr
    assert [(user["second_factor"], user["state"]) for user in listed(run)] == [(False, "active")]
    assert "has no second factor" in run("user", "reset-factor", "alice").stderr
    with_factor(stored)
    for expected in ((True, 1), (False, 0)):
        value = json.loads(run("user", "reset-factor", "alice", "--json").stdout)
        assert value == {"name": "alice", "factor_removed": expected[0], "logins_ended": expected[1]}
    assert "penstock-relay user add bob" in failed(run("user", "reset-factor", "bob"), 1)
    shown = run("audit", "show", "--kind", "factor_reset", "--json").stdout
    assert '"kind": "command"' in shown or '"kind":"command"' in shown


def test_an_account_in_wrong_hands_loses_its_second_factor(run: Run, stored: Stored) -> None:
    accept(stored, word(run("user", "add", "alice").stdout), time.time())
    with_factor(stored)
    run("user", "invite", "alice")
    assert [user["second_factor"] for user in listed(run)] == [True]
    result = run("user", "invite", "alice", "--reset")
    assert "A second factor, if there was one, is removed." in result.stderr
    assert [user["second_factor"] for user in listed(run)] == [False]
