"""All servers of a site as one endpoint: who is led where, who gets through, and what is there then."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from penstock_relay.edge.order import NO_ACCESS
from tests.harness.person import Person, answered
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

PASSWORD: Final = "correct horse battery"
CALLBACK: Final = "http://127.0.0.1:9/callback"
VERIFIER: Final = "v" * 50
PING: Final = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    clock = Server((str(Path(sys.executable).parent / "mcp-server-time"),), ("*",))
    with Stack({"time": clock, "clock": clock}) as stack:
        yield stack


async def ask(http: httpx2.AsyncClient, stack: Stack, path: str, token: str = "") -> httpx2.Response:
    headers = {"Accept": "application/json, text/event-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return await http.post(f"{stack.public_url}/{stack.site}{path}", json=PING, headers=headers)


def passed(answer: httpx2.Response) -> bool:
    """Whether the relay let it through to the agent."""
    assert answer.status_code != 503, answer.text
    return answer.status_code not in (401, 403) and answer.text.strip() != NO_ACCESS.text


async def connected(
    http: httpx2.AsyncClient, person: Person, stack: Stack, resource: str, *tools: str
) -> str:
    """The access token of a client that `person` allows `tools`, or all of `resource`."""
    origin = stack.public_url
    about = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    client = (await http.post(f"{origin}/oauth/register", json=about)).json()["client_id"]
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    common = {"client_id": client, "redirect_uri": CALLBACK, "resource": resource}
    asked = {
        "response_type": "code",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        **common,
    }
    said = answered(await person.allow(f"{origin}/oauth/authorize?{urlencode(asked)}", *tools))
    form = {"grant_type": "authorization_code", "code": said["code"], "code_verifier": VERIFIER, **common}
    answer = await http.post(f"{origin}/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def test_who_has_no_token_is_led_to_the_metadata_of_the_url_that_was_pasted(stack: Stack) -> None:
    async with asyncio.timeout(30), httpx2.AsyncClient(trust_env=False) as http:
        for tail in ("/mcp", "/mcp/"):
            refused = await ask(http, stack, tail)
            assert refused.status_code == 401
            found = re.search(r'resource_metadata="([^"]*)"', refused.headers["www-authenticate"])
            assert found is not None
            assert (await http.get(found[1])).json()["resource"] == f"{stack.public_url}/{stack.site}{tail}"
        sse = await ask(http, stack, "/sse")
        assert sse.status_code == 404
        assert "HTTP+SSE is for single servers" in sse.text


async def test_personal_tokens_of_the_site_get_through_and_those_of_one_server_do_not(stack: Stack) -> None:
    one = stack.issue_token("--server", "time")
    async with asyncio.timeout(30), httpx2.AsyncClient(trust_env=False) as http:
        assert passed(await ask(http, stack, "/mcp", stack.token))
        refused = await ask(http, stack, "/mcp", one)
        assert (refused.status_code, refused.text.strip()) == (404, NO_ACCESS.text)
        assert passed(await ask(http, stack, "/time/mcp", one))


async def test_a_users_grant_for_the_site_is_for_no_single_server_nor_the_other_way_round(
    stack: Stack,
) -> None:
    async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as http:
        link = stack.relay_cli("user", "add", "alice").stdout.strip()
        added = stack.relay_cli("access", "add", "--user", "alice", "--site", stack.site)
        whole = f"{stack.public_url}/{stack.site}/mcp"
        assert f"all of them together have {whole}." in added.stderr
        async with Person(stack.public_url, "alice", PASSWORD) as person:
            await person.accept_invitation(link)
            site = await connected(http, person, stack, whole)
            server = await connected(http, person, stack, stack.url("time"))
            await person.open(f"{stack.public_url}/oauth/grants")
            assert person.page is not None
            assert f"uses all servers of {stack.site}, since" in person.page.text
        for token, at_the_site in ((site, True), (server, False)):
            assert passed(await ask(http, stack, "/mcp", token)) is at_the_site
            assert passed(await ask(http, stack, "/time/mcp", token)) is not at_the_site
        listed = json.loads(stack.relay_cli("grant", "list", "--json").stdout)
        assert [each["server"] for each in listed] == [None, "time"]


async def test_a_member_of_one_server_is_told_that_this_takes_the_whole_site(stack: Stack) -> None:
    async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as http:
        link = stack.relay_cli("user", "add", "bert").stdout.strip()
        stack.relay_cli("access", "add", "--user", "bert", "--site", stack.site, "--server", "time")
        async with Person(stack.public_url, "bert", PASSWORD) as person:
            await person.accept_invitation(link)
            with pytest.raises(AssertionError, match="may not use all servers of this site together"):
                await connected(http, person, stack, f"{stack.public_url}/{stack.site}/mcp")
            assert await connected(http, person, stack, stack.url("time"))


async def test_a_user_ticks_tools_of_several_servers_and_the_application_has_these(stack: Stack) -> None:
    allowed = ["clock__convert_time", "time__get_current_time"]
    async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False, timeout=20) as http:
        link = stack.relay_cli("user", "add", "clara").stdout.strip()
        stack.relay_cli("access", "add", "--user", "clara", "--site", stack.site)
        url = f"{stack.public_url}/{stack.site}/mcp"
        async with Person(stack.public_url, "clara", PASSWORD) as person:
            await person.accept_invitation(link)
            token = await connected(http, person, stack, url, *allowed)
        http.headers["Authorization"] = f"Bearer {token}"
        async with Client(streamable_http_client(url, http_client=http)) as client:
            assert sorted(tool.name for tool in (await client.list_tools()).tools) == allowed
            assert not (await client.call_tool("time__get_current_time", {"timezone": "UTC"})).is_error
            refused = await client.call_tool("clock__get_current_time", {"timezone": "UTC"})
            assert refused.is_error
