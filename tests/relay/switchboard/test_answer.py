"""An answer against a real agent's core: credit, and every way in which it can end."""

from __future__ import annotations

import asyncio

import pytest

from penstock.tunnel.frames import DoneReason, EndReason
from penstock.tunnel.limits import FREE_WINDOW, MAX_WINDOW
from penstock_relay.switchboard import Answer, AnswerBroken, OutcomeUnknown
from penstock_relay.switchboard import switchboard as switchboard_module
from penstock_relay.switchboard.answer import LiveAnswer
from tests.harness.link_pair import until
from tests.relay.switchboard.board import body, call, running


async def test_a_whole_answer_arrives_with_its_head_and_is_acknowledged() -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask(call(b'{"id":1}', headers=(("accept", "*/*"),)))
        started = await site.started.get()
        opened = started.exchange.open
        assert (started.body, opened.site, opened.server, opened.headers) == (
            b'{"id":1}', "plant", "files", (("accept", "*/*"),)
        )  # fmt: skip
        site.answer(started.exchange, b'{"ok":1}')
        answer = await board.answer(asking)
        assert (answer.status, answer.headers) == (200, (("content-type", "application/json"),))
        assert answer.key == str(started.exchange.key)
        assert await body(answer) == b'{"ok":1}'
        assert isinstance(answer, LiveAnswer)
        assert answer._timer is not None
        assert answer._timer.cancelled(), "a day's deadline of a stream must not outlive it"
        assert not board.quiet, "the caller may still be taking it"
        answer.close(DoneReason.OK)
        answer.close(DoneReason.CLIENT_GONE)
        assert board.quiet
        await until(lambda: list(site.gone) == [DoneReason.OK], "DONE")


async def test_a_reader_that_takes_gives_credit_and_one_that_does_not_gives_none() -> None:
    async with running() as board:
        site = await board.site()
        answer, exchange = await board.called(site)
        size = 12 * 1024 * 1024
        site.write(exchange, b"x" * size)
        site.end(exchange)
        chunks = aiter(answer)
        got = len(await anext(chunks))
        for _ in range(100):
            await asyncio.sleep(0)
        assert exchange.sending.sent <= FREE_WINDOW
        async for chunk in chunks:
            got += len(chunk)
            assert exchange.sending.limit - exchange.sending.have <= MAX_WINDOW
        assert got == size
        assert exchange.sending.limit - exchange.sending.have > FREE_WINDOW, "a quick reader gets more"
        answer.close(DoneReason.OK)
        assert board.quiet


@pytest.mark.parametrize("reason", [DoneReason.CLIENT_GONE, DoneReason.TOO_SLOW, DoneReason.DEADLINE])
async def test_closing_an_answer_early_tells_the_agent_why_and_frees_everything(reason: DoneReason) -> None:
    async with running() as board:
        site = await board.site()
        answer, exchange = await board.called(site)
        site.write(exchange, b"x" * 300_000)
        chunks = aiter(answer)
        for _ in range(4):
            await anext(chunks)
        answer.close(reason)
        await until(lambda: list(site.gone) == [reason], "DONE")
        assert board.quiet
        with pytest.raises(AnswerBroken):
            async for _ in chunks:
                pass


async def test_an_answer_that_is_revoked_stops_at_the_agent_before_it_is_forgotten() -> None:
    async with running() as board:
        site = await board.site()
        answer, _ = await board.called(site)
        answer.close(DoneReason.REVOKED)
        assert board.switchboard.calls == 0
        await until(lambda: list(site.gone) == [DoneReason.REVOKED], "DONE")
        await until(lambda: board.quiet, "the agent's END")


async def test_a_reader_that_waits_hears_of_the_close() -> None:
    async with running() as board:
        site = await board.site()
        answer, _ = await board.called(site)
        reading = board.start(_failure(answer))
        await asyncio.sleep(0)
        answer.close(DoneReason.TOO_SLOW)
        assert isinstance(await reading, AnswerBroken)


async def _failure(answer: Answer) -> Exception | None:
    try:
        await body(answer)
    except AnswerBroken as error:
        return error
    return None


async def test_an_answer_that_fails_at_the_agent_breaks_off_behind_what_had_come() -> None:
    async with running() as board:
        site = await board.site()
        answer, exchange = await board.called(site)
        site.write(exchange, b"half")
        chunks = aiter(answer)
        assert await anext(chunks) == b"half"
        site.end(exchange, EndReason.FAILED)
        with pytest.raises(AnswerBroken, match="failed while the request ran"):
            await anext(chunks)
        answer.close(DoneReason.CLIENT_GONE)
        assert board.quiet


async def test_what_arrived_before_the_failure_is_still_read() -> None:
    async with running() as board:
        site = await board.site()
        answer, exchange = await board.called(site)
        site.write(exchange, b"half")
        site.end(exchange, EndReason.DEADLINE)
        await until(lambda: board.switchboard._origin.open_exchanges == 0, "END")
        chunks = aiter(answer)
        assert await anext(chunks) == b"half"
        with pytest.raises(AnswerBroken, match="did not answer in time"):
            await anext(chunks)
        answer.close(DoneReason.CLIENT_GONE)
        assert board.quiet


async def test_the_deadline_ends_an_answer_that_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchboard_module, "DEADLINE_SLACK", 0.0)
    async with running() as board:
        site = await board.site()
        answer, _ = await board.called(site, call(deadline_s=0.05))
        with pytest.raises(AnswerBroken, match="did not answer in time"):
            await body(answer)
        await until(lambda: list(site.gone) == [DoneReason.DEADLINE], "DONE")
        answer.close(DoneReason.CLIENT_GONE)
        assert board.quiet


@pytest.mark.parametrize(("deadline", "no_byte"), [(0.05, 9.0), (9.0, 0.05)], ids=["deadline", "no byte"])
async def test_a_site_that_says_nothing_in_time_leaves_the_outcome_unknown(
    monkeypatch: pytest.MonkeyPatch, deadline: float, no_byte: float
) -> None:
    monkeypatch.setattr(switchboard_module, "DEADLINE_SLACK", 0.0)
    async with running() as board:
        site = await board.site()
        error = await board.ask(call(deadline_s=deadline, no_byte_s=no_byte))
        assert isinstance(error, OutcomeUnknown)
        assert "did not answer in time" in str(error)
        await until(lambda: list(site.gone) == [DoneReason.DEADLINE], "DONE")
        assert board.quiet


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (EndReason.FAILED, "failed while the request ran"),
        (EndReason.DEADLINE, "did not answer in time"),
        (EndReason.REVOKED, "right to this request was withdrawn"),
    ],
)
async def test_a_last_word_without_answer_leaves_the_outcome_unknown(reason: EndReason, words: str) -> None:
    async with running() as board:
        site = await board.site()
        asking = board.ask()
        site.end((await site.started.get()).exchange, reason)
        error = await asking
        assert isinstance(error, OutcomeUnknown)
        assert words in str(error)
        assert board.quiet


async def test_a_cut_is_not_seen_by_the_reader() -> None:
    async with running() as board:
        site = await board.site()
        answer, exchange = await board.called(site)
        site.write(exchange, b"a" * 1000)
        chunks = aiter(answer)
        await anext(chunks)
        site.links[0].cut()
        await until(lambda: board.switchboard.links.greeted == 0, "the cut")
        site.write(exchange, b"b" * 1000)
        site.end(exchange)
        await board.link(site)
        assert b"".join([chunk async for chunk in chunks]) == b"b" * 1000
        answer.close(DoneReason.OK)
        assert board.quiet


async def test_an_agent_that_was_restarted_breaks_the_answer_off() -> None:
    async with running() as board:
        site = await board.site()
        answer, exchange = await board.called(site)
        site.links[0].cut()
        await board.site(epoch=2)
        with pytest.raises(AnswerBroken):
            await body(answer)
        answer.close(DoneReason.CLIENT_GONE)
        assert board.quiet
        assert exchange.key
