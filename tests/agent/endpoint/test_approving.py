"""Calls that wait for somebody on site."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from penstock_agent.endpoint.approving import HOLD_S, SPARE_S, Approving, Passed, Stopped
from penstock_agent.endpoint.failures import LEFT_EARLY
from penstock_agent.exchange import Exchange
from penstock_agent.gate.approval import EXPIRY_S, MOST_OF_ONE, Call, Request, Unknown
from tests.harness.fake_exchange import ALICE, FakeExchange

CALL = Call(ALICE, "files", "tool:write_file", "d1", b"{}", 'rule "writes"')


class Site:
    """The people on site, and the time there."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.expired: list[str] = []
        self.later = 0.0
        ids = iter(f"r{number}" for number in range(1, 1000))
        self.approving = Approving(
            on_asked=lambda request: self.asked.append(request.id),
            on_expired=lambda request: self.expired.append(request.id),
            clock=lambda: asyncio.get_running_loop().time() + self.later,
            new_id=lambda: next(ids),
        )

    def call(self, call: Call = CALL, exchange: Exchange | None = None) -> asyncio.Task[Passed | Stopped]:
        asked = self.approving.approved(call, exchange or FakeExchange("files"))
        return asyncio.get_running_loop().create_task(asked)

    async def until_asked(self, count: int = 1) -> Request:
        while len(self.asked) < count:
            await asyncio.sleep(0)
        return self.approving.requests()[-1]


async def test_a_call_that_is_approved_while_it_waits_goes_on() -> None:
    site = Site()
    call = site.call()
    request = await site.until_asked()
    assert request.call is CALL
    site.approving.answer("r1", True, 1000)
    assert await call == Passed("r1")
    assert site.approving.requests() == []


async def test_a_call_that_nobody_answers_at_once_is_told_to_come_back_and_does() -> None:
    site = Site()
    began = asyncio.get_running_loop().time()
    found = await site.call()
    assert asyncio.get_running_loop().time() - began == HOLD_S
    assert isinstance(found, Stopped)
    assert found.waits
    assert "request r1" in found.failure.text
    assert "call again with the same arguments" in found.failure.text
    site.approving.answer("r1", True, 0)
    assert await site.call() == Passed("r1")
    assert site.asked == ["r1"]


async def test_it_comes_back_within_the_callers_own_time() -> None:
    site = Site()
    began = asyncio.get_running_loop().time()
    await site.call(exchange=FakeExchange("files", deadline=began + 5.0))
    assert asyncio.get_running_loop().time() - began == 5.0 - SPARE_S
    await site.call(exchange=FakeExchange("files", deadline=began))
    assert asyncio.get_running_loop().time() - began == 5.0 - SPARE_S


async def test_two_equal_calls_share_a_request_but_not_its_approval() -> None:
    site = Site()
    first, second = site.call(), site.call()
    await site.until_asked()
    site.approving.answer("r1", True, 0)
    found = [await first, await second]
    assert found.count(Passed("r1")) == 1
    (stopped,) = [one for one in found if isinstance(one, Stopped)]
    assert "another equal call" in stopped.failure.text
    assert site.asked == ["r1"]


async def test_an_approval_to_complete_is_none_to_use() -> None:
    site = Site()
    completes = site.call(replace(CALL, method="completion/complete"))
    await site.until_asked()
    gets = site.call(replace(CALL, method="prompts/get"))
    await site.until_asked(2)
    site.approving.answer("r1", True, 1000)
    assert await completes == Passed("r1")
    outcome = await gets
    assert isinstance(outcome, Stopped)
    assert outcome.waits


async def test_what_a_caller_asked_for_who_has_left_is_not_done_behind_its_back() -> None:
    site = Site()
    exchange = FakeExchange("files")
    call = site.call(exchange=exchange)
    await site.until_asked()
    exchange.leave()
    found = await call
    assert isinstance(found, Stopped)
    assert found.failure is LEFT_EARLY
    site.approving.answer("r1", True, 0)
    assert await site.call() == Passed("r1")


async def test_a_denial_is_told_and_the_next_call_asks_anew() -> None:
    site = Site()
    call = site.call()
    await site.until_asked()
    site.approving.answer("r1", False, 0)
    found = await call
    assert isinstance(found, Stopped)
    assert not found.waits
    assert "has denied" in found.failure.text
    site.call()
    assert (await site.until_asked(2)).id == "r2"


async def test_no_answer_is_a_denial_and_the_site_hears_of_it() -> None:
    site = Site()
    await site.call()
    site.later = EXPIRY_S
    assert site.approving.waiting == 0
    assert site.expired == ["r1"]
    with pytest.raises(Unknown):
        site.approving.answer("r1", True, 0)


async def test_a_clock_that_goes_back_makes_no_approval_younger() -> None:
    site = Site()
    await site.call()
    site.later = EXPIRY_S / 2
    assert site.approving.waiting == 1
    site.later = -EXPIRY_S
    assert site.approving.waiting == 1
    site.later = EXPIRY_S
    assert site.approving.waiting == 0


async def test_who_asks_for_too_much_is_told_so() -> None:
    site = Site()
    for number in range(MOST_OF_ONE):
        await site.call(replace(CALL, digest=str(number)))
    found = await site.call()
    assert isinstance(found, Stopped)
    assert "Too many of your calls" in found.failure.text
