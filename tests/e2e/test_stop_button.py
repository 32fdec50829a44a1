"""The stop button, pressed while a call runs: real processes, and a restart in between."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.caller import Caller
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack({"tools": Server([sys.executable, str(TOOL_SERVER)], ("*",))}) as running:
        yield running


async def test_what_runs_ends_at_once_and_stays_stopped_through_a_restart(stack: Stack) -> None:
    async with asyncio.timeout(60), Caller(stack.url("tools"), stack.token) as caller:
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(caller.tool("sleep", 7, seconds=50))
            while not json.loads(stack.agent.cli("status", "--json").stdout)["daemon"]["exchanges"]:
                await asyncio.sleep(0.05)
            done = await asyncio.to_thread(stack.agent.cli, "pause", "tools")
        assert "The server tools is paused." in done.stdout
        assert "The site's administrator has stopped what you do here." in call.result().text
        assert "administrator has stopped this server" in (await caller.tool("echo")).text
        stack.agent.program.stop()
        stack.agent.start()
        assert "administrator has stopped this server" in (await caller.tool("echo")).text
        assert "PAUSED       the server tools" in stack.agent.cli("status").stdout
        stack.agent.cli("resume", "tools")
        assert (await caller.tool("echo", a=1)).text == '{"a": 1}'
