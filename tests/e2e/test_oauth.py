"""Real clients that know nothing but a URL find the login, a person consents, and they are connected."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata, OAuthToken
from mcp.types import TextContent
from pydantic import AnyUrl

from tests.clients.drivers import FOLDER, NODE, program
from tests.harness.kept import Kept
from tests.harness.person import Person, answered
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

BIN = Path(sys.executable).parent
PASSWORD = "correct horse battery"
TIME = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
ANSWER = "T21:00:00+09:00"
start = asyncio.create_subprocess_exec  # noqa: TID251  of clients, on plain asyncio: nothing of ours is inherited


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack({"time": Server((str(BIN / "mcp-server-time"),), ("*",))}) as stack:
        yield stack


@pytest.fixture(scope="module")
def invited(stack: Stack) -> str:
    """The link that `user add` printed, alone, on stdout."""
    link = stack.relay_cli("user", "add", "alice", "--email", "alice@example.com").stdout.strip()
    stack.relay_cli("access", "add", "--user", "alice", "--site", stack.site)
    return link


@asynccontextmanager
async def alice(stack: Stack, link: str) -> AsyncIterator[Person]:
    async with Person(stack.public_url, "alice", PASSWORD) as person:
        await person.open(link)
        if person.page is not None and person.page.status_code == 200:
            await person.accept_invitation(link)
        yield person


@asynccontextmanager
async def python_client(stack: Stack, person: Person, kept: Kept, *tools: str) -> AsyncIterator[Client]:
    """Its user allows `tools`, or all."""
    callbacks: list[str] = []

    async def redirect(url: str) -> None:
        callbacks.append(await person.allow(url, *tools))

    async def callback() -> AuthorizationCodeResult:
        said = answered(callbacks.pop())
        return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said["iss"])

    metadata = OAuthClientMetadata(
        client_name="penstock-tests-python", redirect_uris=[AnyUrl("http://127.0.0.1:9/callback")]
    )
    url = stack.url("time")
    auth = OAuthClientProvider(url, metadata, kept, redirect, callback)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def converted(client: Client) -> str:
    result = await client.call_tool("convert_time", dict(TIME))
    return "".join(part.text for part in result.content if isinstance(part, TextContent))


async def test_a_user_allows_one_tool_and_later_another(stack: Stack, invited: str) -> None:
    async with (
        asyncio.timeout(60),
        alice(stack, invited) as person,
        python_client(stack, person, Kept(), "get_current_time") as client,
    ):
        assert [tool.name for tool in (await client.list_tools()).tools] == ["get_current_time"]
        assert not (await client.call_tool("get_current_time", {"timezone": "UTC"})).is_error
        assert "did not allow it" in await converted(client)
        await person.open(f"{stack.public_url}/oauth/grants")
        assert person.page is not None
        found = re.findall(r'href="(/oauth/grant\?[^"]*)"', person.page.text)
        await person.open(stack.public_url + found[-1])
        await person.submit(decision="save", **{person.box("convert_time"): "on"})
        async with asyncio.timeout(5):  # as long as a relay may take to notice
            while ANSWER not in await converted(client):
                pass
        assert len((await client.list_tools()).tools) == 2


async def test_the_python_sdk_is_connected_refreshed_and_cut_off(stack: Stack, invited: str) -> None:
    kept = Kept()
    async with asyncio.timeout(60), alice(stack, invited) as person:
        async with python_client(stack, person, kept) as client:
            assert ANSWER in await converted(client)
        assert kept.tokens is not None
        assert kept.client is not None
        first = kept.tokens.access_token
        async with httpx2.AsyncClient() as http:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": kept.tokens.refresh_token or "",
                "resource": stack.url("time"),
            }
            proof = (kept.client.client_id or "", kept.client.client_secret or "")
            fresh = await http.post(f"{stack.public_url}/oauth/token", data=form, auth=proof)
            assert fresh.status_code == 200, fresh.text
            kept.tokens = OAuthToken.model_validate(fresh.json())
        assert kept.tokens.access_token != first
        async with python_client(stack, person, kept) as client:
            assert ANSWER in await converted(client)
        listed = json.loads(stack.relay_cli("grant", "list", "--json").stdout)
        (grant,) = [each for each in listed if each["client"] == kept.client.client_id]
        assert (grant["user"], grant["site"], grant["server"], grant["state"]) == (
            "alice",
            "plant",
            "time",
            "good",
        )
        stack.relay_cli("grant", "revoke", grant["id"])
        token = kept.tokens.access_token
        async with asyncio.timeout(5), httpx2.AsyncClient() as http:
            while (await ping(http, stack, token)).status_code != 401:
                await asyncio.sleep(0.05)  # the relay looks at its records twice a second


async def stop(process: asyncio.subprocess.Process) -> None:
    """The `node` that pip installs starts the real one: the whole group must go, or its pipes stay open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def ping(http: httpx2.AsyncClient, stack: Stack, token: str) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    return await http.post(stack.url("time"), json=body, headers=headers)


@pytest.mark.parametrize("sdk", ["v1", "v2"])
async def test_the_typescript_sdk_registers_and_is_connected(stack: Stack, invited: str, sdk: str) -> None:
    argv = [NODE, str(FOLDER / "oauth_client.mjs"), sdk, stack.url("time"), "convert_time", json.dumps(TIME)]
    pipe = asyncio.subprocess.PIPE
    async with asyncio.timeout(60), alice(stack, invited) as person:
        client = await start(*argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        try:
            assert client.stdout is not None
            assert client.stdin is not None
            asked = await client.stdout.readline()
            if not asked and client.stderr is not None:
                raise AssertionError((await client.stderr.read()).decode())
            callback = await person.allow(json.loads(asked)["authorize"])
            client.stdin.write(callback.encode() + b"\n")
            seen = await client.stdout.readline()
            if not seen and client.stderr is not None:
                raise AssertionError((await client.stderr.read()).decode())
        finally:
            await stop(client)
    found = json.loads(seen)
    assert found["tools"] == ["get_current_time", "convert_time"]
    assert ANSWER in found["result"]["content"][0]["text"]
    assert found["refreshable"]


@pytest.mark.parametrize("transport", ["http-only", "sse-only"])
async def test_mcp_remote_is_connected_through_its_callback_on_loopback(
    stack: Stack, invited: str, tmp_path: Path, transport: str
) -> None:
    url = stack.url("time") if transport == "http-only" else stack.url("time").removesuffix("/mcp") + "/sse"
    node, script = program("mcp-remote")
    words = tmp_path / "stderr"
    asks = re.compile(rf"{re.escape(stack.public_url)}/oauth/authorize\S+")
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    pipe = asyncio.subprocess.PIPE
    async with asyncio.timeout(60), alice(stack, invited) as person, httpx2.AsyncClient() as http:
        with words.open("wb") as stderr:
            remote = await start(
                node, script, url, "--transport", transport, stdin=pipe, stdout=pipe, stderr=stderr,
                start_new_session=True,
                env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "BROWSER": "/bin/true"},
            )  # fmt: skip
        try:
            assert remote.stdout is not None
            assert remote.stdin is not None
            while (link := asks.search(words.read_text())) is None:
                assert remote.returncode is None, words.read_text()
                await asyncio.sleep(0.05)
            page = await http.get(await person.allow(link[0]))
            assert page.status_code == 200
            answer: dict[str, object] = {}
            for message in (
                {"id": 1, "method": "initialize", "params": hello},
                {"method": "notifications/initialized"},
                {"id": 2, "method": "tools/call", "params": {"name": "convert_time", "arguments": TIME}},
            ):
                remote.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
                while answer.get("id") != message.get("id", answer.get("id")):
                    answer = json.loads(await remote.stdout.readline())
        finally:
            await stop(remote)
    assert ANSWER in json.dumps(answer)


async def test_a_token_that_is_revoked_ends_the_streams_that_it_opened(stack: Stack) -> None:
    token = stack.issue_token("--name", "listener", "--json")
    found = json.loads(token)
    headers = {"Authorization": f"Bearer {found['token']}", "Accept": "application/json, text/event-stream"}
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    async with asyncio.timeout(30), httpx2.AsyncClient(headers=headers, timeout=30) as http:
        begun = await http.post(stack.url("time"), json=hello)
        session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-06-18"}
        async with http.stream("GET", stack.url("time"), headers=session) as stream:
            assert stream.status_code == 200
            stack.relay_cli("token", "revoke", found["id"])
            async with asyncio.timeout(5):  # from the revocation to the end of the stream
                async for _ in stream.aiter_bytes():
                    pass
        again = await http.get(stack.url("time"), headers=session)
        assert again.status_code == 401


async def test_no_secret_of_all_this_is_in_the_relays_log(stack: Stack, invited: str) -> None:
    async with alice(stack, invited) as person:
        await person.open(f"{stack.public_url}/oauth/grants")
        await person.submit(name="alice", password=PASSWORD)
    written = b"".join(path.read_bytes() for path in stack.folder.rglob("*.log"))
    assert b"login" in written
    for secret in (
        PASSWORD,
        invited.rpartition("/")[2],
        "psa_",
        "psr_",
        "code_verifier",
        "alice@example.com",
    ):
        assert secret.encode() not in written
