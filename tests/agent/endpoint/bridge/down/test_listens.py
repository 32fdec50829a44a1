"""Subscriptions of callers of 2026-07-28 to a server of the handshake era."""

from __future__ import annotations

import json

from tests.agent.endpoint.bridge.down.crossing import META, QUESTION, crossing, error


async def test_a_subscription_says_what_it_can_hear_and_hears_that() -> None:
    async with crossing() as cross:
        wanted = {
            "toolsListChanged": True,
            "promptsListChanged": True,
            "resourceSubscriptions": ["test://a"],
        }
        listen = cross.send("subscriptions/listen", id=1, notifications=wanted)
        child = await cross.begun()
        subscribed = await child.heard("resources/subscribe")
        assert subscribed["params"] == {"uri": "test://a"}
        child.answer(subscribed)
        acknowledged = await listen.event()
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        tag = {META + "subscriptionId": 1}
        honoured = {"toolsListChanged": True, "resourceSubscriptions": ["test://a"]}
        assert acknowledged["params"] == {"notifications": honoured, "_meta": tag}
        child.note("notifications/prompts/list_changed")
        child.note("notifications/resources/updated", uri="test://b")
        child.note("notifications/resources/updated", uri="test://a")
        child.note("notifications/tools/list_changed")
        updated, changed = await listen.event(), await listen.event()
        assert updated["params"] == {"uri": "test://a", "_meta": tag}
        assert (changed["method"], changed["params"]) == ("notifications/tools/list_changed", {"_meta": tag})
        listen.leave()
        left = await child.heard("resources/unsubscribe")
        assert left["params"] == {"uri": "test://a"}
        child.answer(left)


async def test_two_subscriptions_share_one_at_the_server() -> None:
    async with crossing() as cross:
        wanted = {"resourceSubscriptions": ["test://a"]}
        first = cross.send("subscriptions/listen", id="a", notifications=wanted)
        child = await cross.begun()
        child.answer(await child.heard("resources/subscribe"))
        await first.event()
        second = cross.send("subscriptions/listen", id="b", notifications=wanted)
        await second.event()
        child.note("notifications/resources/updated", uri="test://a")
        for exchange, tag in ((first, "a"), (second, "b")):
            params = (await exchange.event())["params"]
            assert isinstance(params, dict)
            assert params["_meta"] == {META + "subscriptionId": tag}
        first.leave()
        await cross.settle()
        assert child.heard_nothing
        second.leave()
        child.answer(await child.heard("resources/unsubscribe"))


async def test_what_is_not_exposed_cannot_be_listened_to() -> None:
    async with crossing(("*", "resource:test://a")) as cross:
        wanted = {"resourceSubscriptions": ["test://secret"]}
        listen = cross.send("subscriptions/listen", notifications=wanted)
        child = await cross.begun()
        params = (await listen.event())["params"]
        assert isinstance(params, dict)
        assert params["notifications"] == {"resourceSubscriptions": []}
        assert child.heard_nothing
        listen.leave()


async def test_the_end_of_the_session_is_said_as_a_result() -> None:
    async with crossing() as cross:
        listen = cross.send("subscriptions/listen", id=9, notifications={"toolsListChanged": True})
        await cross.begun()
        await listen.event()
        for session in list(cross.bridge._rooms._sessions):
            session.end()
        last = await listen.event()
        assert (last["id"], last["result"]) == (
            9,
            {"resultType": "complete", "_meta": {META + "subscriptionId": 9}},
        )


async def test_a_subscription_to_nothing_known_is_refused() -> None:
    async with crossing() as cross:
        listen = cross.send("subscriptions/listen", notifications="everything")
        await cross.begun()
        assert await error(listen) == (400, -32602)


async def test_a_subscription_outlives_the_process_of_the_server() -> None:
    async with crossing() as cross:
        listen = cross.send(
            "subscriptions/listen", id=1, notifications={"resourceSubscriptions": ["test://a"]}
        )
        child = await cross.begun()
        child.answer(await child.heard("resources/subscribe"))
        await listen.event()
        child.die()
        await cross.settle()
        call = cross.tool()
        second = await cross.begun(2)
        again = await second.heard("resources/subscribe")
        assert again["params"] == {"uri": "test://a"}
        second.answer(again)
        second.answer(await second.heard("tools/call"), {"content": []})
        await call.until_end()
        second.note("notifications/resources/updated", uri="test://a")
        assert (await listen.event())["method"] == "notifications/resources/updated"
        listen.leave()
        second.answer(await second.heard("resources/unsubscribe"))


async def test_a_list_that_a_call_changed_elsewhere_is_heard_of() -> None:
    async with crossing() as cross:
        listen = cross.send("subscriptions/listen", id=1, notifications={"toolsListChanged": True})
        child = await cross.begun()
        await listen.event()
        first, second = cross.tool(), cross.tool()
        here = await child.heard("tools/call")
        other = await cross.begun(2)
        there = await other.heard("tools/call")
        other.note("notifications/tools/list_changed")
        assert (await listen.event())["method"] == "notifications/tools/list_changed"
        child.answer(here, {"content": []})
        other.answer(there, {"content": []})
        await first.until_end()
        await second.until_end()
        listen.leave()


async def test_a_resource_that_a_call_changed_elsewhere_is_heard_of() -> None:
    async with crossing() as cross:
        wanted = {"resourceSubscriptions": ["test://a"]}
        listen = cross.send("subscriptions/listen", id=1, notifications=wanted)
        child = await cross.begun()
        child.answer(await child.heard("resources/subscribe"))
        await listen.event()
        waits = cross.tool()  # and its caller never comes back
        await child.heard("tools/call")
        child.ask("q", "elicitation/create", **QUESTION)
        await waits.json()
        call = cross.tool("one")
        other = await cross.begun(2)
        subscribed = await other.heard("resources/subscribe")
        assert subscribed["params"] == {"uri": "test://a"}
        other.answer(subscribed)
        for _ in range(2):
            heard = await other.heard("tools/call")
            other.note("notifications/resources/updated", uri="test://a")
            assert (await listen.event())["method"] == "notifications/resources/updated"
            other.answer(heard, {"content": []})
            await call.json()
            call = cross.tool("two")
        other.answer(await other.heard("tools/call"), {"content": []})
        other.note("notifications/resources/updated", uri="test://a")  # between two calls
        assert (await listen.event())["method"] == "notifications/resources/updated"
        listen.leave()
        child.answer(await child.heard("resources/unsubscribe"))


async def test_a_server_that_says_nonsense_in_meta_is_passed_on_all_the_same() -> None:
    async with crossing() as cross:
        listen = cross.send("subscriptions/listen", id=1, notifications={"toolsListChanged": True})
        child = await cross.begun()
        await listen.event()
        for nonsense in ("5", "[]", "null"):
            child.note("notifications/tools/list_changed", _meta=json.loads(nonsense))
            assert (await listen.event())["params"] == {"_meta": {META + "subscriptionId": 1}}
        listen.leave()


async def test_what_nobody_listens_to_elsewhere_any_more_is_no_longer_subscribed_to() -> None:
    async with crossing() as cross:
        listen = cross.send(
            "subscriptions/listen", id=1, notifications={"resourceSubscriptions": ["test://a"]}
        )
        child = await cross.begun()
        child.answer(await child.heard("resources/subscribe"))
        await listen.event()
        waits = cross.tool()
        await child.heard("tools/call")
        child.ask("q", "elicitation/create", **QUESTION)
        await waits.json()
        call = cross.tool("one")
        other = await cross.begun(2)
        other.answer(await other.heard("resources/subscribe"))
        other.answer(await other.heard("tools/call"), {"content": []})
        await call.json()
        listen.leave()
        child.answer(await child.heard("resources/unsubscribe"))
        listen = cross.send(
            "subscriptions/listen", id=2, notifications={"resourceSubscriptions": ["test://b"]}
        )
        child.answer(await child.heard("resources/subscribe"))
        await listen.event()
        call = cross.tool("two")
        first, second = await other.heard(), await other.heard()
        said = {str(each["method"]): each["params"] for each in (first, second)}
        assert said == {
            "resources/subscribe": {"uri": "test://b"},
            "resources/unsubscribe": {"uri": "test://a"},
        }
        other.answer(first)
        other.answer(second)
        other.answer(await other.heard("tools/call"), {"content": []})
        await call.json()
        listen.leave()
        child.answer(await child.heard("resources/unsubscribe"))
