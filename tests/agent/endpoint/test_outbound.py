"""Long messages are looked through in steps: what else happens meanwhile, and what becomes of them then."""

from __future__ import annotations

import asyncio
import json
from itertools import count

import pytest

from penstock_agent.endpoint.outbound import SHORT
from penstock_agent.endpoint.turns import SLICE_S, Turns
from penstock_agent.gate.pause import Entry, Kind, Paused
from penstock_agent.ledger.entries import Decision, Verdict
from tests.agent.endpoint.modern.kit import ask, started
from tests.agent.endpoint.talk import FakeChild, Json, Talk, talking
from tests.agent.endpoint.test_keeping import ASK, Site
from tests.agent.endpoint.test_redaction import CARD, MAIL, MASK, MASKED, NO_MAIL, RESULT, gate, ruled
from tests.harness.fake_exchange import FakeExchange

ROWS = [f"row {number} is quite ordinary" for number in range(2_000)]
assert len(json.dumps(ROWS)) > 2 * SHORT


def long(who: str = MAIL) -> Json:
    return {"resultType": "complete", "structuredContent": {"rows": ROWS, "who": who}}


class Work:
    """Somebody who goes on looking only when told to."""

    def __init__(self, talk: Talk) -> None:
        self._ticks = count()
        self.go = asyncio.Event()
        self.paused = 0
        talk.endpoint._shared.turns = Turns(lambda: next(self._ticks) * SLICE_S / 4, lambda: 0.0, self._pause)

    async def _pause(self) -> None:
        self.paused += 1
        await self.go.wait()


async def said(call: FakeExchange) -> Json:
    """The last message of the answer, in whichever form it came."""
    await call.until_end()
    return call.events()[-1] if call.content_type == "text/event-stream" else json.loads(call.content)


async def begun(talk: Talk, modern: bool) -> tuple[FakeExchange, FakeChild, str]:
    """A call whose answer is being looked through, and the session."""
    if modern:
        session, child = "", await started(talk)
        call = ask(talk, 1)
    else:
        session, child = await talk.session()
        call = talk.call(1, session)
    child.answer(await child.heard("tools/call"), long())
    await talk.settle()
    assert not call.ended
    return call, child, session


async def test_others_are_served_meanwhile_and_what_the_same_child_says_waits_in_order() -> None:
    async with talking() as talk:
        book, work = ruled(talk, MASK), Work(talk)
        other, neighbour = await talk.session()
        call, child, session = await begun(talk, modern=False)
        later = talk.call(2, session)
        child.answer(await child.heard("tools/call"), RESULT)
        quick = talk.call(3, other)
        neighbour.answer(await neighbour.heard("tools/call"), RESULT)
        assert (await said(quick))["result"] == MASKED
        assert not later.ended
        assert talk.endpoint.status().held_bytes > 2 * SHORT, "it counts while it waits"
        work.go.set()
        assert (await said(call))["result"] == long(NO_MAIL)
        assert (await said(later))["result"] == MASKED
        assert work.paused > 1
        assert [found for _, _, found in book.masked][1:] == [{"email": 1}, {"card": 1, "email": 1}]


@pytest.mark.parametrize("modern", [False, True])
async def test_a_long_answer_comes_without_what_is_found(modern: bool) -> None:
    async with talking() as talk:
        ruled(talk, MASK)
        work = Work(talk)
        call, _, _ = await begun(talk, modern)
        work.go.set()
        assert (await said(call))["result"] == long(NO_MAIL)


@pytest.mark.parametrize("modern", [False, True])
async def test_the_stop_button_holds_while_it_is_looked_through(modern: bool) -> None:
    async with talking() as talk:
        book, work = ruled(talk, MASK), Work(talk)
        call, _, _ = await begun(talk, modern)
        talk.endpoint.pause(Paused((Entry(Kind.SERVER, "files"),)))
        assert "stopped" in json.dumps(await said(call))
        work.go.set()
        await talk.settle()
        assert book.masked == []
        assert "row 1 " not in call.content.decode()


@pytest.mark.parametrize("modern", [False, True])
async def test_rules_that_come_meanwhile_are_those_that_hold(modern: bool) -> None:
    async with talking() as talk:
        book, work = ruled(talk, MASK), Work(talk)
        call, _, _ = await begun(talk, modern)
        talk.endpoint._shared.gate = gate({"find": ["email"], "action": "block"})
        work.go.set()
        assert "its rules do not let out" in json.dumps(await said(call))
        assert [action for _, action, _ in book.masked] == ["block"]


async def test_a_caller_that_cancels_or_waits_no_longer_is_told_at_once() -> None:
    async with talking(call_timeout=30.0) as talk:
        ruled(talk, MASK)
        work = Work(talk)
        call, _, session = await begun(talk, modern=False)
        talk.note(session, "notifications/cancelled", requestId=1)
        assert "Cancelled" in json.dumps(await said(call))
        other, child = await talk.session()
        late = talk.call(5, other)
        child.answer(await child.heard("tools/call"), long())
        assert "in time" in json.dumps(await said(late))
        work.go.set()
        await talk.settle()
        assert "row 1 " not in (call.content + late.content).decode()


@pytest.mark.parametrize("modern", [False, True])
async def test_a_child_that_dies_after_its_answer_has_answered(modern: bool) -> None:
    async with talking() as talk:
        ruled(talk, MASK)
        work = Work(talk)
        call, child, _ = await begun(talk, modern)
        child.die()
        await talk.settle()
        work.go.set()
        assert (await said(call))["result"] == long(NO_MAIL)


async def test_a_session_that_ends_meanwhile_ends_its_call() -> None:
    async with talking() as talk:
        ruled(talk, MASK)
        Work(talk)
        call, _, session = await begun(talk, modern=False)
        await talk.send("DELETE", session=session).until_end()
        assert "row 1 " not in json.dumps(await said(call))


async def test_an_answer_that_its_caller_did_not_wait_for_is_kept_for_approval() -> None:
    async with talking(call_timeout=30.0) as talk:
        ruled(talk, ASK)
        site, work = Site(talk), Work(talk)
        session, child = await talk.session()
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"), long(CARD))
        assert "in time" in json.dumps(await said(call))
        work.go.set()
        await talk.settle()
        site.answer(True)
        assert (await said(talk.call(2, session)))["result"] == long(CARD)
        await child.heard("notifications/cancelled")
        assert child.heard_nothing


async def test_what_is_kept_is_looked_through_again_and_still_handed_out_once() -> None:
    async with talking() as talk:
        book, site = ruled(talk, ASK), Site(talk)
        work = Work(talk)
        work.go.set()
        session, child = await talk.session()
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"), long(CARD))
        assert "waits for approval" in json.dumps(await said(call))
        site.answer(True)
        work.go.clear()
        both = talk.call(2, session), talk.call(3, session)
        await talk.settle()
        assert not any(one.ended for one in both)
        work.go.set()
        texts = [json.dumps(await said(one)) for one in both]
        assert sum(CARD in text for text in texts) == 1
        assert sum("collected by another equal call" in text for text in texts) == 1
        verdicts = [one.verdict for one in book.entries if isinstance(one, Decision)][-2:]
        assert sorted(verdicts) == sorted([Verdict.ALLOWED, Verdict.DENIED])
        assert child.heard_nothing


async def test_the_stop_button_holds_while_what_was_kept_is_looked_through() -> None:
    async with talking() as talk:
        ruled(talk, ASK)
        site, work = Site(talk), Work(talk)
        work.go.set()
        child = await started(talk)
        call = ask(talk, 1)
        child.answer(await child.heard("tools/call"), long(CARD))
        assert "waits for approval" in json.dumps(await said(call))
        site.answer(True)
        work.go.clear()
        call = ask(talk, 2)
        await talk.settle()
        talk.endpoint.pause(Paused((Entry(Kind.SERVER, "files"),)))
        work.go.set()
        assert CARD not in json.dumps(await said(call))
        talk.endpoint.pause(Paused())
        assert CARD in json.dumps(await said(ask(talk, 3)))
