"""Links of a switchboard as they come, drain and go."""

from __future__ import annotations

import asyncio

import pytest

from penstock.names import AgentId
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import DoneReason, End, EndReason, GoAway, GoAwayReason, Offer
from penstock_relay.switchboard import NotExecuted
from penstock_relay.switchboard import links as links_module
from tests.harness.link_pair import AGENT, until
from tests.harness.memory_site import MemorySite
from tests.relay.switchboard.board import call, running

SECOND = AgentId("plant", "a2")

# -- stopping -------------------------------------------------------------------------------------


async def test_draining_asks_agents_to_leave_refuses_new_calls_and_finishes_old_ones() -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask()
        exchange = (await site.started.get()).exchange
        board.switchboard.links.drain(5000)
        await until(lambda: site.told == [GoAway(GoAwayReason.RESTART, 5000)], "GOAWAY")
        refused = await board.ask()
        assert isinstance(refused, NotExecuted)
        assert "relay is stopping" in str(refused)
        assert not board.switchboard.idle.is_set()
        site.answer(exchange)
        (await board.answer(asking)).close(DoneReason.OK)
        await board.switchboard.idle.wait()
        late = await board.site(SECOND)
        await until(lambda: late.asked_to_leave == 1, "GOAWAY for an agent that comes late")
        assert isinstance(await board.ask(), NotExecuted)


async def test_a_call_that_waits_for_an_agent_is_refused_when_the_relay_drains() -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        asking = board.ask()
        await asyncio.sleep(0)
        board.switchboard.links.drain(0)
        assert isinstance(await asking, NotExecuted)
        assert board.quiet


async def test_calls_wait_for_an_agent_that_is_being_restarted() -> None:
    async with running() as board:
        old = await board.site()
        old.go_away()
        await until(lambda: board.switchboard._registry.pick("plant", "files", None) is None, "GOAWAY")
        asking = board.ask()
        await asyncio.sleep(0)
        old.links[0].leave(1001)
        await until(lambda: board.switchboard.links.greeted == 0, "the end")
        new = await board.site(epoch=2)
        new.answer((await new.started.get()).exchange)
        (await board.answer(asking)).close(DoneReason.OK)
        assert old.started.empty()


async def test_stop_ends_every_link_as_going_away() -> None:
    async with running() as board:
        site = await board.site()
        lines = [site.links[0], await board.link(site)]
        board.switchboard.links.stop()
        await until(lambda: board.switchboard.links.greeted == 0, "the end")
        await until(lambda: all(line.closed_with for line in lines), "the close codes")
        assert {line.closed_with[0] for line in lines if line.closed_with} == {1001}


# -- greetings ------------------------------------------------------------------------------------


async def test_what_stands_right_behind_hello_is_not_lost() -> None:
    async with running() as board:
        site = MemorySite(AGENT)
        await board.link(site, Offer(b"d" * 32, ("other",)))
        assert board.switchboard.lacks("plant", "files")
        assert not board.switchboard.lacks("plant", "other")

        leaving = MemorySite(SECOND, ("other", "files"))
        await board.link(leaving, GoAway(GoAwayReason.DRAIN, 0))
        asking = board.ask(call(server="other"))
        site.offer("other")
        site.answer((await site.started.get()).exchange)
        (await board.answer(asking)).close(DoneReason.OK)
        assert leaving.started.empty()


async def test_an_agent_gets_a_bounded_number_of_links_greeted_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links_module, "LINKS_PER_AGENT", 2)
    async with running() as board:
        site = MemorySite(AGENT)
        silent = site.dial()
        silent._inbox.get_nowait()  # its HELLO never comes
        board.serve(silent)
        await board.link(site)
        refused = site.dial()
        await board.serve(refused)
        assert refused.closed_with == (4008, "too many links")
        await board.site(SECOND)
        silent.cut()
        await until(lambda: len(board.switchboard.links._lines) == 2, "the end of the silent one")
        await board.link(site)


async def test_an_agent_may_come_again_and_again() -> None:
    async with running() as board:
        site = MemorySite(AGENT)
        for _ in range(3 * links_module.LINKS_PER_AGENT):
            (await board.link(site)).leave()
            await until(lambda: not board.switchboard.links._lines, "the end")
        assert not board.switchboard.links._of_agent


async def test_the_end_of_an_exchange_that_the_relay_never_opened_ends_the_link() -> None:
    async with running() as board:
        site = await board.site()
        line = site.links[0]
        line.say(End(Key(board.switchboard._origin.boot, 99), 0, EndReason.OK))
        await until(lambda: line.closed_with is not None, "the end")
        assert line.closed_with == (4003, "a sequence number that was never used")
