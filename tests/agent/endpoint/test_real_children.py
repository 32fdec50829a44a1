"""The endpoint with real processes: what the scripted children cannot show."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from penstock.principal import Principal
from penstock_agent.children import demand
from penstock_agent.children.child import ProcessSpec
from penstock_agent.children.pool import Children
from penstock_agent.endpoint import Endpoint, Limits
from penstock_agent.gate.gate import Gate
from penstock_agent.remote.remotes import Remotes
from penstock_agent.servers import Servers
from tests.agent.children.kit import until
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.talk import AGENT, Json, hello
from tests.harness.fake_exchange import ALICE, FakeExchange

SERVER = """
import json, os, sys, time
def say(message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()
for line in sys.stdin:
    m = json.loads(line)
    if m.get("method") == "initialize":
        say({"jsonrpc": "2.0", "id": m["id"], "result": {"protocolVersion": m["params"]["protocolVersion"]}})
    elif m.get("method") == "tools/call":
        what = m["params"]["name"]
        if what == "die":
            os._exit(3)
        if what == "hang":
            continue
        if what == "junk":
            sys.stdout.write("x" * 100 + "\\n" + "\\x00\\n\\n")
        if what == "endless":
            sys.stdout.write("y" * (65 << 20))
            sys.stdout.flush()
            sys.stdout.write("\\n")
        text = "z" * (20 << 20) if what == "big" else str(os.getpid())
        say({"jsonrpc": "2.0", "id": m["id"], "result": {"text": text}})
"""


class Client:
    def __init__(
        self,
        endpoint: Endpoint,
        children: Children,
        tasks: asyncio.TaskGroup,
        principal: Principal = ALICE,
    ) -> None:
        self.endpoint, self.children, self.tasks, self.session = endpoint, children, tasks, ""
        self.principal = principal

    def send(self, method: str, body: Json | None = None) -> FakeExchange:
        headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")]
        if self.session:
            headers.append(("mcp-session-id", self.session))
        raw = b"" if body is None else json.dumps(body).encode()
        exchange = FakeExchange("files", method, tuple(headers), raw, self.principal)
        self.tasks.create_task(self.endpoint.serve(exchange))
        return exchange

    async def begin(self) -> None:
        begun = self.send("POST", hello())
        await begun.json()
        self.session = dict(begun.answered)["mcp-session-id"]
        await self.send("POST", {"jsonrpc": "2.0", "method": "notifications/initialized"}).until_end()

    def call(self, name: str) -> FakeExchange:
        params = {"name": name, "arguments": {}}
        return self.send("POST", {"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": params})

    async def text(self, name: str) -> str:
        result = (await self.call(name).message())["result"]
        assert isinstance(result, dict)
        text = result["text"]
        assert isinstance(text, str)
        return text


@asynccontextmanager
async def client(
    *,
    call_timeout: float = 30.0,
    max_children: int = 4,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> AsyncIterator[Client]:
    spec = ProcessSpec("files", (sys.executable, "-I", "-S", "-c", SERVER), {"PATH": "/usr/bin"}, Path("/"))
    async with Children(max_children) as children, asyncio.TaskGroup() as tasks:
        endpoint = Endpoint(
            AGENT,
            {"files": spec},
            Gate.of({"files": ("*",)}),
            Servers(children, Remotes()),
            call_timeout=call_timeout,
            limits=limits,
        )
        running = tasks.create_task(endpoint.run())
        await asyncio.sleep(0)
        try:
            yield Client(endpoint, children, tasks)
        finally:
            running.cancel()


def processes(me: psutil.Process) -> int:
    """Processes of the server, whoever knows of them."""
    found = 0
    for child in me.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # or a zombie, which is one of those
            found += SERVER in child.cmdline()
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_session_calls_a_process_which_ends_with_it() -> None:
    async with client() as one:
        await one.begin()
        pid = int(await one.text("echo"))
        assert await one.text("echo") == str(pid)
        assert alive(pid)
        await one.send("DELETE").until_end()
        await until(lambda: len(one.children) == 0)
        assert not alive(pid)


async def test_a_process_that_dies_in_a_call_is_replaced_for_the_next() -> None:
    async with client() as one:
        await one.begin()
        pid = await one.text("echo")
        assert outcome(await one.call("die").message()) == ("outcome_unknown", False)
        assert await one.text("echo") != pid
    assert not alive(int(pid))


async def test_a_process_that_is_killed_while_idle_is_replaced_for_the_next() -> None:
    async with client() as one:
        await one.begin()
        pid = await one.text("echo")
        os.kill(int(pid), 9)
        await until(lambda: len(one.children) == 0)
        assert await one.text("echo") != pid


async def test_a_result_of_20_mib_arrives_whole() -> None:
    async with client() as one:
        await one.begin()
        assert await one.text("big") == "z" * (20 << 20)
        assert one.endpoint.status().held_bytes == 0


async def test_junk_and_a_line_without_end_do_not_stop_the_next_call() -> None:
    async with client() as one:
        await one.begin()
        assert (await one.text("junk")).isdigit()
        assert outcome(await one.call("endless").message()) == ("outcome_unknown", False)
        assert (await one.text("echo")).isdigit()


async def test_a_call_that_hangs_is_given_up_and_the_process_goes_on() -> None:
    async with client(call_timeout=0.2) as one:
        await one.begin()
        assert outcome(await one.call("hang").message()) == ("outcome_unknown", False)
        assert (await one.text("echo")).isdigit()


async def test_more_sessions_than_processes_are_refused_by_name() -> None:
    async with client(max_children=1) as one:
        await one.begin()
        second = Client(one.endpoint, one.children, one.tasks)
        refused = second.send("POST", hello())
        answer = await refused.json()
        assert refused.status == 503
        assert "max_children" in json.dumps(answer)
        assert (await one.text("echo")).isdigit()


async def test_the_next_session_gets_a_process_that_waits_for_it() -> None:
    async with client(max_children=8) as one:
        for _ in range(2):
            await one.begin()
            await one.send("DELETE").until_end()
            one = Client(one.endpoint, one.children, one.tasks)
        await until(lambda: one.children.counts()["files"].warm == 1)
        await one.begin()
        assert (await one.text("echo")).isdigit()
        assert len(one.children) == 1


async def test_sessions_that_are_abandoned_leave_no_process_and_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """500 sessions in waves of 32, whose clients never come back."""
    monkeypatch.setattr(demand, "IDLE_S", 2.0)
    monkeypatch.setattr("penstock_agent.children.warm.TEND_S", 0.1)
    limits = Limits(idle_timeout=0.3, sessions_per_principal=32)
    async with client(max_children=64, limits=limits) as one:
        me, grown = psutil.Process(), []
        for wave in range(16):
            await until(lambda: len(one.children) <= 32)
            caller = Principal("https://relay.example", f"user-{wave}")
            abandoned = [
                Client(one.endpoint, one.children, one.tasks, caller) for _ in range(min(32, 500 - 32 * wave))
            ]
            await asyncio.gather(*(session.begin() for session in abandoned))
            assert (await abandoned[-1].text("echo")).isdigit()
            if wave >= 3:  # what is allocated once is
                gc.collect()
                grown.append(me.memory_info().rss)
        await until(lambda: one.children.counts()["files"].warm > 0)
        await until(lambda: len(one.children) == one.children.counts()["files"].warm == 0)
        await until(lambda: processes(me) == 0)
        assert one.endpoint.status().sessions == 0
        assert one.endpoint.status().held_bytes == 0
        assert grown[-1] - grown[0] < 8 << 20


async def test_the_65th_process_is_refused_by_name() -> None:
    async with client(max_children=64) as one:
        used = [Client(one.endpoint, one.children, one.tasks) for _ in range(64)]
        await asyncio.gather(*(session.begin() for session in used))
        assert len(one.children) == 64
        assert one.children.counts()["files"].warm == 0
        assert processes(psutil.Process()) == 64
        other = Principal("https://relay.example", "somebody-else")
        refused = Client(one.endpoint, one.children, one.tasks, other).send("POST", hello())
        answer = await refused.json()
        assert refused.status == 503
        assert "max_children" in json.dumps(answer)
        assert (await used[0].text("echo")).isdigit()
