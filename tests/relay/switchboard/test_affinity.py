"""Two agents of one site: whose calls go where, over links that come and go."""

from __future__ import annotations

from typing import Final

import pytest

from penstock.names import WHOLE_SITE, AgentId
from penstock_relay.switchboard import registry as registry_module
from tests.harness.link_pair import AGENT, until
from tests.harness.memory_site import MemorySite
from tests.relay.switchboard.board import Board, call, running

SECOND: Final = AgentId("plant", "a2")
STATELESS: Final = (("mcp-protocol-version", "2026-07-28"),)


async def homes(board: Board, *sites: MemorySite, server: str = "files") -> dict[str, AgentId]:
    """One round of a request of 2026-07-28 for each of 50 callers: which agent it went to."""
    callers = [f"svc:{n}" for n in range(50)]
    return {
        caller: await board.served(sites, call(caller=caller, headers=STATELESS, server=server))
        for caller in callers
    }


async def test_what_an_agent_sealed_comes_back_to_it_and_only_a_lost_ones_callers_move() -> None:
    """The state of such a request is in its body, which the relay does not read: the caller leads there."""
    async with running() as board:
        first, second = await board.site(), await board.site(SECOND)
        before = await homes(board, first, second)
        assert 15 <= list(before.values()).count(AGENT) <= 35
        await board.link(second)
        await board.link(first)
        assert await homes(board, first, second) == before, "whoever dialled last"
        for line in list(first.links):
            line.cut()
        await until(lambda: board.switchboard.links.greeted == 2, "the cut")
        assert set((await homes(board, first, second)).values()) == {SECOND}, "and nobody waits for it"
        await board.link(first)
        assert await homes(board, first, second) == before
        assert board.quiet


async def test_another_life_of_the_relay_finds_the_same() -> None:
    found = []
    for _ in range(2):
        async with running() as board:
            found.append(await homes(board, await board.site(), await board.site(SECOND)))
    assert found[0] == found[1]


async def test_calls_for_the_whole_site_go_to_agents_that_have_servers_to_put_together() -> None:
    async with running() as board:
        first = await board.site()
        assert set((await homes(board, first, server=WHOLE_SITE)).values()) == {AGENT}
        second = await board.site(SECOND, ("files", "time"))
        assert set((await homes(board, first, second, server=WHOLE_SITE)).values()) == {SECOND}
        third = await board.site(AgentId("plant", "a3"), ("files", "time"))
        spread = await homes(board, first, second, third, server=WHOLE_SITE)
        assert set(spread.values()) == {SECOND, third.agent}


async def test_a_call_for_the_whole_site_waits_for_a_lost_one_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        asking = board.start(board.served([site], call(server=WHOLE_SITE)))
        await board.link(site)
        assert await asking == AGENT
        assert not board.switchboard.lacks("plant", WHOLE_SITE)
        site.go_away()
        monkeypatch.setattr(registry_module, "SETTLE", 0.05)
        await until(lambda: board.switchboard._registry.pick("plant", WHOLE_SITE, None) is None, "GOAWAY")
        refused = await board.ask(call(server=WHOLE_SITE))
        assert "No agent of the site takes calls now." in str(refused)
