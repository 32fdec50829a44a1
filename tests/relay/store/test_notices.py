"""What agents say waits on their sites, as kept: of each that is linked, the newest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.names import AgentId
from penstock.tunnel.frames import Notice
from penstock_relay.store import Agent, Store, StoredNotice
from tests.relay.store.accounts import url_in

ONE, TWO, FAR = AgentId("mill", "one"), AgentId("mill", "two"), AgentId("dam", "one")
LARGEST = Notice(2**32 - 1, 2**32 - 1, ledger_failing=True, paused=True)


@dataclass
class Relay:
    store: Store
    now: float = 5000.25


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with await Store.open(url_in(tmp_path), clock=lambda: here.now) as store:
        here = Relay(store)
        for site in ("mill", "dam"):
            await store.sites.add(site, 1.0)
        for agent in (ONE, TWO, FAR):
            await store.agents.add(Agent(agent, agent.uri.encode().hex()[-40:], 1e9, 1.0, 1.0))
        yield here


async def test_the_newest_is_kept_with_its_time_until_the_agent_is_away(relay: Relay) -> None:
    notices = relay.store.notices
    assert await notices.list() == {}
    await notices.keep([(ONE, Notice(3, 1)), (TWO, LARGEST)])
    assert await notices.list() == {
        ONE: StoredNotice(Notice(3, 1), 5000.25),
        TWO: StoredNotice(LARGEST, 5000.25),
    }
    relay.now = 6000.0
    await notices.keep([(ONE, Notice(0, 0, paused=True)), (TWO, None)])
    assert await notices.list() == {ONE: StoredNotice(Notice(0, 0, paused=True), 6000.0)}
    await notices.keep([(TWO, None)])
    await notices.keep([(ONE, None)])
    assert await notices.list() == {}


async def test_an_agent_of_the_same_name_at_another_site_is_another_one(relay: Relay) -> None:
    await relay.store.notices.keep([(ONE, Notice(1, 0)), (FAR, Notice(2, 0))])
    await relay.store.notices.keep([(ONE, None)])
    assert await relay.store.notices.list() == {FAR: StoredNotice(Notice(2, 0), 5000.25)}
    assert await relay.store.notices.list("mill") == {}
    assert list(await relay.store.notices.list("dam")) == [FAR]


async def test_another_process_sees_them_and_a_new_life_begins_afresh(relay: Relay, tmp_path: Path) -> None:
    await relay.store.notices.keep([(ONE, Notice(3, 1))])
    async with await Store.open(url_in(tmp_path)) as other:
        assert list(await other.notices.list()) == [ONE]
        await other.notices.keep([(TWO, Notice(1, 0))], afresh=True)
    assert list(await relay.store.notices.list()) == [TWO]
    await relay.store.notices.keep([], afresh=True)
    assert await relay.store.notices.list() == {}


async def test_no_cache_notices_and_the_audit_log_has_nothing_of_it(relay: Relay) -> None:
    before = await relay.store.change_sequence(), await relay.store.audit.head()
    await relay.store.notices.keep([(ONE, Notice(3, 1))])
    await relay.store.notices.keep([])
    assert (await relay.store.change_sequence(), await relay.store.audit.head()) == before
