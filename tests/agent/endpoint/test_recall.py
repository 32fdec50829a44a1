"""Assistants that ask while a process starts, and are told what was answered before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from penstock.allowance import Allowance
from penstock.principal import Principal
from penstock_agent.children import eras
from penstock_agent.children.child import ChildStartError
from penstock_agent.children.eras import Era
from penstock_agent.endpoint.recall import PATIENCE_S
from penstock_agent.gate.gate import Gate
from penstock_agent.tolerance import Tolerance
from tests.agent.endpoint.bridge.down.crossing import crossing
from tests.agent.endpoint.modern.kit import ask, greeted, probed, started
from tests.agent.endpoint.modern.kit import found as discovered
from tests.agent.endpoint.modern.kit import request as modern_request
from tests.agent.endpoint.modern.kit import send as send_modern
from tests.agent.endpoint.talk import EVERYTHING, FakeChild, Json, Talk, hello, spec, talking
from tests.harness.fake_exchange import ALICE, FakeExchange

BOB = Principal("https://idp.example", "bob", client="assistant")
TOOLS: Json = {"tools": [{"name": "a"}, {"name": "b"}]}
GREETING: Json = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "first"}}


async def begun(talk: Talk, child: FakeChild | None = None, answer: Json = GREETING) -> tuple[str, FakeChild]:
    """A session whose child answers at once."""
    exchange = talk.send("POST", hello())
    child = child or await talk.children.number(len(talk.children.started) + 1)
    child.answer(await child.heard("initialize"), answer)
    await exchange.until_end()
    session = dict(exchange.answered)["mcp-session-id"]
    await ready(talk, session)
    await child.heard("notifications/initialized")
    return session, child


async def ready(talk: Talk, session: str) -> None:
    assert (await talk.note(session, "notifications/initialized").until_end()).status == 202


async def listed(talk: Talk, session: str, child: FakeChild, result: Json = TOOLS) -> Json:
    """What a client is told that asks for the tools, whose child answers ``result``."""
    asked = talk.call("list", session, "tools/list")
    child.answer(await child.heard("tools/list"), result)
    return await asked.json()


async def unanswered(exchange: FakeExchange) -> bool:
    await asyncio.sleep(2 * PATIENCE_S)
    return not exchange.ended


def result(answer: Json) -> Json:
    found = answer["result"]
    assert isinstance(found, dict)
    return found


async def test_the_second_to_begin_is_told_the_first_answer_when_its_process_is_slow() -> None:
    async with talking() as talk:
        first, _ = await begun(talk)
        begin = asyncio.get_running_loop().time()
        second = talk.send("POST", hello(id="again"))
        assert await second.json() == {"jsonrpc": "2.0", "id": "again", "result": GREETING}
        assert asyncio.get_running_loop().time() - begin == pytest.approx(PATIENCE_S)
        session = dict(second.answered)["mcp-session-id"]
        assert session != first
        await ready(talk, session)
        call = talk.call(1, session)

        child = await talk.children.number(2)
        asked = await child.heard("initialize")
        assert asked["params"] == hello()["params"]
        assert child.heard_nothing, "nothing goes before the greeting"
        child.answer(asked, GREETING)
        await child.heard("notifications/initialized")
        child.answer(await child.heard("tools/call"), {"content": []})
        assert await call.message() == {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}


async def test_a_process_that_is_ready_in_time_answers_itself() -> None:
    async with talking() as talk:
        await begun(talk)
        second = talk.send("POST", hello(id=7))
        child = await talk.children.number(2)
        await asyncio.sleep(PATIENCE_S / 2)
        other = {**GREETING, "protocolVersion": "2025-06-18"}
        child.answer(await child.heard("initialize"), other)
        assert await second.json() == {"jsonrpc": "2.0", "id": 7, "result": other}
        session = dict(second.answered)["mcp-session-id"]
        assert await listed(talk, session, child) == {"jsonrpc": "2.0", "id": "list", "result": TOOLS}


async def test_a_process_that_refuses_is_heard_and_there_is_no_session() -> None:
    async with talking() as talk:
        await begun(talk)
        second = talk.send("POST", hello(id=7))
        child = await talk.children.number(2)
        asked = await child.heard("initialize")
        child.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32000, "message": "not today"}})
        assert await second.json() == {
            "jsonrpc": "2.0",
            "id": 7,
            "error": {"code": -32000, "message": "not today"},
        }
        assert "mcp-session-id" not in dict(second.answered)
        await talk.settle()
        assert talk.endpoint.status().sessions == 1


@pytest.mark.parametrize(
    ("who", "body"),
    [
        (BOB, hello()),
        (ALICE, hello("2025-06-18")),
        (ALICE, {**hello(), "params": {**result({"result": hello()["params"]}), "capabilities": {}}}),
    ],
    ids=["somebody else", "another version", "other capabilities"],
)
async def test_who_asks_anything_else_waits_for_the_process(who: Principal, body: Json) -> None:
    async with talking() as talk:
        await begun(talk)
        second = talk.send("POST", body, principal=who)
        child = await talk.children.number(2)
        asked = await child.heard("initialize")
        assert await unanswered(second)
        child.answer(asked, GREETING)
        assert result(await second.message()) == GREETING


async def test_a_list_is_told_again_while_a_process_is_replaced_and_cut_to_what_the_caller_may_see_now() -> (
    None
):
    async with talking() as talk:
        session, child = await begun(talk)
        await listed(talk, session, child)
        child.die()
        await talk.settle()
        again = talk.call(2, session, "tools/list")
        assert await again.json() == {"jsonrpc": "2.0", "id": 2, "result": TOOLS}

        other = await talk.children.number(2)
        other.answer(await other.heard("initialize"), GREETING)
        await other.heard("notifications/initialized")
        more: Json = {"tools": [{"name": "a"}, {"name": "c"}]}
        assert result(await listed(talk, session, other, more)) == more
        other.die()
        await talk.settle()
        body: Json = {"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": {}}
        less = replace(ALICE, allowance=Allowance(("c",)))
        cut = talk.send("POST", body, session=session, principal=less)
        assert result(await cut.json()) == {"tools": [{"name": "c"}]}


async def test_a_call_is_never_answered_from_memory() -> None:
    async with talking() as talk:
        session, child = await begun(talk)
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"), {"content": []})
        await call.message()
        child.die()
        await talk.settle()
        again = talk.call(2, session)
        other = await talk.children.number(2)
        hello_again = await other.heard("initialize")
        assert await unanswered(again)
        other.answer(hello_again, GREETING)
        await other.heard("notifications/initialized")
        other.answer(await other.heard("tools/call"), {"content": [1]})
        assert result(await again.message()) == {"content": [1]}


async def test_a_process_that_speaks_another_version_than_was_told_ends_the_session() -> None:
    async with talking() as talk:
        await begun(talk)
        second = await talk.send("POST", hello()).until_end()
        session = dict(second.answered)["mcp-session-id"]
        call = talk.call(1, session)
        child = await talk.children.number(2)
        child.answer(await child.heard("initialize"), {**GREETING, "protocolVersion": "2025-06-18"})
        text = str(await call.message())
        assert "not_executed" in text
        assert (await talk.call(2, session).until_end()).status == 404


async def test_a_process_that_cannot_be_started_is_said_to_be_so() -> None:
    async with talking() as talk:
        session, child = await begun(talk)
        await listed(talk, session, child)
        child.die()
        await talk.settle()
        talk.children.refusal = ChildStartError("no such file")
        for asked in (talk.call(2, session, "tools/list"), talk.send("POST", hello())):
            await asked.until_end()
            assert asked.status == 503
        assert talk.endpoint.status().sessions == 1


async def test_whoever_leaves_before_the_answer_leaves_no_session() -> None:
    async with talking() as talk:
        await begun(talk)
        second = talk.send("POST", hello())
        child = await talk.children.number(2)
        second.leave()
        await asyncio.sleep(2 * PATIENCE_S)
        await talk.settle()
        assert talk.endpoint.status().sessions == 1
        assert child.stopped


@pytest.mark.parametrize("why", ["list_changed", "reload", "used", "pages", "switch"])
async def test_what_may_be_wrong_is_not_told_again(why: str) -> None:
    off = Tolerance(answer_while_starting=why != "switch")
    async with talking(tolerance=off) as talk:
        session, child = await begun(talk)
        if why == "used":
            call = talk.call(1, session)
            child.answer(await child.heard("tools/call"), {"content": []})
            await call.message()
        await listed(talk, session, child, {**TOOLS, "nextCursor": "x"} if why == "pages" else TOOLS)
        if why == "list_changed":
            child.note("notifications/tools/list_changed")
            await talk.settle()
        if why == "reload":
            talk.endpoint.reload({"files": spec()}, Gate.of({"files": EVERYTHING}))
        child.die()
        await talk.settle()
        again = talk.call(2, session, "tools/list")
        assert await unanswered(again)
        other = await talk.children.number(2)
        other.answer(await other.heard("initialize"), GREETING)
        await other.heard("notifications/initialized")
        other.answer(await other.heard("tools/list"), TOOLS)
        assert result(await again.message()) == TOOLS


async def test_callers_without_sessions_are_told_their_list_again() -> None:
    async with talking() as talk:
        body: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        first = talk.send("POST", body)
        child = await talk.children.number(1)
        child.answer(await child.heard("initialize"), GREETING)
        await child.heard("notifications/initialized")
        child.answer(await child.heard("tools/list"), TOOLS)
        await first.until_end()
        await asyncio.sleep(3600)
        assert child.stopped, "nobody asked for half an hour"
        assert result(await talk.send("POST", body).json()) == TOOLS


# 2026-07-28


async def modern(talk: Talk, answers: Mapping[str, Json]) -> None:
    """A server that has answered Alice, and whose process has ended since."""
    child = await started(talk)
    for method, answer in answers.items():
        exchange = ask(talk, method, method)
        child.answer(await child.heard(method), answer)
        await exchange.json()
    child.die()
    await talk.settle()


async def test_a_stateless_caller_is_told_again_who_the_server_is_and_what_it_has() -> None:
    async with talking() as talk:
        tools: Json = {"resultType": "complete", **TOOLS, "ttlMs": 60_000, "cacheScope": "private"}
        await modern(talk, {"server/discover": discovered(), "tools/list": tools})
        who = ask(talk, "who", "server/discover")
        what = ask(talk, "what", "tools/list")
        told = result(await who.json())
        versions = told["supportedVersions"]
        assert isinstance(versions, list)
        assert "2025-11-25" in versions
        assert result(await what.json()) == {**tools, "ttlMs": 0}, "nobody shall keep it"

        call = ask(talk, 1)
        child = await greeted(talk, 4)
        child.answer(await child.heard("tools/call"), {"resultType": "complete", "content": []})
        await call.message()
        fresh = ask(talk, 2, "tools/list")
        child.answer(await child.heard("tools/list"), tools)
        assert result(await fresh.message()) == tools


async def test_a_stateless_caller_is_told_again_only_what_is_exposed() -> None:
    async with talking(("tool:a",)) as talk:
        tools: Json = {"resultType": "complete", **TOOLS, "ttlMs": 60_000, "cacheScope": "private"}
        await modern(talk, {"server/discover": discovered(), "tools/list": tools})
        again = ask(talk, "what", "tools/list")
        assert result(await again.json())["tools"] == [{"name": "a"}]


async def test_another_stateless_caller_waits_for_its_process() -> None:
    async with talking() as talk:
        await modern(talk, {"tools/list": {"resultType": "complete", **TOOLS}})
        other = send_modern(talk, modern_request("x", "tools/list"), principal=BOB)
        assert await unanswered(other)
        other.leave()


async def test_a_process_of_the_new_era_that_cannot_be_started_is_said_to_be_so() -> None:
    async with talking() as talk:
        await modern(talk, {"tools/list": {"resultType": "complete", **TOOLS}})
        talk.children.refusal = ChildStartError("no such file")
        assert (await ask(talk, 1, "tools/list").until_end()).status == 503


# 2026-07-28 at a server of the handshake era


async def test_over_the_bridge_a_list_is_told_again_while_a_process_is_replaced() -> None:
    async with crossing() as talk:
        first = talk.send("tools/list")
        child = await talk.begun()
        child.answer(await child.heard("tools/list"), TOOLS)
        told = result(await first.json())
        child.die()
        await talk.settle()
        assert result(await talk.send("tools/list").json()) == told

        other = await talk.begun(2)
        fresh = talk.send("tools/list")
        other.answer(await other.heard("tools/list"), {"tools": []})
        assert result(await fresh.message())["tools"] == []


async def test_over_the_bridge_a_server_is_known_again_that_is_still_starting() -> None:
    async with crossing() as talk:
        first = talk.send("server/discover")
        child = await talk.begun()
        told = result(await first.json())
        for session in list(talk.bridge._rooms._sessions):
            session.end()
        await talk.settle()
        assert child.stopped
        assert result(await talk.send("server/discover").json()) == told
        call = talk.tool()
        other = await talk.begun(2)
        other.answer(await other.heard("tools/call"), {"content": []})
        assert result(await call.message())["content"] == []


async def test_a_server_that_is_asked_again_for_its_era_has_the_old_one_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with talking() as talk:
        first = ask(talk, 1, "server/discover")
        child = await talk.children.number(await probed(talk, Era.HANDSHAKE))
        child.answer(await child.heard("initialize"), GREETING)
        told = result(await first.json())
        monkeypatch.setattr(eras, "HANDSHAKE_KEPT_S", -1.0)
        begin = asyncio.get_running_loop().time()
        assert result(await ask(talk, 2, "server/discover").json()) == told
        assert asyncio.get_running_loop().time() - begin == pytest.approx(PATIENCE_S)
