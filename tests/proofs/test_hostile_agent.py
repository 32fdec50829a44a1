"""A hostile agent: a valid one of another site, which forges every frame. It harms nobody else."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from penstock import http
from tests.harness.caller import ACCEPT, Caller
from tests.harness.stack import Agent, Server, Stack, clean_environment
from tests.proofs.hostile_agent import MARK, HostileAgent
from tests.proofs.reporting import report

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("PENSTOCK_PROOF_HOSTILE_AGENT_S", "15"))
SEED = int(os.environ.get("PENSTOCK_PROOF_SEED", "1"))
TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
MAX_GROWTH = 128 * 1024 * 1024
OWN_HEADERS = frozenset(
    {
        "date",
        "server",
        "content-length",
        "transfer-encoding",
        "connection",
        "cache-control",
        "x-accel-buffering",
        "x-content-type-options",
        "vary",
        "keep-alive",
    }
)
"""What a relay says by itself, beside the headers that travel."""


@dataclass
class Seen:
    """What callers got."""

    calls: int = 0
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    headers: Counter[str] = field(default_factory=Counter)
    broken: int = 0


async def neighbours(stack: Stack, seen: Seen) -> None:
    """Callers of the honest site: each answer is theirs, and whole."""

    async def one(who: int) -> None:
        async with Caller(stack.url("tools"), stack.token) as caller:
            number = 0
            while True:
                number += 1
                word = f"{who}-{number}-" + "x" * (number % 7) * 5000
                reply = await caller.tool("echo", word=word)
                seen.calls += 1
                if (
                    reply.status != 200
                    or json.loads(reply.text) != {"word": word}
                    or MARK.encode() in reply.body
                ):
                    seen.wrong.append(f"{who}-{number}: {reply.status} {reply.body[:200]!r}")

    async def long(who: int) -> None:
        """Always under way, so that there is always something to speak about."""
        async with Caller(stack.url("tools"), stack.token) as caller:
            while True:
                reply = await caller.tool("sleep", seconds=0.5)
                seen.calls += 1
                if reply.status != 200 or reply.text != "slept":
                    seen.wrong.append(f"long {who}: {reply.status} {reply.body[:200]!r}")

    async with asyncio.TaskGroup() as tasks:
        for who in range(2):
            tasks.create_task(one(who))
            tasks.create_task(long(who))


async def visitors(stack: Stack, token: str, seen: Seen) -> None:
    """Callers of the hostile agent's own site, with a client that would take cookies and follow redirects."""
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "arguments": {}}}
    )
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": ACCEPT,
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2025-06-18",
        "Mcp-Session-Id": "none",
    }
    allowed = {name.lower() for name in http.RESPONSE_HEADERS} | OWN_HEADERS
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=5), cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as client:

        async def one(server: str) -> None:
            while True:
                url = f"{stack.public_url}/rogue/{server}/mcp"
                try:
                    async with client.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                        text = await answer.read()
                except (aiohttp.ClientError, TimeoutError):
                    seen.broken += 1  # an answer that breaks off is what there is to tell
                    continue
                seen.calls += 1
                seen.statuses[answer.status] += 1
                for name in answer.headers:
                    seen.headers[name.lower()] += 1
                    if name.lower() not in allowed:
                        seen.wrong.append(f"header {name}")
                ours = answer.status in (401, 415)
                if answer.status not in http.RESPONSE_STATUSES and not ours:
                    seen.wrong.append(f"status {answer.status}")
                if answer.content_type == "text/html":
                    seen.wrong.append("a page")
                if b"script" in text:
                    seen.wrong.append("a script")
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(one("work"))
            tasks.create_task(one("tools"))
            tasks.create_task(watch())

        # Not reached: it runs until it is cancelled.


async def watch() -> None:
    await asyncio.Event().wait()


def memory(pid: int) -> int:
    """Resident at most since the start, in bytes."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def links(stack: Stack) -> float:
    with urllib.request.urlopen(f"http://{stack.relay.env['PENSTOCK_RELAY_OPS_LISTEN']}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("penstock_relay_links ")))


async def siege(stack: Stack, hostile: HostileAgent, token: str, seconds: float) -> tuple[Seen, Seen]:
    honest, own = Seen(), Seen()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            tasks.create_task(neighbours(stack, honest))
            tasks.create_task(visitors(stack, token, own))
            tasks.create_task(hostile.run())
            tasks.create_task(hostile.run())
    return honest, own


def proof(seed: int, seconds: float, folder: Path) -> None:
    servers = {"tools": Server([sys.executable, "-S", str(TOOL_SERVER)], ["*"])}
    with Stack(servers) as stack:
        join_string = stack.relay_cli("site", "add", "rogue").stdout.strip()
        rogue = Agent("rogue", stack.folder, {}, clean_environment(), stack._keeper)
        rogue.cli("join", join_string)
        joined = json.loads((rogue.folder / "state" / "agent.json").read_text())
        token = stack.relay_cli("token", "issue", "--site", "rogue", "--name", "visitor").stdout.strip()
        before = memory(stack.relay.pid)
        hostile = HostileAgent(rogue.folder / "state", joined["relay_url"], joined["agent"], seed)
        honest, own = asyncio.run(siege(stack, hostile, token, seconds))
        most = memory(stack.relay.pid)
        log = [json.loads(line) for line in stack.relay.log.read_text().splitlines() if line.startswith("{")]
        ended = Counter(
            f"{entry['code']} {entry['why']}"
            for entry in log
            if entry["event"] == "link_ended" and entry["site"] == "rogue"
        )
        problems = [entry["event"] for entry in log if entry["level"] in ("error", "critical")]
        honest_ends = [
            entry for entry in log if entry["event"] == "link_ended" and entry["site"] == stack.site
        ]
        stack.agent.wait_linked()
        left = links(stack)
        figures = {
            "seed": seed,
            "seconds": seconds,
            "cases": hostile.cases.total(),
            "cases by kind": dict(hostile.cases),
            "links": hostile.links,
            "links refused": hostile.refused,
            "closed with": dict(hostile.closes),
            "exchanges that it was given": hostile.opened,
            "of them of other sites": len(hostile.foreign),
            "calls of the neighbours": honest.calls,
            "of them wrong": honest.wrong,
            "calls of its own callers": own.calls,
            "that broke off": own.broken,
            "statuses": dict(own.statuses),
            "headers": dict(own.headers),
            "headers, statuses or bodies that may not be": sorted(set(own.wrong)),
            "ends of its links in the relay's log": dict(ended),
            "errors in the relay's log": problems,
            "ends of the neighbour's link": len(honest_ends),
            "links that stand afterwards": left,
            "memory of the relay before, in KiB": before // 1024,
            "at most, in KiB": most // 1024,
        }
        report(folder, "hostile-agent", figures)
        assert honest.wrong == []
        assert honest.calls > 5 * seconds
        assert honest_ends == []
        assert hostile.foreign == []
        assert own.wrong == []
        assert own.calls > 20
        assert hostile.opened > 20
        assert hostile.links > 5
        assert problems == []
        assert sum(ended.values()) > 5, "the log shows the closes"
        assert most - before < MAX_GROWTH
        assert stack.relay.running


def test_a_hostile_agent_harms_neither_callers_nor_other_sites(tmp_path: Path) -> None:
    proof(SEED, SECONDS, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(100, 104))
def test_a_hostile_agent_of_other_seeds(tmp_path: Path, seed: int) -> None:
    proof(seed, 100, tmp_path)
