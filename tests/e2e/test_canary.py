"""Nothing secret that passes through a relay is ever in anything that it writes: every file is searched."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import httpx2
import pytest

from penstock.joinstring import JoinString
from penstock_relay.oauth.factor import totp
from tests.harness.caller import Caller
from tests.harness.person import Person, answered
from tests.harness.stack import Server, Stack
from tests.relay.oauth.visiting import CHALLENGE, VERIFIER

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
SECRET = 43
"""Characters at the end of every token; what stands before them is no secret."""
CALLBACK = "http://127.0.0.1:9/callback"
CLIENT_NAME = "Visible application"


def canary(what: str) -> str:
    """Not to be mistaken for anything else, with characters that URLs and JSON write in other ways."""
    return f"{what}+canary/{secrets.token_hex(8)}=ü"


@dataclass
class Secrets:
    """What was secret, by name."""

    named: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, secret: str | bytes) -> None:
        data = secret.encode() if isinstance(secret, str) else secret
        assert len(data) >= 12, f"{name} is too short to be told from something else"
        assert data not in self.named.values()
        self.named[name] = data


def forms(secret: bytes) -> Mapping[str, bytes]:
    """What a secret looks like when a program writes it somewhere in one of the usual ways."""
    found = {
        "plain": secret,
        "hexadecimal": secret.hex().encode(),
        "HEXADECIMAL": secret.hex().upper().encode(),
        "repr": repr(secret).encode()[2:-1],
    }
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        text = ""
    if text:
        found["percent"] = quote(text, safe="").encode()
        found["form"] = quote_plus(text).encode()
        found["JSON"] = json.dumps(text)[1:-1].encode()
        found["UTF-16"] = text.encode("utf-16-le")
    for shift in range(3):
        # Somewhere within a longer text: only the groups that hold nothing but the secret look the same.
        data = b"\0" * shift + secret
        first, last = -(-shift // 3) * 4, len(data) // 3 * 4
        found[f"base64 at {shift}"] = base64.b64encode(data)[first:last]
        found[f"base64url at {shift}"] = base64.urlsafe_b64encode(data)[first:last]
    return found


def written(folder: Path) -> dict[str, bytes]:
    """Every file that a relay wrote, and its database as rows too: SQLite cuts long values into pages."""
    paths = [folder / "relay.log", *(folder / "relay-state").rglob("*")]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}
    with closing(sqlite3.connect(folder / "relay-state" / "relay.db")) as connection:
        connection.text_factory = bytes
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for number, row in enumerate(connection.execute(f"SELECT * FROM {table.decode()}")):
                cells = (cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
                files[f"{table.decode()} row {number}"] = b"\n".join(cells)
    return files


def hits(known: Secrets, files: Mapping[str, bytes]) -> list[str]:
    """Where a secret is, and how it is written there; never the secret."""
    return sorted(
        f"{name}, {form}, in {place}"
        for name, secret in known.named.items()
        for form, data in forms(secret).items()
        for place, content in files.items()
        if data in content
    )


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Temporary files are files too; and at "debug" the relay says all that it ever says.
    scratch = tmp_path_factory.mktemp("scratch")
    servers = {"tools": Server([sys.executable, str(TOOL_SERVER)], ("*",))}
    environment = {"TMPDIR": str(scratch), "PENSTOCK_RELAY_LOG_LEVEL": "debug"}
    # Without it the keys of second factors lie plain in the database.
    master_key = tmp_path_factory.mktemp("keys") / "master.key"
    master_key.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    master_key.chmod(0o600)
    environment["PENSTOCK_RELAY_MASTER_KEY_FILE"] = str(master_key)
    with Stack(servers, relay_env=environment) as stack:
        yield stack
        assert list(scratch.iterdir()) == []


async def invited(stack: Stack, known: Secrets) -> Person:
    """alice, with her password set and everything noted that this took."""
    link = stack.relay_cli("user", "add", "alice").stdout.strip()
    stack.relay_cli("access", "add", "--user", "alice", "--site", stack.site)
    known.add("invitation", link.rpartition("/")[2])
    password = canary("password")
    known.add("password", password)
    person = Person(stack.public_url, "alice", password)
    await person.accept_invitation(link)
    return person


async def connected(stack: Stack, person: Person, http: httpx2.AsyncClient, known: Secrets) -> dict[str, Any]:
    """A client with a secret, registered, allowed by its user, refreshed; its tokens."""
    registration = {"redirect_uris": [CALLBACK], "client_name": CLIENT_NAME}
    client = (await http.post(f"{stack.public_url}/oauth/register", json=registration)).json()
    known.add("client secret", client["client_secret"])
    state = canary("state")
    known.add("state", state)
    asked = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": CALLBACK,
        "state": state,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "resource": stack.url("tools"),
    }
    await person.open(f"{stack.public_url}/oauth/authorize?{urlencode(asked)}")
    await person.submit(name="alice", password="wrong " + person.password)  # counted, and not kept
    said = answered(await person.allow(f"{stack.public_url}/oauth/authorize?{urlencode(asked)}"))
    assert said["state"] == state
    known.add("code", said["code"])
    known.add("verifier", VERIFIER)
    for name, value in person.cookies.items():
        known.add(f"cookie {name}", value.rpartition("/")[2])
    proof = (client["client_id"], client["client_secret"])
    url = f"{stack.public_url}/oauth/token"
    form = {"grant_type": "authorization_code", "code": said["code"], "code_verifier": VERIFIER}
    first = (await http.post(url, data=form, auth=proof)).json()
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second: dict[str, Any] = (await http.post(url, data=form, auth=proof)).json()
    for number, tokens in enumerate((first, second)):
        for kind in ("access_token", "refresh_token"):
            known.add(f"{kind} {number}", tokens[kind][-SECRET:])
    replayed = await http.post(url, data={**form, "refresh_token": first["refresh_token"]}, auth=("x", "y"))
    assert replayed.status_code == 401
    return second


async def with_a_second_factor(stack: Stack, known: Secrets) -> None:
    """bob sets one up, gets a code wrong, and logs in with a recovery code."""
    link = stack.relay_cli("user", "add", "bob").stdout.strip()
    password = canary("password of bob")
    known.add("password of bob", password)
    async with Person(stack.public_url, "bob", password) as person:
        await person.accept_invitation(link)
        await person.open(f"{stack.public_url}/oauth/factor")
        await person.submit(name="bob", password=password)
        assert person.page is not None
        shown = re.search(r"<dd><code>([A-Z2-7 ]+)</code></dd>", person.page.text)
        assert shown is not None
        key = totp.read(shown[1])
        assert key is not None
        known.add("key of a second factor", key)
        known.add("key of a second factor, as it is shown", shown[1])
        known.add("key of a second factor, in its link", shown[1].replace(" ", ""))
        await person.submit(password="wrong " + password, code="123456")
        await person.submit(password=password, code=totp.code(key, totp.step_at(time.time())))
        codes = re.findall(r"<li><code>([0-9 ]+)</code></li>", person.page.text)
        assert len(codes) == 8
        for number, code in enumerate(codes[:2]):
            known.add(f"recovery code {number}", code)
            known.add(f"recovery code {number}, as it is typed", code.replace(" ", ""))
    async with Person(stack.public_url, "bob", password) as person:
        await person.open(f"{stack.public_url}/oauth/grants")
        await person.submit(name="bob", password=password)
        for code in ("00000 00000 00000 00000", codes[0]):
            await person.submit(code=code)
        assert person.page is not None
        assert "You are bob" in person.page.text


async def called(stack: Stack, token: str, known: Secrets) -> None:
    """A call whose argument and result are canaries, one that fails, and requests that cannot be read."""
    argument, unheard, header = canary("argument"), canary("tool"), canary("header").rstrip("ü")
    known.add("argument and result", argument)
    known.add("name of a tool that there is not", unheard)
    known.add("header", header)
    async with Caller(stack.url("tools"), token) as caller:
        assert argument in json.loads((await caller.tool("echo", 1, word=argument)).text)["word"]
        assert (await caller.tool(unheard, 2)).status == 200
    path, query, body = canary("path"), canary("query"), canary("body")
    known.add("path", path)
    known.add("query", query)
    known.add("body", body)
    bearer = {"Authorization": f"Bearer {token}", "X-Canary": header}
    async with httpx2.AsyncClient(headers=bearer) as http:
        await http.post(f"{stack.url('tools')}?{quote(query)}", content=body)
        await http.post(f"{stack.public_url}/{quote(path)}/x/mcp", json={"jsonrpc": "2.0", "x": body})
        await http.get(f"{stack.public_url}/oauth/authorize?client_id={quote_plus(query)}")
        await http.post(f"{stack.public_url}/oauth/token", data={"code": body, "grant_type": query})
        await http.post(f"{stack.public_url}/oauth/register", json={"client_name": 7, "x": body})
    altered = token[:-1] + ("A" if token[-1] != "A" else "B")
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {altered}"}) as http:
        assert (await http.post(stack.url("tools"), json={"x": 1})).status_code == 401


async def test_nothing_secret_is_in_anything_that_the_relay_writes(stack: Stack) -> None:
    known = Secrets()
    known.add("personal token", stack.token[-SECRET:])
    join_string = stack.relay_cli("agent", "invite", stack.site).stdout.strip()
    known.add("secret of a join string", JoinString.parse(join_string).secret)
    known.add("join string", join_string)
    async with asyncio.timeout(100), httpx2.AsyncClient() as http:
        person = await invited(stack, known)
        async with person:
            tokens = await connected(stack, person, http, known)
            await with_a_second_factor(stack, known)
            for token in (tokens["access_token"], stack.token):
                part = Secrets()
                await called(stack, token, part)
                for name, secret in part.named.items():
                    known.add(f"{name} of {token[:3]}", secret)
        used = stack.add_agent("second", join_string)
        used.program.stop()
        stack.relay.kill()  # as it is found after a crash: what is not in the database yet is beside it
        after_a_crash = written(stack.folder)
        stack.start_relay()
        grant = json.loads(stack.relay_cli("grant", "list", "--json").stdout)[0]["id"]
        stack.relay_cli("grant", "revoke", grant)
        stack.relay_cli("user", "disable", "alice")
        stack.relay.stop()
    at_the_end = written(stack.folder)
    exported = {"export": stack.relay_cli("audit", "export").stdout.encode()}
    assert len(known.named) >= 27
    for files in (after_a_crash, at_the_end, exported):
        assert hits(known, files) == []

    # The search finds what there is to find: in the log, in the database, in what lies beside it, in rows.
    public = Secrets({"name": CLIENT_NAME.encode(), "event": b'"event": "audit_head"', "user": b"alice"})
    found = hits(public, after_a_crash)
    assert "event, plain, in relay.log" in found
    assert "name, plain, in relay-state/relay.db-wal" in found
    assert any(re.fullmatch(r"name, plain, in audit row \d+", hit) for hit in found)
    assert any(re.fullmatch(r"user, plain, in users row \d+", hit) for hit in found)
    assert "name, plain, in relay-state/relay.db" in hits(public, at_the_end)

    kinds = {json.loads(line)["kind"] for line in exported["export"].splitlines()}
    assert kinds >= {
        "relay_started", "relay_stopped", "site_added", "agent_invited", "agent_enrolled", "token_issued",
        "user_added", "password_set", "access_added", "client_registered", "login", "consent_allowed",
        "grant_made", "grant_revoked", "user_disabled", "factor_added", "factor_failed", "recovery_code_used",
    }  # fmt: skip
    assert stack.relay_cli("audit", "verify").stdout.startswith("The audit log is whole")


@pytest.mark.parametrize("around", [b"", b"x", b"xy", b"xyz"])
def test_the_search_knows_a_secret_in_every_form(around: bytes) -> None:
    secret = os.urandom(3) + b"-a secret+/" + "ü".encode()
    text = b"a secret+/=" + "ü".encode() + b"with some more"
    for each in (secret, text):
        known = Secrets({"it": each})
        whole = around + each + around
        files = {
            "plain": whole,
            "hex": whole.hex().encode(),
            "base64": base64.b64encode(whole),
            "base64url": base64.urlsafe_b64encode(whole),
        }
        found = hits(known, files)
        assert {hit.rpartition(" ")[2] for hit in found} == set(files)
        assert hits(known, {"other": whole.replace(b"e", b"f")}) == []
    decoded = text.decode()
    files = {
        "percent": quote(decoded, safe="").encode(),
        "form": urlencode({"x": decoded}).encode(),
        "json": json.dumps({"x": decoded}).encode(),
    }
    assert {hit.rpartition(" ")[2] for hit in hits(Secrets({"it": text}), files)} == set(files)
