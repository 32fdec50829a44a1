"""The answer to a call whose connection was lost: kept, and fetched by whoever asked for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from penstock.principal import Principal
from penstock_agent.endpoint import Limits
from penstock_agent.exchange import DoneReason
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.talk import FakeChild, Json, Talk, talking
from tests.harness.fake_exchange import ALICE, FakeExchange

OLDER = ("2025-03-26", "2025-06-18")


async def primed(
    talk: Talk, session: str, child: FakeChild, token: int | None = None
) -> tuple[FakeExchange, Json]:
    """A call that is an event stream by now, and as the child sees it."""
    call = talk.call(1, session, _meta={} if token is None else {"progressToken": token})
    heard = await child.heard("tools/call")
    await call.until_head()
    return call, heard


async def test_a_small_quick_call_stays_plain_json_and_is_not_kept() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        child.answer(await child.heard())
        await call.json()


async def test_an_unanswered_call_of_2025_11_25_is_primed_after_250_ms_so_that_it_can_be_resumed() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        begun = asyncio.get_running_loop().time()
        call, heard = await primed(talk, session, child)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(0.25)
        await talk.settle()
        [(id, retry, data)] = call.fields()
        assert (id is not None, retry, data) == (True, 3000, b"")
        child.answer(heard, {"late": True})
        await call.until_end()
        (_, _, _), (last, retry, data) = call.fields()
        assert (retry, data) == (None, b'{"jsonrpc":"2.0","id":1,"result":{"late": true}}')
        assert last not in (None, id)


async def test_a_stream_that_begins_with_a_notification_is_primed_too() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session, _meta={"progressToken": 1})
        await child.heard()
        child.note("notifications/progress", progressToken=1, progress=1)
        await call.event()
        assert [bool(data) for _, _, data in call.fields()] == [False, True]
        call.leave()


@pytest.mark.parametrize("version", OLDER)
async def test_older_clients_get_ids_but_no_event_that_they_cannot_read(version: str) -> None:
    async with talking() as talk:
        session, child = await talk.session(version)
        call = talk.call(1, session, _meta={"progressToken": 1})
        heard = await child.heard()
        child.note("notifications/progress", progressToken=1, progress=1)
        await call.event()
        [(id, retry, data)] = call.fields()
        assert id
        assert retry is None
        assert data
        call.leave()
        child.note("notifications/progress", progressToken=1, progress=2)
        child.answer(heard, {"kept": True})
        await talk.settle()
        back = talk.resume(session, id)
        await back.until_end()
        assert [retry for _, retry, _ in back.fields()] == [None, None]
        progress, answer = back.events()
        assert progress["params"] == {"progressToken": 1, "progress": 2}
        assert answer["result"] == {"kept": True}


async def test_2024_11_05_has_no_event_ids() -> None:
    async with talking() as talk:
        session, child = await talk.session("2024-11-05")
        call, heard = await primed(talk, session, child)
        child.answer(heard)
        await call.until_end()
        assert call.ids() == [None]


async def test_what_the_child_answers_after_the_caller_left_is_fetched_with_the_priming_event() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call, heard = await primed(talk, session, child, token=1)
        call.leave()
        await talk.settle()
        child.note("notifications/progress", progressToken=1, progress=1)
        child.answer(heard, {"kept": True})
        await talk.settle()
        assert child.heard_nothing, "a disconnect is no cancellation"
        back = talk.resume(session, call.ids()[0])
        await back.until_end()
        assert back.content_type == "text/event-stream"
        assert back.ids()[0] == call.ids()[0]
        progress, answer = back.events()
        assert progress["method"] == "notifications/progress"
        assert answer == {"jsonrpc": "2.0", "id": 1, "result": {"kept": True}}
        # From its last event on there is nothing more, and the stream says so by ending.
        done = talk.resume(session, back.ids()[-1])
        await done.until_end()
        assert done.events() == []


async def test_a_resumed_stream_goes_on_live_until_its_answer() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call, heard = await primed(talk, session, child, token=1)
        child.note("notifications/progress", progressToken=1, progress=1)
        await call.event()
        call.leave()
        child.note("notifications/progress", progressToken=1, progress=2)
        back = talk.resume(session, call.ids()[1])
        assert (await back.event())["params"] == {"progressToken": 1, "progress": 2}
        child.note("notifications/progress", progressToken=1, progress=3)
        assert (await back.event())["params"] == {"progressToken": 1, "progress": 3}
        child.ask(5, "roots/list")
        asked = await back.event()
        talk.send("POST", {"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}}, session=session)
        assert (await child.heard())["id"] == 5
        child.answer(heard, {"live": True})
        assert (await back.event())["result"] == {"live": True}
        await back.until_end()


async def test_only_the_named_streams_events_are_replayed() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        one, two = talk.call(1, session), talk.call(2, session)
        first, second = await child.heard(), await child.heard()
        await one.until_head()
        await two.until_head()
        one.leave()
        two.leave()
        child.answer(second, {"for": 2})
        child.answer(first, {"for": 1})
        await talk.settle()
        for call, id in ((one, 1), (two, 2)):
            back = talk.resume(session, call.ids()[0])
            await back.until_end()
            assert back.events() == [{"jsonrpc": "2.0", "id": id, "result": {"for": id}}]


async def test_what_a_caller_missed_is_no_notification_of_another_call() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        gone, heard = await primed(talk, session, child)
        gone.leave()
        await talk.pass_time(2.0)
        child.note("notifications/message", data="whose?")
        child.ask(1, "roots/list")
        get = talk.send("GET", session=session)
        # Nobody reads the stream of the call: what belongs to no call waits for one that is read.
        assert [(await get.event())["method"] for _ in range(2)] == ["roots/list", "notifications/message"]
        child.answer(heard)
        await talk.settle()
        back = talk.resume(session, gone.ids()[0])
        await back.until_end()
        assert [event["id"] for event in back.events()] == [1]
        get.leave()


async def test_who_comes_back_before_the_loss_was_noticed_takes_over() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call, heard = await primed(talk, session, child)
        back = talk.resume(session, call.ids()[0])
        await back.until_head()
        await call.until_end()
        assert call.events() == []
        child.answer(heard, {"once": True})
        assert (await back.event())["result"] == {"once": True}
        await back.until_end()


async def test_a_call_that_nobody_fetches_still_ends_at_its_deadline_and_says_so() -> None:
    async with talking(call_timeout=60.0) as talk:
        session, child = await talk.session()
        call, heard = await primed(talk, session, child)
        call.leave()
        cancelled = await child.heard("notifications/cancelled")
        assert cancelled["params"] == {"requestId": heard["id"], "reason": "deadline"}
        assert asyncio.get_running_loop().time() == pytest.approx(60.0)
        back = talk.resume(session, call.ids()[0])
        await back.until_end()
        assert outcome(back.events()[-1]) == ("outcome_unknown", False)


@pytest.mark.parametrize("when", ["on the call", "on the resumed stream"])
async def test_a_revoked_caller_ends_the_call(when: str) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call, heard = await primed(talk, session, child)
        listening = call
        if when == "on the resumed stream":
            call.leave()
            listening = talk.resume(session, call.ids()[0])
            await listening.until_head()
        listening.leave(DoneReason.REVOKED)
        assert (await child.heard("notifications/cancelled"))["params"] == {
            "requestId": heard["id"],
            "reason": "the caller is gone",
        }


async def test_an_answer_that_is_not_kept_any_more_is_an_unknown_outcome_in_words() -> None:
    async with talking(limits=Limits(session_log=100)) as talk:
        session, child = await talk.session()
        call, heard = await primed(talk, session, child)
        call.leave()
        child.answer(heard, {"much": "x" * 200})
        await talk.settle()
        await lost(talk.resume(session, call.ids()[0]))


async def test_an_answer_is_kept_for_five_minutes() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call, heard = await primed(talk, session, child)
        call.leave()
        child.answer(heard)
        await talk.settle()
        await talk.pass_time(299.0)
        back = talk.resume(session, call.ids()[0])
        assert "result" in (await back.until_end()).events()[-1]
        await talk.pass_time(2.0)
        await lost(talk.resume(session, call.ids()[0]))


async def test_an_id_of_an_earlier_life_of_the_agent_is_answered_at_once() -> None:
    async with talking() as earlier:
        session, child = await earlier.session()
        call, _ = await primed(earlier, session, child)
    async with talking() as talk:
        own, _ = await talk.session()
        bob = Principal("https://idp.example", "bob")
        answers = {
            await lost(talk.resume(session, call.ids()[0])),
            await lost(talk.resume(session, call.ids()[0], bob)),
            await lost(talk.resume(own, call.ids()[0])),
        }
        assert len(answers) == 1


async def lost(back: FakeExchange) -> bytes:
    await back.until_end()
    assert (back.status, back.content_type) == (200, "text/event-stream")
    [event] = back.events()
    assert event["id"] == 1
    assert outcome(event) == ("outcome_unknown", False)
    error = event["error"]
    assert isinstance(error, dict)
    assert "check before you repeat it" in error["message"]
    return back.content


async def test_an_id_that_was_made_up_or_is_of_another_session_is_what_never_was() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        other, _ = await talk.session()
        bob = Principal("https://idp.example", "bob")
        his, _ = await talk.session(principal=bob)
        call, heard = await primed(talk, session, child)
        id = call.ids()[0]
        assert id is not None
        forged = id[:40] + ("A" if id[40] != "A" else "B") + id[41:]

        def seen(exchange: FakeExchange) -> tuple[object, ...]:
            return exchange.status, exchange.answered, exchange.content

        for where, who, status in (
            (other, ALICE, 400),  # her other session
            (his, bob, 400),  # his own
            (session, bob, 404),  # hers, with his token
            (session, replace(ALICE, client="another"), 404),
            (session[:-1] + "x", ALICE, 404),
        ):
            answers = set()
            for last in (id, forged, "1", "abcdefgh.AAAA", ""):
                answers.add(seen(await talk.resume(where, last, who).until_end()))
            assert len(answers) == 1, where
            assert answers.pop()[0] == status
        assert (await talk.resume(session, forged).until_end()).status == 400
        child.answer(heard, {"hers": True})
        assert (await call.event())["result"] == {"hers": True}


async def test_a_call_that_never_reached_the_child_is_told_to_who_comes_back() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.accepts.clear()
        call = talk.call(1, session)
        await call.until_head()
        await talk.settle()
        id = call.ids()[0]
        call.leave()
        child.accepts.set()
        child.answer(await child.heard("tools/call"), {"it": "ran"})
        back = talk.resume(session, id)
        assert (await back.event())["result"] == {"it": "ran"}


async def test_a_long_call_is_closed_with_a_word_when_to_come_back_and_fetched_by_polling() -> None:
    async with talking(close_after=30.0) as talk:
        session, child = await talk.session()
        loop = asyncio.get_running_loop()
        call, heard = await primed(talk, session, child, token=1)
        child.note("notifications/progress", progressToken=1, progress=1)
        await call.until_end()
        assert loop.time() == pytest.approx(30.25)
        assert [(retry, bool(data)) for _, retry, data in call.fields()] == [
            (3000, False),
            (None, True),
            (500, False),
        ]
        assert call.ids()[1] == call.ids()[2]
        again = await talk.resume(session, call.ids()[-1]).until_end()
        assert loop.time() == pytest.approx(60.25)
        assert again.events() == []
        back = talk.resume(session, again.ids()[-1])
        await talk.settle()
        child.answer(heard, {"at": "last"})
        await back.until_end()
        assert [event["result"] for event in back.events()] == [{"at": "last"}]


@pytest.mark.parametrize("version", [*OLDER, "2024-11-05"])
async def test_a_client_that_does_not_know_of_polling_is_never_closed_early(version: str) -> None:
    async with talking(close_after=30.0) as talk:
        session, child = await talk.session(version)
        call, heard = await primed(talk, session, child)
        await talk.pass_time(80.0)
        child.answer(heard, {"on": "it"})
        assert (await call.event())["result"] == {"on": "it"}


async def test_a_session_that_ends_takes_what_was_kept_with_it() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call, _ = await primed(talk, session, child)
        call.leave()
        await talk.settle()
        await talk.send("DELETE", session=session).until_end()
        assert (await talk.resume(session, call.ids()[0]).until_end()).status == 404
