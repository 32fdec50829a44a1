"""One caller reads 4 KiB a second of a 20 MiB result: what that costs the others, and in memory."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.harness.caller import Caller
from tests.harness.stack import Server, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
CALLERS = 16
PAIRS = 5
WITHOUT_S, WITH_S = 3.0, 12.0  # the slow reader is watched for 60 s in all
RESULT = 20 << 20
MIB = 1 << 20


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack({"tools": Server([sys.executable, str(TOOL_SERVER)], ["*"])}) as stack:
        yield stack


class SlowReader:
    """Asks for a large result over a socket with small buffers, and reads it 4 KiB a second."""

    def __init__(self, stack: Stack, caller: Caller) -> None:
        place = urlsplit(stack.public_url)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((place.hostname, place.port))
        params = {"name": "big", "arguments": {"size": RESULT}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        headers = caller.headers(
            **{"Content-Type": "application/json", "Host": place.netloc, "Content-Length": str(len(body))}
        )
        lines = [f"POST {urlsplit(stack.url('tools')).path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        self._socket.setblocking(False)
        self.read = 0

    async def run(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            data = await loop.sock_recv(self._socket, 4096)
            assert data, "the relay hung up on a reader that reads"
            self.read += len(data)
            await asyncio.wait([loop.create_future()], timeout=min(1.0, left))  # this is the slowness

    def close(self) -> None:
        self._socket.close()


async def load(callers: list[Caller], seconds: float) -> float:
    """p99 in milliseconds of small calls by all callers, each with one in flight."""
    latencies: list[float] = []
    until = time.monotonic() + seconds

    async def work(caller: Caller) -> None:
        while (begun := time.monotonic()) < until:
            reply = await caller.tool("echo", text="x" * 100)
            assert reply.status == 200
            latencies.append((time.monotonic() - begun) * 1000)

    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(work(caller))
    return statistics.quantiles(latencies, n=100)[98]


def memory(stack: Stack) -> tuple[int, int]:
    """Resident bytes of relay and agent."""
    relay, agent = psutil.Process(stack.relay.pid), psutil.Process(stack.agent.program.pid)
    return relay.memory_info().rss, agent.memory_info().rss


async def test_a_slow_reader_costs_the_others_little_and_memory_a_bounded_amount(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    async with AsyncExitStack() as sessions:
        callers = [
            await sessions.enter_async_context(Caller(stack.url("tools"), stack.token))
            for _ in range(CALLERS + 1)
        ]
        victim = callers.pop()
        await load(callers, 2.0)  # warm
        relay_before, agent_before = memory(stack)
        relay_most = agent_most = 0
        ratios = []
        for _ in range(PAIRS):
            without = await load(callers, WITHOUT_S)
            slow = SlowReader(stack, victim)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(slow.run(WITH_S))
                beside = tasks.create_task(load(callers, WITH_S))
            relay, agent = memory(stack)
            relay_most, agent_most = max(relay_most, relay), max(agent_most, agent)
            assert 0 < slow.read < MIB
            slow.close()
            ratios.append(beside.result() / without)
        median = statistics.median(ratios)
        relay_grew, agent_grew = (relay_most - relay_before) / MIB, (agent_most - agent_before) / MIB
        record_property("p99_ratios", [round(ratio, 2) for ratio in ratios])
        record_property("grew_mib", {"relay": round(relay_grew, 1), "agent": round(agent_grew, 1)})
        print(
            f"p99 x {median:.2f} beside a slow reader; relay +{relay_grew:.1f}, agent +{agent_grew:.1f} MiB"
        )
        assert median <= 3
        # The relay holds what credit allows; the agent holds the results, five of them here, once each.
        assert relay_grew <= 24
        assert agent_grew <= 5 * 20 + 48
