"""The relay goes over to another CA while its agents are called: nobody is forced, and no call fails."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock_relay.ca import rotation
from penstock_relay.ca.rotation import Phase, waiting
from penstock_relay.switchboard import links as links_module
from tests.harness.fleet import AGENTS, AT_ONCE, member
from tests.harness.link_pair import until
from tests.relay.ca.test_following import place_in


async def test_a_rotation_under_load_fails_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "RETIRE", 0.2)
    monkeypatch.setattr(links_module, "RETIRE_SPREAD_MS", 100)
    monkeypatch.setattr(rotation, "SETTLE", 0.0)  # for clocks that differ; here there is one
    over, turn = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
    async with place_in(tmp_path) as place, AsyncExitStack() as stack:
        members = [await member(place, tmp_path / f"agent-{n}", f"s{n}") for n in range(AGENTS)]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(work) for m in members for work in (m.at_work.dialer.run(), m.serve())]
        for one in members:
            await one.at_work.linked()
        calls = [tasks.create_task(one.call(place, over)) for one in members]
        old = place.ca.pin
        await place.step()
        for number, phase in enumerate((Phase.ANNOUNCED, Phase.SIGNING), 2):
            assert place.ca.record.phase is phase
            async with asyncio.TaskGroup() as renewals:
                for one in members:
                    renewals.create_task(one.renew(turn))
            for one in members:
                await one.at_work.linked(number)
            await until(lambda: place.switchboard.links.greeted == AGENTS, "the end of the old links")
            left = waiting(place.ca.record.progress, await place.store.fleet.read(time.time()), time.time())
            assert not left.agents, phase
            # Nobody waits any more: the relay takes the next step by itself, or here, a command does.
            if place.ca.record.phase is phase:
                await place.step()
        assert place.ca.record.phase is Phase.STEADY
        assert place.ca.pin != old
        over.set()
        await asyncio.wait(calls)
        for task in running:
            task.cancel()
    assert sum(one.failed for one in members) == 0
    assert all(one.done > 3 for one in members)
