"""Cables unplugged, programs killed: what callers see, and what ran on site."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.harness.caller import Caller, Reply
from tests.harness.fault_proxy import Way
from tests.harness.stack import Server, Stack, until

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


def runs(ledger: Path) -> Counter[str]:
    """How often each tag was run."""
    return Counter(line.split(" ", 1)[1] for line in ledger.read_text().splitlines())


async def test_a_cut_in_the_middle_of_200_calls_loses_none_and_doubles_none(
    stack: Stack, caller: Caller, ledger: Path
) -> None:
    async with caller:
        assert stack.proxy is not None
        answered = asyncio.Semaphore(0)

        async def call(n: int) -> Reply:
            reply = await caller.tool("sleep", tag=f"c{n}", seconds=n % 10 * 0.05)
            answered.release()
            return reply

        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(call(n)) for n in range(200)]
            for _ in range(5):
                for _ in range(20):
                    await answered.acquire()
                stack.proxy.cut()
        assert [task.result().status for task in calls] == [200] * 200
        assert [task.result().text for task in calls] == ["slept"] * 200
        assert runs(ledger) == Counter({f"c{n}": 1 for n in range(200)})


async def test_a_result_that_was_on_its_way_when_the_link_broke_arrives_whole(
    stack: Stack, caller: Caller
) -> None:
    async with caller:
        assert stack.proxy is not None
        stack.proxy.shape(bytes_per_s=20 << 20)
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(caller.tool("big", size=20 << 20))
            for _ in range(3):
                await asyncio.wait([call], timeout=0.25)
                stack.proxy.cut()
        assert len(call.result().text) == 20 << 20


async def test_thirty_seconds_without_a_network_cost_nothing_but_time(
    stack: Stack, caller: Caller, ledger: Path
) -> None:
    async with caller:
        assert stack.proxy is not None
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(caller.tool("sleep", tag=f"c{n}", seconds=1)) for n in range(5)]
            await asyncio.wait(calls, timeout=0.5)
            stack.proxy.stall(Way.BOTH)  # nothing arrives, and nobody is told: heartbeats must notice
            await asyncio.wait(calls, timeout=30)
            assert not any(call.done() for call in calls)
            stack.proxy.cut()
            stack.proxy.heal()
        assert [call.result().text for call in calls] == ["slept"] * 5
        assert runs(ledger) == Counter({f"c{n}": 1 for n in range(5)})


async def test_an_absent_site_is_named_as_such_and_comes_back(stack: Stack, caller: Caller) -> None:
    async with caller:
        stack.agent.program.stop()
        listed = await caller.request("tools/list", id="mine")
        assert listed.status == 503
        assert int(listed.headers["Retry-After"]) > 0
        assert listed.last["id"] == "mine"
        assert "offline" in listed.last["error"]["message"]
        called = await caller.tool("echo", 4)
        assert called.status == 200
        assert called.is_error
        stack.agent.start()
        # The agent's sessions were in its memory: it begins this one again, under its id.
        assert (await caller.tool("echo", a=1)).text == '{"a": 1}'


async def test_a_relay_that_was_killed_ends_no_session(stack: Stack, caller: Caller) -> None:
    async with caller:
        before = (await caller.tool("pid")).text
        stack.relay.kill()
        stack.start_relay()
        stack.agent.wait_linked()
        await caller.reconnect()  # its connections went with the relay, its session did not
        assert (await caller.tool("pid")).text == before


async def test_an_agent_that_was_killed_leaves_no_process_and_an_unknown_outcome(
    stack: Stack, caller: Caller
) -> None:
    await caller.initialize()
    child = psutil.Process(int((await caller.tool("pid")).text))
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(caller.tool("hang", 1))
        await caller.tool("echo")
        stack.agent.program.kill()
        assert not psutil.wait_procs([child], timeout=5)[1]
        stack.agent.start()
    reply = call.result()
    assert reply.is_error
    assert reply.last["result"]["_meta"]["penstock/outcome"]["outcome"] == "outcome_unknown"


async def test_a_stopped_agent_finishes_its_calls_and_leaves_no_process(stack: Stack, caller: Caller) -> None:
    await caller.initialize()
    child = psutil.Process(int((await caller.tool("pid")).text))
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(caller.tool("sleep", 1, seconds=1))
        await caller.tool("echo")
        assert await asyncio.to_thread(stack.agent.program.stop) == 0
    assert call.result().text == "slept"
    assert not psutil.wait_procs([child], timeout=5)[1]


async def test_a_second_agent_of_the_site_takes_callers_and_sessions_stay_where_they_are(
    stack: Stack, caller: Caller
) -> None:
    async with caller:
        first = (await caller.tool("pid")).text
        join_string = stack.relay_cli("agent", "invite", stack.site).stdout.strip()
        second = stack.add_agent("second", join_string)
        agents = set()
        for number in range(20):  # callers of whom about every other one is the second agent's
            token = stack.issue_token("--name", f"caller-{number}")
            async with Caller(stack.url("tools"), token) as newcomer:
                child = psutil.Process(int((await newcomer.tool("pid")).text))
                agents.add(second.program.pid in {each.pid for each in child.parents()})
            assert (await caller.tool("pid")).text == first
            if len(agents) == 2:
                break
        assert agents == {True, False}


async def test_no_payload_and_no_secret_is_in_any_log(stack: Stack, caller: Caller) -> None:
    canary = "CANARY5f3a9"
    async with caller:
        await caller.tool("echo", text=canary)
        await caller.tool(canary)
        await caller.request(canary)
        await caller.post(b'{"jsonrpc":"2.0","id":1,"method":"' + canary.encode() + b'","method":"x"}')
        stack.relay.stop()
        stack.agent.program.stop()
        logs = stack.relay.log.read_text() + stack.agent.program.log.read_text()
        assert canary not in logs
        assert stack.token not in logs
        assert caller.session_id is not None
        assert caller.session_id not in logs
        for line in logs.splitlines():
            assert json.loads(line)["level"] in ("debug", "info", "warning", "error"), line
        stack.start_relay()
        stack.agent.start()
        caller.session_id = None


def test_a_relay_with_an_agent_that_is_gone_forgets_it(stack: Stack) -> None:
    stack.agent.program.kill()
    started = time.monotonic()
    until("the link to be gone", 10, lambda: stack.agent.status().get("linked") is not True)
    assert time.monotonic() - started < 10
