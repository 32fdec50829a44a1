"""Sessions of the handshake era that share one process of 2026-07-28."""

from __future__ import annotations

from tests.agent.endpoint.handshaking.newer import Newer, newer, session
from tests.agent.endpoint.talk import Json, Talk, hello, talking
from tests.agent.endpoint.test_calls import outcome


async def sharing(talk: Talk) -> tuple[str, str, Newer]:
    """Two sessions of one caller, and the process that they share."""
    await session(talk)  # finds out what the server is
    found: list[str] = []
    server: Newer | None = None
    for _ in range(2):
        begun = talk.send("POST", hello())
        if server is None:
            server = await newer(talk, 2)
            await server.is_discovered()
        await server.is_discovered()
        await begun.until_end()
        found.append(dict(begun.answered)["mcp-session-id"])
        await talk.note(found[-1], "notifications/initialized").until_end()
        await server.is_asked_to_listen()
    assert server is not None
    return found[0], found[1], server


async def test_each_session_gets_its_own_answers_and_progress() -> None:
    async with talking() as talk:
        one, two, server = await sharing(talk)
        calls = [talk.call(7, id, _meta={"progressToken": "t"}) for id in (one, two)]
        heard = [await server.child.heard("tools/call") for _ in calls]
        assert heard[0]["id"] != heard[1]["id"]
        for number, each in reversed(list(enumerate(heard))):
            params = each["params"]
            assert isinstance(params, dict)
            token = params["_meta"]["progressToken"]
            server.child.note("notifications/progress", progressToken=token, progress=number)
            server.child.answer(each, {"content": [number]})
        for number, call in enumerate(calls):
            assert (await call.event())["params"] == {"progressToken": "t", "progress": number}
            assert (await call.event())["result"] == {"content": [number]}


async def test_a_session_that_ends_stops_its_calls_and_leaves_the_others_alone() -> None:
    async with talking() as talk:
        one, two, server = await sharing(talk)
        first, second = talk.call(1, one), talk.call(2, two)
        gone, stays = [await server.child.heard("tools/call") for _ in range(2)]
        await talk.send("DELETE", session=one).until_end()
        assert outcome(await first.json()) == ("outcome_unknown", False)
        ended = [await server.child.heard("notifications/cancelled") for _ in range(2)]
        assert {each["params"]["requestId"] for each in ended if isinstance(each["params"], dict)} >= {
            gone["id"]
        }
        server.child.answer(stays, {"content": []})
        assert (await second.json())["result"] == {"content": []}
        assert not server.child.stopped


async def test_a_process_that_crashes_ends_the_calls_of_all_and_serves_all_again() -> None:
    async with talking() as talk:
        one, two, server = await sharing(talk)
        calls = [talk.call(1, one), talk.call(2, two)]
        for _ in calls:
            await server.child.heard("tools/call")
        server.child.die()
        for call in calls:
            assert outcome(await call.json()) == ("outcome_unknown", False)
        again = talk.call(3, one)
        server = await newer(talk, 3)
        await server.is_discovered()
        await server.is_discovered()
        await server.is_asked_to_listen()
        server.child.answer(await server.child.heard("tools/call"), {"content": []})
        assert (await again.json())["result"] == {"content": []}


async def test_a_call_that_is_cancelled_is_cancelled_in_the_process() -> None:
    async with talking() as talk:
        one, _, server = await sharing(talk)
        call = talk.call(1, one)
        heard = await server.child.heard("tools/call")
        await talk.note(one, "notifications/cancelled", requestId=1).until_end()
        cancelled = await server.child.heard("notifications/cancelled")
        expected: Json = {"requestId": heard["id"], "reason": "cancelled"}
        assert cancelled["params"] == expected
        await call.until_end()
