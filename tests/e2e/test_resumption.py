"""Connections that break in the middle of an answer, and clients that come back for the rest of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.harness.caller import Caller, read
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def stack(ledger: Path) -> Iterator[Stack]:
    servers = {"tools": Server([sys.executable, str(TOOL_SERVER), str(ledger)], ["*"], write=[ledger.parent])}
    with Stack(servers, fault_proxy=True) as stack:
        yield stack


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    caller = Caller(stack.url("tools"), stack.token)
    yield caller
    await caller.hang_up()


def steps(count: int, pause: float) -> dict[str, object]:
    """A call of a tool that tells its progress."""
    return {
        "name": "progress",
        "arguments": {"steps": count, "pause": pause, "label": "done", "tag": "once"},
        "_meta": {"progressToken": "t"},
    }


async def test_a_connection_cut_in_the_middle_is_resumed_and_nothing_is_lost_or_doubled(
    stack: Stack, caller: Caller, ledger: Path
) -> None:
    async with caller:
        assert stack.proxy is not None
        seen: list[int] = []
        last = ""
        async with caller.stream("tools/call", steps(30, 0.05)) as response:
            async for id, _, data in read(response):
                last = id
                if data:
                    seen.append(json.loads(data)["params"]["progress"])
                if len(seen) == 10:
                    break
        await caller.reconnect()
        stack.proxy.cut()  # and the link between site and relay breaks, too
        async with caller.resume(last) as response:
            assert response.status == 200
            messages = [json.loads(data) async for _, _, data in read(response) if data]
        seen += [message["params"]["progress"] for message in messages[:-1]]
        assert seen == list(range(30))
        assert messages[-1]["result"]["content"] == [{"type": "text", "text": "done"}]
        assert ledger.read_text().splitlines() == ["progress once"]


async def test_an_answer_is_fetched_after_the_relay_was_killed(
    stack: Stack, caller: Caller, ledger: Path
) -> None:
    async with caller:
        events: list[tuple[str, int | None, bytes]] = []
        params = {"name": "sleep", "arguments": {"seconds": 2}}
        async with caller.stream("tools/call", params) as response:
            came = read(response)
            events.append(await anext(came))
            await asyncio.to_thread(stack.relay.kill)
            with pytest.raises(aiohttp.ClientError):
                events += [event async for event in came]
        [(last, retry, data)] = events
        assert (bool(last), retry, data) == (True, 3000, b"")
        await asyncio.to_thread(stack.start_relay)
        await asyncio.to_thread(stack.agent.wait_linked)
        await caller.reconnect()
        async with caller.resume(last) as response:
            assert response.status == 200
            messages = [json.loads(data) async for _, _, data in read(response) if data]
        assert [message["result"]["content"][0]["text"] for message in messages] == ["slept"]
        assert Counter(ledger.read_text().splitlines()) == Counter({"sleep ": 1})


async def test_after_a_restart_of_the_agent_the_outcome_is_unknown_at_once(
    stack: Stack, caller: Caller
) -> None:
    await caller.initialize()
    async with caller.stream("tools/call", {"name": "hang", "arguments": {}}) as response:
        last, _, _ = await anext(read(response))
    await caller.reconnect()
    await asyncio.to_thread(stack.agent.program.kill)
    await asyncio.to_thread(stack.agent.start)
    async with caller.resume(last) as response:
        assert response.status == 200
        [message] = [json.loads(data) async for _, _, data in read(response) if data]
    assert message["error"]["data"]["outcome"] == "outcome_unknown"
    assert message["id"] == 2
