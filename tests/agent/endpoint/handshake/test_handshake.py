"""Clients that do not keep to their session, and what is done for them: each switch of ``[tolerance]``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.principal import Principal
from penstock_agent.endpoint import Limits
from penstock_agent.gate.gate import Gate
from penstock_agent.tolerance import Tolerance
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.talk import FakeChild, Json, Talk, hello, talking
from tests.harness.fake_exchange import ALICE, FakeExchange

CALL: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
BOB = Principal("https://idp.example", "bob")


async def greeted(child: FakeChild, version: str = "2025-11-25") -> Json:
    """The child is begun by the agent; what it was asked."""
    asked = await child.heard("initialize")
    child.answer(asked, {"protocolVersion": version, "capabilities": {}})
    await child.heard("notifications/initialized")
    return asked


# Without a session id.


async def test_a_request_without_a_session_is_served_from_one_that_the_agent_begins() -> None:
    async with talking() as talk:
        call = talk.send("POST", CALL)
        child = await talk.children.number(1)
        params = (await greeted(child))["params"]
        assert isinstance(params, dict)
        assert params["clientInfo"]["name"] == "penstock-agent"
        assert params["capabilities"] == {}
        child.answer(await child.heard("tools/call"), {"content": []})
        assert (await call.json())["result"] == {"content": []}
        assert "mcp-session-id" not in dict(call.answered)
        again = talk.send("POST", {**CALL, "id": 2}, version="2025-06-18")
        child.answer(await child.heard("tools/call"))
        await again.json()
        assert len(talk.children.started) == 1


async def test_each_caller_has_a_child_of_its_own_for_them() -> None:
    async with talking() as talk:
        children = []
        for n, who in enumerate((ALICE, BOB, replace(ALICE, client="another")), 1):
            call = talk.send("POST", CALL, principal=who)
            child = await talk.children.number(n)
            await greeted(child)
            child.answer(await child.heard("tools/call"), {"n": n})
            assert (await call.json())["result"] == {"n": n}
            children.append(child)
        again = talk.send("POST", CALL, principal=BOB)
        children[1].answer(await children[1].heard("tools/call"))
        await again.json()


async def test_a_client_that_forgets_its_session_after_initialize_is_served() -> None:
    async with talking() as talk:
        await talk.session()
        ready = await talk.send("POST", {"jsonrpc": "2.0", "method": "notifications/initialized"}).until_end()
        assert (ready.status, ready.content) == (202, b"")
        call = talk.send("POST", CALL)
        child = await talk.children.number(2)
        await greeted(child)
        child.answer(await child.heard("tools/call"))
        await call.json()


async def test_nobody_can_come_back_for_a_stream_without_a_session() -> None:
    async with talking() as talk:
        call = talk.send("POST", CALL)
        child = await talk.children.number(1)
        await greeted(child)
        heard = await child.heard("tools/call")
        await call.until_head()
        child.answer(heard)
        await call.until_end()
        assert call.ids() == [None]


async def test_what_is_hidden_stays_hidden_without_a_session() -> None:
    async with talking(("tool:other",)) as talk:
        assert outcome(await talk.send("POST", CALL).json()) == ("denied", False)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_streams_and_ends_need_a_session(method: str) -> None:
    async with talking() as talk:
        assert (await talk.send(method).until_end()).status == 400
        answer: Json = {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert (await talk.send("POST", answer).until_end()).status == 400


async def test_switched_off_a_request_without_a_session_is_refused() -> None:
    async with talking(tolerance=Tolerance(sessionless=False)) as talk:
        assert (await talk.send("POST", CALL).until_end()).status == 400
        assert not talk.children.started


async def test_their_session_ends_when_nobody_uses_it_and_the_next_request_begins_another() -> None:
    async with talking(limits=Limits(idle_timeout=100)) as talk:
        for n in (1, 2):
            call = talk.send("POST", CALL)
            child = await talk.children.number(n)
            await greeted(child)
            child.answer(await child.heard("tools/call"))
            await call.json()
            await talk.pass_time(120)
            assert child.stopped


# A session that has ended.


async def idle(talk: Talk, version: str = "2025-11-25") -> str:
    """A session that was ended because nobody used it."""
    session, child = await talk.session(version)
    await talk.pass_time(120)
    assert child.stopped
    return session


def same(*exchanges: FakeExchange) -> bool:
    return len({(each.status, each.answered, each.content) for each in exchanges}) == 1


async def test_a_session_that_was_idle_for_too_long_is_begun_again_under_its_id() -> None:
    async with talking(limits=Limits(idle_timeout=100)) as talk:
        session = await idle(talk)
        call = talk.send("POST", CALL, session=session, version="2025-11-25")
        child = await talk.children.number(2)
        await greeted(child)
        child.answer(await child.heard("tools/call"), {"again": True})
        assert (await call.json())["result"] == {"again": True}
        again = talk.call(2, session)
        child.answer(await child.heard("tools/call"))
        await again.json()
        assert talk.endpoint.status().sessions == 1


async def test_a_session_survives_a_restart_of_the_agent() -> None:
    key = b"k" * 32
    async with talking(session_key=key) as earlier:
        session, _ = await earlier.session()
    async with talking(session_key=key) as talk:
        get = talk.send("GET", session=session, version="2025-11-25")
        await get.until_head()
        call = talk.call(1, session)
        child = await talk.children.number(1)
        await greeted(child)
        child.answer(await child.heard("tools/call"))
        assert "result" in await call.json()
        child.note("notifications/message", data=1)
        assert (await get.event())["params"] == {"data": 1}
        get.leave()


async def test_only_its_own_caller_can_begin_it_again_and_to_others_it_never_was() -> None:
    async with talking(limits=Limits(idle_timeout=100)) as talk:
        session = await idle(talk)
        living, _ = await talk.session()
        never = session[:-1] + ("A" if session[-1] != "A" else "B")
        for method in ("POST", "GET", "DELETE"):
            answers = [
                await talk.send(method, CALL, session=id, principal=who).until_end()
                for who in (BOB, replace(ALICE, client="another"), replace(ALICE, issuer="https://other"))
                for id in (session, living, never)
            ]
            answers.append(await talk.send(method, CALL, session=never).until_end())
            assert same(*answers)
            assert answers[0].status == 404
        assert talk.endpoint.status().sessions == 1
        assert len(talk.children.started) == 2


async def test_a_session_that_its_client_ended_stays_ended() -> None:
    async with talking() as talk:
        session, _ = await talk.session()
        await talk.send("DELETE", session=session).until_end()
        for method in ("POST", "GET", "DELETE"):
            assert (await talk.send(method, CALL, session=session).until_end()).status == 404


async def test_an_end_does_not_begin_a_session_again() -> None:
    async with talking(limits=Limits(idle_timeout=100)) as talk:
        session = await idle(talk)
        assert (await talk.send("DELETE", session=session).until_end()).status == 404


async def test_the_server_has_the_last_word_about_the_version_when_it_is_begun_again() -> None:
    async with talking(limits=Limits(idle_timeout=100)) as talk:
        session = await idle(talk)
        call = talk.send("POST", CALL, session=session, version="2025-06-18")
        child = await talk.children.number(2)
        asked = await greeted(child, "2024-11-05")
        assert isinstance(asked["params"], dict)
        assert asked["params"]["protocolVersion"] == "2025-06-18"
        child.answer(await child.heard("tools/call"))
        assert "result" in await call.json()


async def test_a_server_that_speaks_another_version_later_ends_the_session_for_good() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.die()
        await talk.settle()
        call = talk.send("POST", CALL, session=session)
        child = await talk.children.number(2)
        child.answer(await child.heard("initialize"), {"protocolVersion": "2024-11-05", "capabilities": {}})
        assert outcome(await call.message()) == ("not_executed", True)
        assert (await talk.call(2, session).until_end()).status == 404


async def test_without_a_version_header_the_server_says_which_it_is() -> None:
    async with talking(limits=Limits(idle_timeout=100)) as talk:
        session = await idle(talk, "2025-06-18")
        call = talk.call(1, session)
        child = await talk.children.number(2)
        await greeted(child, "2025-06-18")
        child.answer(await child.heard("tools/call"))
        await call.json()
        get = talk.send("GET", session=session)
        await get.until_head()
        await talk.settle()
        assert get.content == b"", "2025-06-18 knows of no priming event"
        get.leave()


async def test_a_session_that_never_began_is_not_begun_again() -> None:
    async with talking(call_timeout=20.0) as talk:
        begun = talk.send("POST", hello())
        await begun.until_head()
        session = dict(begun.answered)["mcp-session-id"]
        await begun.until_end()
        assert (await talk.call(1, session).until_end()).status == 404


async def test_a_server_that_is_not_there_any_more_begins_nothing() -> None:
    async with talking(limits=Limits(idle_timeout=100)) as talk:
        session = await idle(talk)
        talk.endpoint.reload({}, Gate.of({}))
        assert (await talk.call(1, session).until_end()).status == 404


async def test_switched_off_a_session_that_has_ended_is_not_found() -> None:
    async with talking(limits=Limits(idle_timeout=100), tolerance=Tolerance(revive_sessions=False)) as talk:
        session = await idle(talk)
        assert (await talk.call(1, session).until_end()).status == 404


# Answers that the client cannot take.


async def test_a_result_that_the_client_cannot_take_is_an_error_in_words() -> None:
    async with talking() as talk:
        greeting = hello()
        assert isinstance(greeting["params"], dict)
        greeting["params"]["clientInfo"] = {"name": "claude-ai", "version": "1"}
        begun = talk.send("POST", greeting)
        child = await talk.children.number(1)
        child.answer(await child.heard("initialize"), {"protocolVersion": "2025-11-25", "capabilities": {}})
        await begun.until_end()
        call = talk.call(1, dict(begun.answered)["mcp-session-id"])
        child.answer(await child.heard(), {"content": [{"type": "text", "text": "x" * 200_000}]})
        answer = await call.json()
        assert outcome(answer) == ("outcome_unknown", False)
        assert "200000 characters" in str(answer)


async def test_a_list_that_the_server_does_not_offer_is_a_method_not_found() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session, "prompts/list")
        heard = await child.heard("prompts/list")
        child.say({"jsonrpc": "2.0", "id": heard["id"], "error": {"code": -32603, "message": "oops"}})
        assert (await call.json())["error"] == {"code": -32601, "message": "Method not found"}
