"""The official suite and the MCP Inspector against a relay that has its own authorization server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata
from pydantic import AnyUrl

from tests.clients.drivers import program
from tests.harness.conformance import CURRENT, command
from tests.harness.internet import ORIGIN, PROGRAM
from tests.harness.kept import Kept
from tests.harness.person import answered
from tests.harness.town import Town

pytestmark = pytest.mark.e2e

SCENARIOS = ("authorization-server-metadata-endpoint", "authorization-code-grant")
WAIT = 60


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def running(town: Town, argv: list[str], **env: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A Node program that believes in this run's CA and finds the relay by its name. Ended with its group."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **town.internet.node_env, **env},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The `node` that pip installs starts the real one: the whole group must go.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        assert process.stdout is not None
        process.stdout.close()


async def line_with(process: subprocess.Popen[bytes], pattern: str) -> str:
    """The part of a line of its output that fits. Raises AssertionError with all of it."""
    assert process.stdout is not None
    seen = []
    while line := await asyncio.to_thread(process.stdout.readline):
        seen.append(line.decode())
        if (found := re.search(pattern, seen[-1])) is not None:
            return found[0]
    raise AssertionError("".join(seen))


async def rest(process: subprocess.Popen[bytes]) -> str:
    """The rest of its output, and its end."""
    assert process.stdout is not None
    text = (await asyncio.to_thread(process.stdout.read)).decode()
    await asyncio.to_thread(process.wait, 10)
    return text


async def test_the_official_suites_scenarios_for_authorization_servers_pass_without_a_warning(
    town: Town, tmp_path: Path
) -> None:
    port, net = free_port(), town.internet.transport()
    async with httpx2.AsyncClient(transport=net) as http:
        asked = {
            "client_name": "The official suite",
            "redirect_uris": [f"http://127.0.0.1:{port}/callback"],
            "token_endpoint_auth_method": "none",
        }
        client_id = (await http.post(f"{ORIGIN}/oauth/register", json=asked)).json()["client_id"]
    argv = [
        *command(CURRENT), "authorization", "--url", ORIGIN, "--client-id", client_id,
        "--resource", town.url(), "--port", str(port), "--output-dir", str(tmp_path),
    ]  # fmt: skip
    async with asyncio.timeout(WAIT), running(town, argv) as suite, town.person("alice") as person:
        link = await line_with(suite, rf"{ORIGIN}/oauth/authorize\S+")
        callback = await person.allow(link)
        async with httpx2.AsyncClient() as browser:
            assert (await browser.get(callback)).status_code == 200
        said = await rest(suite)
    assert suite.returncode == 0, said
    found = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.rglob("checks.json")}
    for scenario in SCENARIOS:
        (checks,) = [value for name, value in found.items() if scenario in name]
        assert checks
        assert {check["status"] for check in checks} == {"SUCCESS"}, checks
    assert len(found) == len(SCENARIOS)


@pytest.mark.parametrize("way", ["registered", "typed", "document"])
async def test_the_inspector_logs_in_and_calls(town: Town, tmp_path: Path, way: str) -> None:
    port = free_port()
    back = f"http://127.0.0.1:{port}/oauth/callback"
    client: list[str] = []
    if way == "typed":
        async with httpx2.AsyncClient(transport=town.internet.transport()) as http:
            # A typed client tells nobody its method; this one takes the first that servers have by default.
            asked = {"redirect_uris": [back], "token_endpoint_auth_method": "client_secret_basic"}
            found = (await http.post(f"{ORIGIN}/oauth/register", json=asked)).json()
        client = ["--client-id", found["client_id"], "--client-secret", found["client_secret"]]
    if way == "document":
        client = ["--client-metadata-url", PROGRAM]
    argv = [
        *program("mcp-inspector"), "--cli", town.url(), "--transport", "http", "--callback-url", back,
        *client, "--method", "tools/call", "--tool-name", "echo", "--tool-args-json", '{"say":"water"}', "-q",
    ]  # fmt: skip
    env = {"HOME": str(tmp_path), "BROWSER": "/bin/true", "MCP_AUTO_OPEN_ENABLED": "true"}
    async with asyncio.timeout(WAIT), running(town, argv, **env) as inspector, town.person("alice") as person:
        callback = await person.allow(await line_with(inspector, rf"{ORIGIN}/oauth/authorize\S+"))
        assert callback.startswith(back + "?")
        async with httpx2.AsyncClient() as browser:
            assert (await browser.get(callback)).status_code == 200
        said = await rest(inspector)
    assert inspector.returncode == 0, said
    result: dict[str, Any] = json.loads(said[said.index("{") :])
    assert "water" in result["content"][0]["text"]
    if way == "document":
        assert PROGRAM in town.internet.asked


async def test_the_python_sdk_is_connected_with_a_document(town: Town) -> None:
    callbacks: list[str] = []
    asked = OAuthClientMetadata(
        client_name="a program", redirect_uris=[AnyUrl("http://127.0.0.1:9/oauth/callback")]
    )
    async with asyncio.timeout(WAIT), town.person("alice") as person:

        async def redirect(url: str) -> None:
            callbacks.append(await person.allow(url))

        async def callback() -> AuthorizationCodeResult:
            said = answered(callbacks.pop())
            return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said["iss"])

        auth = OAuthClientProvider(town.url(), asked, Kept(), redirect, callback, client_metadata_url=PROGRAM)
        net = town.internet.transport()
        async with (
            httpx2.AsyncClient(auth=auth, transport=net, timeout=30) as http,
            Client(streamable_http_client(town.url(), http_client=http)) as client,
        ):
            assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        assert PROGRAM in town.internet.asked

        # The same for the URL of HTTP+SSE, which is a resource of its own to the client.
        stream = town.url().removesuffix("/mcp") + "/sse"
        other = OAuthClientProvider(stream, asked, Kept(), redirect, callback, client_metadata_url=PROGRAM)

        def connect(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
        ) -> httpx2.AsyncClient:
            net = town.internet.transport()
            return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, transport=net)

        async with Client(sse_client(stream, auth=other, httpx_client_factory=connect)) as client:
            assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
