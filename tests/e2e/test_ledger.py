"""The ledger of a real agent covers what its callers got, byte for byte, while links are cut."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from penstock_agent.ledger.reading import Record, read
from tests.harness.caller import Caller, Reply
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"


@pytest.fixture
def stack() -> Iterator[Stack]:
    servers = {"tools": Server([sys.executable, str(TOOL_SERVER)], ["echo", "progress", "sleep", "big"])}
    with Stack(servers, fault_proxy=True) as stack:
        yield stack


def folder(stack: Stack) -> Path:
    return stack.agent.folder / "state" / "ledger"


def agent_name(stack: Stack) -> str:
    return str(json.loads((stack.agent.folder / "state" / "agent.json").read_bytes())["agent"])


def pieces(records: list[Record]) -> dict[str, list[Record]]:
    """What was said to leave on each exchange."""
    found: dict[str, list[Record]] = defaultdict(list)
    for each in records:
        if each.kind == "sent":
            found[each.text("exchange")].append(each)
        assert each.kind != "unsent"
    return found


def covered(body: bytes, said: list[Record]) -> bool:
    """Whether each byte stands in exactly one record, with the hash of its piece."""
    place = 0
    for each in said:
        size = each.number("bytes")
        if each.number("offset") != place or sha256(body[place : place + size]).hexdigest() != each.text(
            "hash"
        ):
            return False
        place += size
    return place == len(body)


async def test_every_byte_that_callers_got_stands_in_the_ledger_once_though_links_were_cut(
    stack: Stack,
) -> None:
    proxy = stack.proxy
    assert proxy is not None
    replies: dict[str, Reply] = {}
    async with Caller(stack.url("tools"), stack.token) as caller:
        answered = asyncio.Semaphore(0)

        async def call(n: int) -> None:
            tools: list[tuple[str, dict[str, object]]] = [
                ("echo", {"text": "x" * n}),
                ("sleep", {"seconds": n % 7 * 0.1}),
                ("progress", {"steps": 5, "label": f"c{n}"}),
                ("big", {"size": 300_000}),
            ]
            name, arguments = tools[n % 4]
            replies[str(1000 + n)] = await caller.tool(name, 1000 + n, **arguments)
            answered.release()

        async with asyncio.TaskGroup() as tasks:
            for n in range(120):
                tasks.create_task(call(n))
            for _ in range(4):
                for _ in range(20):
                    await answered.acquire()
                proxy.cut()
        denied = await caller.tool("hidden", 5000)
        assert denied.status == 200
    stack.agent.program.stop()

    head = stack.folder / "head.json"
    head.write_text(stack.relay_cli("agent", "heads", stack.site, agent_name(stack), "--json").stdout)
    done = stack.agent.cli("ledger", "verify", "--head", str(head), check=False)
    assert done.returncode == 0, done.stdout
    assert "Goes on from head.json: record " in done.stdout
    assert "Goes on from ledger-head.json: record " in done.stdout
    short = Path(shutil.copytree(folder(stack), stack.folder / "short"))
    last = short / "00000001.jsonl"
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-20]))
    cut = stack.agent.cli("ledger", "verify", "--dir", str(short), "--head", str(head), check=False)
    assert (cut.returncode, "it was cut short" in cut.stdout) == (1, True)
    records = list(read(folder(stack)))
    said = pieces(records)
    calls = {each.text("id"): each for each in records if each.text("method") == "tools/call"}
    assert set(calls) == {*replies, "5000"}
    for id, reply in {**replies, "5000": denied}.items():
        assert covered(reply.body, said[calls[id].text("exchange")]), id
    assert calls["5000"].text("verdict") == "denied"
    assert {each.text("verdict") for id, each in calls.items() if id != "5000"} == {"allowed"}
    report = json.loads(stack.agent.cli("ledger", "report", "--json").stdout)
    left = sum(each.number("bytes") for each in records if each.kind == "sent")
    assert report["total"]["bytes"] == left >= sum(len(reply.body) for reply in replies.values())
    assert report["total"]["denied"] == 1
    tools = {row["tool"]: row["calls"] for row in report["rows"]}
    assert {tools[f"tools: {name}"] for name in ("echo", "sleep", "progress", "big")} == {30}


async def test_an_agent_that_is_killed_goes_on_with_its_ledger(stack: Stack) -> None:
    async with Caller(stack.url("tools"), stack.token) as caller:
        for n in range(3):
            await caller.tool("echo", text=str(n))
        stack.agent.program.kill()
        before = stack.agent.cli("ledger", "show", "--tool", "echo").stdout.splitlines()
        assert len(before) == 6
        stack.agent.start()
        await caller.tool("echo", text="again")
    done = stack.agent.cli("ledger", "verify", "--json", check=False)
    assert done.returncode == 0, done.stdout
    after = stack.agent.cli("ledger", "show", "--tool", "echo").stdout.splitlines()
    assert after[:6] == before
    # The server takes a while to start again: its answer may have left in two pieces.
    as_json = stack.agent.cli("ledger", "show", "--tool", "echo", "--json").stdout.splitlines()
    kinds = [json.loads(line)["kind"] for line in as_json[6:]]
    assert kinds == ["decision", *["sent"] * (len(after) - 7)]
    assert len(after) in (8, 9)
    what = [each.text("what") for each in read(folder(stack)) if each.kind == "event"]
    assert what == ["started", "pinned", "started"]
