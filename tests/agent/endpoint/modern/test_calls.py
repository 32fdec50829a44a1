"""One request and its response: streams, cancellation by going, deadlines, and processes that end."""

from __future__ import annotations

import asyncio

import pytest

from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import Limits
from penstock_agent.exchange import DoneReason
from penstock_agent.gate.gate import Gate
from tests.agent.endpoint.modern.kit import (
    BOB,
    META,
    ask,
    error_of,
    found,
    greeted,
    meta_of,
    request,
    result_of,
    send,
    started,
)
from tests.agent.endpoint.talk import EVERYTHING, Json, spec, talking

DONE: Json = {"resultType": "complete"}


async def test_progress_reaches_the_call_whose_token_it_carries_in_the_type_that_it_had() -> None:
    async with talking() as talk:
        child = await started(talk)
        one = ask(talk, 1, "tools/call", {"progressToken": 7})
        two = ask(talk, "1", "tools/call", {"progressToken": "7"})
        heard = [await child.heard("tools/call") for _ in range(2)]
        tokens = [meta_of(m)["progressToken"] for m in heard]
        assert len({*map(str, tokens), "7"}) == 3
        child.note("notifications/progress", progressToken=tokens[1], progress=0.5)
        child.note("notifications/progress", progressToken=tokens[0], progress=0.25)
        for m in heard:
            child.answer(m, DONE)
        assert (await one.event())["params"] == {"progressToken": 7, "progress": 0.25}
        assert (await two.event())["params"] == {"progressToken": "7", "progress": 0.5}
        assert await one.event() == {"jsonrpc": "2.0", "id": 1, "result": DONE}
        assert await two.event() == {"jsonrpc": "2.0", "id": "1", "result": DONE}
        assert one.content_type == "text/event-stream"


async def test_progress_that_nobody_asked_for_goes_nowhere() -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1)
        heard = await child.heard("tools/call")
        child.note("notifications/progress", progressToken=heard["id"], progress=1)
        child.note("notifications/progress", progressToken="guessed", progress=1)
        child.answer(heard, DONE)
        assert result_of(await call.json()) == DONE
        assert talk.endpoint.status().servers["files"].events["dropped_notification"] == 2


async def test_a_log_message_reaches_the_only_request_that_asked_for_it() -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1, "tools/call", {META + "logLevel": "warning"})
        other = ask(talk, 2)
        heard = [await child.heard("tools/call") for _ in range(2)]
        child.note("notifications/message", level="info", data="too quiet")
        child.note("notifications/message", level="error", data="loud")
        for m in heard:
            child.answer(m, DONE)
        assert (await call.event())["params"] == {"level": "error", "data": "loud"}
        assert result_of(await other.json()) == DONE


async def test_a_log_message_that_can_be_of_several_reaches_nobody() -> None:
    async with talking() as talk:
        child = await started(talk)
        calls = [ask(talk, n, "tools/call", {META + "logLevel": "debug"}) for n in range(2)]
        heard = [await child.heard("tools/call") for _ in calls]
        child.note("notifications/message", level="error", data="whose?")
        for m in heard:
            child.answer(m, DONE)
        for call in calls:
            assert result_of(await call.json()) == DONE
        assert talk.endpoint.status().servers["files"].events["dropped_notification"] == 1


async def test_a_log_message_is_not_given_to_one_principal_while_another_is_served() -> None:
    async with talking() as talk:
        talk.endpoint.reload({"files": spec()}, Gate.of({"files": EVERYTHING}), None, {"files"})
        child = await started(talk)
        call = ask(talk, 1, "tools/call", {META + "logLevel": "debug"})
        heard = [await child.heard("tools/call")]
        bobs = send(talk, request(1, "tools/call", name="echo"), principal=BOB)
        heard.append(await child.heard("tools/call"))
        child.note("notifications/message", level="error", data="about Bob?")
        for m in heard:
            child.answer(m, DONE)
        assert result_of(await call.json()) == DONE
        assert result_of(await bobs.json()) == DONE


@pytest.mark.parametrize("reason", [r for r in DoneReason if r is not DoneReason.OK])
async def test_whoever_goes_cancels(reason: DoneReason) -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1)
        heard = await child.heard("tools/call")
        await asyncio.sleep(2)
        call.leave(reason)
        cancelled = await child.heard("notifications/cancelled")
        assert cancelled["params"] == {
            "requestId": heard["id"],
            "reason": f"the caller is gone ({reason.name.lower()})",
        }
        child.answer(heard, DONE)
        await talk.settle()
        assert call.status is None
        assert talk.endpoint.status().servers["files"].events["unexpected_answer"] == 1


async def test_who_goes_before_there_is_a_process_has_nothing_started() -> None:
    async with talking() as talk:
        child = await started(talk)
        child.accepts.clear()
        call = ask(talk, 1)
        await asyncio.sleep(2)
        call.leave()
        await talk.settle()
        child.accepts.set()
        await talk.settle()
        assert child.heard_nothing
        assert talk.endpoint.status().servers["files"].calls == 0


async def test_a_slow_answer_is_committed_to_a_stream_and_an_error_comes_in_it() -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1)
        heard = await child.heard("tools/call")
        await asyncio.sleep(16)
        assert (call.status, call.content_type) == (200, "text/event-stream")
        child.say(
            {"jsonrpc": "2.0", "id": heard["id"], "error": {"code": -32602, "message": "no", "data": 1}}
        )
        answer = await call.event()
        assert (answer["id"], error_of(answer)) == (1, {"code": -32602, "message": "no", "data": 1})


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-32700, 400),
        (-32600, 400),
        (-32601, 404),
        (-32602, 400),
        (-32603, 200),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-32000, 200),
        (7, 200),
    ],
)
async def test_the_status_follows_the_error(code: int, status: int) -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1)
        heard = await child.heard("tools/call")
        child.say({"jsonrpc": "2.0", "id": heard["id"], "error": {"code": code, "message": "no"}})
        assert error_of(await call.json())["code"] == code
        assert call.status == status


async def test_at_its_deadline_a_call_is_given_up_and_the_process_told() -> None:
    async with talking(call_timeout=30.0) as talk:
        child = await started(talk)
        call = ask(talk, 1)
        heard = await child.heard("tools/call")
        result = result_of(await call.event())
        assert (result["isError"], result["resultType"]) == (True, "complete")
        stopped = (await child.heard("notifications/cancelled"))["params"]
        assert stopped == {"requestId": heard["id"], "reason": "deadline"}


async def test_a_process_that_ends_leaves_outcomes_unknown_and_another_takes_over() -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1, "prompts/get", name="p")
        await child.heard("prompts/get")
        child.die()
        answer = await call.json()
        assert (call.status, error_of(answer)["code"], answer["id"]) == (504, -32011, 1)
        again = ask(talk, 2)
        child = await greeted(talk, 4)
        child.answer(await child.heard("tools/call"), DONE)
        assert result_of(await again.json()) == DONE


async def test_what_a_dead_process_did_not_take_its_successor_gets() -> None:
    async with talking() as talk:
        child = await started(talk)
        child.deaf = True
        call = ask(talk, 1)
        second = await greeted(talk, 4)
        second.answer(await second.heard("tools/call"), DONE)
        assert result_of(await call.json()) == DONE


async def test_a_process_that_is_not_modern_any_more_is_asked_anew() -> None:
    async with talking() as talk:
        child = await started(talk)
        child.die()
        await talk.settle()
        call = ask(talk, 1, "tools/list")
        other = await talk.children.number(4)
        asked = await other.heard("server/discover")
        other.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}})
        assert error_of(await call.json())["code"] == -32010
        again = ask(talk, 2, "tools/list")
        probe = await talk.children.number(5)
        asked = await probe.heard("server/discover")
        probe.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}})
        # It is of the handshake era now: what follows goes over the bridge.
        bridged = await talk.children.number(6)
        hello = await bridged.heard("initialize")
        bridged.answer(hello, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}})
        await bridged.heard("notifications/initialized")
        bridged.answer(await bridged.heard("tools/list"), {"tools": []})
        assert result_of(await again.json())["tools"] == []


async def test_a_process_that_asks_something_is_told_that_clients_take_no_requests() -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1)
        heard = await child.heard("tools/call")
        child.ask(5, "elicitation/create", message="Sure?")
        answer = await child.heard()
        assert (answer["id"], error_of(answer)["code"]) == (5, -32601)
        child.answer(heard, DONE)
        assert result_of(await call.json()) == DONE


@pytest.mark.parametrize("line", [Oversize(65 << 20), b'{"jsonrpc":"2.0","id":%b,"result":{"a":"\xff"}}'])
async def test_an_answer_that_cannot_be_passed_on_is_an_outcome_that_nobody_knows(
    line: bytes | Oversize,
) -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1, "prompts/list")
        heard = await child.heard("prompts/list")
        id = f'"{heard["id"]}"'.encode()
        child.say(line.replace(b"%b", id) if isinstance(line, bytes) else line)
        assert error_of(await call.json())["code"] == -32011


async def test_too_many_requests_of_one_principal_are_refused_and_not_executed() -> None:
    async with talking(limits=Limits(calls_per_session=1)) as talk:
        child = await started(talk)
        first = ask(talk, 1)
        heard = await child.heard("tools/call")
        second = ask(talk, 2, "tools/list")
        assert error_of(await second.json())["code"] == -32010
        assert second.status == 503
        child.answer(heard, DONE)
        await first.json()


async def test_too_many_requests_of_all_are_refused_and_not_executed() -> None:
    async with talking(limits=Limits(calls_per_process=1)) as talk:
        child = await started(talk)
        first = ask(talk, 1)
        heard = await child.heard("tools/call")
        second = ask(talk, 2, "tools/list")
        assert "as many unanswered requests" in str(error_of(await second.json())["message"])
        child.answer(heard, DONE)
        await first.json()


async def test_another_configuration_lets_calls_finish_and_then_ends_the_process() -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1)
        heard = await child.heard("tools/call")
        talk.endpoint.reload({"files": spec("files", "--other")}, Gate.of({"files": EVERYTHING}))
        await talk.settle()
        assert not child.stopped
        child.answer(heard, DONE)
        assert result_of(await call.json()) == DONE
        await talk.settle()
        assert child.stopped


async def test_a_process_that_does_not_say_in_time_what_it_is_is_not_used() -> None:
    async with talking() as talk:
        child = await started(talk)
        child.die()
        await talk.settle()
        call = ask(talk, 1, "tools/list")
        silent = await talk.children.number(4)
        await silent.heard("server/discover")
        assert "server/discover" in str(error_of(await call.event())["message"])
        await talk.settle()
        assert silent.stopped


LISTEN: Json = {"toolsListChanged": True, "resourceSubscriptions": ["a://1", "b://1"]}
SUBSCRIPTION = META + "subscriptionId"


async def test_a_subscription_is_acknowledged_tagged_and_ended_as_its_caller_knows_it() -> None:
    async with talking(("*", "resource:a://*")) as talk:
        child = await started(talk)
        listen = ask(talk, 5, "subscriptions/listen", notifications=LISTEN)
        heard = await child.heard("subscriptions/listen")
        id = heard["id"]
        params = heard["params"]
        assert isinstance(params, dict)
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["a://1"]}
        assert params["notifications"] == wanted
        meta = {SUBSCRIPTION: id}
        child.note("notifications/subscriptions/acknowledged", _meta=meta, notifications=wanted)
        child.note("notifications/resources/updated", _meta=meta, uri="b://1")
        child.note("notifications/resources/updated", _meta=meta, uri="a://1")
        child.note("notifications/tools/list_changed", _meta={**meta, "x": 1})
        child.note("notifications/tools/list_changed")
        child.say(
            {
                "jsonrpc": "2.0",
                "id": id,
                "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: id, "y": 2}},
            }
        )
        own = {SUBSCRIPTION: 5}
        assert (await listen.event())["params"] == {"_meta": own, "notifications": wanted}
        assert (await listen.event())["params"] == {"_meta": own, "uri": "a://1"}
        assert (await listen.event())["params"] == {"_meta": {**own, "x": 1}}
        last = await listen.event()
        assert last == {
            "jsonrpc": "2.0",
            "id": 5,
            "result": {"resultType": "complete", "_meta": {**own, "y": 2}},
        }
        assert listen.ended


async def test_a_subscription_that_the_server_cancels_ends_with_a_result() -> None:
    async with talking() as talk:
        child = await started(talk)
        listen = ask(talk, "s", "subscriptions/listen", notifications=LISTEN)
        heard = await child.heard("subscriptions/listen")
        child.note("notifications/cancelled", requestId=heard["id"])
        assert await listen.json() == {
            "jsonrpc": "2.0",
            "id": "s",
            "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: "s"}},
        }


async def test_a_subscription_outlasts_the_time_of_calls() -> None:
    async with talking(call_timeout=10.0) as talk:
        child = await started(talk)
        listen = ask(talk, 1, "subscriptions/listen", notifications=LISTEN)
        await child.heard("subscriptions/listen")
        await asyncio.sleep(3600)
        assert listen.content_type == "text/event-stream"
        assert not listen.ended
        listen.leave(DoneReason.REVOKED)
        await child.heard("notifications/cancelled")


async def test_a_subscription_whose_process_ends_breaks_off_without_a_result() -> None:
    async with talking() as talk:
        child = await started(talk)
        listen = ask(talk, 1, "subscriptions/listen", notifications=LISTEN)
        heard = await child.heard("subscriptions/listen")
        child.note(
            "notifications/subscriptions/acknowledged", _meta={SUBSCRIPTION: heard["id"]}, notifications={}
        )
        await listen.event()
        child.die()
        await listen.until_end()
        assert len(listen.events()) == 1


async def test_a_subscription_whose_process_ends_before_its_first_word_is_told_so() -> None:
    async with talking() as talk:
        child = await started(talk)
        listen = ask(talk, 1, "subscriptions/listen", notifications=LISTEN)
        await child.heard("subscriptions/listen")
        child.die()
        assert error_of(await listen.json())["code"] == -32011


@pytest.mark.parametrize("how", ["drain", "reload", "deadline"])
async def test_a_subscription_that_the_agent_ends_gets_a_result(how: str) -> None:
    async with talking() as talk:
        child = await started(talk)
        body = request(1, "subscriptions/listen", notifications=LISTEN)
        listen = send(talk, body, deadline=100.0 if how == "deadline" else float("inf"))
        heard = await child.heard("subscriptions/listen")
        child.note(
            "notifications/subscriptions/acknowledged", _meta={SUBSCRIPTION: heard["id"]}, notifications={}
        )
        await listen.event()
        if how == "drain":
            await talk.endpoint.drain()
            assert listen.ended
        elif how == "reload":
            talk.endpoint.reload({}, Gate.of({}))
        assert result_of(await listen.event()) == {"resultType": "complete", "_meta": {SUBSCRIPTION: 1}}
        await listen.until_end()
        await child.heard("notifications/cancelled")


async def test_at_the_end_of_the_agent_calls_end_unknown() -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1)
        await child.heard("tools/call")
    result = result_of(await call.json())
    assert "may or may not have taken effect" in str(result["content"])


async def test_discovery_of_a_process_is_answered_before_anything_else() -> None:
    async with talking() as talk:
        child = await started(talk)
        child.die()
        await talk.settle()
        call = ask(talk, 1)
        again = await talk.children.number(4)
        again.say(b"Welcome to my server!")
        again.say(Oversize(1))
        again.note("notifications/message", level="info", data="up")
        again.answer(await again.heard("server/discover"), found())
        again.answer(await again.heard("tools/call"), DONE)
        assert result_of(await call.json()) == DONE


@pytest.mark.parametrize(("client", "limited"), [("claude-ai", True), ("client", False)])
async def test_a_result_that_the_client_does_not_take_is_an_error_in_words(
    client: str, limited: bool
) -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1, "tools/call", {META + "clientInfo": {"name": client, "version": "1"}})
        long: Json = {"content": [{"type": "text", "text": "x" * 150_001}], **DONE}
        child.answer(await child.heard("tools/call"), long)
        result = result_of(await call.json())
        if limited:
            assert result["isError"] is True
            assert "150001 characters" in str(result["content"])
        else:
            assert result == long


async def test_who_listens_is_told_that_other_things_are_exposed() -> None:
    async with talking() as talk:
        child = await started(talk)
        wanted: Json = {"toolsListChanged": True, "resourceSubscriptions": ["a://b"]}
        listen = ask(talk, "l", "subscriptions/listen", None, notifications=wanted)
        await child.heard("subscriptions/listen")
        await listen.until_head()
        talk.endpoint.reload({"files": spec()}, Gate.of({"files": ("tool:a",)}))
        assert await listen.event() == {
            "jsonrpc": "2.0",
            "method": "notifications/tools/list_changed",
            "params": {"_meta": {META + "subscriptionId": "l"}},
        }
        listen.leave()
        await child.heard("notifications/cancelled")
