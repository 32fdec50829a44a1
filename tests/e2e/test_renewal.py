"""Agents renew while they are called, and link anew with what they got: no call may fail.

`PENSTOCK_TEST_AGENTS` and `PENSTOCK_TEST_ROUNDS` make them more (50 take a minute on two busy cores), and
renew more often.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock_relay.switchboard import links as links_module
from tests.harness.fleet import AGENTS, AT_ONCE, ROUNDS, member
from tests.harness.link_pair import until
from tests.harness.tunnel_listener import tunnel_listener


async def test_renewals_under_load_fail_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "RETIRE", 0.2)
    monkeypatch.setattr(links_module, "RETIRE_SPREAD_MS", 100)
    over, turn = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
    async with tunnel_listener(tmp_path, patience=100.0) as place, AsyncExitStack() as stack:
        members = [await member(place, tmp_path / f"agent-{n}", f"s{n}") for n in range(AGENTS)]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(work) for m in members for work in (m.at_work.dialer.run(), m.serve())]
        for one in members:
            await one.at_work.linked()
        first = set(place.switchboard.links.serials())
        calls = [tasks.create_task(one.call(place, over)) for one in members]
        for generation in range(2, 2 + ROUNDS):
            async with asyncio.TaskGroup() as renewals:
                for one in members:
                    renewals.create_task(one.renew(turn))
            # The relay has the agents dial anew, and ends the old links, calls under way or not.
            for one in members:
                await one.at_work.linked(generation)
            await until(lambda: place.switchboard.links.greeted == AGENTS, "the end of the old links")
        over.set()
        await asyncio.wait(calls)
        agents = await place.store.agents.list()
        assert not first & set(place.switchboard.links.serials())
        for task in running:
            task.cancel()
    assert sum(one.failed for one in members) == 0
    assert all(one.done > ROUNDS for one in members)
    assert len(agents) == AGENTS
    assert {(agent.generation, agent.lock) for agent in agents} == {(1 + ROUNDS, None)}
