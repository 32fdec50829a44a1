"""Which of a caller's requests have a process of the server to themselves."""

from __future__ import annotations

import pytest

from tests.agent.endpoint.bridge.down.crossing import BOB, META, QUESTION, YES, crossing, error, result


async def test_calls_one_after_another_have_one_process_and_two_at_a_time_have_two() -> None:
    async with crossing() as cross:
        first = cross.tool()
        child = await cross.begun()
        one = await child.heard("tools/call")
        second = cross.tool()
        other = await cross.begun(2)
        two = await other.heard("tools/call")
        child.answer(one)
        other.answer(two)
        await result(first)
        await result(second)
        await cross.settle()
        third = cross.tool()
        child.answer(await child.heard("tools/call"))
        await result(third)
        assert len(cross.children.started) == 2


async def test_who_listens_hears_what_a_call_changes_also_after_calls_that_ran_at_the_same_time() -> None:
    async with crossing() as cross:
        listen = cross.send("subscriptions/listen", notifications={"toolsListChanged": True})
        child = await cross.begun()
        await listen.event()
        first, second = cross.tool(), cross.tool()
        other = await cross.begun(2)
        child.answer(await child.heard("tools/call"))
        await result(first)
        other.answer(await other.heard("tools/call"))
        await result(second)
        await cross.settle()
        third = cross.tool()
        called = await child.heard("tools/call")
        child.note("notifications/tools/list_changed")
        child.answer(called)
        await result(third)
        assert (await listen.event())["method"] == "notifications/tools/list_changed"
        listen.leave()


async def test_nobody_shares_a_process_with_another_caller_or_other_capabilities() -> None:
    async with crossing() as cross:
        for number, more in enumerate(({}, {"caller": BOB}, {"capabilities": {}}), 1):
            exchange = cross.send("tools/list", **more)  # type: ignore[arg-type]
            child = await cross.begun(number)
            child.answer(await child.heard("tools/list"), {"tools": []})
            await result(exchange)


async def test_who_needs_a_room_gives_up_the_call_that_waits_longest_for_an_answer() -> None:
    async with crossing() as cross:
        states = []
        for number in range(1, 5):
            exchange = cross.tool()
            child = await cross.begun(number)
            await child.heard("tools/call")
            child.ask(1, "elicitation/create", **QUESTION)
            states.append((await result(exchange))["requestState"])
        fifth = cross.tool()
        first = cross.children.started[0]
        heard = {str(message["method"]): message for message in [await first.heard(), await first.heard()]}
        assert heard.keys() == {"notifications/cancelled", "tools/call"}
        first.answer(heard["tools/call"])
        await result(fifth)
        assert await error(cross.tool(requestState=states[0], inputResponses={"1": YES})) == (400, -32602)
        going_on = cross.tool(requestState=states[1], inputResponses={"1": YES})
        assert (await cross.children.started[1].heard())["result"] == YES
        going_on.leave()


async def test_more_calls_than_rooms_wait_for_one() -> None:
    async with crossing() as cross:
        running = [cross.tool() for _ in range(5)]
        children = [await cross.begun(number) for number in range(1, 5)]
        calls = [await child.heard("tools/call") for child in children]
        await cross.settle()
        assert len(cross.children.started) == 4
        children[2].answer(calls[2])
        last = await children[2].heard("tools/call")
        children[2].answer(last)
        for child, call in zip(children, calls, strict=True):
            if child is not children[2]:
                child.answer(call)
        for exchange in running:
            await result(exchange)


async def test_a_list_goes_on_beside_a_call_and_gets_nothing_of_it() -> None:
    async with crossing() as cross:
        call = cross.tool(meta={META + "logLevel": "info"})
        child = await cross.begun()
        child.answer(await child.heard("logging/setLevel"))
        called = await child.heard("tools/call")
        listing = cross.send("tools/list")
        listed = await child.heard("tools/list")
        child.note("notifications/message", level="warning", data="of the call")
        child.ask(3, "elicitation/create", **QUESTION)
        child.answer(listed, {"tools": []})
        assert (await result(listing))["tools"] == []
        assert (await call.event())["method"] == "notifications/message"
        asked = (await call.event())["result"]
        assert isinstance(asked, dict)
        assert asked["resultType"] == "input_required"
        retry = cross.tool(requestState=asked["requestState"], inputResponses={"1": YES})
        await child.heard()
        child.answer(called)
        await result(retry)


@pytest.mark.parametrize("method", ["server/discover", "tools/list", "tools/call"])
async def test_a_server_that_is_never_greeted_holds_nothing_for_its_callers(method: str) -> None:
    async with crossing(call_timeout=5.0) as cross:  # leaving it checks that nothing is held
        call = cross.send(method, name="echo", arguments={})
        child = await cross.children.number(1)
        await child.heard("initialize")
        await call.until_end()
