"""`agent heads`: what an auditor takes to the ledger."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
from typer.testing import Result

from penstock.ledgerhead import load, name_of, verify
from penstock.names import AgentId
from penstock_relay.store import Agent, Store
from tests.harness.ledgers import Ledger

Run = Callable[..., Result]
Stored = Callable[[Callable[[Store], Awaitable[object]]], object]

ONE, TWO = AgentId("mill", "one"), AgentId("mill", "two")
OLD, NEW = Ledger("old"), Ledger("new")


@pytest.fixture
def heads(run: Run, stored: Stored) -> None:
    """Agent one has begun a second ledger, agent two has one, and three none."""
    assert run("site", "add", "mill").exit_code == 0

    async def work(store: Store) -> None:
        for name in ("one", "two", "three"):
            await store.agents.add(Agent(AgentId("mill", name), name.encode().hex(), 1e9, 1.0, 1.0))
        await store.heads.keep([(ONE, OLD.head(9)), (ONE, NEW.head(3)), (TWO, Ledger("two").head(4))])

    stored(work)


@pytest.mark.usefixtures("heads")
def test_the_head_of_one_agent_is_the_file_that_a_ledger_is_verified_against(run: Run) -> None:
    result = run("agent", "heads", "mill", "one", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    file = json.loads(result.stdout)
    assert set(file) == {"key", "n", "hash", "at", "signature", "site", "agent"}
    assert (file["site"], file["agent"], file["n"]) == ("mill", "one", 3)
    [head] = load(result.stdout.encode())
    assert head == NEW.head(3)
    assert verify(head)


@pytest.mark.usefixtures("heads")
def test_the_newest_heads_of_all_agents_or_every_one_that_is_kept(run: Run) -> None:
    newest = run("agent", "heads", "--json").stdout
    assert load(newest.encode()) == (NEW.head(3), Ledger("two").head(4))
    assert load(run("agent", "heads", "mill", "--json").stdout.encode()) == load(newest.encode())
    every = run("agent", "heads", "mill", "one", "--all", "--json").stdout
    assert load(every.encode()) == (NEW.head(3), OLD.head(9))
    lines = run("agent", "heads").stdout.splitlines()
    assert lines[0].split() == ["SITE", "AGENT", "LEDGER", "RECORD", "HASH", "SIGNED", "STORED"]
    assert lines[1].split()[:4] == ["mill", "one", name_of(NEW.head(3).key), "3"]
    assert len(lines) == 3


@pytest.mark.usefixtures("heads")
def test_an_agent_without_a_head_is_an_error_with_the_next_step(run: Run) -> None:
    result = run("agent", "heads", "mill", "three", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No ledger head of agent three of site mill is stored." in result.stderr
    assert "penstock-relay agent list" in result.stderr
    assert run("agent", "heads", "mill", "three", "--all", "--json").stdout == "[]\n"


def test_without_heads_it_says_who_sends_them(run: Run) -> None:
    result = run("agent", "heads")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Agents that keep a ledger" in result.stderr
    assert json.loads(run("agent", "heads", "--json").stdout) == []
    assert run("agent", "heads", "Not A Name").exit_code == 2
    assert run("agent", "heads", "mill", "Not A Name").exit_code == 2
