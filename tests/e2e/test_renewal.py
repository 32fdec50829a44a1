"""Agents renew while they are called, and link anew with what they got: no call may fail.

Real TLS, store and authority; relay and agents in this process. `PENSTOCK_TEST_AGENTS` and
`PENSTOCK_TEST_ROUNDS` make them more (50 take a minute where two cores are busy), and renew more often.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock import tls
from penstock.tunnel.frames import DoneReason
from penstock_agent import state
from penstock_agent.dialer.dialer import Target
from penstock_agent.dialer.served import Served
from penstock_agent.enrolment.enrol import enrol
from penstock_agent.renewal.renew import renew
from penstock_relay.switchboard import switchboard as switchboard_module
from tests.agent.dialer.dialling import Dialling
from tests.harness.link_pair import until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener
from tests.relay.switchboard.board import body, call

AGENTS = int(os.environ.get("PENSTOCK_TEST_AGENTS", "20"))
ROUNDS = int(os.environ.get("PENSTOCK_TEST_ROUNDS", "1"))
AT_ONCE = 10
"""Renewals at the same time; the others wait, as the jitter of their schedule has them wait."""
ANSWER = b"x" * 20_000


@dataclass
class Member:
    """One agent of the site, which serves a server of its own name."""

    folder: Path
    server: str
    at_work: Dialling
    done: int = 0
    failed: int = 0

    async def serve(self) -> None:
        while True:
            served: Served = await self.at_work.started.get()
            await served.head(200)
            await served.write(ANSWER)
            await served.end()

    async def call(self, place: TunnelListener, over: asyncio.Event) -> None:
        """Calls it without a pause until `over`."""
        while not over.is_set():
            try:
                answer = await place.switchboard.exchange(call(server=self.server))
                good = await body(answer) == ANSWER
                answer.close(DoneReason.OK)
            except Exception:
                good = False
            self.done += good
            self.failed += not good

    async def renew(self, turn: asyncio.Semaphore) -> None:
        async with turn:
            joined = (await renew(self.folder, None)).joined
        self.at_work.dialer.use(_context(joined))


def _context(joined: state.Joined) -> ssl.SSLContext:
    return tls.client_context(joined.ca_file, joined.certificate_file, joined.key_file)


async def member(place: TunnelListener, folder: Path, server: str) -> Member:
    joined = state.store(folder, await enrol(await place.invitation(), None), state.prepare(folder))
    at_work = Dialling(Target(joined.relay_url, joined.id, b"i" * 16, _context(joined), None))
    at_work.servers = frozenset({server})
    at_work.tunnel.offer(at_work.servers)
    return Member(folder, server, at_work)


async def test_renewals_under_load_fail_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchboard_module, "RETIRE", 0.2)
    monkeypatch.setattr(switchboard_module, "RETIRE_SPREAD_MS", 100)
    over, turn = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
    async with tunnel_listener(tmp_path, patience=100.0) as place, AsyncExitStack() as stack:
        members = [await member(place, tmp_path / f"agent-{n}", f"s{n}") for n in range(AGENTS)]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(work) for m in members for work in (m.at_work.dialer.run(), m.serve())]
        for one in members:
            await one.at_work.linked()
        first = set(place.switchboard.serials())
        calls = [tasks.create_task(one.call(place, over)) for one in members]
        for generation in range(2, 2 + ROUNDS):
            async with asyncio.TaskGroup() as renewals:
                for one in members:
                    renewals.create_task(one.renew(turn))
            # The relay has the agents dial anew, and ends the old links, calls under way or not.
            for one in members:
                await one.at_work.linked(generation)
            await until(lambda: place.switchboard.links == AGENTS, "the end of the old links")
        over.set()
        await asyncio.wait(calls)
        agents = await place.store.agents.list()
        assert not first & set(place.switchboard.serials())
        for task in running:
            task.cancel()
    assert sum(one.failed for one in members) == 0
    assert all(one.done > ROUNDS for one in members)
    assert len(agents) == AGENTS
    assert {(agent.generation, agent.lock) for agent in agents} == {(1 + ROUNDS, None)}
