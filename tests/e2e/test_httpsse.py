"""HTTP+SSE of 2024-11-05 through the whole of Penstock: real clients, and what becomes of their children."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.types import CreateMessageResult, ElicitResult, TextContent

from tests.clients.drivers import FOLDER, NODE, program
from tests.harness.caller import Caller
from tests.harness.sse_caller import SseCaller
from tests.harness.stack import Server, Stack, until

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
LONG = "trigger-long-running-operation"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    servers = {
        "tools": Server([sys.executable, str(TOOL_SERVER)], ("*",)),
        "everything": Server([*program("mcp-server-everything"), "stdio"], ("*", "resource:**")),
    }
    with Stack(servers, fault_proxy=True) as running:
        yield running


def url(stack: Stack, server: str = "tools") -> str:
    """What a user pastes."""
    return f"{stack.public_url}/{stack.site}/{server}/sse"


def children(stack: Stack) -> list[psutil.Process]:
    """What runs below the agent and is a server of ours."""
    below = psutil.Process(stack.agent.program.pid).children(recursive=True)
    return [process for process in below if str(TOOL_SERVER) in " ".join(_command(process))]


def in_use(stack: Stack) -> object:
    daemon = stack.agent.status()["daemon"]
    assert isinstance(daemon, dict)
    return daemon["children"]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


# -- clients of other makers


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_python_sdk_lists_calls_cancels_and_answers_what_it_is_asked(
    stack: Stack, mode: str
) -> None:
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async def elicited(context: object, params: object) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Penstock"})

    async def sampled(context: object, params: object) -> CreateMessageResult:
        return CreateMessageResult(
            model="m", role="assistant", content=TextContent(type="text", text="a sample")
        )

    transport = sse_client(url(stack, "everything"), headers={"Authorization": f"Bearer {stack.token}"})
    async with (
        asyncio.timeout(60),
        Client(transport, mode=mode, elicitation_callback=elicited, sampling_callback=sampled) as client,
    ):
        assert client.server_info is not None
        assert client.server_info.name == "mcp-servers/everything"
        assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        assert "water" in str((await client.call_tool("echo", {"message": "water"})).content)
        await client.call_tool(LONG, {"duration": 0.2, "steps": 4}, progress_callback=note)
        assert steps == [1, 2, 3, 4]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.call_tool(LONG, {"duration": 60, "steps": 600})
        assert "Penstock" in str((await client.call_tool("trigger-elicitation-request", {})).content)
        asked = {"prompt": "p", "maxTokens": 10}
        assert "a sample" in str((await client.call_tool("trigger-sampling-request", asked)).content)
        assert (await client.list_resources()).resources


@pytest.mark.parametrize("sdk", ["v1", "v2"])
async def test_the_typescript_sdk_lists_calls_cancels_and_answers_what_it_is_asked(
    stack: Stack, sdk: str
) -> None:
    argv = [NODE, str(FOLDER / "ts_sse.mjs"), sdk, url(stack, "everything")]
    env = {**os.environ, "TOKEN": stack.token}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["server"]["name"] == "mcp-servers/everything"
    assert "echo" in seen["tools"]
    assert "water" in json.dumps(seen["echo"])
    # This client handles an answer before the progress that came in the same segment, and then drops that.
    assert seen["progress"] == [1, 2, 3, 4][: len(seen["progress"]) or 1]
    assert seen["cancelled"] == "cancelled"
    assert "Penstock" in json.dumps(seen["elicited"])
    assert "a sample" in json.dumps(seen["sampled"])


@pytest.mark.parametrize("flags", [["--transport", "sse-only"], []], ids=["sse-only", "falls back"])
async def test_mcp_remote_finds_the_stream_by_itself_too(
    stack: Stack, tmp_path: Path, flags: list[str]
) -> None:
    node, script = program("mcp-remote")
    given = [script, url(stack), "--header", f"Authorization:Bearer {stack.token}", *flags]
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    parameters = StdioServerParameters(command=node, args=given, env=env)
    async with asyncio.timeout(60), Client(parameters, mode="legacy") as client:
        assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        assert "water" in str((await client.call_tool("echo", {"say": "water"})).content)


# -- what belongs to whom


async def test_a_key_is_good_for_its_own_principal_and_nobody_else_can_tell_that_it_exists(
    stack: Stack,
) -> None:
    token = stack.issue_token("--name", "somebody-else")
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "pid"}}
    async with SseCaller(url(stack), stack.token) as alice, SseCaller(url(stack), token) as bob:
        await alice.initialize()
        await bob.initialize()
        theirs = await alice.post(call, token=token)
        assert theirs[0] == 404
        real, alice.messages_url = alice.messages_url, alice.messages_url[:-4] + "~~~~"
        assert await alice.post(call) == theirs
        assert await alice.post(call, token=token) == theirs
        alice.messages_url = real.replace("/tools/", "/everything/")
        assert await alice.post(call) == theirs
        alice.messages_url = real
        assert await alice.tool("pid") != await bob.tool("pid")


async def test_tokens_are_asked_for_at_both_halves_and_streamable_http_has_no_part_in_it(
    stack: Stack,
) -> None:
    async with SseCaller(url(stack), stack.token) as caller, httpx2.AsyncClient() as http:
        assert (await caller.post({}, token="wrong"))[0] == 401
        assert (await http.get(url(stack))).status_code == 401
        good = {"Authorization": f"Bearer {stack.token}"}
        for method, where, status in (
            ("POST", url(stack), 405),
            ("DELETE", url(stack), 405),
            ("GET", caller.messages_url, 405),
            ("GET", stack.url("tools"), 400),
        ):
            headers = {**good, "Accept": "application/json, text/event-stream"}
            answer = await http.request(method, where, headers=headers)
            assert answer.status_code == status, (method, where)


# -- who outlives whom


async def test_a_stream_that_breaks_ends_its_child_and_no_other(stack: Stack) -> None:
    async with SseCaller(url(stack), stack.token) as stays:
        await stays.initialize()
        async with SseCaller(url(stack), stack.token) as goes:
            await goes.initialize()
            pid, another = int(await goes.tool("pid")), int(await stays.tool("pid"))
            await goes.send("tools/call", {"name": "hang", "arguments": {}})
            assert psutil.pid_exists(pid)
        await asyncio.to_thread(until, "the child to end", 10, lambda: not psutil.pid_exists(pid))
        assert int(await stays.tool("pid")) == another


async def test_two_hundred_sessions_that_were_opened_and_left_leave_no_child(stack: Stack) -> None:
    for _ in range(10):
        async with AsyncExitStack() as opened:
            callers = [
                await opened.enter_async_context(SseCaller(url(stack), stack.token)) for _ in range(20)
            ]
            await asyncio.gather(*(caller.initialize() for caller in callers))
            assert len(children(stack)) >= 20
    await asyncio.to_thread(until, "the children to end", 20, lambda: in_use(stack) == 0)
    assert len(children(stack)) <= 3, "more than what is kept warm for the next one"


async def test_a_revoked_token_ends_the_stream_and_the_child(stack: Stack) -> None:
    found = json.loads(stack.issue_token("--name", "revoked", "--json"))
    async with SseCaller(url(stack), found["token"]) as caller:
        await caller.initialize()
        pid = int(await caller.tool("pid"))
        await asyncio.to_thread(stack.relay_cli, "token", "revoke", found["id"])
        async with asyncio.timeout(5):
            with pytest.raises(EOFError):
                await caller.event()
        await asyncio.to_thread(until, "the child to end", 10, lambda: not psutil.pid_exists(pid))


async def test_a_cut_between_site_and_relay_loses_nothing_of_a_stream(stack: Stack) -> None:
    assert stack.proxy is not None
    async with SseCaller(url(stack), stack.token) as caller:
        await caller.initialize()
        pid = await caller.tool("pid")
        id = await caller.send(
            "tools/call",
            {
                "name": "progress",
                "arguments": {"steps": 50, "label": "x", "pause": 0.02},
                "_meta": {"progressToken": 1},
            },
        )
        for _ in range(10):
            await caller.message()
        stack.proxy.cut()
        rest = [await caller.message() for _ in range(41)]
        assert [message["params"]["progress"] for message in rest[:-1]] == list(range(10, 50))
        assert rest[-1]["id"] == id
        assert await caller.tool("pid") == pid


async def test_a_big_result_comes_whole_and_a_small_one_after_it(stack: Stack) -> None:
    async with SseCaller(url(stack), stack.token) as caller:
        await caller.initialize()
        assert await caller.tool("big", size=4 << 20) == "x" * (4 << 20)
        assert await caller.tool("echo", a=1) == '{"a": 1}'


async def test_a_session_of_streamable_http_does_not_notice(stack: Stack) -> None:
    async with Caller(stack.url("tools"), stack.token) as other, SseCaller(url(stack), stack.token) as caller:
        await caller.initialize("2025-11-25")
        assert (await other.tool("pid")).text != await caller.tool("pid")


async def test_messages_find_the_agent_that_has_their_stream(stack: Stack) -> None:
    async with SseCaller(url(stack), stack.token) as first:
        await first.initialize()
        pid = await first.tool("pid")
        invited = await asyncio.to_thread(stack.relay_cli, "agent", "invite", stack.site)
        second = await asyncio.to_thread(stack.add_agent, "second", invited.stdout.strip())
        try:
            agents = set()
            for number in range(20):  # callers of whom about every other one is the second agent's
                token = await asyncio.to_thread(stack.issue_token, "--name", f"caller-{number}")
                async with SseCaller(url(stack), token) as other:
                    await other.initialize()
                    child = psutil.Process(int(await other.tool("pid")))
                    agents.add(second.program.pid in {each.pid for each in child.parents()})
                    assert await first.tool("pid") == pid
                if len(agents) == 2:
                    break
            assert agents == {True, False}
        finally:
            await asyncio.to_thread(second.program.stop)
            stack.agents.remove(second)


async def test_an_offline_site_is_said_to_be_that_at_both_halves(stack: Stack) -> None:
    async with SseCaller(url(stack), stack.token) as caller, httpx2.AsyncClient(timeout=60) as http:
        await caller.initialize()
        under_way = await caller.send("tools/call", {"name": "sleep", "arguments": {"seconds": 2}})
        await asyncio.to_thread(stack.agent.program.stop)
        try:
            assert (await caller.message())["id"] == under_way  # it was waited for
            with pytest.raises(EOFError):
                await caller.event()
            headers = {"Authorization": f"Bearer {stack.token}", "Accept": "text/event-stream"}
            opened = await http.get(url(stack), headers=headers)
            call = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "pid"}}
            status, text = await caller.post(call)
        finally:
            await asyncio.to_thread(stack.agent.start)
        assert opened.status_code == 503
        assert opened.headers["retry-after"]
        assert (status, json.loads(text)["error"]["code"], json.loads(text)["id"]) == (503, -32010, 9)
        # It is there again, but the session is not.
        assert (await caller.post(call))[0] == 404
