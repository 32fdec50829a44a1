"""A census of system calls: the agent connects to the relay or its proxy alone, children to nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.harness.caller import Caller
from tests.harness.conversing.callers import conversation
from tests.harness.proxy import connect_proxy
from tests.harness.stack import Server, Stack, console_script, until
from tests.proofs.census import TRACED, Process, read
from tests.proofs.reporting import report

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
CONTROL = "/agent/control.sock"
"""Its own: it asks there whether another agent of this folder runs, and then listens there."""
NAMES = "unix:/var/run/nscd/socket"
"""The C library asks there for users and hosts, where there is such a service."""


LOCAL = ("AF_UNIX", "AF_NETLINK")
"""Sockets that a child may make. What it does with them is looked at."""


def can_trace() -> str:
    """Why not; empty when it can."""
    if shutil.which("strace") is None:
        return "there is no strace: apt install strace"
    tried = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"strace may trace nothing here: {tried.stderr.strip()[:200]}"


@pytest.fixture(scope="module", autouse=True)
def tracing() -> None:
    why = can_trace()
    if why and os.environ.get("CI") == "true":
        pytest.fail(why)
    if why:
        pytest.skip(why)


async def busy(stack: Stack) -> None:
    """Calls of both eras, one that is denied, a server that dies, a session that is left behind; and a server
    that tries to connect, to the relay and so to something that would answer.
    """
    port = int(stack.relay.env["PENSTOCK_RELAY_TUNNEL_LISTEN"].rpartition(":")[2])
    async with asyncio.timeout(60):
        async with Caller(stack.url("tools"), stack.token) as caller:
            await caller.tool("echo", word="x")
            await caller.tool("hidden")
            await caller.tool("die")
            await caller.tool("progress", steps=3, label="x")
        async with conversation("2026-07-28", stack, "tools") as modern:
            await modern.call("echo", word="x")
        async with Caller(stack.url("hostile"), stack.token) as caller:
            assert (await caller.tool("go", how="connect", where=port)).text == "hostile done"
        left = Caller(stack.url("tools"), stack.token)
        await left.initialize()
        await left.hang_up()


def census(folder: Path, env: dict[str, str], proof: str) -> tuple[dict[int, Process], int, str]:
    """What an agent and its children did; its process id; the address that it dialled by `env`'s rules."""
    trace = folder / "trace"
    server = Server([sys.executable, "-S", str(HERE.parent / "harness" / "tool_server.py")], ["tool:[!h]*"])
    hostile = Server([sys.executable, "-S", str(HERE / "hostile_child.py"), "hostile"], ["*"])
    # -D: the agent is our own child, and strace beside it.
    program = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-q",
        "-s",
        "200",
        "-e",
        f"trace={TRACED}",
        "-o",
        str(trace),
    ]
    traced = [*program, console_script("penstock-agent")]
    with Stack({"tools": server, "hostile": hostile}, agent_env=env, agent_program=traced) as stack:
        agent = stack.agent
        asyncio.run(busy(stack))
        os.kill(agent.program.pid, signal.SIGHUP)
        agent.cli("renew")
        time.sleep(1)
        pid = agent.program.pid
        relay = stack.relay.env["PENSTOCK_RELAY_TUNNEL_LISTEN"]
        agent.program.stop()
        # Process ids of few digits have more blanks behind them.
        ended = re.compile(rf"^{pid} +\+\+\+ (exited|killed)", re.MULTILINE)
        until("the end of the trace", 20, lambda: ended.search(trace.read_text()) is not None)
        own = str(stack.folder)
    processes = read(trace.read_text().splitlines(), pid)
    figures: dict[str, Counter[str]] = {}
    for process in processes.values():
        who = f"{process.name} ({'the agent' if process.pid == pid else 'children of it'})"
        done = figures.setdefault(who, Counter())
        done.update(f"{name} {address.replace(own, '…')}" for name, address in process.calls)
        done.update(f"{name} {address.replace(own, '…')}: refused" for name, address in process.refused)
    report(folder, proof, {"processes": len(processes), "relay": relay, **figures})
    return processes, pid, relay


def judged(processes: dict[int, Process], pid: int, dialled: str) -> list[str]:
    """What is not as it should be."""
    wrong = []
    for process in processes.values():
        # The agent is not even to try.
        for call, address in (*process.calls, *(process.refused if process.pid == pid else ())):
            if call == "socket" and (process.pid == pid or address in LOCAL):
                continue
            about = f"{process.name}: {call} {address}"
            if process.pid != pid:
                wrong.append(about)  # children: to nothing, not even a socket of this machine
            elif call in ("connect", "sendto", "sendmsg", "sendmmsg"):
                if address not in (dialled, NAMES) and not address.endswith(CONTROL):
                    wrong.append(about)
            elif call == "bind" and not address.endswith(CONTROL):
                wrong.append(about)
    agent = processes[pid].calls
    listens = sum(name == "listen" for name, _ in agent)
    binds = sum(name == "bind" for name, _ in agent)
    if listens > binds:
        wrong.append("the agent listens where it has bound nothing: any port")
    return wrong


def test_the_agent_connects_to_the_relay_alone_and_children_to_nothing(tmp_path: Path) -> None:
    processes, pid, relay = census(tmp_path, {}, "census")
    assert judged(processes, pid, relay) == []
    assert ("connect", relay) in processes[pid].calls
    assert len(processes) > 3, "children were seen"
    tried = Counter(each for process in processes.values() if process.pid != pid for each in process.refused)
    assert {call for call, address in tried if address == relay} == {"connect", "sendto"}
    # What a filter of the child's own refuses is not told to strace: of the sockets that it did not get to
    # make, the child itself says so, by its answer.
    assert "python" in " ".join(p.name for p in processes.values() if p.pid != pid)


def test_behind_a_proxy_it_connects_to_that_alone(tmp_path: Path) -> None:
    async def run() -> tuple[dict[int, Process], int, str, list[str]]:
        async with connect_proxy() as proxy:
            env = {"HTTPS_PROXY": proxy.url}
            found, pid, relay = await asyncio.to_thread(census, tmp_path, env, "census-proxy")
            assert relay in proxy.targets
            return found, pid, f"127.0.0.1:{proxy.port}", proxy.targets

    processes, pid, dialled, targets = asyncio.run(run())
    assert judged(processes, pid, dialled) == []
    assert len(set(targets)) == 1


INET = 'sa_family=AF_INET, sin_port=htons(%d), sin_addr=inet_addr("%s")'
PLACES = {
    "RELAY": INET % (8443, "127.0.0.1"),
    "NINE": INET % (53, "9.9.9.9"),
    "DISCARD": INET % (9, "9.9.9.9"),
    "EIGHT": INET % (53, "8.8.8.8"),
    "ANY": INET % (0, "0.0.0.0"),
    "SIX": 'sa_family=AF_INET6, sin6_port=htons(1), inet_pton(AF_INET6, "::", &sin6_addr)',
}
BAD = """\
7 execve("/usr/bin/penstock-agent", ["penstock-agent"], 0x1 /* 3 vars */) = 0
7 connect(5, {RELAY}, 16) = -1 EINPROGRESS (x)
7 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0}, 88) = 8
8 connect(6, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (x)
7 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 9
9 execve("/usr/bin/python3", ["python3"], 0x1 /* 3 vars */) = 0
"""


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("", ""),
        (
            "8 connect(6, {NINE}, 16) = 0",
            "9.9.9.9:53",
        ),
        (
            '7 sendto(6, "x", 1, 0, {DISCARD}, 16) = 1',
            ":9",
        ),
        (
            "9 connect(6, {RELAY}, 16) = 0",
            "python3",
        ),
        ('9 connect(6, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0', "unix:/run/x"),
        ("9 connect(6, {RELAY}, 16) = -1 EINVAL (x)", ""),
        ("9 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = -1 EACCES (x)", ""),
        ("9 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3", "AF_INET"),
        ("9 connect(6, {RELAY}, 16) = -1 EINPROGRESS (x)", "python3"),
        (
            "7 bind(6, {ANY}, 16) = 0",
            "0.0.0.0",
        ),
        ("7 listen(6, 128) = 0", "listens"),
        (
            "9 bind(6, {SIX}, 28) = 0",
            "::",
        ),
        (
            "8 connect(6, {EIGHT}, 16 <unfinished ...>\n8 <... connect resumed>) = 0",
            "8.8.8.8",
        ),
    ],
)
def test_the_judge_sees_what_should_not_be(more: str, complaint: str) -> None:
    text = BAD + more
    for place, written in PLACES.items():
        text = text.replace(place, written)
    wrong = judged(read(text.splitlines(), 7), 7, "127.0.0.1:8443")
    assert bool(wrong) is bool(complaint)
    assert complaint in json.dumps(wrong)
