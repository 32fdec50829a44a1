"""Calls over links in memory, with a real agent's core at the other end: routes, attempts, waits,
counts."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, Final

import pytest

from penstock.names import AgentId
from penstock.principal import Principal
from penstock.tunnel.frames import DoneReason, EndReason
from penstock_relay.switchboard import Call, NotExecuted, Offline, OutcomeUnknown
from penstock_relay.switchboard import registry as registry_module
from penstock_relay.switchboard import switchboard as switchboard_module
from tests.harness.link_pair import AGENT, until
from tests.relay.switchboard.board import Board, body, call, running

SECOND = AgentId("plant", "a2")


# -- routes ---------------------------------------------------------------------------------------


async def test_a_site_that_was_never_linked_is_offline_since_nobody_knows() -> None:
    async with running() as board:
        error = await board.ask()
        assert isinstance(error, Offline)
        assert error.since is None
        assert board.quiet


async def test_a_lost_site_is_waited_for_and_then_offline_since_its_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry_module, "SETTLE", 0.1)
    async with running() as board:
        site = await board.site()
        before = time.time()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        asking = board.ask()
        await asyncio.sleep(0)
        assert board.switchboard.calls == 1, "a call that waits is under way"
        error = await asking
        assert isinstance(error, Offline)
        assert before <= (error.since or 0) <= time.time()
        assert board.quiet


async def test_a_call_that_waits_goes_out_when_the_agent_is_back() -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        asking = board.ask()
        await asyncio.sleep(0)
        await board.link(site)
        site.answer((await site.started.get()).exchange)
        answer = await board.answer(asking)
        answer.close(DoneReason.OK)
        assert board.quiet


async def test_a_call_does_not_wait_longer_than_its_caller() -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        assert isinstance(await board.ask(call(no_byte_s=0.05)), Offline)
        assert isinstance(await board.ask(call(deadline_s=0.05)), Offline)
        assert board.quiet


async def test_a_caller_that_goes_while_its_call_waits_is_not_counted_any_more() -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        asking = board.ask()
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,))
        assert board.quiet


async def test_a_server_that_nobody_offers_is_refused_at_once() -> None:
    async with running() as board:
        await board.site()
        error = await board.ask(call(server="other"))
        assert isinstance(error, NotExecuted)
        assert "serves this server" in str(error)
        assert board.switchboard.lacks("plant", "other")
        assert not board.switchboard.lacks("plant", "files")
        assert board.quiet


async def test_an_offer_opens_the_way_to_a_server() -> None:
    async with running() as board:
        site = await board.site()
        site.offer("files", "other")
        await until(lambda: not board.switchboard.lacks("plant", "other"), "the offer")
        asking = board.ask(call(server="other"))
        site.answer((await site.started.get()).exchange)
        (await board.answer(asking)).close(DoneReason.OK)


async def test_calls_without_a_session_go_to_the_callers_agent_and_sessions_stay_with_theirs() -> None:
    async with running() as board:
        sites = [await board.site(), await board.site(SECOND)]
        own, again = [await board.served(sites) for _ in range(2)]
        assert own == again
        for agent in (AGENT, SECOND):
            assert await board.served(sites, call(session=f"{agent.tag}.s")) == agent
        assert board.quiet


async def test_a_session_waits_for_its_own_agent_then_asks_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as board:
        first = await board.site()
        second = await board.site(SECOND)
        first.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 1, "the cut")
        asking = board.ask(call(session=f"{AGENT.tag}.s"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert second.started.empty()
        await board.link(first)
        first.answer((await first.started.get()).exchange)
        (await board.answer(asking)).close(DoneReason.OK)

        monkeypatch.setattr(registry_module, "SETTLE", 0.05)
        first.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 1, "the cut")
        asking = board.ask(call(session=f"{AGENT.tag}.s"))
        second.answer((await second.started.get()).exchange, status=404)
        answer = await board.answer(asking)
        assert answer.status == 404
        answer.close(DoneReason.OK)
        assert board.quiet


# -- attempts -------------------------------------------------------------------------------------


async def test_a_request_that_never_left_is_sent_again_over_the_next_link() -> None:
    async with running() as board:
        site = await board.site()
        line = site.links[0]
        # The link ends in the turn in which the call was queued: nothing of it was handed over.
        asking = board.ask()
        line.cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        await board.link(site)
        started = await site.started.get()
        site.answer(started.exchange)
        (await board.answer(asking)).close(DoneReason.OK)
        assert site.started.empty()
        assert board.quiet


@pytest.mark.parametrize("reason", [EndReason.STALE, EndReason.WRONG_EPOCH, EndReason.UNKNOWN])
@pytest.mark.parametrize("times", [switchboard_module.LINKS - 1, switchboard_module.LINKS])
async def test_keys_that_are_lost_with_their_links_are_no_refusals_and_have_an_end(
    times: int, reason: EndReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One break of a link after another: so many that a caller would be told of three."""
    async with running() as board:
        site = await board.site()
        ended = 0
        refusal = site.core._refusal

        def lost(*given: Any) -> EndReason | None:
            nonlocal ended
            ended += 1
            return reason if ended <= times else refusal(*given)

        monkeypatch.setattr(site.core, "_refusal", lost)
        asking = board.ask()
        if times == switchboard_module.LINKS:
            error = await asking
            assert isinstance(error, NotExecuted)
            assert "broke before the request was delivered. It was not executed" in str(error)
            assert site.started.empty()
        else:
            site.answer((await site.started.get()).exchange)
            (await board.answer(asking)).close(DoneReason.OK)
        assert board.quiet


def _tried(board: Board, keys: int) -> bool:
    return board.switchboard._origin._next == 1 + keys


async def test_a_request_outlives_one_cut_after_another() -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask()
        for cut in range(1, 2 * switchboard_module.ATTEMPTS):
            site.links[-1].cut()
            await until(lambda: board.switchboard.links.greeted == 0, "the cut")
            await board.link(site)
            await until(partial(_tried, board, 1 + cut), "the next key")
        site.answer((await site.started.get()).exchange)
        (await board.answer(asking)).close(DoneReason.OK)
        assert board.quiet


async def test_three_keys_are_tried_and_then_the_call_is_not_executed() -> None:
    async with running() as board:
        site = await board.site()
        site.core.drain()  # without GOAWAY: the relay cannot know
        error = await board.ask()
        assert isinstance(error, NotExecuted)
        assert "is stopping" in str(error)
        assert "try again" in str(error)
        assert board.switchboard._origin._next == 1 + switchboard_module.ATTEMPTS
        assert site.started.empty()
        assert board.quiet


@pytest.mark.parametrize("times", [1, 2, 3, 4])
async def test_a_forgotten_principal_is_sent_again(times: int) -> None:
    async with running() as board:
        site = await board.site()
        forgotten = 0

        def forget() -> None:
            nonlocal forgotten
            if forgotten < times:
                forgotten += 1
                for known in site.core._principals.values():
                    for digest in list(known._known):
                        known.forget(digest)

        receive = site.core.frame

        def frame(link: object, given: object, at: float) -> bool:
            if type(given).__name__ == "Open":
                forget()
            return receive(link, given, at)  # type: ignore[arg-type]  # handed on as it came

        site.core.frame = frame  # type: ignore[assignment, method-assign]  # an agent that forgets
        asking = board.ask()
        if times >= switchboard_module.ATTEMPTS:
            error = await asking
            assert isinstance(error, NotExecuted)
            assert site.started.empty()
        else:
            site.answer((await site.started.get()).exchange)
            (await board.answer(asking)).close(DoneReason.OK)
        assert board.quiet


async def test_no_key_is_tried_once_the_caller_would_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as board:
        site = await board.site()
        site.links[0].deaf = True
        kernel = asyncio.Event()
        monkeypatch.setattr(board.switchboard.links._lines[1].driver._kernel, "writable", kernel.wait)
        error = await board.ask(call(no_byte_s=0.05))
        assert isinstance(error, NotExecuted)
        assert "in time" in str(error)
        assert board.switchboard._origin._next == 2, "one key"
        assert board.quiet


@pytest.mark.parametrize(
    "headers",
    [(("mcp-param-" + "x" * 300, "1"),), (("mcp-name", "x" * 70_000),), (("mcp-name", "\udc80"),)],
    ids=["name", "value", "surrogate"],
)
async def test_headers_that_fit_no_frame_fail_their_caller_and_not_the_link(
    headers: tuple[tuple[str, str], ...],
) -> None:
    async with running() as board:
        site = await board.site()
        error = await board.ask(call(headers=headers))
        assert isinstance(error, NotExecuted)
        assert board.quiet
        asking = board.ask()
        site.answer((await site.started.get()).exchange)
        (await board.answer(asking)).close(DoneReason.OK)
        assert len(site.links) == 1


async def test_claims_that_fit_no_frame_fail_their_caller_and_not_the_link() -> None:
    async with running() as board:
        site = await board.site()
        good = call()
        for size in (50_000, 70_000):
            large = Principal("penstock", "svc:test", groups=("g" * size,))
            asked = Call("plant", "files", "POST", (), b"{}", large, good.purpose, 9.0, 9.0)
            assert isinstance(await board.ask(asked), NotExecuted)
        assert board.quiet
        assert len(site.links) == 1


# -- callers that go ------------------------------------------------------------------------------


async def test_a_caller_that_goes_before_the_request_left_costs_the_agent_nothing() -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask()
        asking.cancel()
        await asyncio.wait((asking,))
        assert board.quiet
        for _ in range(20):
            await asyncio.sleep(0)
        assert site.started.empty()
        assert not site.gone


@pytest.mark.parametrize("length", [2, 200_000], ids=["whole", "waiting for credit"])
async def test_a_caller_that_goes_while_its_request_is_sent_or_runs_is_told_to_the_agent(length: int) -> None:
    async with running() as board:
        site = await board.site()
        if length > 2:
            site.core._budget.left = 0  # the rest is not granted
        asking = board.ask(call(b"x" * length))
        await until(lambda: site.core.open_exchanges == 1, "OPEN")
        asking.cancel()
        await asyncio.wait((asking,))
        await until(lambda: list(site.gone) == [DoneReason.CLIENT_GONE], "DONE")
        assert site.started.empty() == (length > 2)
        assert board.quiet


async def test_a_caller_that_goes_during_a_cut_is_told_to_the_agent_after_it() -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask()
        await site.started.get()
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        asking.cancel()
        await asyncio.wait((asking,))
        assert board.quiet


async def test_large_requests_are_whole_when_they_start() -> None:
    async with running() as board:
        site = await board.site()
        data = bytes(range(256)) * 4096
        asking = board.ask(call(data))
        started = await site.started.get()
        assert started.body == data
        site.answer(started.exchange, b"y" * 200_000)
        answer = await board.answer(asking)
        assert await body(answer) == b"y" * 200_000
        answer.close(DoneReason.OK)
        assert board.quiet


LISTEN: Final = (("mcp-method", "subscriptions/listen"), ("mcp-protocol-version", "2026-07-28"))


async def test_since_2026_07_28_there_are_no_sessions_to_go_by() -> None:
    async with running() as board:
        sites = [await board.site(), await board.site(SECOND)]
        own = await board.served(sites, call(headers=LISTEN))
        for agent in (AGENT, SECOND):
            assert await board.served(sites, call(session=f"{agent.tag}.s", headers=LISTEN)) == own


@pytest.mark.parametrize("listening", [call(method="GET"), call(headers=LISTEN)])
async def test_streams_that_listen_are_not_counted_and_their_end_reaches_the_agent(listening: Call) -> None:
    async with running() as board:
        site = await board.site()
        answer, _ = await board.called(site, listening)
        assert board.switchboard.calls == 0
        assert board.switchboard.idle.is_set()
        answer.close(DoneReason.CLIENT_GONE)
        await until(lambda: list(site.gone) == [DoneReason.CLIENT_GONE], "DONE")
        assert board.quiet


async def test_an_agent_that_does_not_come_back_in_time_leaves_the_outcome_unknown() -> None:
    async with running() as board:
        board.switchboard._origin._grace = 0.05
        site = await board.site()
        asking = board.ask()
        await site.started.get()
        site.links[0].cut()
        error = await asking
        assert isinstance(error, OutcomeUnknown)
        assert "was lost" in str(error)
        assert board.quiet
