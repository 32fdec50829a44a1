"""Sessions that nobody uses make room for those that somebody needs, and go on when they are used again."""

from __future__ import annotations

import asyncio

import pytest

from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.modern.kit import BOB
from tests.agent.endpoint.modern.test_processes import Full
from tests.agent.endpoint.talk import hello, talking
from tests.agent.endpoint.test_lifeline import revived


async def test_the_longest_idle_session_gives_its_process_up_and_goes_on_with_another() -> None:
    async with talking(children=Full()) as talk:
        first, oldest = await talk.session()
        subscribed = talk.call(1, first, "resources/subscribe", uri="a://b")
        oldest.answer(await oldest.heard("resources/subscribe"))
        await subscribed.until_end()
        await talk.pass_time(10)
        second, other = await talk.session(principal=BOB)
        await talk.pass_time(61)
        _, newest = await talk.session(principal=BOB)
        assert (oldest.stopped, other.stopped) == (True, False)
        call = talk.call(2, first)
        again = await revived(talk, 4)
        assert other.stopped
        assert (await again.heard("resources/subscribe"))["params"] == {"uri": "a://b"}
        again.answer(await again.heard("tools/call"), {"content": []})
        assert (await call.json())["result"] == {"content": []}
        assert not newest.stopped
        assert second != first


@pytest.mark.parametrize("why", ["it was used a moment ago", "it listens", "a call runs"])
async def test_a_session_in_use_keeps_its_process(why: str) -> None:
    async with talking(children=Full()) as talk:
        sessions = [await talk.session(), await talk.session(principal=BOB)]
        if why != "it was used a moment ago":
            if why == "it listens":
                used = [
                    talk.send("GET", session=sessions[0][0]),
                    talk.send("GET", session=sessions[1][0], principal=BOB),
                ]
            else:
                body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
                used = [
                    talk.send("POST", body, session=sessions[0][0]),
                    talk.send("POST", body, session=sessions[1][0], principal=BOB),
                ]
            await talk.pass_time(100)
            assert all(not exchange.ended for exchange in used)
        refused = talk.send("POST", hello())
        assert outcome(await refused.json()) == ("not_executed", True)
        assert not any(child.stopped for _, child in sessions)


async def test_many_who_need_a_place_at_once_get_each_one_of_another() -> None:
    async with talking(children=Full()) as talk:
        for principal in (None, BOB):
            await (talk.session() if principal is None else talk.session(principal=principal))
        await talk.pass_time(61)
        begun = [talk.send("POST", hello()), talk.send("POST", hello(), principal=BOB)]
        for number in (3, 4):
            child = await talk.children.number(number)
            child.answer(await child.heard("initialize"), {"protocolVersion": "2025-11-25"})
        await asyncio.gather(*(exchange.until_end() for exchange in begun))
        assert [exchange.status for exchange in begun] == [200, 200]
