"""Answers that take long to look through, and those of 2026-07-28 that are kept: real processes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.agent.endpoint.modern.kit import VERSION, headers, request
from tests.harness.caller import ACCEPT, Caller
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

HARNESS = Path(__file__).parents[1] / "harness"
CARD, MAIL = "4111 1111 1111 1111", "bob@example.com"
RULES = """
[[servers.tools.redact]]
find = ["email"]

[[servers.modern.redact]]
find = ["card"]
action = "ask"
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    servers = {
        "tools": Server([sys.executable, str(HARNESS / "tool_server.py")], ("*",)),
        "modern": Server([sys.executable, str(HARNESS / "modern_server.py")], ("*",)),
    }
    with Stack(servers) as running:
        config = running.agent.config
        config.write_text(config.read_text() + RULES)
        running.agent.program.stop()
        running.agent.start()
        yield running


async def test_an_answer_of_2026_07_28_is_collected_there(stack: Stack) -> None:
    fixed = {
        "Authorization": f"Bearer {stack.token}",
        "Accept": ACCEPT,
        "MCP-Protocol-Version": VERSION,
    }
    body = request("t", "tools/call", name="echo", arguments={"text": CARD})
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:

        async def call() -> str:
            sent = {**fixed, **headers(body)}
            async with http.post(stack.url("modern"), json=body, headers=sent) as reply:
                return await reply.text()

        assert "its answer waits for approval" in await call()
        listed = await asyncio.to_thread(stack.agent.cli, "approvals", "list", "--json")
        (asked,) = json.loads(listed.stdout)["requests"]
        await asyncio.to_thread(stack.agent.cli, "approvals", "approve", asked["id"])
        assert CARD in await call()


async def test_a_large_answer_is_looked_through_whole_and_small_ones_do_not_wait_for_it(stack: Stack) -> None:
    rows = [f"row {n} is quite ordinary" for n in range(30_000)]
    async with (
        asyncio.timeout(100),
        Caller(stack.url("tools"), stack.token) as caller,
        Caller(stack.url("tools"), stack.token) as quick,
        asyncio.TaskGroup() as tasks,
    ):
        large = tasks.create_task(caller.tool("echo", rows=rows, last=MAIL))
        smalls = 0
        while not large.done():
            assert (await quick.tool("echo", n=1)).text == '{"n": 1}'
            smalls += 1
        found = json.loads((await large).text)
        assert found["rows"] == rows
        assert found["last"] == "[e-mail address removed on site]"
        assert smalls > 2
