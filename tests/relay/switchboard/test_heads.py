"""Heads of ledgers over links in memory: stored, answered, bounded, and what is said of conflicts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from penstock.ledgerhead import LedgerHead, to_frame
from penstock.tunnel.frames import DoneReason, GoAwayReason
from penstock.tunnel.frames import Ledger as Frame
from penstock.tunnel.limits import LEDGER_BURST
from penstock_relay.store import Agent, Brought, Store
from penstock_relay.store.heads import Heads as Kept
from penstock_relay.switchboard.heads import Heads
from tests.harness.ledgers import Ledger
from tests.harness.link_pair import AGENT, hello, until
from tests.harness.memory_site import MemoryLink, MemorySite
from tests.relay.switchboard.board import Board, running

LEDGER = Ledger()


class Place:
    """A switchboard that keeps heads, and the store that it keeps them in."""

    def __init__(self, board: Board, store: Store) -> None:
        self.board = board
        self.store = store
        self.heads = board.switchboard.links.heads = Heads(store)

    async def link(self, site: MemorySite, head: LedgerHead | None = None, version: int = 2) -> MemoryLink:
        versions = tuple(range(version, 0, -1))
        line = site.dial(greeting=hello(site.agent, site.servers, versions=versions))
        self.board.start(self.board.switchboard.links.serve(line.websocket, site.agent, "", head))
        await line.linked.wait()
        return line

    async def stored(self) -> LedgerHead | None:
        return await self.store.heads.current(AGENT)

    async def conflicts(self, count: int) -> list[str]:
        """Those that are recorded, once there are so many: the agent has its answer before."""
        while True:
            await self.store.audit.flush()
            entries = [entry.values() async for entry in self.store.audit.entries()]
            found = [str(each["about"]["reason"]) for each in entries if each["kind"] == "ledger_conflict"]
            if len(found) >= count:
                return found


@asynccontextmanager
async def placed(folder: Path) -> AsyncIterator[Place]:
    async with await Store.open(f"sqlite+aiosqlite:///{folder / 'relay.db'}") as store, running() as board:
        await store.sites.add(AGENT.site, 1.0)
        await store.agents.add(Agent(AGENT, "1f", 1e10, 1.0, 1.0))
        place = Place(board, store)
        running_heads = board.start(place.heads.run())
        try:
            yield place
        finally:
            running_heads.cancel()


def answers(site: MemorySite) -> list[LedgerHead]:
    return [head_of(frame) for frame in site.told if isinstance(frame, Frame)]


def head_of(frame: Frame) -> LedgerHead:
    return LedgerHead(frame.ledger, frame.n, frame.hash, frame.at_ms, frame.signature)


async def answered(site: MemorySite, count: int) -> list[LedgerHead]:
    await until(lambda: len(answers(site)) >= count, "the answer")
    return answers(site)


async def test_a_head_is_stored_and_then_answered(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        line = await place.link(site)
        assert answers(site) == []
        line.say(to_frame(LEDGER.head(7)))
        assert await answered(site, 1) == [LEDGER.head(7)]
        assert await place.stored() == LEDGER.head(7)
        line.say(to_frame(LEDGER.head(8)))
        assert await answered(site, 2) == [LEDGER.head(7), LEDGER.head(8)]
        assert place.heads.counts == {Brought.OPENED: 1, Brought.NEWER: 1}


async def test_what_is_stored_comes_right_behind_welcome_before_any_exchange(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        place.board.switchboard.links.drain(0)
        site = MemorySite(AGENT)
        await place.link(site, LEDGER.head(7))
        await until(lambda: len(site.told) == 2, "two frames")
        assert [frame.type.name for frame in site.told] == ["LEDGER", "GOAWAY"]
        assert answers(site) == [LEDGER.head(7)]


async def test_an_agent_of_version_1_is_told_nothing_and_may_say_nothing(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        line = await place.link(site, LEDGER.head(7), version=1)
        exchanging = place.board.ask()
        site.answer((await site.started.get()).exchange)
        (await place.board.answer(exchanging)).close(DoneReason.OK)
        assert site.told == []
        line.say(to_frame(LEDGER.head(8)))
        await until(lambda: line.closed_with is not None, "the close")
        assert line.closed_with == (4002, "LEDGER is not legal while open")
        assert await place.stored() is None


async def test_a_link_that_goes_leaves_the_last_head_that_it_brought(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        line = await place.link(site)
        line.link.go_away(GoAwayReason.DRAIN, 0)
        line.pump()
        line.say(to_frame(LEDGER.head(7)))
        line.leave(1001)
        await until(lambda: place.heads.counts[Brought.OPENED] == 1, "the store")
        assert await place.stored() == LEDGER.head(7)
        assert answers(site) == []


@pytest.mark.parametrize("bad", [{"n": 8}, {"signature": bytes(64)}, {"n": 2**64 - 1}, {"at_ms": 2**64 - 1}])
async def test_a_head_that_is_not_signed_closes_the_link(tmp_path: Path, bad: dict[str, int | bytes]) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        line = await place.link(site)
        line.say(replace(to_frame(LEDGER.head(7)), **bad))  # type: ignore[arg-type]  # one field each
        await until(lambda: line.closed_with is not None, "the close")
        assert line.closed_with == (4001, "a ledger head that its ledger has not signed")
        assert await place.stored() is None


async def test_a_flood_closes_the_link_and_costs_one_write_at_a_time(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        line = await place.link(site)
        line.say(*(to_frame(LEDGER.head(n)) for n in range(1, LEDGER_BURST + 1)))
        assert (await answered(site, 1))[-1] == LEDGER.head(LEDGER_BURST)
        assert place.heads.counts.total() == 1  # the last one stands for all of a message
        line.say(to_frame(LEDGER.head(99)))
        await until(lambda: line.closed_with is not None, "the close")
        assert line.closed_with == (4008, "more ledger heads than a link may bring")
        again = await place.link(site)
        again.say(to_frame(LEDGER.head(100)))
        await until(lambda: place.heads.counts.total() == 2, "the store")
        assert await place.stored() == LEDGER.head(100)
        assert len(place.heads._full_at) == 1


async def test_a_store_that_fails_answers_nothing_and_the_next_head_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> list[object]:
        tried.set()
        raise OperationalError("", {}, Exception("disk full"))

    tried = asyncio.Event()
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        line = await place.link(site)
        with monkeypatch.context() as patch:
            patch.setattr(Kept, "keep", failing)
            line.say(to_frame(LEDGER.head(7)))
            await tried.wait()
        line.say(to_frame(LEDGER.head(7)))
        assert await answered(site, 1) == [LEDGER.head(7)]
        assert line.closed_with is None


async def test_a_conflict_keeps_the_link_answers_what_is_stored_and_is_recorded_once(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        line = await place.link(site)
        line.say(to_frame(LEDGER.head(9, 1_000)))
        await answered(site, 1)
        for n in (5, 6, 7):
            line.say(to_frame(LEDGER.head(n, 2_000)))
            await answered(site, len(answers(site)) + 1)
        assert answers(site) == [LEDGER.head(9)] * 4
        assert await place.conflicts(1) == ["rolled_back"]
        assert place.heads.counts[Brought.ROLLED_BACK] == 3
        line.say(to_frame(Ledger(branch="b").head(9)))
        await answered(site, 5)
        line.say(to_frame(LEDGER.head(10)))
        await answered(site, 6)
        line.say(to_frame(LEDGER.head(5, 3_000)))
        await answered(site, 7)
        assert await place.conflicts(3) == ["rolled_back", "forked", "rolled_back"]
        assert line.closed_with is None


async def test_a_head_that_came_late_is_no_conflict(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        first, second = await place.link(site), await place.link(site)
        second.say(to_frame(LEDGER.head(9, 2_000)))
        await answered(site, 1)
        first.say(to_frame(LEDGER.head(8, 1_000)))
        assert await answered(site, 2) == [LEDGER.head(9, 2_000)] * 2
        assert await place.conflicts(0) == []


async def test_a_switchboard_that_keeps_none_ignores_them(tmp_path: Path) -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].say(to_frame(LEDGER.head(7)))
        asking = board.ask()
        site.answer((await site.started.get()).exchange)
        (await board.answer(asking)).close(DoneReason.OK)
        assert site.told == []
