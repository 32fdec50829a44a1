"""What there is to see, with an agent that answers and without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from penstock_agent import control
from penstock_agent.config import Options, Settings, load
from penstock_agent.console.facts import ARGUMENTS, LAST, Source
from penstock_agent.control import Approval, Approvals, Args, Call, Calls, Peer, Status
from tests.agent.ledger.book import ALICE, decision, ledger

STATUS = Status("1", 1, "plant", "one", "wss://relay", True, 100.0)
CALL = Call("k1", 90.0, "running", "Alice", "a@example.com", "alice", "c1", "files", "tool:read", 7)
ASKED = Approval(
    "r1", "waiting", "Alice", "", "alice", "c1", "files", "tool:w", "x" * 9000, "d", "rule", 1.0, 2.0
)


def settings_of(folder: Path) -> Settings:
    (folder / "agent.toml").write_text("")
    return load(Options(folder / "agent.toml", folder))


async def told(verb: str, peer: Peer, args: Args) -> Args:
    answers = {"status": STATUS, "calls": Calls([CALL], 3), "approvals": Approvals([ASKED])}
    return msgspec.to_builtins(answers[verb])  # type: ignore[no-any-return]  # a Struct becomes a dict


async def test_all_is_there_and_what_is_long_is_cut(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    listening = asyncio.Event()

    handlers: dict[str, control.Handler] = {
        "status": lambda peer, args: told("status", peer, args),
        "calls": lambda peer, args: told("calls", peer, args),
        "approvals": lambda peer, args: told("approvals", peer, args),
    }
    with ledger(tmp_path) as writer:
        for number in range(LAST + 5):
            writer.record(decision(number, who=ALICE))
        serving = asyncio.get_running_loop().create_task(
            control.serve_control(control.socket_path(settings), handlers, ready=listening.set)
        )
        await listening.wait()
        source = Source(settings, clock=lambda: 123.0)
        facts = await source.look()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert (facts.at, facts.problem, facts.status) == (123.0, "", STATUS)
    assert (facts.calls, facts.more_calls) == ([CALL], 3)
    assert (len(facts.approvals[0].arguments), facts.approvals[0].cut) == (ARGUMENTS, True)
    assert len(facts.decisions) == LAST
    newest = facts.decisions[0]
    assert (newest.person, newest.server, newest.item) == (
        "Alice Example <alice@example.com>", "files", "tool:read_file",
    )  # fmt: skip
    assert (newest.verdict, newest.rule) == ("allowed", "expose")
    assert newest.n > facts.decisions[1].n


async def test_without_an_agent_and_a_ledger_both_are_missed_in_words(tmp_path: Path) -> None:
    facts = await Source(settings_of(tmp_path)).look()
    assert "The agent does not run" in facts.problem
    assert "There is no ledger" in facts.ledger_problem
    assert facts.status is None


async def test_without_an_agent_the_ledger_is_there_all_the_same(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        writer.record(decision())
    facts = await Source(settings_of(tmp_path)).look()
    assert "The agent does not run" in facts.problem
    assert [one.verdict for one in facts.decisions] == ["allowed"]
