"""penstock-relay grant: what users allowed clients, and its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from penstock.names import WHOLE_SITE
from penstock_relay.store import Code, Grant, GrantToken, Store
from tests.relay.cli.test_cli import Run, failed

Stored = Callable[..., Any]

DAY = 86_400.0
CLIENT = "https://claude.ai/oauth/mcp-oauth-client-metadata"


@pytest.fixture(autouse=True)
def people_and_sites(run: Run) -> None:
    for name in ("alice", "bob"):
        assert run("user", "add", name).exit_code == 0
    for name in ("mill", "dam"):
        assert run("site", "add", name).exit_code == 0


def connect(
    stored: Stored,
    grant_id: str,
    user: str = "alice",
    site: str = "mill",
    *,
    server: str = "files",
    made: float | None = None,
    ends: float = 180 * DAY,
    idle: float = 30 * DAY,
) -> None:
    """A user allows a client to use a server of the site; `ends` and `idle` count from `made`."""
    now = time.time() if made is None else made
    resource = f"https://mcp.example.com/{site}/files/mcp"
    hashed = grant_id.encode().ljust(32, b".")
    code = Code(
        hashed,
        user,
        CLIENT,
        "Claude",
        "https://claude.ai/cb",
        "c" * 43,
        resource,
        site,
        server,
        now,
        now + 60,
    )
    grant = Grant(grant_id, user, CLIENT, "Claude", site, server, resource, now, now + ends, now + idle)
    access = GrantToken(f"a{grant_id}", b"a" * 32, False, grant_id, now, now + 3600)
    refresh = GrantToken(f"r{grant_id}", b"r" * 32, True, grant_id, now, now + idle)

    async def work(store: Store) -> bool:
        await store.grants.add_code(code)
        return await store.grants.redeem(hashed, grant, access, refresh, now)

    assert stored(work) is True


def listed(run: Run, *options: str) -> list[dict[str, Any]]:
    grants: list[dict[str, Any]] = json.loads(run("grant", "list", *options, "--json").stdout)
    return grants


def states(run: Run) -> dict[str, str]:
    return {grant["id"]: grant["state"] for grant in listed(run)}


def test_where_nobody_connected_a_client_that_is_said(run: Run) -> None:
    empty = run("grant", "list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "Nobody has connected a client" in empty.stderr
    assert listed(run) == []


def test_a_grant_says_who_allowed_what_to_whom(run: Run, stored: Stored) -> None:
    connect(stored, "g1", made=1_000.0, ends=10 * DAY * 10_000, idle=5 * DAY * 10_000)
    [grant] = listed(run)
    assert grant == {
        "id": "g1",
        "user": "alice",
        "client": CLIENT,
        "client_name": "Claude",
        "site": "mill",
        "server": "files",
        "created_at": "1970-01-01T00:16:40Z",
        "expires_at": "2106-11-24T00:16:40Z",  # whichever end is the nearer
        "state": "good",
    }
    header, row = run("grant", "list").stdout.splitlines()
    assert header.split() == ["ID", "USER", "CLIENT", "SITE", "SERVER", "CREATED", "STATE"]
    assert row.split() == ["g1", "alice", "Claude", "mill", "files", "1970-01-01T00:16:40Z", "good"]


def test_a_grant_for_all_servers_of_a_site_is_listed_like_a_token_for_them(run: Run, stored: Stored) -> None:
    connect(stored, "g1", server=WHOLE_SITE)
    assert run("token", "issue", "--site", "mill").exit_code == 0
    for kind in ("grant", "token"):
        assert [each["server"] for each in json.loads(run(kind, "list", "--json").stdout)] == [None]
        assert run(kind, "list").stdout.splitlines()[1].split()[-3] == "(all)" or kind == "token"
    assert " (all) " in run("token", "list").stdout


def test_no_secret_of_a_grant_is_listed(run: Run, stored: Stored) -> None:
    connect(stored, "g1")
    for result in (run("grant", "list"), run("grant", "list", "--json")):
        for kept in ("a" * 32, "r" * 32, "c" * 43, "ag1", "rg1"):
            assert kept not in result.output


def test_grants_are_listed_by_user_and_by_site(run: Run, stored: Stored) -> None:
    now = time.time()
    connect(stored, "g1", "alice", "mill", made=now)
    connect(stored, "g2", "bob", "mill", made=now + 1)
    connect(stored, "g3", "alice", "dam", made=now + 2)
    assert [grant["id"] for grant in listed(run)] == ["g1", "g2", "g3"]
    assert [grant["id"] for grant in listed(run, "--user", "ALICE")] == ["g1", "g3"]
    assert [grant["id"] for grant in listed(run, "--site", "mill")] == ["g1", "g2"]
    assert listed(run, "--user", "bob", "--site", "dam") == []
    assert "user name" in failed(run("grant", "list", "--user", "a b"), 2)


def test_a_grant_ends_at_its_end_or_when_it_is_not_refreshed(run: Run, stored: Stored) -> None:
    before = time.time() - DAY
    connect(stored, "good", made=before, ends=2 * DAY, idle=2 * DAY)
    connect(stored, "ended", made=before, ends=DAY / 2, idle=2 * DAY)
    connect(stored, "idle", made=before, ends=2 * DAY, idle=DAY / 2)
    assert states(run) == {"good": "good", "ended": "expired", "idle": "expired"}


def test_a_revoked_grant_stays_revoked_and_twice_is_harmless(run: Run, stored: Stored) -> None:
    connect(stored, "g1")
    connect(stored, "g2")
    result = run("grant", "revoke", "g1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Grant g1 is revoked." in result.stderr
    assert states(run) == {"g1": "revoked", "g2": "good"}
    assert "Grant g1 was revoked before." in run("grant", "revoke", "g1").stderr
    again = json.loads(run("grant", "revoke", "g1", "--json").stdout)
    assert again == {"id": "g1", "revoked": True, "was_revoked": True}
    first = json.loads(run("grant", "revoke", "g2", "--json").stdout)
    assert first == {"id": "g2", "revoked": True, "was_revoked": False}


def test_a_grant_that_is_none_is_refused_and_the_list_named(run: Run) -> None:
    assert "penstock-relay grant list" in failed(run("grant", "revoke", "nope"), 1)


def test_disabling_a_user_ends_the_grants_and_says_how_many(run: Run, stored: Stored) -> None:
    connect(stored, "g1", "alice")
    connect(stored, "g2", "alice", "dam")
    connect(stored, "g3", "alice", made=time.time() - DAY, idle=DAY / 2)
    connect(stored, "g4", "bob")
    assert "Grants ended: 2." in run("user", "disable", "alice").stderr
    assert states(run) == {"g1": "revoked", "g2": "revoked", "g3": "expired", "g4": "good"}


def test_all_grants_of_a_user_are_revoked_at_once(run: Run, stored: Stored) -> None:
    connect(stored, "g1")
    connect(stored, "g2", site="dam")
    connect(stored, "g3", "bob")
    for options in ((), ("g1", "--user", "alice")):
        assert "ID of a grant" in failed(run("grant", "revoke", *options), 2)
    result = run("grant", "revoke", "--user", "Alice")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Grants of alice ended: 2. Tokens ended: 4." in result.stderr
    assert states(run) == {"g1": "revoked", "g2": "revoked", "g3": "good"}
    again = json.loads(run("grant", "revoke", "--user", "alice", "--json").stdout)
    assert again == {"user": "alice", "grants_ended": 0, "tokens_ended": 0}
    assert "user add zoe" in failed(run("grant", "revoke", "--user", "zoe"), 1)
