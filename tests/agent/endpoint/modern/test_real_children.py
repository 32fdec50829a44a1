"""The modern era with real processes, written with the SDK: what scripted children cannot show."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock_agent.children.child import ProcessSpec
from penstock_agent.children.pool import Children
from penstock_agent.endpoint import Endpoint, Limits
from penstock_agent.exchange import DoneReason
from penstock_agent.gate.gate import Gate
from penstock_agent.remote.remotes import Remotes
from penstock_agent.servers import Servers
from tests.agent.children.kit import until
from tests.agent.endpoint.modern.kit import VERSION, error_of, headers, request, result_of
from tests.agent.endpoint.talk import AGENT, EVERYTHING, Json
from tests.harness.fake_exchange import FakeExchange

# Slow to start, so few: one process per question.
SERVER = """
import anyio, os, sys
import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.subscriptions import ToolsListChanged

bus = InMemorySubscriptionBus()

async def list_tools(ctx, params):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}
    return types.ListToolsResult(tools=[types.Tool(name="pid", input_schema=schema)])

async def call_tool(ctx, params):
    if params.name == "hang":
        try:
            await anyio.sleep_forever()
        finally:
            sys.stderr.write("cancelled\\n"); sys.stderr.flush()
            open(sys.argv[1], "w").close()
    if params.name == "change":
        await bus.publish(ToolsListChanged())
    if params.name == "die":
        os._exit(3)
    await ctx.session.report_progress(0.5, 1.0)
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(os.getpid()))])

server = Server("pids", on_list_tools=list_tools, on_call_tool=call_tool,
                on_subscriptions_listen=ListenHandler(bus))

async def main():
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())

anyio.run(main)
"""


class Client:
    def __init__(self, endpoint: Endpoint, tasks: asyncio.TaskGroup, folder: Path) -> None:
        self._endpoint = endpoint
        self._tasks = tasks
        self._ids: Iterator[int] = iter(range(1, 1000))
        self.cancelled = folder / "cancelled"

    def ask(self, method: str, meta: Json | None = None, /, **params: object) -> FakeExchange:
        body = request(next(self._ids), method, meta, **params)
        sent = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": VERSION,
            **headers(body),
        }
        exchange = FakeExchange("pids", "POST", tuple(sent.items()), json.dumps(body).encode())
        self._tasks.create_task(self._endpoint.serve(exchange))
        return exchange

    def call(self, tool: str, meta: Json | None = None, /, **arguments: object) -> FakeExchange:
        return self.ask("tools/call", meta, name=tool, arguments=arguments)

    async def pid(self) -> str:
        content = result_of(await self.call("pid").json())["content"]
        assert isinstance(content, list)
        return str(content[0]["text"])


@asynccontextmanager
async def client(folder: Path) -> AsyncIterator[Client]:
    command = (sys.executable, "-c", SERVER, str(folder / "cancelled"))
    spec = ProcessSpec("pids", command, {"PATH": "/usr/bin"}, folder)
    async with Children(4) as children, asyncio.TaskGroup() as tasks:
        gate = Gate.of({"pids": EVERYTHING})
        servers = Servers(children, Remotes())
        endpoint = Endpoint(AGENT, {"pids": spec}, gate, servers, limits=Limits(watch_after=0.05))
        running = tasks.create_task(endpoint.run())
        await asyncio.sleep(0)
        try:
            yield Client(endpoint, tasks, folder)
        finally:
            running.cancel()


@pytest.mark.timeout(90)
async def test_a_server_of_the_sdk_is_discovered_called_listened_to_cancelled_and_replaced(
    tmp_path: Path,
) -> None:
    async with client(tmp_path) as one:
        found = result_of(await one.ask("server/discover").json())
        assert found["supportedVersions"] == ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
        assert result_of(await one.ask("tools/list").json())["cacheScope"] == "private"
        assert error_of(await one.call("pid", n=5).json())["code"] == -32020
        pid = await one.pid()
        assert await one.pid() == pid, "one process for all of a principal"

        progress = one.call("pid", {"progressToken": 1.5})
        assert (await progress.event())["params"] == {"progressToken": 1.5, "progress": 0.5, "total": 1.0}
        assert "result" in await progress.event()

        listen = one.ask("subscriptions/listen", notifications={"toolsListChanged": True})
        assert (await listen.event())["method"] == "notifications/subscriptions/acknowledged"
        await one.call("change").json()
        assert (await listen.event())["method"] == "notifications/tools/list_changed"

        hanging = one.call("hang")
        await asyncio.sleep(0.2)
        hanging.leave(DoneReason.CLIENT_GONE)
        await until(one.cancelled.exists)

        died = result_of(await one.call("die").json())
        assert died["isError"] is True
        await listen.until_end()
        assert len(listen.events()) == 2, "no result: its client asks again"
        assert await one.pid() != pid


@pytest.mark.timeout(90)
async def test_an_unknown_method_is_404_in_the_words_of_the_server(tmp_path: Path) -> None:
    async with client(tmp_path) as one:
        exchange = one.ask("x/y")
        assert error_of(await exchange.json())["code"] == -32601
        assert exchange.status == 404
