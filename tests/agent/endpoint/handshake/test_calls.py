"""One exchange of a session, from the caller's message to the end of its response."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import Limits
from penstock_agent.exchange import DoneReason
from tests.agent.endpoint.talk import FakeChild, Json, Talk, hello, talking


def outcome(answer: Json) -> tuple[str, bool]:
    """What an answer says for programs: outcome, and whether it is safe to try again."""
    if "result" in answer:
        result = answer["result"]
        assert isinstance(result, dict)
        assert result["isError"] is True
        assert result["content"][0]["text"].endswith((".", '"'))
        data = result["_meta"]["penstock/outcome"]
    else:
        error = answer["error"]
        assert isinstance(error, dict)
        data = error["data"]
    return data["outcome"], data["retry_safe"]


async def test_ids_1_and_text_1_in_flight_together_get_their_own_answers() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        number, text = talk.call(1, session, name="a"), talk.call("1", session, name="b")
        first, second = await child.heard(), await child.heard()
        assert first["id"] != second["id"]
        child.answer(second, {"to": "text"})
        child.answer(first, {"to": "number"})
        await number.until_end()
        await text.until_end()
        assert number.content == b'{"jsonrpc":"2.0","id":1,"result":{"to": "number"}}'
        assert text.content == b'{"jsonrpc":"2.0","id":"1","result":{"to": "text"}}'


@pytest.mark.parametrize("id", [b"0", b"-1", b"1.0", b"1" * 40, b'"\\u0041"', b'""', '"ä"'.encode(), b"1e2"])
async def test_an_id_comes_back_as_the_bytes_that_it_was(id: bytes) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.send("POST", b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % id, session=session)
        heard = await child.heard("ping")
        assert isinstance(heard["id"], str)
        child.answer(heard)
        await call.until_end()
        assert call.content == b'{"jsonrpc":"2.0","id":%b,"result":{}}' % id


async def test_arguments_and_results_travel_byte_for_byte() -> None:
    number = b"1234567890123456789012345678901234567890"
    async with talking() as talk:
        session, child = await talk.session()
        arguments = b'{"n":%b, "f":1.10e+400,"u":"\\u00e4\\/"}' % number
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":%b}}'
        call = talk.send("POST", body % arguments, session=session)
        line = await child.heard_raw()
        assert line.endswith(b'"params":{"name":"echo","arguments":%b}}' % arguments)
        result = b'{"structuredContent":{"n": %b,"d":0.10000000000000000000001}}' % number
        child.answer_raw(json.loads(line), result)
        await call.until_end()
        assert call.content == b'{"jsonrpc":"2.0","id":1,"result":%b}' % result


async def test_line_breaks_between_tokens_do_not_break_a_line_to_the_child() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        body = b'{"jsonrpc":"2.0",\n"id":1,"method":"tools/call",\r\n"params":{"name":\n"echo"}}'
        call = talk.send("POST", body, session=session)
        child.answer(await child.heard("tools/call"))
        assert (await call.until_end()).status == 200


async def test_an_error_of_the_server_passes_with_status_200() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard()
        child.say(
            b'{"jsonrpc":"2.0","id":"%b","error":{"code":-32042,"message":"m","data":{"x": 1}}}'
            % str(heard["id"]).encode()
        )
        await call.until_end()
        assert call.status == 200
        assert (
            call.content == b'{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"x": 1}}}'
        )


async def test_unknown_methods_and_members_pass_where_the_site_allows_them() -> None:
    async with talking(("method:x/*",)) as talk:
        session, child = await talk.session()
        call = talk.call(1, session, "x/new", what=[1])
        heard = await child.heard("x/new")
        assert heard["params"] == {"what": [1]}
        child.answer(heard, {"resultType": "later"})
        assert (await call.json())["result"] == {"resultType": "later"}
        denied = talk.call(2, session, "y/new")
        assert outcome(await denied.json()) == ("denied", False)


# When the answer takes time.


async def test_an_answer_that_comes_first_is_plain_json_and_after_progress_a_stream() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session, _meta={"progressToken": "t"})
        heard = await child.heard()
        assert call.status is None
        child.note("notifications/progress", progressToken="t", progress=1)
        assert (await call.event())["method"] == "notifications/progress"
        assert call.content_type == "text/event-stream"
        child.answer(heard, {"done": True})
        assert await call.event() == {"jsonrpc": "2.0", "id": 1, "result": {"done": True}}
        await call.until_end()


async def test_the_head_goes_out_after_15_s_and_the_answer_follows_as_an_event() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-06-18")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        call = talk.call(1, session)
        heard = await child.heard()
        assert await call.until_head() == 200
        assert loop.time() - begun == pytest.approx(15.0)
        assert call.content == b""
        child.answer(heard, {"late": True})
        assert (await call.event())["result"] == {"late": True}
        await call.until_end()


@pytest.mark.parametrize("caller_waits", [30.0, 500.0])
async def test_at_the_deadline_the_child_is_told_and_the_outcome_is_unknown(caller_waits: float) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        body: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
        call = talk.send("POST", body, session=session, deadline=begun + caller_waits)
        heard = await child.heard()
        answer = await call.event()
        assert loop.time() - begun == pytest.approx(min(caller_waits, 120.0))
        assert answer["id"] == 1
        assert outcome(answer) == ("outcome_unknown", False)
        cancelled = await child.heard("notifications/cancelled")
        assert cancelled["params"] == {"requestId": heard["id"], "reason": "deadline"}

        child.answer(heard, {"too": "late"})
        again = talk.call(1, session)
        child.answer(await child.heard("tools/call"), {"content": []})
        assert (await again.json())["result"] == {"content": []}


async def test_a_deadline_before_the_head_is_an_error_with_status_504_for_other_requests() -> None:
    async with talking(call_timeout=5.0) as talk:
        session, child = await talk.session("2025-06-18")
        call = talk.call(1, session, "resources/read", uri="a://b")
        await child.heard()
        answer = await call.json()
        assert call.status == 504
        assert outcome(answer) == ("outcome_unknown", False)
        assert isinstance(answer["error"], dict)
        assert answer["error"]["code"] == -32011
        assert answer["error"]["data"]["exchange"] == call.key


async def test_a_child_that_never_answers_initialize_is_stopped_at_the_deadline() -> None:
    async with talking(call_timeout=10.0) as talk:
        begun = talk.send("POST", hello())
        child = await talk.children.number(1)
        await child.heard("initialize")
        answer = await begun.json()
        assert begun.status == 503
        assert outcome(answer) == ("not_executed", True)
        await talk.settle()
        assert child.stopped
        assert child.heard_nothing, "initialize must not be cancelled"
        assert talk.endpoint.status().sessions == 0


async def test_a_slow_initialize_names_the_session_in_the_head_of_the_stream() -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello())
        child = await talk.children.number(1)
        asked = await child.heard("initialize")
        await begun.until_head()
        session = dict(begun.answered)["mcp-session-id"]
        child.answer(asked, {"protocolVersion": "2025-06-18"})
        assert (await begun.event())["id"] == 0
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"))
        assert (await call.until_end()).status == 200


async def test_a_child_that_takes_no_input_is_not_given_the_request_and_others_see_their_answers() -> None:
    async with talking(call_timeout=60.0) as talk:
        session, child = await talk.session()
        before = talk.call(1, session)
        heard = await child.heard()
        child.accepts.clear()
        stuck = talk.call(2, session)
        note = talk.note(session, "notifications/roots/list_changed")
        await talk.settle()
        child.answer(heard, {})
        assert (await before.until_end()).status == 200
        assert (await note.until_end()).status == 503
        assert outcome(await stuck.event()) == ("not_executed", True)
        child.accepts.set()
        await talk.settle()
        assert child.heard_nothing


@pytest.mark.parametrize("version", ["2025-03-26", "2025-11-25"])
async def test_a_request_without_its_id_is_no_way_past_the_gate(version: str) -> None:
    async with talking() as talk:
        session, child = await talk.session(version)
        note = b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"hidden","arguments":{}}}'
        for body in (note, *([b"[%b]" % note] if version == "2025-03-26" else [])):
            assert (await talk.send("POST", body, session=session).until_end()).status == 202
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"))  # the first that it heard of
        await call.until_end()


@pytest.mark.parametrize(
    ("expose", "passes"), [((), False), (("method:x/*",), False), (("method:notifications/x",), True)]
)
async def test_a_notification_that_is_not_of_mcp_passes_where_the_site_exposes_it(
    expose: tuple[str, ...], passes: bool
) -> None:
    async with talking(("tool:*", *expose)) as talk:
        session, child = await talk.session()
        for method in ("notifications/x", "notifications/roots/list_changed"):
            note = b'{"jsonrpc":"2.0","method":"%b","params":{"do":"it"}}' % method.encode()
            assert (await talk.send("POST", note, session=session).until_end()).status == 202
        if passes:
            await child.heard("notifications/x")
        await child.heard("notifications/roots/list_changed")  # the first that it heard of, else


# Cancelling, leaving.


async def test_a_cancelled_call_ends_and_the_child_hears_its_own_id() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call, other = talk.call(1, session), talk.call("1", session)
        first, second = await child.heard(), await child.heard()
        note = talk.note(session, "notifications/cancelled", requestId=1, reason="changed my mind")
        await note.until_end()
        assert (note.status, note.content) == (202, b"")
        answer = await call.json()
        assert call.status == 200
        assert isinstance(answer["error"], dict)
        assert answer["error"]["code"] == -32800
        told = await child.heard("notifications/cancelled")
        assert told["params"] == {"requestId": first["id"], "reason": "changed my mind"}
        child.answer(first, {"ignored": True})
        child.answer(second, {"mine": True})
        assert (await other.json())["result"] == {"mine": True}


async def test_only_an_own_call_in_flight_can_be_cancelled() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        other_session, other = await talk.session()
        call = talk.call(5, session)
        heard = await child.heard()
        for wrong in (
            talk.note(other_session, "notifications/cancelled", requestId=5),
            talk.note(session, "notifications/cancelled", requestId="5"),
            talk.note(session, "notifications/cancelled", requestId=heard["id"]),
            talk.note(session, "notifications/cancelled", requestId=None),
            talk.note(session, "notifications/cancelled"),
        ):
            assert (await wrong.until_end()).status == 202
        await talk.settle()
        assert child.heard_nothing
        assert other.heard_nothing
        child.answer(heard)
        assert (await call.until_end()).status == 200


async def test_initialize_cannot_be_cancelled() -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello(id=0))
        child = await talk.children.number(1)
        asked = await child.heard("initialize")
        await begun.until_head()
        session = dict(begun.answered)["mcp-session-id"]
        await talk.note(session, "notifications/cancelled", requestId=0).until_end()
        child.answer(asked, {"protocolVersion": "2025-11-25"})
        assert "result" in await begun.event()
        assert child.heard_nothing


async def test_a_call_that_is_cancelled_before_the_child_took_it_is_cancelled_there_too() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.accepts.clear()
        call = talk.call(1, session)
        await talk.settle()
        await talk.note(session, "notifications/cancelled", requestId=1).until_end()
        child.accepts.set()
        assert isinstance((await call.json())["error"], dict)
        heard = await child.heard("tools/call")
        told = await child.heard("notifications/cancelled")
        assert isinstance(told["params"], dict)
        assert told["params"]["requestId"] == heard["id"]


@pytest.mark.parametrize("reason", [DoneReason.CLIENT_GONE, DoneReason.ORIGIN_LOST, DoneReason.TOO_SLOW])
async def test_a_caller_that_leaves_does_not_cancel(reason: DoneReason) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard()
        call.leave(reason)
        await asyncio.sleep(3)
        assert child.heard_nothing
        child.answer(heard, {"nobody": "listens"})
        await talk.settle()
        assert talk.endpoint.status().servers["files"].calls == 0
        again = talk.call(2, session)
        child.answer(await child.heard("tools/call"))
        assert (await again.until_end()).status == 200


async def test_a_call_whose_caller_left_is_still_given_up_at_its_deadline() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard()
        call.leave()
        await asyncio.sleep(3)
        told = await child.heard("notifications/cancelled")
        assert told["params"] == {"requestId": heard["id"], "reason": "deadline"}
        assert asyncio.get_running_loop().time() == pytest.approx(120.0)
        assert talk.endpoint.status().servers["files"].calls == 0


@pytest.mark.parametrize("reason", [DoneReason.REVOKED, DoneReason.DEADLINE])
async def test_a_caller_that_is_revoked_or_out_of_time_cancels(reason: DoneReason) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard()
        call.leave(reason)
        told = await child.heard("notifications/cancelled")
        assert isinstance(told["params"], dict)
        assert told["params"]["requestId"] == heard["id"]
        assert asyncio.get_running_loop().time() <= 2.0


async def test_what_waits_for_a_slow_caller_is_given_back_when_it_leaves() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        crawl = asyncio.Event()
        body: Json = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "a", "_meta": {"progressToken": 1}},
        }
        call = talk.send("POST", body, session=session, slow=crawl)
        heard = await child.heard()
        for n in range(3):
            child.note("notifications/progress", progressToken=1, progress=n, message="x" * 1000)
        child.answer(heard, {"content": "y" * 5000})
        await talk.settle()
        assert talk.endpoint.status().held_bytes > 8000
        call.leave(DoneReason.TOO_SLOW)
        crawl.set()
        await talk.settle()
        assert talk.endpoint.status().held_bytes == 0


async def test_a_child_is_not_read_while_too_much_waits_for_its_session_and_others_are() -> None:
    async with talking(limits=Limits(session_held=10_000)) as talk:
        session, child = await talk.session()
        other_session, other = await talk.session()
        crawl = asyncio.Event()
        body: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a"}}
        slow = talk.send("POST", body, session=session, slow=crawl)
        heard = await child.heard()
        big = "z" * 10_000
        child.answer(heard, {"content": big})
        behind = talk.call(2, session)
        child.answer(await child.heard())
        free = talk.call(3, other_session)
        other.answer(await other.heard())
        assert (await free.until_end()).status == 200
        await talk.settle()
        assert behind.status is None
        crawl.set()
        assert (await slow.json())["result"] == {"content": big}
        assert (await behind.until_end()).status == 200


async def test_progress_beyond_the_bound_is_dropped_and_the_answer_never() -> None:
    async with talking(limits=Limits(stream_events=4)) as talk:
        session, child = await talk.session()
        crawl = asyncio.Event()
        body: Json = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "a", "_meta": {"progressToken": 1}},
        }
        call = talk.send("POST", body, session=session, slow=crawl)
        heard = await child.heard()
        for n in range(20):
            child.note("notifications/progress", progressToken=1, progress=n)
        child.answer(heard, {"done": True})
        await talk.settle()
        crawl.set()
        await call.until_end()
        events = call.events()
        assert events[-1]["result"] == {"done": True}
        assert 4 <= len(events) - 1 <= 6
        assert talk.endpoint.status().servers["files"].events["dropped_notification"] == 21 - len(events)


async def test_too_many_unanswered_calls_are_refused_in_words() -> None:
    async with talking(limits=Limits(calls_per_session=2)) as talk:
        session, child = await talk.session()
        calls = [talk.call(n, session) for n in range(2)]
        heard = [await child.heard() for _ in calls]
        assert outcome(await talk.call(9, session).json()) == ("not_executed", True)
        for one in heard:
            child.answer(one)
        for call in calls:
            assert (await call.until_end()).status == 200


async def test_a_large_result_goes_out_in_pieces_of_one_event() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session, _meta={"progressToken": 1})
        heard = await child.heard()
        child.note("notifications/progress", progressToken=1, progress=1)
        text = "x" * (20 << 20)
        child.answer_raw(heard, b'{"text":"%b"}' % text.encode())
        await call.until_end()
        assert call.events()[1] == {"jsonrpc": "2.0", "id": 1, "result": {"text": text}}


# Children that say strange things.


async def next_call_works(talk: Talk, session: str, child: FakeChild) -> None:
    call = talk.call(99, session)
    child.answer(await child.heard("tools/call"), {"content": []})
    assert (await call.json())["result"] == {"content": []}


async def test_a_lone_surrogate_in_a_result_is_a_named_error_and_the_session_lives() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        child.answer_raw(await child.heard(), b'{"text":"\\ud800"}')
        answer = await call.json()
        assert outcome(answer) == ("outcome_unknown", False)
        assert "surrogate" in json.dumps(answer)
        await next_call_works(talk, session, child)


@pytest.mark.parametrize(
    "junk",
    [
        b"Listening on port 80",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"jsonrpc":"2.0","id":"nobody","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}',
        b'{"jsonrpc":"2.0","method":"notifications/progress"}',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":{"a":1}}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[1]}}',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"\\ud800"}}',
        b"[" * 5000,
        Oversize(64 << 20),
    ],
)
async def test_junk_is_counted_and_the_next_call_works(junk: bytes | Oversize) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        child.say(junk)
        await next_call_works(talk, session, child)
        await next_call_works(talk, session, child)


async def test_a_line_that_is_too_long_ends_the_only_call_that_it_can_belong_to() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        await child.heard()
        child.say(Oversize(64 << 20))
        answer = await call.json()
        assert outcome(answer) == ("outcome_unknown", False)
        await next_call_works(talk, session, child)


async def test_a_line_that_is_too_long_ends_no_call_when_it_may_belong_to_several() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        calls = [talk.call(n, session) for n in range(2)]
        heard = [await child.heard() for _ in calls]
        child.say(Oversize(64 << 20))
        for one in heard:
            child.answer(one)
        for call in calls:
            assert "isError" not in json.dumps(await call.json())


async def test_an_answer_given_twice_is_taken_once() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard()
        child.answer(heard, {"n": 1})
        child.answer(heard, {"n": 2})
        assert (await call.json())["result"] == {"n": 1}
        assert talk.endpoint.status().servers["files"].events == {"unexpected_answer": 1}
