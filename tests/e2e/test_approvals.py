"""Calls and answers that somebody on site lets pass: real programs, and the commands of an administrator."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.caller import Caller, Reply
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
RULES = """
[[servers.tools.rules]]
name = "counting"
allow = ["count"]
approve = "always"

[[servers.tools.rules]]
name = "the rest"
allow = ["echo"]

[[servers.tools.redact]]
find = ["email"]
action = "ask"
"""
HOOK = """#!/bin/sh
cat >> "$0.told"
echo >> "$0.told"
"""


@dataclass
class Place:
    stack: Stack
    journal: Path
    """What the tools have run."""
    hook: Path

    @property
    def runs(self) -> Counter[str]:
        return Counter(self.journal.read_text().splitlines() if self.journal.exists() else ())

    @property
    def told(self) -> list[dict[str, object]]:
        text = self.hook.with_name(f"{self.hook.name}.told").read_text()
        return [json.loads(line) for line in text.splitlines() if line]

    async def cli(self, *arguments: str) -> str:
        done = await asyncio.to_thread(self.stack.agent.cli, *arguments)
        return done.stdout

    async def waiting(self, count: int) -> dict[str, str]:
        """The ids of so many requests, by subject and arguments."""
        while True:
            found = json.loads(await self.cli("approvals", "list", "--json"))["requests"]
            waits = [each for each in found if each["state"] == "waiting"]
            if len(waits) == count:
                return {f"{each['subject']} {each['arguments']}": each["id"] for each in waits}
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def caller(self, token: str = "") -> AsyncIterator[Caller]:
        async with Caller(self.stack.url("tools"), token or self.stack.token) as caller:
            yield caller


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    stack = Stack({})
    folder = stack.folder / "journal"
    folder.mkdir()
    command = [sys.executable, str(TOOL_SERVER), str(folder / "runs")]
    stack.servers["tools"] = Server(command, ("*",), write=[folder])
    hook = stack.folder / "hook"
    hook.write_text(HOOK)
    hook.chmod(0o700)
    with stack:
        stack.agent.program.stop()
        config = stack.agent.config
        config.write_text(f'on_event = ["{hook}"]\n{config.read_text()}{RULES}')
        stack.agent.start()
        yield Place(stack, folder / "runs", hook)


async def test_a_call_waits_for_somebody_on_site_and_passes_once(place: Place) -> None:
    other_token = place.stack.issue_token("--name", "other")
    async with asyncio.timeout(60), place.caller() as caller, place.caller(other_token) as other:
        async with asyncio.TaskGroup() as tasks:
            early = tasks.create_task(caller.tool("count", tag="early"))
            late = tasks.create_task(caller.tool("count", tag="late"))
            theirs = tasks.create_task(other.tool("count", tag="late"))
            waits = await place.waiting(3)
            by = {name.partition(" ")[0] for name in waits}
            assert len(by) == 2, "two people"
            (me,) = by - {"svc:other"}
            shown = await place.cli("approvals", "show", waits[f'{me} {{"tag": "late"}}'])
            for text in ("tool:count of tools: waits", f"({me})", 'rule "counting"', '{"tag": "late"}'):
                assert text in shown
            assert place.runs == {}, "nothing has run"
            await place.cli("approvals", "approve", waits[f'{me} {{"tag": "early"}}'])
            assert (await early).text == "counted"
            await place.cli("approvals", "deny", waits['svc:other {"tag": "late"}'])
            assert "denied" in (await theirs).text.lower()
            id = waits[f'{me} {{"tag": "late"}}']
            held = await late
            assert f"waits for approval on site (request {id}). Nothing was done yet." in held.text
        await place.cli("approvals", "approve", id)
        assert await never(place, other.tool("count", tag="late"), 'svc:other {"tag": "late"}')
        assert await never(place, caller.tool("count", tag="LATE"), f'{me} {{"tag": "LATE"}}')
        assert (await caller.tool("count", tag="late")).text == "counted"
        assert await never(place, caller.tool("count", tag="late"), f'{me} {{"tag": "late"}}')
    assert place.runs == {"count early": 1, "count late": 1}
    told = [each for each in place.told if each["event"] == "approval_asked"]
    assert {each["id"] for each in told} >= set(waits.values())
    assert "late" not in json.dumps(told), "the program of the site is not told the arguments"
    done = await place.cli("ledger", "show", "--json", "-n", "1000")
    records = [json.loads(line) for line in done.splitlines()]
    passed = [each for each in records if each["kind"] == "decision" and each.get("approval")]
    assert Counter(each["verdict"] for each in passed)["allowed"] == 2


async def never(place: Place, call: object, name: str) -> bool:
    """Whether a call waits as one of its own, which is then given up."""
    assert asyncio.iscoroutine(call)
    async with asyncio.TaskGroup() as tasks:
        waits = tasks.create_task(call)
        while name not in (found := await place.waiting(1)):
            await asyncio.sleep(0.05)
        await place.cli("approvals", "deny", found[name])
        await asyncio.wait((waits,))
    reply = waits.result()
    assert isinstance(reply, Reply)
    return "denied" in reply.text.lower()


async def test_an_answer_in_which_something_was_found_is_kept_and_collected(place: Place) -> None:
    async with asyncio.timeout(60), place.caller() as caller:
        first = await caller.tool("echo", tag="once", to="bob@example.com")
        assert "has run, and its answer waits for approval on site" in first.text
        assert b"bob@example.com" not in first.body.replace(b'"to":"bob@example.com"', b"")
        (id,) = (await place.waiting(1)).values()
        assert "bob@example.com" in await place.cli("approvals", "show", id)
        said = await place.cli("approvals", "approve", id)
        assert "may collect the answer of tool:echo of tools once" in said
        assert json.loads((await caller.tool("echo", tag="once", to="bob@example.com")).text) == {
            "tag": "once",
            "to": "bob@example.com",
        }
        assert place.runs["echo once"] == 1
        again = await caller.tool("echo", tag="once", to="bob@example.com")
        assert "has run, and its answer waits" in again.text
        assert place.runs["echo once"] == 2, "collected once; then it is a call like any"
