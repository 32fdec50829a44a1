"""Several messages in one array, as 2025-03-26 has it, and as no other revision does."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock_agent.endpoint.handshake.batches import COLLECTED
from penstock_agent.exchange import DoneReason
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.talk import EVERYTHING, Json, Talk, hello, talking
from tests.harness.fake_exchange import FakeExchange

NOTE: Json = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}


def call(id: object, name: str = "echo", **params: object) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, **params}}


def send(talk: Talk, session: str | None, *messages: Json, version: str | None = None) -> FakeExchange:
    return talk.send("POST", json.dumps(messages).encode(), session=session, version=version)


async def together(batch: FakeExchange) -> list[Json]:
    """The one JSON array of the answer."""
    await batch.until_end()
    assert (batch.status, batch.content_type) == (200, "application/json")
    found = json.loads(batch.content)
    assert isinstance(found, list)
    return found


async def test_requests_are_answered_in_one_array_in_the_order_of_their_answers() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-03-26")
        batch = send(talk, session, call(1, "a"), NOTE, call("1", "b"))
        first, note, second = [await child.heard() for _ in range(3)]
        assert note == NOTE
        child.answer_raw(second, b'{"to": "text"}')
        child.answer(first, {"to": "number"})
        await batch.until_end()
        assert batch.content == (
            b'[{"jsonrpc":"2.0","id":"1","result":{"to": "text"}},'
            b'{"jsonrpc":"2.0","id":1,"result":{"to": "number"}}]'
        )


async def test_only_notifications_and_answers_are_accepted_without_a_body() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-03-26")
        get = talk.send("GET", session=session)
        child.ask(7, "roots/list")
        asked = await get.event()
        reply: Json = {"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}}
        batch = await send(talk, session, NOTE, reply).until_end()
        assert (batch.status, batch.content) == (202, b"")
        assert [(await child.heard()).get("id") for _ in range(2)] == [None, 7]
        assert (await send(talk, session, NOTE, reply).until_end()).status == 400
        get.leave()


async def test_what_the_server_says_in_between_makes_it_an_event_stream() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-03-26")
        batch = send(talk, session, call(1), call(2, _meta={"progressToken": "t"}))
        first, second = await child.heard(), await child.heard()
        child.answer(first, {"n": 1})
        await talk.settle()
        assert batch.status is None
        child.note("notifications/progress", progressToken="t", progress=1)
        child.answer(second, {"n": 2})
        await batch.until_end()
        assert [message.get("id") for message in batch.events()] == [1, None, 2]


async def test_a_slow_answer_makes_it_an_event_stream_after_15_s() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-03-26")
        batch = send(talk, session, call(1), call(2))
        first, second = await child.heard(), await child.heard()
        child.answer(first)
        await batch.until_head()
        assert asyncio.get_running_loop().time() == pytest.approx(15.0)
        child.answer(second)
        await batch.until_end()
        assert [message["id"] for message in batch.events()] == [1, 2]


async def test_large_answers_are_not_collected() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-03-26")
        batch = send(talk, session, call(1), call(2))
        first, second = await child.heard(), await child.heard()
        child.answer(first, {"large": "x" * COLLECTED})
        assert (await batch.event())["id"] == 1
        child.answer(second)
        await batch.until_end()


async def test_each_request_is_judged_and_fails_by_itself() -> None:
    async with talking(("tool:read",)) as talk:
        session, child = await talk.session("2025-03-26")
        batch = send(talk, session, call(1, "remove"), call(2, "read"))
        child.answer(await child.heard(), {"content": []})
        denied, answered = await together(batch)
        assert (denied["id"], outcome(denied)) == (1, ("denied", False))
        assert answered == {"jsonrpc": "2.0", "id": 2, "result": {"content": []}}


async def test_what_is_unanswered_at_the_deadline_is_unknown_and_the_rest_is_there() -> None:
    async with talking(call_timeout=5.0) as talk:
        session, child = await talk.session("2025-03-26")
        batch = send(talk, session, call(1), call(2))
        first, second = await child.heard(), await child.heard()
        child.answer(second, {"content": []})
        answers = await together(batch)
        assert [answer["id"] for answer in answers] == [2, 1]
        assert outcome(answers[1]) == ("outcome_unknown", False)
        cancelled = await child.heard("notifications/cancelled")
        assert cancelled["params"] == {"requestId": first["id"], "reason": "deadline"}


async def test_a_child_that_takes_nothing_has_not_run_what_it_did_not_take() -> None:
    async with talking(call_timeout=5.0) as talk:
        session, child = await talk.session("2025-03-26")
        child.accepts.clear()
        answers = await together(send(talk, session, call(1), call(2)))
        assert [outcome(answer) for answer in answers] == [("not_executed", True)] * 2
        child.accepts.set()


async def test_who_leaves_cancels_nothing_and_who_is_revoked_everything() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-03-26")
        left = send(talk, session, call(1), call(2))
        await child.heard()
        heard = await child.heard()
        left.leave()
        await talk.settle()
        child.answer(heard)
        revoked = send(talk, session, call(3), call(4))
        ids = [(await child.heard("tools/call"))["id"] for _ in range(2)]
        revoked.leave(DoneReason.REVOKED)
        stopped = [await child.heard("notifications/cancelled") for _ in range(2)]
        assert [message["params"]["requestId"] for message in stopped] == ids  # type: ignore[index] # an object


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_no_other_revision_takes_an_array(version: str) -> None:
    async with talking() as talk:
        session, child = await talk.session(version)
        refused = await send(talk, session, call(1)).until_end()
        assert refused.status == 400
        assert child.heard_nothing


async def test_initialize_comes_alone() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-03-26")
        assert (await send(talk, session, hello("2025-03-26"), call(1)).until_end()).status == 400
        assert (await send(talk, None, hello("2025-03-26")).until_end()).status == 400
        assert child.heard_nothing


@pytest.mark.parametrize("body", [b"[]", b"[1]", b"[", b"[[]]"])
async def test_an_array_that_is_not_clean_is_refused_and_nothing_of_it_runs(body: bytes) -> None:
    async with talking(EVERYTHING) as talk:
        session, child = await talk.session("2025-03-26")
        refused = await talk.send("POST", body, session=session).until_end()
        assert refused.status == 400
        assert child.heard_nothing
        assert (await send(talk, session[:-1] + "x", call(1)).until_end()).status == 404
