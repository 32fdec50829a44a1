"""Children that die, do not start, or start again; and the session that outlives them."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock_agent.children.child import ChildStartError
from penstock_agent.children.pool import CrashLooping, TooManyChildren
from penstock_agent.endpoint import Limits
from penstock_agent.gate.gate import Gate
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.talk import EVERYTHING, FakeChild, Json, Talk, hello, spec, talking


async def revived(talk: Talk, count: int, version: str = "2025-11-25") -> FakeChild:
    """The ``count``-th child, greeted with what the session began with."""
    child = await talk.children.number(count)
    asked = await child.heard("initialize")
    assert asked["params"] == hello()["params"]
    child.answer(asked, {"protocolVersion": version})
    await child.heard("notifications/initialized")
    return child


async def test_a_crash_ends_the_calls_in_flight_and_the_next_call_works() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call, read = talk.call(1, session), talk.call(2, session, "resources/read", uri="a://b")
        await child.heard()
        await child.heard()
        child.die()
        assert outcome(await call.json()) == ("outcome_unknown", False)
        assert call.status == 200
        assert outcome(await read.json()) == ("outcome_unknown", False)
        assert read.status == 504

        again = talk.call(3, session)
        second = await revived(talk, 2)
        heard = await second.heard("tools/call")
        second.answer(heard, {"content": []})
        assert (await again.json())["result"] == {"content": []}
        assert talk.children.started[0].spec == second.spec


async def test_a_child_that_ends_by_itself_is_in_the_log_and_one_that_is_replaced_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with talking() as talk:
        _, child = await talk.session()
        talk.endpoint.reload({"files": spec("files", "--new")}, Gate.of({"files": EVERYTHING}))
        await talk.settle()
        assert child.stopped
        assert not caplog.records
        _, other = await talk.session()
        other.die()
        await talk.settle()
        assert "child_gone" in caplog.text


async def test_several_calls_share_one_restart() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.die()
        await talk.settle()
        calls = [talk.call(n, session) for n in range(5)]
        second = await revived(talk, 2)
        for _ in calls:
            second.answer(await second.heard("tools/call"))
        for call in calls:
            assert (await call.until_end()).status == 200
        assert len(talk.children.started) == 2


async def test_a_call_that_finds_a_child_that_no_longer_reads_goes_to_its_successor() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.deaf = True
        call = talk.call(1, session)
        second = await revived(talk, 2)
        second.answer(await second.heard("tools/call"), {"content": []})
        assert (await call.json())["result"] == {"content": []}
        assert child.stopped


async def test_a_call_that_a_dying_child_had_not_taken_goes_to_its_successor() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        taken = talk.call(1, session)
        await child.heard("tools/call")
        child.accepts.clear()
        waiting = talk.call(2, session)
        await talk.settle()
        child.die()
        assert outcome(await taken.json()) == ("outcome_unknown", False)
        second = await revived(talk, 2)
        second.answer(await second.heard("tools/call"), {"content": []})
        assert (await waiting.json())["result"] == {"content": []}


async def test_a_child_that_dies_unused_is_not_restarted_until_it_is_needed() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.die()
        await asyncio.sleep(1000)
        assert len(talk.children.started) == 1
        call = talk.call(1, session)
        second = await revived(talk, 2)
        second.answer(await second.heard("tools/call"))
        assert (await call.until_end()).status == 200


async def test_a_restart_waits_out_the_backoff() -> None:
    async with talking() as talk:
        talk.children.delay = 7.0
        session, child = await talk.session()
        child.die()
        await talk.settle()
        call = talk.call(1, session)
        second = await revived(talk, 2)
        assert asyncio.get_running_loop().time() == pytest.approx(7.0)
        second.answer(await second.heard("tools/call"))
        assert (await call.until_end()).status == 200


async def test_a_late_answer_of_the_client_does_not_reach_the_new_child() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        await child.heard()
        child.ask(1, "elicitation/create", message="delete?")
        asked = await call.event()
        child.die()
        assert outcome(await call.event()) == ("outcome_unknown", False)

        again = talk.call(2, session)
        second = await revived(talk, 2)
        heard = await second.heard("tools/call")
        second.ask(1, "elicitation/create", message="delete everything?")
        await again.event()
        late = talk.send(
            "POST", {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}}, session=session
        )
        assert (await late.until_end()).status == 400
        assert second.heard_nothing
        second.answer(heard)
        await again.until_end()


async def test_a_child_that_comes_back_with_another_version_ends_the_session() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.die()
        await talk.settle()
        call = talk.call(1, session)
        second = await talk.children.number(2)
        second.answer(await second.heard("initialize"), {"protocolVersion": "2025-06-18"})
        answer = await call.json()
        assert outcome(answer) == ("not_executed", True)
        assert "another protocol version" in json.dumps(answer)
        await talk.settle()
        assert second.stopped
        assert (await talk.call(2, session).until_end()).status == 404


@pytest.mark.parametrize("reply", [{"error": {"code": -1, "message": "no"}}, {"result": {}}, {"result": 1}])
async def test_a_child_that_does_not_take_the_old_initialize_is_refused_in_words_and_tried_again(
    reply: Json,
) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.die()
        await talk.settle()
        call = talk.call(1, session)
        second = await talk.children.number(2)
        asked = await second.heard("initialize")
        second.say({"jsonrpc": "2.0", "id": asked["id"], **reply})
        assert outcome(await call.json()) == ("not_executed", True)
        await talk.settle()
        assert second.stopped
        again = talk.call(2, session)
        third = await revived(talk, 3)
        third.answer(await third.heard("tools/call"))
        assert (await again.until_end()).status == 200


async def test_a_child_that_does_not_answer_the_old_initialize_is_given_up() -> None:
    async with talking(limits=Limits(start_timeout=20.0)) as talk:
        session, child = await talk.session()
        child.die()
        await talk.settle()
        call = talk.call(1, session)
        second = await talk.children.number(2)
        await second.heard("initialize")
        assert outcome(await call.event()) == ("not_executed", True)
        assert asyncio.get_running_loop().time() == pytest.approx(20.0)
        await talk.settle()
        assert second.stopped


async def test_a_child_that_dies_while_it_is_greeted_is_refused_in_words() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.die()
        await talk.settle()
        call = talk.call(1, session)
        second = await talk.children.number(2)
        await second.heard("initialize")
        second.die()
        assert outcome(await call.json()) == ("not_executed", True)


async def test_a_child_that_dies_before_it_answered_initialize_ends_the_attempt() -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello())
        child = await talk.children.number(1)
        await child.heard("initialize")
        child.die()
        answer = await begun.json()
        assert begun.status == 503
        assert outcome(answer) == ("not_executed", True)
        assert "log on site" in json.dumps(answer)
        assert "mcp-session-id" not in dict(begun.answered)
        await talk.settle()
        assert talk.endpoint.status().sessions == 0


@pytest.mark.parametrize(
    ("refusal", "word"),
    [
        (TooManyChildren("server files was not started: 64 children are running"), "max_children"),
        (CrashLooping("server files keeps crashing", 41.6), "42 s"),
        (ChildStartError("server files: /opt/secret/place does not exist"), "could not be started"),
    ],
)
async def test_a_child_that_cannot_be_started_is_explained_without_details_of_the_site(
    refusal: Exception, word: str
) -> None:
    async with talking() as talk:
        talk.children.refusal = refusal
        begun = talk.send("POST", hello())
        answer = await begun.json()
        assert begun.status == 503
        assert "retry-after" in dict(begun.answered)
        assert outcome(answer) == ("not_executed", True)
        assert word in json.dumps(answer)
        assert "secret" not in json.dumps(answer)
        await talk.settle()
        assert talk.endpoint.status().sessions == 0


async def test_a_session_whose_server_keeps_crashing_fails_fast_and_lives() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.die()
        await talk.settle()
        talk.children.refusal = CrashLooping("server files keeps crashing", 30.0)
        assert outcome(await talk.call(1, session).json()) == ("not_executed", True)
        talk.children.refusal = None
        call = talk.call(2, session)
        second = await revived(talk, 2)
        second.answer(await second.heard("tools/call"))
        assert (await call.until_end()).status == 200


async def test_the_pool_hears_once_per_child_that_it_answers() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        for n in range(3):
            call = talk.call(n, session)
            child.answer(await child.heard("tools/call"))
            await call.until_end()
        assert talk.children.worked_for == ["files"]
        child.die()
        await talk.settle()
        call = talk.call(9, session)
        second = await revived(talk, 2)
        second.answer(await second.heard("tools/call"))
        await call.until_end()
        assert talk.children.worked_for == ["files", "files"]


async def test_a_session_deleted_before_its_child_took_the_request_says_that_nothing_ran() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.accepts.clear()
        call = talk.call(1, session)
        await talk.settle()
        await talk.send("DELETE", session=session).until_end()
        assert outcome(await call.json()) == ("not_executed", True)


async def test_a_session_deleted_while_its_child_starts_leaves_nobody_waiting() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.die()
        await talk.settle()
        call = talk.call(1, session)
        second = await talk.children.number(2)
        await second.heard("initialize")
        await talk.send("DELETE", session=session).until_end()
        assert outcome(await call.json()) == ("not_executed", True)
        await talk.settle()
        assert second.stopped
