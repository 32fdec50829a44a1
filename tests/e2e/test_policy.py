"""The rules of a site, with real processes: what a caller sees, what is refused in words, and a restart."""

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
RULES = """
[[servers.tools.rules]]
name = "echo"
allow = ["echo"]
[servers.tools.rules.arguments.echo]
path = { below = "/srv/share", optional = true }
[servers.tools.rules.budget]
calls_per_day = 3
max_result = 1000
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack({"tools": Server([sys.executable, str(TOOL_SERVER)], ("*",))}) as running:
        yield running


async def test_rules_hold_from_the_reload_on_and_a_day_is_one_through_a_restart(stack: Stack) -> None:
    async with asyncio.timeout(90), Caller(stack.url("tools"), stack.token) as caller:
        assert (await caller.tool("sleep", seconds=0)).text
        before = stack.agent.config.read_text()
        stack.agent.config.write_text(before + RULES.replace("below", "bellow"))
        refused = await asyncio.to_thread(stack.agent.cli, "expose", "tools", "--all", check=False)
        assert (refused.returncode, "unknown key" in refused.stderr) == (2, True)
        assert (await caller.tool("sleep", seconds=0)).text, "all is as it was"
        stack.agent.config.write_text(before + RULES)
        await asyncio.to_thread(stack.agent.cli, "expose", "tools", "--all")  # which has the agent read it
        assert "exposes no tool of that name" in (await caller.tool("sleep", seconds=0)).text
        assert (await caller.tool("echo", path="/srv/share/a")).text == '{"path": "/srv/share/a"}'
        wrong = await caller.tool("echo", path="/srv/share/../../etc/passwd")
        assert "path must be a plain absolute path below /srv/share/" in wrong.text
        large = await caller.tool("echo", text="x" * 2000)
        assert "this site lets out 1000 bytes at most" in large.text
        assert (await caller.tool("echo", n=1)).text == '{"n": 1}'
        assert "3 calls in a day (of UTC)" in (await caller.tool("echo", n=2)).text
        stack.agent.program.stop()
        stack.agent.start()
        assert "3 calls in a day (of UTC)" in (await caller.tool("echo", n=3)).text
    said = stack.agent.cli("policy", "explain", "--json", "--as", "anybody", "tools", "sleep", check=False)
    assert json.loads(said.stdout)["by"] == "rules"
