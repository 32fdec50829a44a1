"""MCP servers of the local network, through the whole of Penstock: real servers over HTTP, real clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.agent.remote.kit import HELLO, INITIALIZED, WELCOME, Json, Scripted, line, modern, read, talking
from tests.clients.drivers import DRIVERS, python_client
from tests.harness.caller import Caller
from tests.harness.certs import Authority
from tests.harness.network import NetworkServer
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

ALL = ("*", "prompt:*", "resource:**")
CALL_TIMEOUT_S = 8
PATHS = {"python-http": "/mcp", "python-json": "/mcp", "python-sse": "/sse"}
PATHS |= {"typescript-http": "/mcp", "typescript-sse": "/sse"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, NetworkServer]]:
    folder = tmp_path_factory.mktemp("network")
    with ExitStack() as running:
        yield {
            "python-http": running.enter_context(NetworkServer.python("http", folder)),
            "python-json": running.enter_context(NetworkServer.python("json", folder)),
            "python-sse": running.enter_context(NetworkServer.python("sse", folder)),
            "typescript-http": running.enter_context(NetworkServer.typescript("streamableHttp", folder)),
            "typescript-sse": running.enter_context(NetworkServer.typescript("sse", folder)),
        }


@pytest.fixture(scope="module")
def stack(network: dict[str, NetworkServer]) -> Iterator[Stack]:
    servers = {
        name: Server(expose=ALL, settings={"url": server.url(PATHS[name])})
        for name, server in network.items()
    }
    with Stack(servers, agent_env={"PENSTOCK_AGENT_CALL_TIMEOUT": str(CALL_TIMEOUT_S)}) as running:
        yield running


@pytest.mark.parametrize("server", ["python-http", "python-json", "python-sse"])
@pytest.mark.parametrize("client", ["python_legacy", "typescript_v1"])
async def test_a_python_server_is_used_like_any_other(
    client: str, server: str, stack: Stack, tmp_path: Path
) -> None:
    seen = await DRIVERS[driver(client)](stack.url(server), stack.token, "echo", {"text": "water"}, tmp_path)
    assert seen.text == "echo: water"
    assert not seen.is_error
    assert set(seen.tools) == {"echo", "big", "steps", "hang"}


@pytest.mark.parametrize("server", ["typescript-http", "typescript-sse"])
@pytest.mark.parametrize("client", ["python_legacy", "typescript_v1"])
async def test_a_typescript_server_is_used_like_any_other(
    client: str, server: str, stack: Stack, tmp_path: Path
) -> None:
    arguments = {"message": "water"}
    seen = await DRIVERS[driver(client)](stack.url(server), stack.token, "echo", arguments, tmp_path)
    assert "Echo: water" in seen.text
    assert not seen.is_error


def driver(name: str) -> str:
    [found] = [one for one in DRIVERS if DRIVERS[one].__name__ == name]
    return found


@pytest.mark.parametrize("server", ["python-http", "python-sse"])
async def test_progress_comes_in_order(server: str, stack: Stack, tmp_path: Path) -> None:
    run = DRIVERS[driver("python_legacy")]
    seen = await run(stack.url(server), stack.token, "steps", {"count": 5}, tmp_path)
    assert seen.progress == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("server", ["python-http", "python-json", "python-sse"])
async def test_a_large_answer_arrives_whole(server: str, stack: Stack) -> None:
    # The SDK's client takes no event above 1 MiB, and a slow answer comes as one.
    async with Caller(stack.url(server), stack.token) as caller:
        reply = await caller.tool("big", mebibytes=6)
        assert len(reply.text) == 6 << 20


@pytest.mark.parametrize("server", ["python-http", "python-sse"])
async def test_a_server_that_never_answers_is_given_up_and_told(server: str, stack: Stack) -> None:
    async with python_client(stack.url(server), stack.token, "legacy") as client:
        result = await client.call_tool("hang", {})
        assert result.is_error
        assert "did not answer in time" in str(result.content)
        again = await client.call_tool("echo", {"text": "still here"})
        assert "still here" in str(again.content)


@pytest.mark.parametrize("server", ["python-http", "python-json", "python-sse", "typescript-http"])
async def test_a_session_survives_a_restart_of_its_server(
    server: str, stack: Stack, network: dict[str, NetworkServer]
) -> None:
    arguments = {"message" if server.startswith("typescript") else "text": "water"}
    async with python_client(stack.url(server), stack.token, "legacy") as client:
        assert "water" in str((await client.call_tool("echo", arguments)).content)
        await asyncio.to_thread(network[server].kill)
        down = await client.call_tool("echo", arguments)
        assert down.is_error
        assert "not_executed" in down.model_dump_json()
        await asyncio.to_thread(network[server].start)
        result = await client.call_tool("echo", arguments)
        if result.is_error:
            # The server was asked in the old session before the agent knew that it had been restarted.
            assert "not_executed" in result.model_dump_json()
            result = await client.call_tool("echo", arguments)
        assert "water" in str(result.content)


def test_status_says_where_servers_are_and_not_what_is_in_their_address(
    stack: Stack, network: dict[str, NetworkServer]
) -> None:
    text = stack.agent.cli("status").stdout
    assert f"at http://127.0.0.1:{network['python-http'].port}, " in text
    assert "conversations open" in text


def test_expose_asks_a_server_of_the_network(stack: Stack) -> None:
    text = stack.agent.cli("expose", "python-http", "--all").stdout
    assert "python-http offers 4 tools" in text


# 2026-07-28: the agent does not serve it to callers in this version, but speaks it to servers.


@pytest.mark.parametrize("server", ["python-http", "python-json"])
async def test_the_newest_revision_is_spoken_beside_the_older(
    server: str, network: dict[str, NetworkServer]
) -> None:
    async with talking(network[server].url("/mcp")) as channel:
        await channel.send(line(modern("d1", "server/discover", x=1)))
        found = (await read(channel))["result"]
        assert isinstance(found, dict)
        assert "2026-07-28" in found["supportedVersions"]
        await channel.send(line(modern("c1", name="echo", arguments={"text": "grün"})))
        assert "echo: grün" in str((await read(channel))["result"])
        await channel.send(line(HELLO))
        assert "protocolVersion" in str((await read(channel))["result"])
        await channel.send(line(INITIALIZED))
        await channel.send(line(call("c2", {"text": "older"})))
        assert "echo: older" in str((await read(channel))["result"])
        await channel.send(line(modern("c3", "no/such")))
        assert "error" in await read(channel)


async def test_what_a_handshake_server_says_to_the_newest_revision_is_its_own_error(
    network: dict[str, NetworkServer],
) -> None:
    async with talking(network["typescript-http"].url("/mcp")) as channel:
        await channel.send(line(modern("d1", "server/discover", x=1)))
        answer = await read(channel)
        assert answer["id"] == "d1"
        assert "error" in answer


def call(id: str, arguments: Json) -> Json:
    return {
        "jsonrpc": "2.0",
        "id": id,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": arguments},
    }


# Whom the agent trusts, where it goes, and what it takes along.


def test_only_the_authority_that_is_named_may_speak_for_a_server(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    files = ours.relay()
    with NetworkServer.python("http", tmp_path, files.chain, files.key) as server:
        url = server.url("/mcp", "https")
        servers = {
            "good": Server(settings={"url": url, "ca_file": str(ours.ca)}),
            "wrong": Server(settings={"url": url, "ca_file": str(theirs.ca)}),
            "none": Server(settings={"url": url}),
        }
        with Stack(servers) as stack:
            assert "good offers 4 tools" in stack.agent.cli("expose", "good", "--all").stdout
            for name in ("wrong", "none"):
                refused = stack.agent.cli("expose", name, "--all", check=False)
                assert refused.returncode == 1
                assert "is not accepted" in refused.stderr
                assert "ca_file" in refused.stderr


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Stack]:
    """A stack beside a scripted server, which must be able to answer meanwhile."""
    stack = Stack({"crm": server})
    await asyncio.to_thread(stack.__enter__)
    try:
        yield stack
    finally:
        await asyncio.to_thread(stack.__exit__, None, None, None)


async def test_neither_the_callers_token_nor_the_caller_reaches_the_server(tmp_path: Path) -> None:
    token = tmp_path / "crm.token"
    token.write_text("the-agents-own")
    token.chmod(0o600)
    own = {"Authorization": f"Bearer file:{token}"}
    async with Scripted() as server, httpx2.AsyncClient(timeout=30) as http:
        crm = Server(expose=ALL, settings={"url": server.url()}, headers=own)
        async with running(crm) as stack:
            headers = {
                "Authorization": f"Bearer {stack.token}",
                "Accept": "application/json, text/event-stream",
                "Cookie": "caller=me",
            }
            asking = asyncio.gather(http.post(stack.url("crm"), headers=headers, json={**HELLO, "id": 1}))
            hello = await server.heard("POST", "initialize")
            seen = json.dumps(dict(hello.headers)) + hello.body.decode()
            assert hello.headers["Authorization"] == "Bearer the-agents-own"
            assert stack.token not in seen
            assert "svc:stack" not in seen
            assert "Cookie" not in hello.headers
            assert "X-Forwarded-For" not in hello.headers
            hello.json({**WELCOME, "id": hello.message["id"]})
            [answer] = await asking
            assert answer.status_code == 200


async def test_a_redirect_to_another_origin_is_refused_and_named_on_site() -> None:
    async with (
        Scripted() as server,
        Scripted() as elsewhere,
        running(Server(settings={"url": server.url()}, expose=ALL)) as stack,
    ):
        asking = asyncio.gather(asyncio.to_thread(stack.agent.cli, "expose", "crm", "--all", check=False))
        for _ in ("initialize", "server/discover"):
            (await server.heard()).status(307, Location=elsewhere.url())
        [refused] = await asking
        assert refused.returncode == 1
        assert f"redirects to {elsewhere.url('')}" in refused.stderr
        assert elsewhere.heard_nothing


async def test_a_server_that_is_not_there_is_an_outage_for_its_callers_and_named_on_site() -> None:
    async with Scripted() as server:
        url = server.url()
    async with running(Server(settings={"url": url}, expose=ALL)) as stack, httpx2.AsyncClient() as http:
        headers = {"Authorization": f"Bearer {stack.token}", "Accept": "application/json, text/event-stream"}
        answer = await http.post(stack.url("crm"), headers=headers, json={**HELLO, "id": 1})
        assert answer.status_code == 503
        error = answer.json()["error"]
        assert error["data"]["outcome"] == "not_executed"
        assert "cannot be reached at the moment" in error["message"]
        assert "127.0.0.1" not in error["message"]
        assert f"no connection to {url.removesuffix('/mcp')}" in stack.agent.program.tail()
