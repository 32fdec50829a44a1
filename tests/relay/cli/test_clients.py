"""penstock-relay client: applications that are given an id by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock_relay.oauth import tokens
from penstock_relay.store import ClientRecord, Store
from tests.harness.signing import key_set
from tests.relay.cli.test_cli import Run, failed

Stored = Callable[..., Any]
BACK = "https://app.example.com/cb"


def found(stored: Stored, client_id: str) -> ClientRecord:
    async def work(store: Store) -> ClientRecord | None:
        return await store.clients.find(client_id)

    record = stored(work)
    assert isinstance(record, ClientRecord)
    return record


def test_a_client_is_an_id_and_a_secret_on_two_lines(run: Run, stored: Stored) -> None:
    result = run("client", "add", "Planner", "--redirect-uri", BACK)
    assert result.exit_code == 0
    client_id, secret = result.stdout.splitlines()
    assert client_id.startswith("app-")
    record = found(stored, client_id)
    assert (record.name, record.redirect_uris, record.auth_method) == (
        "Planner",
        (BACK,),
        "client_secret_basic",
    )
    assert record.preregistered
    assert record.secret_hash == tokens.digest(secret)
    assert secret not in result.stderr
    assert "not shown again" in result.stderr


@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"])
def test_how_a_client_proves_itself(run: Run, stored: Stored, tmp_path: Path, auth: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set("ec"))
    more = ("--jwks-file", str(file)) if auth == "private_key_jwt" else ()
    result = run("client", "add", "Planner", "--redirect-uri", BACK, "--auth", auth, *more)
    assert result.exit_code == 0
    client_id, *secret = result.stdout.splitlines()
    assert len(secret) == auth.startswith("client_secret")
    record = found(stored, client_id)
    assert record.auth_method == auth
    assert (record.secret_hash is not None) == auth.startswith("client_secret")
    assert record.jwks == (key_set("ec") if more else None)


def test_the_assistants_have_short_names(run: Run, stored: Stored) -> None:
    uris = ("--redirect-uri", "chatgpt", "--redirect-uri", "claude", "--redirect-uri", BACK)
    client_id = run("client", "add", "All", *uris).stdout.splitlines()[0]
    assert found(stored, client_id).redirect_uris == (
        "https://chatgpt.com/connector_platform_oauth_redirect",
        "https://claude.ai/api/mcp/auth_callback",
        "https://claude.com/api/mcp/auth_callback",
        BACK,
    )


def test_as_json_it_is_one_object(run: Run) -> None:
    value = json.loads(run("client", "add", "Planner", "--redirect-uri", "claude", "--json").stdout)
    assert set(value) == {
        "client_id", "client_secret", "name", "kind", "auth", "redirect_uris", "created_at", "used_at",
    }  # fmt: skip
    assert value["kind"] == "operator"
    listed = json.loads(run("client", "list", "--json").stdout)
    assert listed == [{name: word for name, word in value.items() if name != "client_secret"}]
    public = json.loads(run("--json", "client", "add", "P", "--redirect-uri", BACK, "--auth", "none").stdout)
    assert public["client_secret"] is None


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("Planner",), 2, "--redirect-uri"),
        (("Planner", "--redirect-uri", "http://app.example.com/cb"), 2, "https"),
        (("Planner", "--redirect-uri", "javascript:alert(1)"), 2, "https"),
        (("Planner", "--redirect-uri", "gemini"), 2, "https"),
        (("Planner", "--redirect-uri", BACK, "--auth", "magic"), 2, "private_key_jwt"),
        (("Planner", "--redirect-uri", BACK, "--auth", "private_key_jwt"), 2, "--jwks-file"),
        (("Planner", "--redirect-uri", BACK, "--jwks-file", "/dev/null"), 2, "--jwks-file"),
        (
            ("P", "--redirect-uri", BACK, "--auth", "private_key_jwt", "--jwks-file", "/dev/null"),
            1,
            "JSON Web Key Set",
        ),
        (
            ("P", "--redirect-uri", BACK, "--auth", "private_key_jwt", "--jwks-file", "/dev/zero"),
            1,
            "longer than",
        ),
        (
            ("P", "--redirect-uri", BACK, "--auth", "private_key_jwt", "--jwks-file", "/no/such"),
            1,
            "/no/such",
        ),
        (("a\u202eb", "--redirect-uri", BACK), 2, "NAME"),
        (("  ", "--redirect-uri", BACK), 2, "empty"),
        (("x" * 101, "--redirect-uri", BACK), 2, "NAME"),
    ],
)
def test_what_cannot_be_a_client(run: Run, arguments: tuple[str, ...], status: int, word: str) -> None:
    result = run("client", "add", *arguments)
    assert result.exit_code == status
    assert word in result.stderr
    assert result.stdout == ""


def test_the_list_tells_the_operators_from_those_that_registered_themselves(run: Run, stored: Stored) -> None:
    assert run("client", "list").stdout == ""
    client_id = run("client", "add", "Ours", "--redirect-uri", BACK, "--auth", "none").stdout.strip()

    async def register(store: Store) -> None:
        await store.clients.add(ClientRecord("dcr-1", "Theirs", (BACK,), "none", None, 1.0, 2.0), 10)

    stored(register)
    lines = run("client", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "KIND", "AUTH", "RETURNS", "TO", "USED"]
    assert lines[1].split() == [client_id, "Ours", "operator", "none", BACK, "no"]
    assert lines[2].split()[:4] == ["dcr-1", "Theirs", "registered", "none"]


def test_a_client_is_removed(run: Run) -> None:
    client_id = run("client", "add", "Ours", "--redirect-uri", BACK, "--auth", "none").stdout.strip()
    assert run("client", "remove", client_id).exit_code == 0
    assert run("client", "list").stdout == ""
    assert "client list" in failed(run("client", "remove", client_id), 1)
    other = run("client", "add", "Ours", "--redirect-uri", BACK, "--auth", "none").stdout.strip()
    value = json.loads(run("client", "remove", other, "--json").stdout)
    assert value == {"client_id": other, "removed": True, "grants_revoked": 0}


def test_where_the_relay_logs_nobody_in_it_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_OAUTH", "false")
    assert "oauth = false" in run("client", "add", "Ours", "--redirect-uri", BACK).stderr
