"""A site suspended by the relay's operator while a call runs: real processes, and a restart in between."""

from __future__ import annotations

import asyncio
import json
import sys
import time
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


async def text_of(caller: Caller, words: str) -> str:
    """What a call says once it says `words`."""
    while words not in (text := (await caller.tool("echo", a=1)).text):
        await asyncio.sleep(0.05)
    return text


async def test_what_runs_ends_and_callers_are_told_in_words_until_it_is_resumed(stack: Stack) -> None:
    async with asyncio.timeout(60), Caller(stack.url("tools"), stack.token) as caller:
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(caller.tool("sleep", 7, seconds=50))
            while not json.loads(stack.agent.cli("status", "--json").stdout)["daemon"]["exchanges"]:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(stack.relay_cli, "site", "suspend", "plant")
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert "suspended by the relay's operator while this request ran" in call.result().text
        told = await text_of(caller, "suspended")
        assert "The site 'plant' is suspended" in told
        assert "penstock-relay site resume plant" in told

        stack.relay.stop()
        stack.start_relay()
        stack.agent.wait_linked()
        await caller.reconnect()
        assert "is suspended" in (await caller.tool("echo")).text

        stack.relay_cli("site", "resume", "plant")
        assert await text_of(caller, '{"a": 1}') == '{"a": 1}'
        kinds = [each["kind"] for each in json.loads(stack.relay_cli("audit", "show", "--json").stdout)]
        assert [kind for kind in kinds if kind in ("site_suspended", "site_resumed")] == [
            "site_suspended",
            "site_resumed",
        ]
