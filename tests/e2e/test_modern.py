"""Revision 2026-07-28 through the whole stack: what callers and servers see without sessions."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.agent.endpoint.modern.kit import META, VERSION, headers, request
from tests.agent.endpoint.talk import Json
from tests.harness.caller import ACCEPT
from tests.harness.modern_server import TOOLS
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

SERVER = Path(__file__).parents[1] / "harness" / "modern_server.py"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack({"tools": Server([sys.executable, str(SERVER)], ["*"])}) as stack:
        yield stack


class Caller:
    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self._url = stack.url("tools")
        self._http = http
        self._fixed = {
            "Authorization": f"Bearer {stack.token}",
            "Accept": ACCEPT,
            "MCP-Protocol-Version": VERSION,
        }

    def post(self, body: Json, **more: str) -> Any:
        return self._http.post(self._url, json=body, headers={**self._fixed, **headers(body), **more})

    def other(self, method: str) -> Any:
        return self._http.request(method, self._url, headers=self._fixed)

    async def tool(self, name: str, **arguments: object) -> Any:
        async with self.post(request("t", "tools/call", name=name, arguments=arguments)) as reply:
            assert reply.status == 200
            return json.loads((await reply.json())["result"]["content"][0]["text"])


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        yield Caller(stack, http)


async def event(reply: aiohttp.ClientResponse) -> Any:
    """The next event of a stream, past comments; None at its end."""
    while line := await reply.content.readline():
        if line.startswith(b"data: "):
            return json.loads(line[len(b"data: ") :])
    return None


async def test_discovery_lists_and_calls_need_no_session(caller: Caller) -> None:
    async with caller.post(request(1, "server/discover")) as reply:
        versions = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
        assert (await reply.json())["result"]["supportedVersions"] == versions
        assert "Mcp-Session-Id" not in reply.headers
    async with caller.post(request(2, "tools/list")) as reply:
        assert [tool["name"] for tool in (await reply.json())["result"]["tools"]] == list(TOOLS)
    assert await caller.tool("echo", a=[1, "é"]) == {"a": [1, "é"]}


async def test_statuses_and_headers_reach_the_caller(caller: Caller) -> None:
    for method in ("GET", "DELETE"):
        async with caller.other(method) as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    call = request(1, "tools/call", name="echo")
    for body, more, status, code in (
        (request(1, "ping"), {}, 404, -32601),
        (call, {"mcp-name": "other"}, 400, -32020),
        (call, {"mcp-name": "=?base64?ZWNobw==?="}, 200, None),
        (call, {"MCP-Protocol-Version": "2099-01-01"}, 400, -32020),
        ({**call, "params": {"name": "echo"}}, {}, 400, -32602),
        (call, {"mcp-param-anything": "x", "mcp-session-id": "abc", "last-event-id": "1"}, 200, None),
    ):
        async with caller.post(body, **more) as reply:
            answer = await reply.json()
            found = (reply.status, answer["id"], answer.get("error", {}).get("code"))
            assert found == (status, 1, code)
    async with caller.post({"jsonrpc": "2.0", "method": "notifications/x", "params": {}}) as reply:
        assert (reply.status, await reply.read()) == (202, b"")


async def test_a_caller_that_goes_away_cancels(caller: Caller) -> None:
    before = await caller.tool("cancelled")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), caller.post(request(1, "tools/call", name="hang")):
            raise AssertionError("it never answers")
    async with asyncio.timeout(10):
        while await caller.tool("cancelled") == before:
            await asyncio.sleep(0.1)


async def test_progress_makes_it_a_stream_that_ends_with_the_answer(caller: Caller) -> None:
    body = request(1, "tools/call", {"progressToken": 7}, name="slow", arguments={"seconds": 0.1})
    async with caller.post(body) as reply:
        assert reply.content_type == "text/event-stream"
        assert reply.headers["X-Accel-Buffering"] == "no"
        assert (await event(reply))["params"] == {"progressToken": 7, "progress": 0}
        assert (await event(reply))["id"] == 1
        assert await event(reply) is None


async def test_a_subscription_brings_news_until_its_caller_goes(caller: Caller) -> None:
    before = await caller.tool("cancelled")
    listen = request("s", "subscriptions/listen", notifications={"toolsListChanged": True})
    async with caller.post(listen) as reply:
        own = {META + "subscriptionId": "s"}
        acknowledged = await event(reply)
        assert acknowledged["params"] == {"_meta": own, "notifications": {"toolsListChanged": True}}
        assert await caller.tool("change") == 1
        assert (await event(reply))["params"] == {"_meta": own}
        reply.close()
    async with asyncio.timeout(10):
        while await caller.tool("cancelled") == before:
            await asyncio.sleep(0.1)
    assert await caller.tool("change") == 0


async def test_an_agent_that_stops_ends_subscriptions_with_a_result(stack: Stack, caller: Caller) -> None:
    listen = request(9, "subscriptions/listen", notifications={"toolsListChanged": True})
    async with caller.post(listen) as reply:
        await event(reply)
        await asyncio.to_thread(stack.agent.program.stop)
        last = await event(reply)
        assert last == {
            "jsonrpc": "2.0",
            "id": 9,
            "result": {"resultType": "complete", "_meta": {META + "subscriptionId": 9}},
        }
    await asyncio.to_thread(stack.agent.start)
