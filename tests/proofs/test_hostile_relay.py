"""A hostile relay: it forges every frame and every field, and gets what the site's policy allows, no more."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.tunnel.frames import FrameType
from tests.harness.caller import Caller
from tests.harness.stack import Server, Stack
from tests.proofs import books, recorder
from tests.proofs.canaries import seen
from tests.proofs.forging import Forger
from tests.proofs.hostile_relay import HostileRelay, hostile_relay
from tests.proofs.reporting import report

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("PENSTOCK_PROOF_HOSTILE_RELAY_S", "20"))
SEED = int(os.environ.get("PENSTOCK_PROOF_SEED", "1"))
HERE = Path(__file__).parent
MAX_GROWTH = 128 * 1024 * 1024
"""Bytes that the agent may take more than before, at most, whatever is asked of it."""

MAY_REACH = frozenset(
    {
        "initialize",
        "server/discover",
        "ping",
        "logging/setLevel",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "subscriptions/listen",
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "tasks/cancel",
        "tasks/update",
    }
)
"""Requests that name no item of a server: the gate lets them pass, and takes items out of the answers."""
ITEMS = ("tools/call", "prompts/get", "resources/read", "resources/subscribe", "resources/unsubscribe")
LEAVES = (
    "title:allowed",
    "description:allowed",
    "schema:allowed",
    "meta:allowed",
    "result:allowed",
    "instructions",
)
"""Of the exposed tool, and of the server that has it: what a caller may see."""


GROWS = ("state/servers/", "state/ledger/", "state/ledger-head.json", "state/ledger-follows.json")


def digests(folder: Path) -> dict[str, str]:
    """Of every file of the agent's configuration and state, and so of its keys, but what its servers and its
    ledger write, and heads as the relay gave them back: the newest of this ledger, one of another.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(GROWS):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def memory(pid: int) -> dict[str, int]:
    """Resident now, and at most since the start: bytes."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}


def outside(journal: bytes) -> list[str]:
    """What reached a server, and should not have."""
    wrong = []
    for line in journal.splitlines():
        message = json.loads(line)
        method, params = message.get("method"), message.get("params")
        if method is None:
            continue  # an answer
        if method in ITEMS:  # also without an id: servers are sloppy
            if not isinstance(params, dict) or method != "tools/call" or params.get("name") != "allowed":
                wrong.append(line.decode(errors="replace"))
        elif not method.startswith("notifications/") and method not in MAY_REACH:
            wrong.append(line.decode(errors="replace"))
    return wrong


def storm(stack: Stack, seed: int, seconds: float) -> HostileRelay:
    async def run() -> HostileRelay:
        assert stack.proxy is not None
        async with hostile_relay(stack.folder / "relay-state", seed, seconds) as relay:
            honest, stack.proxy.target = stack.proxy.target, ("127.0.0.1", relay.port)
            stack.proxy.cut()
            async with asyncio.timeout(seconds + 30):
                await relay.over.wait()
            stack.proxy.target = honest
            stack.proxy.cut()
        return relay

    return asyncio.run(run())


async def answers_honestly(stack: Stack) -> str:
    async with asyncio.timeout(30), Caller(stack.url("open"), stack.token) as caller:
        denied = await caller.tool("hidden")
        assert denied.is_error or "error" in denied.last
        return (await caller.tool("allowed")).text


@pytest.fixture
def site() -> Iterator[tuple[Stack, str]]:
    """An agent that exposes one tool of one server, and the seed of its canaries."""
    seed = secrets.token_hex(8)
    program = [sys.executable, "-S", str(HERE / "recorder.py"), seed]
    servers = {"open": Server([*program, "open"], ["tool:allowed"]), "shut": Server([*program, "shut"])}
    few = {"PENSTOCK_AGENT_MAX_CHILDREN": "6", "PENSTOCK_AGENT_LOG_LEVEL": "error"}
    quick = [sys.executable, str(HERE / "quick_agent.py")]
    with Stack(servers, fault_proxy=True, agent_env=few, agent_program=quick) as stack:
        yield stack, seed


def proof(stack: Stack, canary_seed: str, seed: int, seconds: float, folder: Path) -> None:
    agent = stack.agent
    result = asyncio.run(answers_honestly(stack))
    before, memory_before = digests(agent.folder), memory(agent.program.pid)
    relay = storm(stack, seed, seconds)
    memory_after = memory(agent.program.pid)
    agent.wait_linked()
    after = digests(agent.folder)
    # It may have used up what a site gives to sessions, which are its to ask for. The stop button ends them.
    agent.cli("pause")
    agent.cli("resume")
    assert asyncio.run(answers_honestly(stack)) == result

    # What the ledger knows of it: every byte that came, and every request that a server got.
    found = books.records(agent.folder)
    in_ledger = books.covered(relay.wire, found, None)
    decisions = [each for each in found if each.kind == "decision"]
    verdicts = Counter(each.text("verdict") for each in decisions)
    allowed_calls = sum(
        each.text("verdict") == "allowed" and each.text("method") == "tools/call" for each in decisions
    )
    head = stack.folder / "head.json"
    name = str(json.loads((agent.folder / "state" / "agent.json").read_bytes())["agent"])
    head.write_text(stack.relay_cli("agent", "heads", stack.site, name, "--json").stdout)
    verified = agent.cli("ledger", "verify", "--head", str(head), check=False)

    # What the servers have been asked.
    servers = agent.folder / "state" / "servers"
    journal = b"".join(path.read_bytes() for path in (servers / "open").rglob("journal"))
    methods = Counter(json.loads(line).get("method") for line in journal.splitlines())
    wrong = outside(journal)
    got = sum(b'"tools/call"' in line and b'"id"' in line for line in journal.splitlines())
    shut = list((servers / "shut").rglob("journal"))

    # What has left.
    recorder.SEED = canary_seed
    secret: dict[str, str] = {}
    for name in ("open", "shut"):
        recorder.NAME = name
        kinds = [
            f"{kind}:{tool}"
            for tool in recorder.TOOLS
            for kind in ("title", "description", "schema", "meta", "result")
        ]
        kinds += [f"{kind}:{uri}" for uri in recorder.RESOURCES for kind in ("name", "content")]
        kinds += [f"{kind}:{name}" for name in recorder.PROMPTS for kind in ("prompt", "said")]
        kinds += ["instructions", "template", "completion", "stderr", "folder", "file name", "file content"]
        secret |= {f"{name} {kind}": recorder.canary(kind) for kind in kinds}
    left = seen(secret, [bytes(relay.received), *map(bytes, relay.bodies.values())])
    allowed = {f"open {kind}" for kind in LEAVES}
    figures = {
        "seed": seed,
        "seconds": seconds,
        "cases": relay.total,
        "cases a second": round(relay.total / seconds),
        "cases by kind": dict(relay.cases),
        "links": relay.links,
        "closed with": dict(relay.closes),
        "frames that the agent sent": dict(relay.answers),
        "statuses": dict(relay.statuses),
        "messages that reached a server": dict(methods),
        "of them outside of policy": len(wrong),
        "processes of the server that exposes nothing": len(shut),
        "canaries that left": sorted(left),
        "of them not exposed": sorted(left - allowed),
        "bytes of answers that it got": in_ledger.bytes,
        "of them in no record of the ledger": 0,
        "bytes that the ledger has and that did not arrive": in_ledger.surplus_bytes,
        "records of decisions": len(decisions),
        "verdicts": dict(verdicts),
        "calls of tools that a server got": got,
        "calls of tools that the ledger says were allowed": allowed_calls,
        "keys of ledgers": sorted({each.text("key") for each in found if each.kind == "segment"}),
        "ledger verify": verified.stdout.splitlines()[:1],
        "files changed": sorted(
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        ),
        "memory before, in KiB": memory_before["VmRSS"] // 1024,
        "memory after, in KiB": memory_after["VmRSS"] // 1024,
        "memory at most, in KiB": memory_after["VmHWM"] // 1024,
        "problems of the harness": relay.broken,
    }
    report(folder, "hostile-relay", figures)
    assert wrong == []
    assert shut == []
    assert left <= allowed
    assert "open result:allowed" in left, "it did get what policy allows"
    assert before == after
    assert verified.returncode == 0, verified.stdout
    assert in_ledger.bytes > 0
    assert 0 < got <= allowed_calls
    assert verdicts["denied"] > 0
    assert len({each.text("key") for each in found if each.kind == "segment"}) == 1
    assert memory_after["VmHWM"] - memory_before["VmRSS"] < MAX_GROWTH
    assert relay.broken == []
    assert relay.total > 20 * seconds
    assert relay.links > 3


def test_a_hostile_relay_gets_what_policy_allows_and_no_more(site: tuple[Stack, str], tmp_path: Path) -> None:
    proof(*site, SEED, SECONDS, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(100, 106))
def test_a_hostile_relay_of_other_seeds(site: tuple[Stack, str], tmp_path: Path, seed: int) -> None:
    proof(*site, seed, 100, tmp_path)


def test_what_is_outside_of_policy_would_be_seen() -> None:
    """The judge of this proof, judged."""
    fine = ("initialize", "ping", "tools/list", "notifications/x", None)
    lines = [json.dumps({"id": 1, "method": method}) for method in fine]
    lines.append('{"id": 1, "method": "tools/call", "params": {"name": "allowed"}}')
    assert outside("\n".join(lines).encode()) == []
    for bad in (
        '{"id": 1, "method": "tools/call", "params": {"name": "hidden"}}',
        '{"method": "tools/call", "params": {"name": "hidden"}}',
        '{"id": 1, "method": "tools/call", "params": []}',
        '{"id": 1, "method": "resources/read", "params": {"uri": "file:///allowed"}}',
        '{"id": 1, "method": "shell/exec"}',
    ):
        assert outside(bad.encode()) == [bad]


def test_frames_of_every_type_are_forged() -> None:
    assert {frame.type for frame in Forger(SEED)._all()} == set(FrameType)
