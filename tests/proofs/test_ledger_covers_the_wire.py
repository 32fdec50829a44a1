"""Ten thousand random calls while links are cut: each byte that left stands in one record of the ledger."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from penstock_agent.ledger import verify_main
from penstock_agent.ledger.reading import Record
from tests.harness.caller import Caller
from tests.harness.conversing.conversation import Conversation
from tests.harness.conversing.modern import Modern
from tests.harness.stack import Server, Stack
from tests.proofs import books
from tests.proofs.account import cut_short
from tests.proofs.books import Covered, Uncovered, Undecided, Wire, covered, decided
from tests.proofs.reporting import report
from tests.proofs.tap import Tap

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SEED = int(os.environ.get("PENSTOCK_PROOF_SEED", "1"))
CALLS = int(os.environ.get("PENSTOCK_PROOF_CALLS", "10000"))
WORKERS = 24
"""Callers at a time; every fourth is of 2026-07-28, and every fourth uses the whole site."""
CUTS = 25
TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
EXPOSED = ("echo", "big", "progress", "sleep", "junk")
RULES = """
[[servers.tools.redact]]
find = ["email"]

[[servers.tools.redact]]
tools = ["progress"]
find = ["card"]
action = "block"

[[servers.tools.rules]]
name = "all"
allow = ["*"]

[[servers.tools.rules]]
name = "not this"
allow = ["tool:echo"]
deny = ["tool:junk"]
"""
#: What is called, and of a hundred calls how many.
KINDS: Final = {
    "small": 52, "text": 12, "masked": 8, "blocked": 2, "progress": 8, "large": 1, "not exposed": 5,
    "denied": 4, "list": 3, "given up": 2, "no such method": 3,
}  # fmt: skip
FAILURES: Final = (AssertionError, KeyError, ValueError, TimeoutError, aiohttp.ClientError)
"""What callers meet when links are cut and agents killed under them."""


@dataclass
class Traffic:
    """What the callers did, and what happened to them."""

    random: random.Random
    left: int
    made: Counter[str] = field(default_factory=Counter)
    came: Counter[str] = field(default_factory=Counter)
    killed: dict[int, str] = field(default_factory=dict)
    """Numbers of the connections whose agent was killed, and that in words."""

    def next(self) -> str | None:
        if self.left <= 0:
            return None
        self.left -= 1
        kind = self.random.choices([*KINDS], [*KINDS.values()])[0]
        self.made[kind] += 1
        return kind

    def arguments(self, kind: str) -> tuple[str, dict[str, object]]:
        """Tool and arguments."""
        size, pick = self.random.randrange, self.random.choice
        match kind:
            case "text":
                return "echo", {"text": "é\n" * size(20_000)}
            case "masked":
                return "echo", {"to": f"bob{size(99)}@example.com", "text": "x" * size(2000)}
            case "blocked":
                return "progress", {"steps": 2, "label": "4111 1111 1111 1111", "pause": 0}
            case "progress":
                return "progress", {"steps": size(1, 8), "label": f"step{size(999)}", "pause": 0.001}
            case "large":
                return "big", {"size": pick((70_000, 300_000, 1_000_000, 3_000_000))}
            case "not exposed":
                return pick(("hidden", "none", "ECHO")), {}
            case "denied":
                return "junk", {}
            case "given up":
                return "sleep", {"seconds": 2}
            case _:
                return "echo", {"n": size(1 << 30)}


async def call(
    caller: Caller | Conversation, traffic: Traffic, kind: str, number: int, prefix: str = ""
) -> str:
    """How it ended. `prefix`: of names of tools."""
    if kind in ("list", "no such method"):
        method = "tools/list" if kind == "list" else "shell/exec"
        params: dict[str, object] = {}
    else:
        name, arguments = traffic.arguments(kind)
        method, params = "tools/call", {"name": prefix + name, "arguments": arguments}
        if name == "progress":
            params["_meta"] = {"progressToken": f"t{number}"}
    try:
        async with asyncio.timeout(0.15 if kind == "given up" else 30):
            if isinstance(caller, Caller):
                reply = await caller.request(method, params, f"c{number}")
                return str(reply.status)
            await caller.request(method, params)
            return "2026"
    except TimeoutError:
        return "given up" if kind == "given up" else "late"


async def work(stack: Stack, traffic: Traffic, modern: bool, whole: bool) -> None:
    url = f"{stack.public_url}/{stack.site}/mcp" if whole else stack.url("tools")
    prefix = "tools__" if whole else ""
    while traffic.left > 0:
        caller = Modern("2026-07-28", url, stack.token) if modern else Caller(url, stack.token)
        try:
            async with caller:
                while (kind := traffic.next()) is not None:
                    came = await call(caller, traffic, kind, traffic.left, prefix)
                    traffic.came[came] += 1
                    if came == "404":
                        break  # the session has ended: another
        except FAILURES as error:
            traffic.came[f"broken: {type(error).__name__}"] += 1
        finally:
            await caller.hang_up()


async def trouble(stack: Stack, tap: Tap, traffic: Traffic) -> None:
    """Cuts at even distances, and of those two kills of the agent and one pause."""
    calls = traffic.left
    for n in range(1, CUTS + 1):
        while traffic.left > calls - calls * n // (CUTS + 1):
            await asyncio.sleep(0.01)
        if n in (CUTS // 3, 2 * CUTS // 3):
            traffic.killed |= dict.fromkeys(tap.standing, "its agent was killed")
            await asyncio.to_thread(stack.agent.program.kill)
            await asyncio.to_thread(stack.agent.program.start)
        elif n == CUTS // 2:
            await asyncio.to_thread(stack.agent.cli, "pause")
            await asyncio.to_thread(stack.agent.cli, "resume")
        else:
            tap.cut()


async def storm(stack: Stack, tap: Tap, traffic: Traffic) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(trouble(stack, tap, traffic))
        for n in range(WORKERS):
            tasks.create_task(work(stack, traffic, n % 4 == 0, n % 8 in (0, 1)))


def seen(tap: Tap) -> Wire:
    """What was said on all links."""
    wire = Wire()
    for capture in tap.captures:
        if capture.up.startswith(b"GET /link "):
            wire.link(capture.number, *cut_short(capture))
    return wire


@dataclass
class Measured:
    wire: Wire
    cut: Mapping[str, str]
    """Exchanges that ended early, and why."""
    records: list[Record]
    result: Covered


def measure(calls: int, seed: int, folder: Path) -> Measured:
    """Have them made, and compare. Leaves its figures in the folder."""
    started, traffic = time.monotonic(), Traffic(random.Random(seed), calls)
    program = [sys.executable, str(TOOL_SERVER)]
    servers = {"tools": Server(program, EXPOSED), "others": Server(program, ["count"])}
    quick = [sys.executable, str(Path(__file__).with_name("quick_agent.py"))]
    with Tap() as tap, tap.stack(servers, agent_program=quick) as stack:
        stack.agent.program.stop()
        stack.agent.config.write_text(stack.agent.config.read_text() + RULES)
        stack.agent.start()
        asyncio.run(storm(stack, tap, traffic))
        stack.agent.program.stop()
        seconds = time.monotonic() - started
        ledger = str(stack.agent.folder / "state" / "ledger")
        verifier = [sys.executable, "-I", "-S", verify_main.__file__, ledger]
        verified = subprocess.run(verifier, capture_output=True, text=True, check=False)
        found = books.records(stack.agent.folder)
    wire = seen(tap)
    cut = wire.broken_off(dict.fromkeys(tap.cut_off, "its link was cut") | traffic.killed)
    result = covered(wire, found, cut)
    answered = decided(wire, found)
    verdicts = Counter(each.text("verdict") for each in found if each.kind == "decision")
    figures = {
        "seed": seed,
        "calls": calls,
        "seconds": round(seconds, 1),
        "of processors": round(cpu(), 1),
        "of kinds": dict(traffic.made),
        "how they ended": dict(traffic.came),
        "links": sum(capture.up.startswith(b"GET /link ") for capture in tap.captures),
        "exchanges": len(wire.opened),
        "of them ended early": dict(Counter(cut.values())),
        "requests that were answered": answered,
        "of them without a decision, or with two": 0,
        "bytes of answers": result.bytes,
        "of them in no record, in two, or in one of another hash": 0,
        "bytes that came again": wire.repeated,
        "records of them": result.records,
        "of these not seen whole": dict(Counter(cut[key] for key in result.short)),
        "bytes that these have and that were not seen": result.surplus_bytes,
        "bytes that these have and that were seen": result.unproven,
        "verdicts": dict(verdicts),
        "ledger verify": verified.stdout.splitlines()[:1],
    }
    report(folder, "ledger-covers-the-wire", figures)
    assert verified.returncode == 0, verified.stdout
    assert traffic.made.total() == calls
    assert verdicts["allowed"] > 0.5 * calls
    assert verdicts["denied"] > 0.05 * calls
    assert result.bytes > 100 * calls
    assert result.records > 0.9 * calls
    assert answered > 0.9 * calls
    assert wire.repeated > 0, "nothing was taken up again"
    assert len(cut) > 10
    return Measured(wire, cut, found, result)


def cpu() -> float:
    """Seconds of this process and of all that it has waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return measure(CALLS, SEED, tmp_path_factory.mktemp("proof"))


def test_every_byte_that_left_stands_in_one_record_with_its_hash(measured: Measured) -> None:
    assert measured.result.exchanges > 0  # all of it was compared when it was measured


def without(records: list[Record], place: int) -> list[Record]:
    return records[:place] + records[place + 1 :]


def changed(records: list[Record], place: int) -> list[Record]:
    one = records[place]
    said = {**one.said, "hash": "0" * 64}
    return [*records[:place], dataclasses.replace(one, said=said), *records[place + 1 :]]


def twice(records: list[Record], place: int) -> list[Record]:
    return [*records[: place + 1], *records[place:]]


@pytest.mark.parametrize("mutant", [without, changed, twice])
def test_a_ledger_with_one_record_less_more_or_other_does_not_cover_it(
    measured: Measured, mutant: Callable[[list[Record], int], list[Record]]
) -> None:
    pick = random.Random(SEED)
    whole = [
        place
        for place, each in enumerate(measured.records)
        if each.kind == "sent" and each.text("exchange") not in measured.cut
    ]
    for place in pick.sample(whole, 5):
        with pytest.raises(Uncovered):
            covered(measured.wire, mutant(measured.records, place), measured.cut)


def later(records: list[Record], place: int) -> list[Record]:
    return [*without(records, place), records[place]]


@pytest.mark.parametrize("mutant", [without, twice, later])
def test_a_ledger_with_one_decision_less_more_or_later_is_noticed(
    measured: Measured, mutant: Callable[[list[Record], int], list[Record]]
) -> None:
    decisions = [
        place
        for place, each in enumerate(measured.records)
        if each.kind == "decision" and measured.wire.statuses.get(each.text("exchange")) == 200
    ]
    for place in random.Random(SEED).sample(decisions, 5):
        with pytest.raises(Undecided):
            decided(measured.wire, mutant(measured.records, place))


def test_one_byte_that_left_as_another_is_noticed(measured: Measured) -> None:
    pick = random.Random(SEED)
    for key in pick.sample([key for key, body in measured.wire.bodies.items() if body], 5):
        body = measured.wire.bodies[key]
        place = pick.randrange(len(body))
        body[place] ^= 1
        with pytest.raises(Uncovered):
            covered(measured.wire, measured.records, measured.cut)
        body[place] ^= 1


def test_a_record_of_more_than_left_is_noticed_where_nothing_was_cut(measured: Measured) -> None:
    key = next(key for key, body in measured.wire.bodies.items() if len(body) > 1 and key not in measured.cut)
    last = measured.wire.bodies[key].pop()
    with pytest.raises(Uncovered, match="nothing was cut"):
        covered(measured.wire, measured.records, measured.cut)
    measured.wire.bodies[key].append(last)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_hundred_thousand_of_other_seeds(tmp_path: Path, seed: int) -> None:
    """In ten parts, because all that was on the wire is kept in memory."""
    measure(10_000, seed, tmp_path)
