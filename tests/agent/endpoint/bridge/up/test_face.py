"""Clients of the handshake era, and a server that speaks only 2026-07-28."""

from __future__ import annotations

import pytest

from tests.agent.endpoint.bridge.up.newer import CAPABILITIES, ENVELOPE, META, newer, session
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.talk import Json, hello, talking

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


def members(found: object) -> Json:
    assert isinstance(found, dict)
    return found


# Who is it? ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_of_any_older_version_is_greeted_in_its_own(version: str) -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello(version))
        server = await newer(talk, 1)
        await server.refuses_initialize()
        answer = await begun.json()
        assert answer["id"] == 0
        assert answer["result"] == {
            "protocolVersion": version,
            "capabilities": CAPABILITIES,
            "serverInfo": {"name": "newer", "version": "3"},
            "instructions": "Be kind.",
        }


async def test_a_server_that_was_found_out_is_asked_at_once_the_next_time() -> None:
    async with talking() as talk:
        await session(talk)
        begun = talk.send("POST", hello())
        await (await newer(talk, 2)).is_discovered()
        assert "result" in await begun.json()


async def test_a_server_that_was_replaced_by_an_older_one_is_spoken_to_as_that() -> None:
    async with talking() as talk:
        await session(talk)
        begun = talk.send("POST", hello())
        child = await talk.children.number(2)
        asked = await child.heard("server/discover")
        child.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "what?"}})
        greeted = await child.heard("initialize")
        assert greeted["params"] == hello()["params"]
        child.answer(greeted, {"protocolVersion": "2025-11-25", "capabilities": {}})
        assert members((await begun.json())["result"])["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize("answers", [True, False])
async def test_a_server_that_refuses_initialize_and_is_no_newer_one_has_refused(answers: bool) -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello())
        child = await talk.children.number(1)
        asked = await child.heard("initialize")
        child.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32602, "message": "not you"}})
        asked = await child.heard("server/discover")
        if answers:
            child.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "what?"}})
        assert (await begun.json())["error"] == {"code": -32602, "message": "not you"}


# Calls -----------------------------------------------------------------------------------------------------


async def test_a_call_carries_the_envelope_and_its_result_does_not() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        call = talk.call("a", id, arguments={"n": 1.50}, _meta={"x": 1})
        heard = await server.child.heard("tools/call")
        assert members(heard["params"])["_meta"] == {"x": 1, **ENVELOPE}
        server.child.answer_raw(
            heard,
            b'{"content":[],"n":1.50,"resultType":"complete","ttlMs":5,"cacheScope":"private",'
            b'"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"newer","version":"3"}}}',
        )
        await call.until_end()
        assert call.content == b'{"jsonrpc":"2.0","id":"a","result":{"content":[],"n":1.50}}'


async def test_progress_and_errors_arrive_as_they_are() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        call = talk.call(7, id, "resources/read", uri="a://b", _meta={"progressToken": 5})
        heard = await server.child.heard("resources/read")
        server.child.note("notifications/progress", progressToken=5, progress=1)
        error: Json = {"code": -32602, "message": "no such"}
        assert (await call.event())["params"] == {"progressToken": 5, "progress": 1}
        server.child.say({"jsonrpc": "2.0", "id": heard["id"], "error": error})
        assert await call.event() == {"jsonrpc": "2.0", "id": 7, "error": error}


async def test_a_crash_ends_the_calls_and_the_next_one_works() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        call = talk.call(1, id)
        await server.child.heard("tools/call")
        server.child.die()
        assert outcome(await call.json()) == ("outcome_unknown", False)
        call = talk.call(2, id)
        server = await newer(talk, 2)
        await server.is_discovered()
        await server.is_asked_to_listen()
        server.child.answer(await server.child.heard("tools/call"), {"content": []})
        assert (await call.json())["result"] == {"content": []}


async def test_what_the_agent_answers_itself_needs_no_server() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        assert (await talk.call(1, id, "ping").json())["result"] == {}
        refused = await talk.call(2, id, "logging/setLevel", level="loud").json()
        assert members(refused["error"])["code"] == -32602
        assert (await talk.call(3, id, "logging/setLevel", level="warning").json())["result"] == {}
        assert server.child.heard_nothing


async def test_log_messages_come_from_the_level_that_was_set() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        await talk.call(1, id, "logging/setLevel", level="warning").until_end()
        call = talk.call(2, id)
        heard = await server.child.heard("tools/call")
        assert members(members(heard["params"])["_meta"])[META + "logLevel"] == "warning"
        server.child.note("notifications/message", level="info", data="quiet")
        server.child.note("notifications/message", level="error", data="loud")
        assert members((await call.event())["params"])["data"] == "loud"
        server.child.answer(heard, {"content": []})
        await call.until_end()


# What the server wants to know first -----------------------------------------------------------------------


ELICITATION: Json = {"method": "elicitation/create", "params": {"message": "Who?"}}
SAMPLING: Json = {"method": "sampling/createMessage", "params": {"messages": []}}


async def test_a_question_is_asked_on_the_stream_of_its_call_and_the_call_goes_on() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        first = talk.call(1, id)
        asked = await server.child.heard("tools/call")
        second = talk.call(2, id)
        other = await server.child.heard("tools/call")
        server.wants(asked, "s1", name=ELICITATION)
        question = await first.event()
        assert (question["method"], question["params"]) == ("elicitation/create", {"message": "Who?"})
        answer: Json = {"action": "accept", "content": {}}
        reply = talk.send("POST", {"jsonrpc": "2.0", "id": question["id"], "result": answer}, session=id)
        assert (await reply.until_end()).status == 202
        again = await server.child.heard("tools/call")
        assert again["id"] not in (asked["id"], other["id"])
        assert again["params"] == {
            **members(asked["params"]), "requestState": "s1", "inputResponses": {"name": answer}
        }  # fmt: skip
        server.child.answer(again, {"content": [], "resultType": "complete"})
        assert (await first.event())["result"] == {"content": []}
        server.child.answer(other, {"content": [1]})
        assert (await second.json())["result"] == {"content": [1]}


async def test_a_client_that_is_not_able_to_answer_is_not_asked() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        call = talk.call(1, id)
        server.wants(await server.child.heard("tools/call"), "s1", name=SAMPLING)
        error = members((await call.json())["error"])
        assert error["message"] == (
            "The server needs to ask the user (sampling/createMessage), which this client does not support."
        )
        assert server.child.heard_nothing


async def test_a_client_that_refuses_to_answer_gets_its_own_error_back() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        call = talk.call(1, id)
        server.wants(await server.child.heard("tools/call"), "s1", name=ELICITATION)
        question = await call.event()
        error: Json = {"code": -1, "message": "I will not"}
        await talk.send(
            "POST", {"jsonrpc": "2.0", "id": question["id"], "error": error}, session=id
        ).until_end()
        assert await call.event() == {"jsonrpc": "2.0", "id": 1, "error": error}


async def test_a_server_that_wants_only_to_be_asked_again_is_after_a_pause() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        call = talk.call(1, id)
        server.wants(await server.child.heard("tools/call"), "later")
        again = await server.child.heard("tools/call")
        params = members(again["params"])
        assert (params["requestState"], "inputResponses" in params) == ("later", False)
        server.child.answer(again, {"content": []})
        assert (await call.json())["result"] == {"content": []}


async def test_a_server_that_asks_without_end_is_ended() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        call = talk.call(1, id)
        for _ in range(11):
            server.wants(await server.child.heard("tools/call"), "more")
        error = members((await call.message())["error"])
        assert error["message"] == "The server asked 10 times and still does not answer."


async def test_a_call_that_is_cancelled_takes_its_question_back() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        call = talk.call(1, id)
        server.wants(await server.child.heard("tools/call"), "s1", name=ELICITATION)
        question = await call.event()
        listening = talk.send("GET", session=id)
        await listening.until_head()
        await talk.note(id, "notifications/cancelled", requestId=1).until_end()
        await call.until_end()
        withdrawn = await listening.event()
        assert withdrawn["method"] == "notifications/cancelled"
        assert members(withdrawn["params"])["requestId"] == question["id"]
        late: Json = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}
        assert (await talk.send("POST", late, session=id).until_end()).status == 400
        assert server.child.heard_nothing


async def test_a_call_that_runs_is_cancelled_at_the_server() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        talk.call(1, id)
        heard = await server.child.heard("tools/call")
        await talk.note(id, "notifications/cancelled", requestId=1).until_end()
        assert (
            members((await server.child.heard("notifications/cancelled"))["params"])["requestId"]
            == heard["id"]
        )


# What the server tells by itself ---------------------------------------------------------------------------


async def test_changes_are_told_on_the_stream_that_the_client_opened() -> None:
    async with talking() as talk:
        id, server, asked = await session(talk)
        assert members(asked["params"])["notifications"] == {"toolsListChanged": True}
        listening = talk.send("GET", session=id)
        await listening.until_head()
        server.tells(asked, "notifications/tools/list_changed")
        assert await listening.event() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


async def test_a_resource_is_subscribed_to_by_asking_anew_and_nothing_comes_twice() -> None:
    async with talking() as talk:
        id, server, before = await session(talk)
        listening = talk.send("GET", session=id)
        await listening.until_head()
        wish = talk.call(1, id, "resources/subscribe", uri="a://b")
        asked = await server.child.heard("subscriptions/listen")
        assert members(asked["params"])["notifications"] == {
            "toolsListChanged": True, "resourceSubscriptions": ["a://b"]
        }  # fmt: skip
        server.tells(before, "notifications/tools/list_changed")
        assert (await listening.event())["method"] == "notifications/tools/list_changed"
        server.acknowledges(asked, members(asked["params"])["notifications"])
        assert (await wish.json())["result"] == {}
        ended = await server.child.heard("notifications/cancelled")
        assert members(ended["params"])["requestId"] == before["id"]
        server.tells(before, "notifications/tools/list_changed")  # it has not heard yet
        server.tells(asked, "notifications/resources/updated", uri="a://b")
        told = await listening.event()
        assert (told["method"], told["params"]) == ("notifications/resources/updated", {"uri": "a://b"})

        done = talk.call(2, id, "resources/unsubscribe", uri="a://b")
        last = await server.is_asked_to_listen()
        assert members(last["params"])["notifications"] == {"toolsListChanged": True}
        assert (await done.json())["result"] == {}


async def test_a_resource_that_the_server_does_not_tell_of_is_refused() -> None:
    async with talking() as talk:
        id, server, _ = await session(talk)
        wish = talk.call(1, id, "resources/subscribe", uri="a://b")
        server.acknowledges(await server.child.heard("subscriptions/listen"), {"toolsListChanged": True})
        assert members((await wish.json())["error"])["code"] == -32602


async def test_a_server_that_asks_in_a_request_is_told_that_this_is_over() -> None:
    async with talking() as talk:
        _, server, _ = await session(talk)
        server.child.ask("q", "elicitation/create", message="Who?")
        answer = await server.child.heard()
        assert (answer["id"], members(answer["error"])["code"]) == ("q", -32601)


async def test_answers_to_a_question_that_was_not_asked_are_no_reason_to_greet_again() -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello())
        child = await talk.children.number(1)
        greeted = await child.heard("initialize")
        for _ in range(2000):
            child.say({"jsonrpc": "2.0", "id": "penstock-discover", "error": {"code": 1, "message": "no"}})
        child.answer(greeted, {"protocolVersion": "2025-11-25", "capabilities": {}})
        assert "result" in await begun.json()
        assert child.heard_nothing


async def test_a_supposed_newer_server_that_is_none_is_greeted_once() -> None:
    async with talking() as talk:
        await session(talk)
        begun = talk.send("POST", hello())
        child = await talk.children.number(2)
        asked = await child.heard("server/discover")
        for _ in range(2000):
            child.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "what?"}})
        child.answer(await child.heard("initialize"), {"protocolVersion": "2025-11-25", "capabilities": {}})
        assert "result" in await begun.json()
        assert child.heard_nothing
