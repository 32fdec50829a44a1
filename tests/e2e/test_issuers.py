"""The company's own authorization server instead of the relay's: a real one, a real client, a real relay."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.types import TextContent
from pydantic import AnyUrl

from penstock_relay.oauth.introspection import Endpoint
from penstock_relay.oauth.issuer import Issuer, Opens
from penstock_relay.oauth.issuers import Issuers
from penstock_relay.oauth.trusted import Trusted
from tests.harness import oidc
from tests.harness.oidc import BACK, Oidc
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

BIN = Path(sys.executable).parent
TIME = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
ANSWER = "T21:00:00+09:00"


@contextmanager
def company(server: Oidc, **table: Any) -> Iterator[Stack]:
    """A relay that logs nobody in itself, and anna, who is a member of its site."""
    issuers = [{"url": server.issuer, "match_email": True, **table}]
    settings = {"PENSTOCK_RELAY_OAUTH": "false", "PENSTOCK_RELAY_ISSUERS": json.dumps(issuers)}
    servers = {"time": Server((str(BIN / "mcp-server-time"),), ("*",))}
    with Stack(servers, relay_env=settings) as stack:
        for name in ("anna", "bert"):
            stack.relay_cli("user", "add", name, "--email", f"{name}@example.com")
        stack.relay_cli("access", "add", "--user", "anna", "--site", stack.site)
        yield stack


class Kept:
    """What a client of the Python SDK remembers."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def connected(server: Oidc, url: str) -> str:
    """What a tool says to a client that was given nothing but the URL."""
    answers: list[dict[str, str]] = []

    async def redirect(url: str) -> None:
        async with httpx2.AsyncClient(timeout=20, trust_env=False) as browser:
            answers.append(await server.follow(browser, url))

    async def callback() -> AuthorizationCodeResult:
        said = answers.pop()
        return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said["iss"])

    metadata = OAuthClientMetadata(client_name="penstock-tests", redirect_uris=[AnyUrl(BACK)])
    auth = OAuthClientProvider(url, metadata, Kept(), redirect, callback)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool("convert_time", dict(TIME))
        return "".join(part.text for part in result.content if isinstance(part, TextContent))


async def asked(url: str, token: str) -> httpx2.Response:
    headers = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
    }
    initialize = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }
    async with httpx2.AsyncClient(timeout=20, trust_env=False) as http:
        return await http.post(url, json=initialize, headers=headers)


async def test_a_client_that_is_given_a_url_logs_its_user_in_at_the_company() -> None:
    with oidc.serving(scopes="mcp other") as server, company(server) as stack:
        url = stack.url("time")
        async with asyncio.timeout(90):
            assert ANSWER in await connected(server, url)
            where = f"{stack.public_url}/.well-known"
            async with httpx2.AsyncClient(trust_env=False) as http:
                path = f"/{stack.site}/time/mcp"
                said = (await http.get(f"{where}/oauth-protected-resource{path}")).json()
                assert (said["authorization_servers"], said["resource"]) == ([server.issuer], url)
                assert (await http.get(f"{where}/oauth-authorization-server")).status_code == 404
                assert (await http.get(f"{stack.public_url}/oauth/authorize")).status_code == 404

            token = await server.token(url, "mcp")
            assert (await asked(url, token)).status_code == 200
            assert (await asked(url, token[:-8] + "AAAAAAAA")).status_code == 401
            # for another endpoint: no token at all
            assert (await asked(stack.url("mail"), token)).status_code == 401
            # without the scope: which one to ask for, there and where nothing is
            for name in ("time", "mail"):
                refused = await asked(stack.url(name), await server.token(stack.url(name), "other"))
                assert refused.status_code == 403
                assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
                assert 'scope="mcp"' in refused.headers["www-authenticate"]
            # no member, and nobody at all: the same 404 as where nothing is
            nothing = await asked(stack.url("mail"), await server.token(stack.url("mail"), "mcp"))
            for person in ("bert", "mallory"):
                stranger = await asked(url, await server.token(url, "mcp", person))
                assert (stranger.status_code, stranger.text) == (404, nothing.text)
            # what rests on the relay's records ends at once
            stack.relay_cli("access", "remove", "--user", "anna", "--site", stack.site)
            await asyncio.sleep(1.5)
            assert (await asked(url, token)).status_code == 404
        log = stack.relay.log.read_text()
        assert token not in log
        assert token.split(".")[2] not in log


async def test_opaque_tokens_are_asked_about() -> None:
    """The same server, of which nobody can read the tokens."""
    url = "https://relay.example/plant/time/mcp"
    with oidc.serving(opaque=True) as server:
        endpoint = Endpoint(server.introspection, server.client_id, server.client_secret)
        issuers = Issuers(
            (Issuer(server.issuer, (Opens("mcp", "plant", "*"),)),),
            introspection={server.issuer: endpoint},
            trusted=Trusted(),
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(issuers.run())
            token = await server.token(url, "mcp")
            assert "." not in token
            found = await issuers.bearer(token, (url,))
            assert found is not None
            assert (found.principal.subject, found.principal.email) == ("anna", "anna@example.com")
            assert (found.scopes, found.issuer.url) == (("mcp",), server.issuer)
            assert await issuers.bearer(token, ("https://relay.example/plant/mail/mcp",)) is None
            assert await issuers.bearer("nonsense", (url,)) is None
            running.cancel()
