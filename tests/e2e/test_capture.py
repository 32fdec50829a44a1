"""Captured payload with real programs: sealed on site, read elsewhere, and equal to what the ledger says."""

from __future__ import annotations

import asyncio
import base64
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


async def test_what_was_asked_and_what_left_is_read_by_who_has_the_key(stack: Stack, tmp_path: Path) -> None:
    agent = stack.agent
    made = json.loads(agent.cli("capture", "keygen", str(tmp_path / "key"), "--json").stdout)
    agent.program.stop()
    agent.config.write_text(f'[capture]\nrecipient = "{made["recipient"]}"\n' + agent.config.read_text())
    agent.start()
    async with asyncio.timeout(60), Caller(stack.url("tools"), stack.token) as caller:
        assert (await caller.tool("echo", text="canary")).text == '{"text": "canary"}'
    kept = b"".join(path.read_bytes() for path in (agent.folder / "state" / "capture").iterdir())
    assert kept
    assert b"canary" not in kept
    opened = json.loads(agent.cli("capture", "open", "--key", str(tmp_path / "key"), "--json").stdout)
    assert opened["good"]
    assert {piece["in_ledger"] for piece in opened["pieces"] if piece["way"] == "out"} == {True}
    (asked,) = [one for one in opened["pieces"] if one["way"] == "in" and one["in_ledger"]]
    whole = agent.cli(
        "capture", "open", "--key", str(tmp_path / "key"), "--exchange", asked["exchange"], "--json"
    )
    bodies = [base64.b64decode(piece["data"]) for piece in json.loads(whole.stdout)["pieces"]]
    assert b'"canary"' in bodies[0]
    assert b"canary" in b"".join(bodies[1:])


async def test_what_cannot_be_captured_leaves_all_the_same_and_the_ledger_says_so(
    stack: Stack, tmp_path: Path
) -> None:
    agent, folder = stack.agent, stack.agent.folder / "state" / "capture"
    agent.program.stop()
    if folder.exists():
        folder.rename(tmp_path / "before")
    folder.write_bytes(b"")  # as good as a full disk, whoever runs the tests
    made = json.loads(agent.cli("capture", "keygen", str(tmp_path / "key"), "--json").stdout)
    kept = agent.config.read_text().rpartition("[servers.")
    agent.config.write_text(f'[capture]\nrecipient = "{made["recipient"]}"\n' + "".join(kept[1:]))
    agent.start()
    async with asyncio.timeout(60), Caller(stack.url("tools"), stack.token) as caller:
        assert (await caller.tool("echo", n=1)).text == '{"n": 1}'
    shown = [json.loads(line) for line in agent.cli("ledger", "show", "--json").stdout.splitlines()]
    (failing,) = [one for one in shown if one.get("what") == "capture_failing"]
    assert failing["about"]["why"]
