"""A site that the operator has suspended: nothing goes there, and what runs there ends."""

from __future__ import annotations

import asyncio

import pytest

from penstock.names import AgentId
from penstock.tunnel.frames import DoneReason
from penstock_relay.switchboard import AnswerBroken, NotExecuted, OutcomeUnknown
from tests.harness.link_pair import until
from tests.relay.switchboard.board import body, call, running

PLANT = frozenset({"plant"})


async def test_a_call_to_a_suspended_site_is_refused_in_words_and_never_sent() -> None:
    async with running() as board:
        site = await board.site()
        board.switchboard.suspend(PLANT)
        refused = await board.ask()
        assert isinstance(refused, NotExecuted)
        assert "'plant' is suspended" in str(refused)
        assert "penstock-relay site resume plant" in str(refused)
        assert refused.retry_after_s == 60
        assert site.started.empty()
        assert board.switchboard.links.greeted == 1
        assert board.quiet


async def test_it_goes_on_at_once_when_it_is_resumed() -> None:
    async with running() as board:
        site = await board.site()
        board.switchboard.suspend(PLANT)
        board.switchboard.suspend(frozenset())
        await board.served([site])
        assert board.quiet


async def test_another_site_notices_nothing() -> None:
    async with running() as board:
        site = await board.site()
        board.switchboard.suspend(frozenset({"dam"}))
        answer, exchange = await board.called(site)
        board.switchboard.suspend(frozenset({"dam", "mill"}))
        site.write(exchange, b"{}")
        site.end(exchange)
        assert await body(answer) == b"{}"
        answer.close(DoneReason.OK)
        assert board.quiet


async def test_a_call_that_runs_is_revoked_and_its_caller_told_that_the_outcome_is_unknown() -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask()
        await site.started.get()
        board.switchboard.suspend(PLANT)
        ended = await asking
        assert isinstance(ended, OutcomeUnknown)
        assert "suspended by the relay's operator while this request ran" in str(ended)
        await until(lambda: list(site.gone) == [DoneReason.REVOKED], "DONE")
        await until(lambda: board.quiet, "END")


async def test_an_answer_that_has_begun_breaks_off() -> None:
    async with running() as board:
        site = await board.site()
        answer, _ = await board.called(site)
        asyncio.get_running_loop().call_soon(board.switchboard.suspend, PLANT)
        with pytest.raises(AnswerBroken, match="suspended by the relay's operator"):
            await body(answer)
        answer.close(DoneReason.CLIENT_GONE)
        await until(lambda: list(site.gone) == [DoneReason.REVOKED], "DONE")
        await until(lambda: board.quiet, "END")


async def test_a_call_that_waits_for_an_agent_is_told_at_once() -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        asking = board.ask()
        await asyncio.sleep(0)
        board.switchboard.suspend(PLANT)
        assert isinstance(await asking, NotExecuted)
        assert board.quiet


async def test_a_call_that_was_not_sent_yet_was_not_executed() -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask(call(b"x" * 200_000))
        site.links[0].deaf = True
        await until(lambda: bool(site.links[0].under_way), "OPEN")
        board.switchboard.suspend(PLANT)
        refused = await asking
        assert isinstance(refused, NotExecuted)
        assert "'plant' is suspended" in str(refused)
        site.links[0].deaf = False
        site.links[0].arrive()
        await until(lambda: board.quiet, "the end")
        assert site.started.empty()


async def test_a_call_whose_link_is_gone_is_revoked_when_its_agent_comes_back() -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask()
        await site.started.get()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        board.switchboard.suspend(PLANT)
        assert isinstance(await asking, OutcomeUnknown)
        await board.link(site)
        await until(lambda: list(site.gone) == [DoneReason.REVOKED], "DONE behind ATTACH")
        await until(lambda: board.quiet, "END")


async def test_an_agent_may_come_and_go_while_its_site_is_suspended() -> None:
    async with running() as board:
        board.switchboard.suspend(PLANT)
        site = await board.site(AgentId("plant", "a2"))
        assert isinstance(await board.ask(), NotExecuted)
        board.switchboard.suspend(frozenset())
        await board.served([site])
