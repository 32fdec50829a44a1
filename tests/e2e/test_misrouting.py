"""Nothing of one call reaches another: 8 callers of two principals, with the same ids and tokens, and much of
what makes routing hard at the same time.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.harness.caller import Caller, Reply
from tests.harness.stack import Server, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
CALLS: Final = 10_000
CALLERS: Final = 8
AT_ONCE: Final = 6
"""Calls of one caller that are under way together."""
NONCE: Final = re.compile(rb"nonce-[0-9a-f]{24}")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    servers = {"tools": Server([sys.executable, str(TOOL_SERVER)], ("echo", "progress", "sleep", "big"))}
    with Stack(servers) as stack:
        yield stack


class Traffic:
    """One caller's calls. Ids count from 1 in every session, so all callers use the same ones."""

    def __init__(self, caller: Caller, seed: int, calls: Iterator[int]) -> None:
        self.caller = caller
        self.random = random.Random(seed)
        self.calls = calls
        self.counts: Counter[str] = Counter()
        self._id = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONCE):
                workers.create_task(self._work())

    async def _work(self) -> None:
        for _ in self.calls:
            kind = self.random.choices(("echo", "progress", "cancel", "leave", "big"), (60, 20, 10, 5, 5))[0]
            self._id += 1
            nonce = f"nonce-{self.random.getrandbits(96):024x}"
            await getattr(self, f"_{kind}")(self._id, nonce)
            self.counts[kind] += 1

    async def _echo(self, id: int, nonce: str) -> None:
        reply = await self.caller.tool("echo", id, tag=nonce)
        self._own(reply, id, nonce)
        assert json.loads(reply.text) == {"tag": nonce}

    async def _progress(self, id: int, nonce: str) -> None:
        params = {
            "name": "progress",
            "arguments": {"steps": 3, "label": nonce, "pause": 0.001},
            "_meta": {"progressToken": id},
        }
        reply = await self.caller.request("tools/call", params, id)
        self._own(reply, id, nonce)
        assert reply.text == nonce
        steps = [m["params"] for m in reply.messages[:-1] if m["method"] == "notifications/progress"]
        assert [step["progress"] for step in steps] == [0, 1, 2]
        assert all(step["progressToken"] == id for step in steps)

    async def _cancel(self, id: int, nonce: str) -> None:
        arguments = {"seconds": self.random.choice((0.0, 0.02, 5.0)), "tag": nonce}
        async with asyncio.TaskGroup() as both:
            call = both.create_task(self.caller.tool("sleep", id, **arguments))
            await asyncio.sleep(0)
            params = {"requestId": id, "reason": nonce}
            told = await self.caller.notify("notifications/cancelled", params)
        assert told.status == 202
        reply = call.result()
        self._own(reply, id, nonce)
        assert reply.last.get("error", {}).get("code") == -32800 or reply.text == "slept"

    async def _leave(self, id: int, nonce: str) -> None:
        """Goes while the answer is on its way, which must not reach whoever comes next."""
        body = {
            "name": "progress",
            "arguments": {"steps": 20, "label": nonce},
            "_meta": {"progressToken": id},
        }
        message = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": body}
        headers = self.caller.headers(**{"Content-Type": "application/json"})
        async with (
            aiohttp.ClientSession() as connection,
            connection.post(self.caller.url, json=message, headers=headers) as answer,
        ):
            first = await answer.content.readany()
        assert set(NONCE.findall(first)) <= {nonce.encode()}

    async def _big(self, id: int, nonce: str) -> None:
        reply = await self.caller.tool("big", id, size=100_000, tag=nonce)
        self._own(reply, id, nonce)
        assert reply.text == "x" * 100_000

    @staticmethod
    def _own(reply: Reply, id: int, nonce: str) -> None:
        assert reply.status == 200, reply.body
        assert set(NONCE.findall(reply.body)) <= {nonce.encode()}
        assert (reply.last["id"], type(reply.last["id"])) == (id, int)


async def test_no_byte_of_a_call_reaches_another_stream(stack: Stack) -> None:
    tokens = [stack.issue_token("--name", name) for name in ("alice", "bob")]
    callers = [Caller(stack.url("tools"), tokens[number % 2]) for number in range(CALLERS)]
    calls = iter(range(CALLS))
    try:
        await asyncio.gather(*(caller.initialize() for caller in callers))
        traffic = [Traffic(caller, seed, calls) for seed, caller in enumerate(callers)]
        async with asyncio.TaskGroup() as running:
            for one in traffic:
                running.create_task(one.run())
    finally:
        await asyncio.gather(*(caller.hang_up() for caller in callers))
    counts = sum((one.counts for one in traffic), Counter[str]())
    assert counts.total() == CALLS
    assert min(counts[kind] for kind in ("echo", "progress", "cancel", "leave", "big")) > 100
