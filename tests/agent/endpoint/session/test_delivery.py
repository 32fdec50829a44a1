"""On which stream what a child says by itself reaches its client."""

from __future__ import annotations

import asyncio
import random

import pytest

from penstock.principal import Principal
from penstock_agent.endpoint import Limits
from penstock_agent.endpoint.session.correlate import MAX_ASKED
from tests.agent.endpoint.talk import FakeChild, Json, Talk, talking
from tests.harness.fake_exchange import FakeExchange


async def listening(talk: Talk, session: str) -> FakeExchange:
    get = talk.send("GET", session=session)
    assert await get.until_head() == 200
    assert get.content_type == "text/event-stream"
    return get


async def test_three_concurrent_calls_get_their_own_progress_on_their_own_streams() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        tokens: list[object] = [1, "1", "c"]
        calls = [talk.call(n, session, _meta={"progressToken": t}) for n, t in enumerate(tokens)]
        heard = [await child.heard() for _ in calls]
        steps = [(n, step) for n in range(3) for step in range(5)]
        random.Random(7).shuffle(steps)
        for n, step in steps:
            child.note("notifications/progress", progressToken=tokens[n], progress=step)
        for n in (2, 0, 1):
            child.answer(heard[n], {"mine": n})
        for n, call in enumerate(calls):
            await call.until_end()
            *progress, answer = call.events()
            expected: list[Json] = [
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {"progressToken": tokens[n], "progress": step},
                }
                for m, step in steps
                if m == n
            ]
            assert progress == expected
            assert answer == {"jsonrpc": "2.0", "id": n, "result": {"mine": n}}


async def test_progress_after_the_answer_or_of_nobody_goes_nowhere() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        call = talk.call(1, session, _meta={"progressToken": "t"})
        child.answer(await child.heard())
        child.note("notifications/progress", progressToken="t", progress=1)
        child.note("notifications/progress", progressToken="other", progress=1)
        await call.until_end()
        await talk.settle()
        assert call.content_type == "application/json"
        assert get.events() == []
        get.leave()


async def test_a_request_of_the_child_makes_the_round_trip_in_the_call_that_it_belongs_to() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        call = talk.call(1, session)
        heard = await child.heard()
        child.ask(1, "elicitation/create", message="Sure?")
        asked = await call.event()
        assert asked["method"] == "elicitation/create"
        assert asked["params"] == {"message": "Sure?"}
        assert isinstance(asked["id"], str)

        reply: Json = {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}}
        said = talk.send("POST", reply, session=session)
        await said.until_end()
        assert (said.status, said.content) == (202, b"")
        assert await child.heard() == {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}}
        child.answer(heard, {"did": "it"})
        assert (await call.event())["result"] == {"did": "it"}

        twice = talk.send("POST", reply, session=session)
        await twice.until_end()
        assert twice.status == 400
        assert child.heard_nothing
        assert get.events() == []
        get.leave()


async def test_an_error_answer_of_the_client_reaches_the_child_with_its_own_id() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard()
        child.ask("q\n", "sampling/createMessage")
        asked = await call.event()
        error = {"code": -1, "message": "no"}
        await talk.send(
            "POST", {"jsonrpc": "2.0", "id": asked["id"], "error": error}, session=session
        ).until_end()
        assert await child.heard() == {"jsonrpc": "2.0", "id": "q\n", "error": error}
        child.answer(heard)
        await call.until_end()


async def test_an_answer_is_taken_only_from_the_session_that_was_asked() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        other_session, other = await talk.session(principal=Principal("https://idp.example", "bob"))
        call = talk.call(1, session)
        heard = await child.heard()
        child.ask(1, "roots/list")
        asked = await call.event()
        reply: Json = {"jsonrpc": "2.0", "id": asked["id"], "result": {}}
        bob = Principal("https://idp.example", "bob")
        stolen = talk.send("POST", reply, session=other_session, principal=bob)
        assert (await stolen.until_end()).status == 400
        assert (await talk.send("POST", reply, session=session, principal=bob).until_end()).status == 404
        made_up: Json = {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert (await talk.send("POST", made_up, session=session).until_end()).status == 400
        assert child.heard_nothing
        assert other.heard_nothing
        child.answer(heard)
        await call.until_end()


async def test_with_several_calls_in_flight_the_latest_is_asked() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        first, second = talk.call(1, session), talk.call(2, session)
        heard = [await child.heard(), await child.heard()]
        child.ask(1, "roots/list")
        assert (await second.event())["method"] == "roots/list"
        child.answer(heard[1])
        await second.until_end()
        child.ask(2, "roots/list")
        assert (await first.event())["method"] == "roots/list"
        child.answer(heard[0])
        await first.until_end()


async def test_a_caller_that_left_is_not_asked() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        first, second = talk.call(1, session), talk.call(2, session)
        heard = [await child.heard(), await child.heard()]
        second.leave()
        await asyncio.sleep(3)
        child.ask(1, "roots/list")
        assert (await first.event())["method"] == "roots/list"
        for one in heard:
            child.answer(one)
        await first.until_end()


async def test_without_a_call_the_get_stream_carries_requests() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        child.ask(1, "roots/list")
        asked = await get.event()
        await talk.send(
            "POST", {"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}}, session=session
        ).until_end()
        assert (await child.heard())["result"] == {"roots": []}
        get.leave()


async def test_a_request_waits_for_a_stream_and_goes_to_the_first_that_opens() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.ask(1, "roots/list")
        await talk.settle()
        call = talk.call(1, session)
        assert (await call.event())["method"] == "roots/list"
        child.answer(await child.heard("tools/call"))
        await call.until_end()
        child.ask(2, "roots/list")
        await talk.settle()
        get = await listening(talk, session)
        assert (await get.event())["method"] == "roots/list"
        get.leave()


async def test_a_request_that_reaches_nobody_is_answered_with_an_error() -> None:
    async with talking(limits=Limits(asked_wait=30.0, backlog_asked=2)) as talk:
        session, child = await talk.session()
        for n in range(3):
            child.ask(n, "roots/list")
        refused = await child.heard()
        assert refused["id"] == 2
        assert asyncio.get_running_loop().time() == 0
        assert refused["error"] == {"code": -32603, "message": "No stream of the client is open."}
        assert [(await child.heard())["id"] for _ in range(2)] == [0, 1]
        assert asyncio.get_running_loop().time() == pytest.approx(30.0)
        get = await listening(talk, session)
        await talk.settle()
        assert get.events() == []
        get.leave()


async def test_too_many_open_requests_of_a_child_are_answered_with_an_error() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        for n in range(MAX_ASKED + 1):
            child.ask(n, "roots/list")
        refused = await child.heard()
        assert refused["id"] == MAX_ASKED
        assert "error" in refused
        await talk.settle()
        assert len(get.events()) == MAX_ASKED
        get.leave()


async def test_a_child_that_takes_its_request_back_is_heard_where_it_was_asked() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        call = talk.call(1, session)
        heard = await child.heard()
        child.ask(7, "elicitation/create")
        asked = await call.event()
        child.note("notifications/cancelled", requestId=7, reason="never mind")
        told = await call.event()
        assert told["params"] == {"requestId": asked["id"], "reason": "never mind"}
        late = talk.send("POST", {"jsonrpc": "2.0", "id": asked["id"], "result": {}}, session=session)
        assert (await late.until_end()).status == 400
        child.ask(8, "elicitation/create")
        asked = await call.event()
        child.answer(heard)
        await call.until_end()
        child.note("notifications/cancelled", requestId=8)
        assert (await get.event())["params"] == {"requestId": asked["id"]}
        get.leave()


async def test_a_request_taken_back_before_anybody_saw_it_is_forgotten() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.ask(7, "elicitation/create")
        child.note("notifications/cancelled", requestId=7)
        await talk.settle()
        get = await listening(talk, session)
        await asyncio.sleep(60)
        assert get.events() == []
        assert child.heard_nothing
        get.leave()


async def test_a_ping_of_the_child_is_answered_at_once() -> None:
    async with talking() as talk:
        _, child = await talk.session()
        child.ask("p", "ping")
        assert await child.heard() == {"jsonrpc": "2.0", "id": "p", "result": {}}


async def test_pings_of_a_child_that_does_not_read_pile_up_to_a_bound() -> None:
    async with talking(limits=Limits(replies=4)) as talk:
        _, child = await talk.session()
        child.accepts.clear()
        for n in range(10):
            child.ask(n, "ping")
        await talk.settle()
        assert talk.endpoint.status().servers["files"].events["dropped_reply"] == 6
        child.accepts.set()
        assert [(await child.heard())["id"] for _ in range(4)] == [0, 1, 2, 3]


async def test_logging_and_changed_lists_go_to_the_get_stream_then_to_the_latest_call() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        call = talk.call(1, session)
        heard = await child.heard()
        child.note("notifications/message", level="info", data="a")
        assert (await get.event())["params"] == {"level": "info", "data": "a"}
        get.leave()
        await talk.settle()
        child.note("notifications/tools/list_changed")
        assert (await call.event())["method"] == "notifications/tools/list_changed"
        child.answer(heard)
        await call.until_end()
        assert [event["method"] for event in get.events()] == ["notifications/message"]


async def test_notifications_wait_for_a_get_stream_and_the_oldest_are_dropped() -> None:
    async with talking(limits=Limits(backlog_events=3)) as talk:
        session, child = await talk.session()
        for n in range(5):
            child.note("notifications/message", data=n)
        await talk.settle()
        call = talk.call(1, session)
        child.answer(await child.heard())
        assert (await call.until_end()).content_type == "application/json"
        get = await listening(talk, session)
        params = [(await get.event())["params"] for _ in range(3)]
        assert params == [{"data": 2}, {"data": 3}, {"data": 4}]
        get.leave()


async def test_the_newest_get_stream_wins_and_the_older_one_ends() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        old = await listening(talk, session)
        child.note("notifications/message", data=1)
        assert (await old.event())["params"] == {"data": 1}
        new = await listening(talk, session)
        await old.until_end()
        child.note("notifications/message", data=2)
        assert (await new.event())["params"] == {"data": 2}
        new.leave()


async def test_what_a_get_stream_did_not_get_out_goes_to_the_next_one() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-06-18")
        crawl = asyncio.Event()
        old = talk.send("GET", session=session, slow=crawl)
        await old.until_head()
        for n in range(4):
            child.note("notifications/message", data=n)
        await talk.settle()
        new = await listening(talk, session)
        crawl.set()
        await old.until_end()
        assert [event["params"] for event in old.events()] == [{"data": 0}]
        params = [(await new.event())["params"] for _ in range(3)]
        assert params == [{"data": 1}, {"data": 2}, {"data": 3}]
        new.leave()


async def test_a_get_stream_ends_at_its_deadline_and_with_its_session() -> None:
    async with talking() as talk:
        session, _ = await talk.session()
        timed = talk.send("GET", session=session, deadline=500.0)
        await timed.until_end()
        assert asyncio.get_running_loop().time() == pytest.approx(500.0)
        last = await listening(talk, session)
        await talk.send("DELETE", session=session).until_end()
        await last.until_end()


async def test_updates_of_a_hidden_resource_are_dropped() -> None:
    async with talking(("resource:file:///srv/**",)) as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        child.note("notifications/resources/updated", uri="file:///etc/passwd")
        child.note("notifications/resources/updated", uri="file:///srv/../etc/passwd")
        child.note("notifications/resources/updated", uri="file:///srv/a")
        assert (await get.event())["params"] == {"uri": "file:///srv/a"}
        get.leave()


async def test_one_session_never_sees_what_another_child_says() -> None:
    async with talking() as talk:
        bob = Principal("https://idp.example", "bob")
        session, child = await talk.session()
        other_session, other = await talk.session(principal=bob)
        get = await listening(talk, session)
        theirs = talk.send("GET", session=other_session, principal=bob)
        await theirs.until_head()
        call = talk.call(1, session, _meta={"progressToken": 1})
        heard = await child.heard()
        other.note("notifications/progress", progressToken=1, progress=1)
        other.note("notifications/message", data="secret")
        _forge(other, heard)
        assert (await theirs.event())["params"] == {"data": "secret"}
        child.answer(heard, {"mine": True})
        assert (await call.json())["result"] == {"mine": True}
        assert get.events() == []
        get.leave()
        theirs.leave()


def _forge(child: FakeChild, heard: Json) -> None:
    """An answer to a request that another child was given."""
    child.answer(heard, {"forged": True})
