"""How many processes there may be, and who makes room for whom."""

from __future__ import annotations

import pytest

from penstock.principal import Principal
from penstock_agent.children.child import ChildSpec
from penstock_agent.children.pool import TooManyChildren
from penstock_agent.endpoint import Limits
from tests.agent.endpoint.modern.kit import BOB, ask, error_of, greeted, request, send, started
from tests.agent.endpoint.talk import FakeChild, FakeChildren, Json, talking
from tests.harness.fake_exchange import FakeExchange

CAROL = Principal("https://idp.example", "carol", client="assistant")


async def test_the_longest_idle_process_makes_room_in_the_table() -> None:
    async with talking(limits=Limits(processes=1)) as talk:
        alices = await started(talk)
        exchange = send(talk, request(1, "tools/list"), principal=BOB)
        bobs = await greeted(talk, 4)
        bobs.answer(await bobs.heard("tools/list"), {"tools": []})
        await exchange.json()
        await talk.settle()
        assert alices.stopped


async def test_where_all_are_in_use_nothing_is_executed() -> None:
    async with talking(limits=Limits(processes=1)) as talk:
        child = await started(talk)
        call = ask(talk, 1)
        heard = await child.heard("tools/call")
        exchange = send(talk, request(1, "tools/list"), principal=BOB)
        error = error_of(await exchange.json())
        assert (exchange.status, error["code"]) == (503, -32010)
        assert "all of them are in use" in str(error["message"])
        child.answer(heard)
        await call.json()


class Full(FakeChildren):
    """So many may run at once."""

    most = 2

    async def start(self, spec: ChildSpec, /) -> FakeChild:
        if sum(not child.dead for child in self.started) >= self.most:
            raise TooManyChildren("no")
        return await super().start(spec)


@pytest.mark.parametrize("busy", [False, True])
async def test_an_idle_process_makes_room_for_one_that_is_needed(busy: bool) -> None:
    async with talking(children=Full()) as talk:
        alices = await started(talk)
        first = send(talk, request(1, "tools/list"), principal=BOB)
        bobs = await greeted(talk, 4)
        bobs.answer(await bobs.heard("tools/list"), {"tools": []})
        await first.json()
        calls: list[FakeExchange] = []
        heard: list[Json] = []
        if busy:
            calls = [ask(talk, 1), send(talk, request(1, "tools/list"), principal=BOB)]
            heard = [await alices.heard("tools/call"), await bobs.heard("tools/list")]
        exchange = send(talk, request(1, "tools/list"), principal=CAROL)
        if busy:
            assert "max_children" in str(error_of(await exchange.json())["message"])
            for child, message in zip((alices, bobs), heard, strict=True):
                child.answer(message)
            for call in calls:
                await call.json()
            return
        carols = await greeted(talk, 5)
        carols.answer(await carols.heard("tools/list"), {"tools": []})
        await exchange.json()
        assert (alices.stopped, bobs.stopped) == (True, False)
