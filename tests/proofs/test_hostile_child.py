"""A hostile child: whatever it says, does, and tries to reach, it is contained, and others go on."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

from penstock_agent.children.confinement import kernel
from tests.harness.caller import Caller
from tests.harness.confining import NOBODY, interpreter
from tests.harness.family import descendants
from tests.harness.stack import Server, Stack, StackError, until
from tests.proofs.canaries import seen
from tests.proofs.hostile_child import MISDEEDS
from tests.proofs.reporting import report
from tests.proofs.test_hostile_relay import memory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

HERE = Path(__file__).parent
KERNEL = kernel.look()
ANSWER_S = 20.0
"""How long the caller of the hostile child waits for it."""
SILENT_S = 1.0
"""And of one that will never answer."""
SLOWEST_S = 5.0
"""What an honest call may take at most; a machine with two processors, which the child has all taken."""
MAX_GROWTH = 192 * 1024 * 1024
"""Of the agent: a line of the child may have 64 MiB, and is held twice for a moment."""
MAX_FILES = 300
END_S = 15.0

REFUSED = frozenset({"EACCES", "EPERM"})
OTHERWISE = {
    "io_uring": {"ENOSYS"},
    "clone3": {"ENOSYS"},
    "passed descriptor": {"EBADF"},
    "descriptors": {"GOT [0, 1, 2]"},
    "abstract socket": {"EPERM", "ECONNREFUSED"},  # in a network namespace of its own there are none
    "terminal": {"EACCES", "ENXIO"},
    "kernel memory": {"EACCES", "ENOENT"},
    "moved here": {"EACCES", "EXDEV"},
    "setuid": {"EINVAL", "EPERM"},
    "setgid": {"EINVAL", "EPERM"},
    "tiocsti": {"ENOTTY"},
    "bpf": {"EINVAL", "EPERM"},
    "raise a limit": {"ValueError('not allowed to raise maximum limit')"},
    "through a hard link": {"EXDEV"},
}
"""Where the answer is another one than that it may not."""
CONTROL = "Only who can read control.token"
ENDED = "told: The server's process on site ended while this request ran."
EXPECTED = {
    "both": "told: The answer of the server on site cannot be passed on. The message has both a result",
    "endless_line": "told: The server on site wrote an answer that is larger than this agent accepts.",
    **dict.fromkeys(("close_stdout", "daemons", "memory_bomb"), ENDED),
    **dict.fromkeys(("deaf", "stop_self", "stubborn"), "no answer"),
}
"""What the callers of the hostile child itself get; of all other misdeeds, its answer."""


class Honest:
    """A caller of an honest server who works all the time, and minds each byte and each moment."""

    def __init__(self, stack: Stack, server: str, canary: str, mark: str) -> None:
        self._caller = Caller(stack.url(server), stack.token)
        self._canary = canary
        self._mark = mark.encode()
        self.took: list[float] = []
        self.events = 0

    async def work(self, over: asyncio.Event) -> None:
        async with self._caller as caller, asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen())
            while not over.is_set():
                word = f"{self._canary}{secrets.token_hex(8)}"
                began = time.monotonic()
                reply = await caller.tool("echo", word=word)
                self.took.append(time.monotonic() - began)
                assert reply.status == 200
                assert self._mark not in reply.body
                assert len(reply.messages) == 1
                assert json.loads(reply.text) == {"word": word}
                await asyncio.sleep(0.02)  # a person does not call without a pause either
            listening.cancel()

    async def _listen(self) -> None:
        async for event in self._caller.listen():
            assert self._mark not in event
            self.events += 1

    @property
    def slowest(self) -> float:
        return max(self.took)


@dataclass
class Watch:
    """The agent, looked at ten times a second: what it takes at most."""

    pid: int
    before: int = 0
    memory: int = 0
    files: int = 0
    processes: int = 0

    async def work(self, over: asyncio.Event) -> None:
        self.before = memory(self.pid)["VmRSS"]
        while not over.is_set():
            self.files = max(self.files, len(os.listdir(f"/proc/{self.pid}/fd")))
            self.processes = max(self.processes, len(descendants(self.pid)))
            await asyncio.sleep(0.1)
        self.memory = memory(self.pid)["VmHWM"]


@dataclass
class Hostile:
    stack: Stack
    mark: str
    uid: int
    canaries: dict[str, str]
    outcomes: dict[str, str] = field(default_factory=dict)

    def server(self, how: str) -> str:
        return "h-" + how.replace("_", "-")

    def noted(self, how: str) -> dict[str, list[object]]:
        """What a child wrote down."""
        found: dict[str, list[object]] = {}
        path = self.stack.agent.folder / "state" / "servers" / self.server(how) / "seen"
        for line in path.read_text().splitlines():
            what, value = json.loads(line)
            found.setdefault(what, []).append(value)
        return found

    def attempts(self) -> dict[str, str]:
        (found,) = self.noted("reach")["reach"]
        assert isinstance(found, dict)
        return found

    def left(self) -> list[int]:
        """Processes of hostile children."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.mark.encode() in Path("/proc", name, "cmdline").read_bytes():
                    found.append(int(name))
            except OSError:
                continue
        return found

    async def misdeed(self, how: str, where: object = None) -> str:
        """What the caller of a hostile child gets."""
        caller = Caller(self.stack.url(self.server(how)), self.stack.token)
        try:
            async with asyncio.timeout(ANSWER_S) as patience:
                await caller.initialize()
                await caller.request("tools/list")
                if EXPECTED.get(how) == "no answer":
                    patience.reschedule(asyncio.get_running_loop().time() + SILENT_S)
                reply = await caller.tool("go", how=how, where=where)
                answer = reply.last
                assert sum("result" in each or "error" in each for each in reply.messages) == 1
                if "result" not in answer:
                    return f"error {answer['error']['code']}"
                return f"told: {reply.text[:200]}" if reply.is_error else "answered"
        except TimeoutError:
            return "no answer"
        finally:
            async with asyncio.timeout(30):
                await caller.close()

    async def all_gone(self) -> None:
        async with asyncio.timeout(END_S):
            while self.left():
                await asyncio.sleep(0.05)


def program(uid: int) -> list[str] | None:
    """As an administrator runs it: without privileges, where this may be had."""
    python = interpreter(uid)
    if uid == os.geteuid():
        return None
    return [sys.executable, str(HERE / "as_nobody.py"), str(uid), python]


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    if not KERNEL.landlock or not KERNEL.filters or not KERNEL.namespaces:
        why = f"needs Landlock, seccomp and user namespaces: {KERNEL}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    mark = f"hostile{secrets.token_hex(12)}"
    uid = NOBODY if os.geteuid() == 0 and interpreter(NOBODY) else os.geteuid()
    python = interpreter(uid)
    names = ("word", "environment", "file")
    canaries = {name: secrets.token_hex(16) for name in names}
    tools = [python, "-S", str(HERE.parent / "harness" / "tool_server.py")]
    honest = Server(tools, ["*"], env={"SECRET": canaries["environment"]})
    evil = [python, "-S", str(HERE / "hostile_child.py"), mark]
    limits = {"limits.memory": "400MiB", "limits.file_size": "32MiB"}
    servers = {"honest": honest, "other": honest}
    for how in (*MISDEEDS, "reach"):
        servers["h-" + how.replace("_", "-")] = Server(evil, ["*"], settings=limits)
    with Stack(servers, agent_program=program(uid)) as stack:
        yield Hostile(stack, mark, uid, canaries)


@asynccontextmanager
async def others_at_work(hostile: Hostile) -> AsyncIterator[tuple[list[Honest], Watch]]:
    over = asyncio.Event()
    mark, word = hostile.mark, hostile.canaries["word"]
    honest = [Honest(hostile.stack, server, word, mark) for server in ("honest", "honest", "other")]
    watch = Watch(hostile.stack.agent.program.pid)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch.work(over))
        for each in honest:
            tasks.create_task(each.work(over))
        yield honest, watch
        over.set()


async def reach(hostile: Hostile, port: int, abstract: str) -> None:
    """It is told all that an attacker could find out."""
    agent = hostile.stack.agent
    folder = agent.folder
    planted = folder / "state" / "servers" / "honest" / "notes"
    planted.write_text(hostile.canaries["file"])
    os.chown(planted, hostile.uid, -1)
    async with Caller(hostile.stack.url("honest"), hostile.stack.token) as caller:
        sibling = int((await caller.tool("pid")).text)
        # Files with a dot are being written, and have another name soon.
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        files = [path for path in files if "/servers/h-" not in str(path)]
        files.sort(key=lambda path: path.name != "identity.pem")
        family = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants(agent.program.pid)}
        keeper = next(pid for pid, command in family.items() if "keeper_main" in command)
        processes = {"agent": agent.program.pid, "keeper": keeper, "sibling": sibling}
        processes["relay"] = hostile.stack.relay.pid
        state = folder / "state"
        folders = [folder, state, state / "servers", planted.parent, state / "ledger"]
        told = {
            "port": port,
            "relay": int(hostile.stack.relay.env["PENSTOCK_RELAY_TUNNEL_LISTEN"].rpartition(":")[2]),
            "abstract": abstract,
            "control": str(folder / "control.sock"),
            "files": list(map(str, files)),
            "folders": list(map(str, folders)),
            "processes": processes,
            "uid": hostile.uid,
        }
        hostile.outcomes["reach"] = await hostile.misdeed("reach", told)
        assert (await caller.tool("pid")).text == str(sibling)


def not_refused(found: Mapping[str, str]) -> dict[str, str]:
    """What came of attempts, where it is not what it should be."""
    return {name: answer for name, answer in found.items() if answer not in OTHERWISE.get(name, REFUSED)}


def own(hostile: Hostile) -> dict[str, str]:
    """What no hostile child may have got: secrets of the agent, of honest servers, and of their callers."""
    state = hostile.stack.agent.folder / "state"
    found = dict(hostile.canaries)
    for line in (state / "identity.pem").read_text().splitlines():
        if len(line) > 30 and not line.startswith("-"):
            found[f"identity {line[:4]}"] = line
    for path in (*state.rglob("*.key"), hostile.stack.agent.folder / "control.token"):
        data = path.read_bytes()
        found[path.name] = data.strip().decode() if data.strip().isalnum() else data.hex()
    return found


def left_behind(hostile: Hostile) -> dict[str, list[int]]:
    """Processes of hostile children that are alive after the agent has ended, in either way."""
    agent = hostile.stack.agent

    async def begin() -> None:
        for how in ("fork_bomb", "stubborn"):
            caller = Caller(hostile.stack.url(hostile.server(how)), hostile.stack.token)
            await caller.initialize()
            with suppress(TimeoutError):
                async with asyncio.timeout(SILENT_S):
                    await caller.tool("go", how=how)
            await caller.hang_up()

    found = {}
    for way in ("stopped", "killed"):
        asyncio.run(begin())
        assert len(hostile.left()) > 10
        if way == "stopped":
            agent.program.stop()
        else:
            agent.program.kill()
        with suppress(StackError):
            until("the end of all", END_S, lambda: not hostile.left())
        found[way] = hostile.left()
        agent.start()
    return found


def test_a_hostile_child_is_contained_and_the_others_go_on(hostile: Hostile, tmp_path: Path) -> None:
    async def run() -> tuple[list[Honest], Watch]:
        async with others_at_work(hostile) as (honest, watch):
            name = hostile.mark[:20]
            with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as local:
                local.bind("\0" + name)
                local.listen()
                await reach(hostile, listener.getsockname()[1], name)
                listener.setblocking(False)
                with pytest.raises(BlockingIOError):
                    listener.accept()
            silent = [how for how, answer in EXPECTED.items() if answer == "no answer"]
            for how in MISDEEDS:
                if how not in silent:
                    hostile.outcomes[how] = await hostile.misdeed(how)
                    await hostile.all_gone()
            for how, answer in zip(silent, await asyncio.gather(*map(hostile.misdeed, silent)), strict=True):
                hostile.outcomes[how] = answer
            await hostile.all_gone()
        return honest, watch

    honest, watch = asyncio.run(run())
    agent = hostile.stack.agent
    secret = own(hostile)
    attempts = hostile.attempts()
    verified = agent.cli("ledger", "verify", check=False)
    left = left_behind(hostile)
    written = [path.read_bytes() for path in (agent.folder / "state" / "servers").glob("h-*/seen")]
    got = seen(secret, written)
    figures = {
        "uid of the agent": hostile.uid,
        "landlock": KERNEL.landlock,
        "attempts to reach something": len(attempts),
        "answers to them": dict(Counter(answer[:40] for answer in attempts.values())),
        "of them not refused": not_refused(attempts),
        "misdeeds, and what their callers got": hostile.outcomes,
        "processes of the fork bomb, and if more were refused": hostile.noted("fork_bomb")["fork_bomb"][0],
        "MiB of a file, and the error then": hostile.noted("fill_folder")["fill_folder"][0],
        "open files, and the error then": hostile.noted("many_files")["many_files"][0],
        "honest calls": sum(len(each.took) for each in honest),
        "of them wrong": 0,
        "slowest of them, in s": round(max(each.slowest for each in honest), 2),
        "median, in s": round(median([took for each in honest for took in each.took]), 3),
        "events that were not theirs": sum(each.events for each in honest),
        "memory of the agent before and at most, in MiB": [watch.before >> 20, watch.memory >> 20],
        "open files of the agent at most": watch.files,
        "secrets looked for": len(secret),
        "of them seen by the hostile child": sorted(got),
        "processes left when the agent was stopped, and killed": left,
        "ledger verify": verified.stdout.splitlines()[:1],
    }
    report(tmp_path, "hostile-child", figures)
    control = attempts.pop("control socket")
    assert CONTROL in control
    assert len(attempts) > 150
    assert not_refused(attempts) == {}
    for how, answer in hostile.outcomes.items():
        assert answer.startswith(EXPECTED.get(how, "answered")), how
    assert hostile.outcomes.keys() == {*MISDEEDS, "reach"}
    assert hostile.noted("fill_folder")["fill_folder"] == [[32, errno.EFBIG]]
    assert hostile.noted("many_files")["many_files"][0][1] == errno.EMFILE  # type: ignore[index]
    assert all(len(each.took) > 50 and each.events == 0 for each in honest)
    assert max(each.slowest for each in honest) < SLOWEST_S
    assert watch.memory - watch.before < MAX_GROWTH
    assert watch.files < MAX_FILES
    assert got == set()
    assert written
    assert left == {"stopped": [], "killed": []}
    assert verified.returncode == 0, verified.stdout


def test_what_is_not_refused_would_be_seen() -> None:
    """The judge of this proof, judged."""
    assert not_refused({"tcp": "EACCES", "io_uring": "ENOSYS", "agent ptrace": "EPERM"}) == {}
    for attempt, answer in (("tcp", "GOT connected"), ("tcp", "ENOSYS"), ("read /x", "ENOENT")):
        assert not_refused({attempt: answer}) == {attempt: answer}
