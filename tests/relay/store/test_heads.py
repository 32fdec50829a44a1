"""Heads of ledgers, as kept: what follows what, and what stays for an auditor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.ledgerhead import LedgerHead, name_of
from penstock.names import AgentId
from penstock_relay.store import Agent, Brought, Kept, Store
from penstock_relay.store import heads as heads_module
from penstock_relay.store.heads import DAY_S, DAYS_KEPT, LEDGERS, StoredHead, judge
from tests.harness.ledgers import Ledger
from tests.relay.store.accounts import url_in

ONE, TWO = AgentId("mill", "one"), AgentId("mill", "two")
OLD, NEW = Ledger("old"), Ledger("new")
STORED = OLD.head(10, 1_000)


@dataclass
class Relay:
    store: Store
    now: float = 100 * DAY_S

    async def says(self, head: LedgerHead, agent: AgentId = ONE) -> Kept:
        [kept] = await self.store.heads.keep([(agent, head)])
        return kept

    async def recorded(self) -> list[dict[str, object]]:
        entries = [entry.values() async for entry in self.store.audit.entries()]
        return [each for each in entries if str(each["kind"]).startswith("ledger_")]


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with await Store.open(url_in(tmp_path), clock=lambda: here.now) as store:
        here = Relay(store)
        await store.sites.add("mill", 1.0)
        for agent in (ONE, TWO):
            await store.agents.add(Agent(agent, agent.agent.encode().hex(), 1e9, 1.0, 1.0))
        yield here


@pytest.mark.parametrize(
    ("brought", "had", "expected"),
    [
        (NEW.head(1), False, Brought.OPENED),
        (NEW.head(99), True, Brought.REPLACED),
        (OLD.head(11), False, Brought.NEWER),
        (OLD.head(11, 1), False, Brought.NEWER),  # a clock that went back proves nothing
        (OLD.head(10), False, Brought.KNOWN),
        (OLD.head(10, 2_000), False, Brought.KNOWN),
        (Ledger("old", branch="b").head(10, 2_000), False, Brought.FORKED),
        (OLD.head(9, 999), False, Brought.LATE),
        (OLD.head(9, 1_000), False, Brought.LATE),
        (OLD.head(9, 1_001), False, Brought.ROLLED_BACK),
    ],
)
def test_what_a_head_is_beside_the_one_that_is_stored(
    brought: LedgerHead, had: bool, expected: Brought
) -> None:
    assert judge(StoredHead(ONE, STORED, 1, 0.0), brought, had=had) is expected


def test_the_first_head_opens_and_a_ledger_too_many_does_not() -> None:
    assert judge(None, STORED, had=False) is Brought.OPENED
    assert judge(StoredHead(ONE, STORED, LEDGERS - 1, 0.0), NEW.head(1), had=False) is Brought.OPENED
    assert judge(StoredHead(ONE, STORED, LEDGERS, 0.0), NEW.head(1), had=False) is Brought.TOO_MANY
    assert judge(StoredHead(ONE, STORED, LEDGERS, 0.0), OLD.head(11), had=False) is Brought.NEWER


async def test_the_newest_head_is_kept_and_an_older_one_is_answered_with_it(relay: Relay) -> None:
    assert await relay.store.heads.current(ONE) is None
    assert await relay.says(OLD.head(5)) == Kept(OLD.head(5), Brought.OPENED)
    assert await relay.says(OLD.head(9)) == Kept(OLD.head(9), Brought.NEWER)
    assert await relay.says(OLD.head(5)) == Kept(OLD.head(9), Brought.LATE)
    assert await relay.says(OLD.head(5, 2_000)) == Kept(OLD.head(9), Brought.ROLLED_BACK)
    assert await relay.says(Ledger("old", branch="b").head(9)) == Kept(OLD.head(9), Brought.FORKED)
    assert await relay.store.heads.current(ONE) == OLD.head(9)
    assert await relay.store.heads.current(TWO) is None


async def test_it_is_there_after_a_restart_and_for_another_replica(relay: Relay, tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as other:
        await relay.says(OLD.head(2**53 - 1))
        assert await other.heads.current(ONE) == OLD.head(2**53 - 1)


async def test_a_new_ledger_follows_the_old_one_and_the_old_one_cannot_come_back(relay: Relay) -> None:
    await relay.says(OLD.head(9))
    assert await relay.says(NEW.head(1)) == Kept(NEW.head(1), Brought.OPENED)
    assert await relay.says(OLD.head(10)) == Kept(NEW.head(1), Brought.REPLACED)
    first, second = await relay.recorded()
    assert first["actor"] == second["actor"] == {"kind": "agent", "site": "mill", "agent": "one"}
    about = {"site": "mill", "agent": "one"}
    assert first["about"] == {**about, "ledger": name_of(OLD.head(1).key), "n": 9}
    assert second["about"] == {
        **about,
        "ledger": name_of(NEW.head(1).key),
        "n": 1,
        "follows": name_of(OLD.head(1).key),
    }


async def test_who_takes_an_agents_place_gets_its_last_head(relay: Relay) -> None:
    await relay.says(OLD.head(9))
    await relay.store.invites.create("mill", b"s" * 32, 1.0, 1e9, "one")
    assert await relay.store.invites.take(b"s" * 32, Agent(ONE, "f00d", 1e9, 2.0, 2.0), 2.0) is None
    assert await relay.store.heads.current(ONE) == OLD.head(9)


async def test_an_agent_cannot_fill_the_database_with_ledgers(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads_module, "LEDGERS", 3)
    came = [await relay.says(Ledger(f"ledger {n}").head(1)) for n in range(5)]
    assert [each.brought for each in came] == [Brought.OPENED] * 3 + [Brought.TOO_MANY] * 2
    assert came[-1].stored == Ledger("ledger 2").head(1)
    assert len(await relay.recorded()) == len(await relay.store.heads.list(every=True)) == 3


async def test_the_last_head_of_each_day_stays_for_more_than_a_year(relay: Relay) -> None:
    n = 0
    for day in range(100, 105):
        for hour in (0, 8, 16):
            n += 1
            relay.now = (day + hour / 24) * DAY_S
            await relay.says(OLD.head(n))
    kept = await relay.store.heads.list(every=True)
    assert [each.head.n for each in kept] == [15, 12, 9, 6, 3]
    assert [each.head.n for each in await relay.store.heads.list()] == [15]
    relay.now = (102.5 + DAYS_KEPT) * DAY_S
    await relay.says(OLD.head(16))
    assert [each.head.n for each in await relay.store.heads.list(every=True)] == [16, 15, 12, 9]


async def test_heads_are_listed_by_site_and_agent_the_newest_ledger_first(relay: Relay) -> None:
    await relay.says(OLD.head(9))
    await relay.says(NEW.head(1))
    await relay.says(Ledger("third").head(4), TWO)
    found = await relay.store.heads.list()
    assert [(each.agent, each.head, each.ordinal, each.stored_at) for each in found] == [
        (ONE, NEW.head(1), 2, relay.now),
        (TWO, Ledger("third").head(4), 1, relay.now),
    ]
    every = await relay.store.heads.list("mill", "one", every=True)
    assert [each.head for each in every] == [NEW.head(1), OLD.head(9)]
    assert await relay.store.heads.list("dam") == []


async def test_several_are_kept_in_one_go_and_no_cache_notices(relay: Relay) -> None:
    before = await relay.store.change_sequence()
    kept = await relay.store.heads.keep([(ONE, OLD.head(1)), (TWO, NEW.head(1)), (ONE, OLD.head(2))])
    assert [each.stored for each in kept] == [OLD.head(1), NEW.head(1), OLD.head(2)]
    assert await relay.store.change_sequence() == before


async def test_of_replicas_that_store_at_once_the_newest_head_wins(relay: Relay, tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path), clock=lambda: relay.now) as other:
        numbers = [*range(1, 40, 2), *range(2, 40, 2)]
        stores = (relay.store, other)
        await asyncio.gather(*(stores[n % 2].heads.keep([(ONE, OLD.head(n))]) for n in numbers))
    assert await relay.store.heads.current(ONE) == OLD.head(39)
    assert len(await relay.store.heads.list(every=True)) == 1
