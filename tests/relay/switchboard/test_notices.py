"""What agents say waits on their sites, over links in memory: kept, stored, bounded, gone with the link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from penstock.names import AgentId
from penstock.tunnel.frames import DoneReason, GoAwayReason, Notice
from penstock.tunnel.limits import NOTICE_BURST
from penstock_relay.store import Agent, Store
from penstock_relay.store.notices import Notices as Kept
from penstock_relay.switchboard import notices as notices_module
from penstock_relay.switchboard.notices import SAYING, Notices
from tests.harness.link_pair import AGENT, hello, until
from tests.harness.memory_site import MemoryLink, MemorySite
from tests.relay.switchboard.board import Board, running

OTHER = AgentId(AGENT.site, "other")
CALM, BUSY = Notice(0, 0), Notice(3, 1, ledger_failing=True)


class Place:
    """A switchboard that keeps notices, and the store that it keeps them in."""

    def __init__(self, board: Board, store: Store) -> None:
        self.board = board
        self.store = store
        self.notices = board.switchboard.links.notices = Notices(store)

    async def link(self, site: MemorySite, version: int = 2) -> MemoryLink:
        versions = tuple(range(version, 0, -1))
        line = site.dial(greeting=hello(site.agent, site.servers, versions=versions))
        self.board.start(self.board.switchboard.links.serve(line.websocket, site.agent))
        await line.linked.wait()
        return line

    async def stored(self, expected: dict[AgentId, Notice]) -> None:
        """Waits until this is what is stored."""
        async with asyncio.timeout(5):
            while {a: s.notice for a, s in (await self.store.notices.list()).items()} != expected:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def placed(folder: Path) -> AsyncIterator[Place]:
    async with await Store.open(f"sqlite+aiosqlite:///{folder / 'relay.db'}") as store, running() as board:
        await store.sites.add(AGENT.site, 1.0)
        for serial, agent in (("1f", AGENT), ("2f", OTHER)):
            await store.agents.add(Agent(agent, serial, 1e10, 1.0, 1.0))
        await store.notices.keep([(OTHER, BUSY)])  # of another life, which nobody ended
        place = Place(board, store)
        work = board.start(place.notices.run())
        try:
            yield place
        finally:
            work.cancel()


async def test_the_newest_notice_of_an_agent_is_kept_and_stored(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        line = await place.link(MemorySite(AGENT))
        assert place.notices.of(AGENT) is None
        line.say(BUSY)
        await place.stored({AGENT: BUSY})
        assert place.notices.of(AGENT) == BUSY
        line.say(Notice(7, 0), CALM)
        await place.stored({AGENT: CALM})
        assert line.closed_with is None


async def test_what_a_life_before_has_left_is_forgotten(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        await place.stored({})


async def test_it_is_gone_with_the_link(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        line = await place.link(MemorySite(AGENT))
        line.say(BUSY)
        await place.stored({AGENT: BUSY})
        line.link.go_away(GoAwayReason.DRAIN, 0)
        line.pump()
        await place.stored({AGENT: BUSY})  # it still stands
        line.leave(1001)
        await place.stored({})
        assert place.notices.of(AGENT) is None
        assert not place.notices._said
        assert not place.notices._full_at


async def test_of_several_links_the_newest_word_counts_until_its_link_is_gone(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        first, second = await place.link(site), await place.link(site)
        first.say(Notice(1, 0))
        await place.stored({AGENT: Notice(1, 0)})
        second.say(Notice(2, 0))
        await place.stored({AGENT: Notice(2, 0)})
        first.say(Notice(3, 0))
        await place.stored({AGENT: Notice(3, 0)})
        first.leave(1001)
        await place.stored({AGENT: Notice(2, 0)})
        second.leave(1001)
        await place.stored({})


async def test_agents_are_counted_by_what_they_say(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        assert place.notices.counts() == dict.fromkeys(SAYING, 0)
        one, two = await place.link(MemorySite(AGENT)), await place.link(MemorySite(OTHER))
        one.say(BUSY)
        two.say(Notice(9, 0, paused=True))
        await place.stored({AGENT: BUSY, OTHER: Notice(9, 0, paused=True)})
        assert place.notices.counts() == {"withheld": 2, "waiting": 1, "ledger_failing": 1, "paused": 1}
        two.leave(1001)
        await place.stored({AGENT: BUSY})
        assert place.notices.counts() == {"withheld": 1, "waiting": 1, "ledger_failing": 1, "paused": 0}


async def test_an_agent_of_version_1_may_say_nothing(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        line = await place.link(MemorySite(AGENT), version=1)
        line.say(BUSY)
        await until(lambda: line.closed_with is not None, "the close")
        assert line.closed_with == (4002, "NOTICE is not legal while open")
        assert place.notices.of(AGENT) is None


async def test_a_flood_closes_the_link(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        site = MemorySite(AGENT)
        line = await place.link(site)
        line.say(*(Notice(n, 0) for n in range(1, NOTICE_BURST + 1)))
        await place.stored({AGENT: Notice(NOTICE_BURST, 0)})
        line.say(Notice(99, 0))
        await until(lambda: line.closed_with is not None, "the close")
        assert line.closed_with == (4008, "more notices than a link may bring")
        await place.stored({})
        again = await place.link(site)
        again.say(CALM)
        await place.stored({AGENT: CALM})


async def test_a_store_that_fails_is_tried_again_with_what_is_so_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def failing(*_: object, **_also: object) -> None:
        tried.set()
        raise OperationalError("", {}, Exception("disk full"))

    monkeypatch.setattr(notices_module, "STORE_AGAIN_S", 0.01)
    async with placed(tmp_path) as place:
        await place.stored({})
        line = await place.link(MemorySite(AGENT))
        with monkeypatch.context() as patch:
            patch.setattr(Kept, "keep", failing)
            line.say(BUSY)
            await tried.wait()
            line.say(CALM)
            await until(lambda: place.notices.of(AGENT) == CALM, "the second")
        await place.stored({AGENT: CALM})
        assert line.closed_with is None


async def test_a_switchboard_that_keeps_none_ignores_them() -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].say(BUSY)
        asking = board.ask()
        site.answer((await site.started.get()).exchange)
        (await board.answer(asking)).close(DoneReason.OK)
        assert site.told == []
