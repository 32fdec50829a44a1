"""What a caller of 2026-07-28 sees of a server of the handshake era."""

from __future__ import annotations

import json

import pytest

from penstock_agent.endpoint.bridge.down import pending
from penstock_agent.exchange import DoneReason
from penstock_agent.ledger.entries import Verdict
from tests.agent.endpoint.bridge.down.crossing import (
    BOB,
    INFO,
    INITIALIZED,
    META,
    QUESTION,
    YES,
    Crossing,
    crossing,
    error,
    result,
)
from tests.agent.endpoint.talk import FakeChild, Json, spec
from tests.agent.endpoint.test_recording import Book
from tests.harness.fake_exchange import FakeExchange


async def asked_back(cross: Crossing) -> tuple[FakeExchange, FakeChild, Json, Json]:
    """A call for which the server asks its caller: the exchange, the child, the call there, the result."""
    exchange = cross.tool(id=5)
    child = await cross.begun()
    call = await child.heard("tools/call")
    child.ask(77, "elicitation/create", **QUESTION)
    return exchange, child, call, await result(exchange)


# -- requests and answers --------------------------------------------------------------------------


async def test_what_the_server_said_at_the_beginning_is_discovered() -> None:
    async with crossing() as cross:
        exchange = cross.send("server/discover")
        await cross.begun()
        found = await result(exchange)
        assert found["supportedVersions"] == ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
        assert found["instructions"] == "Ask nicely."
        capabilities = found["capabilities"]
        assert isinstance(capabilities, dict)
        assert set(capabilities) == {"tools", "resources", "logging"}
        assert (found["ttlMs"], found["cacheScope"], found["resultType"]) == (0, "private", "complete")
        assert found["_meta"] == {META + "serverInfo": INFO}


@pytest.mark.parametrize("method", ["server/discover", "subscriptions/listen"])
async def test_what_the_bridge_answers_itself_is_decided_and_recorded_too(method: str) -> None:
    book = Book()
    async with crossing(ledger=book) as cross:
        exchange = cross.send(method, id=7, notifications={"toolsListChanged": True})
        await cross.begun()
        [entry] = book.decisions(method)
        assert (entry.exchange, entry.verdict, entry.id) == (exchange.key, Verdict.ALLOWED, "7")
        await exchange.until_head()
        exchange.leave()


@pytest.mark.parametrize("method", ["server/discover", "subscriptions/listen"])
async def test_what_cannot_be_recorded_starts_no_server(method: str) -> None:
    book = Book()
    book.refuses = "The disk is full. It was not executed."
    async with crossing(ledger=book) as cross:
        exchange = cross.send(method, notifications={"toolsListChanged": True})
        assert "The disk is full." in json.dumps(await exchange.json())
        assert cross.children.started == []


async def test_what_a_server_says_after_its_configuration_has_changed_is_discovered() -> None:
    async with crossing() as cross:
        before = cross.send("server/discover")
        child = await cross.begun()
        assert (await result(before))["instructions"] == "Ask nicely."
        cross.configure(spec("files", "--new"))
        await cross.settle()
        assert child.stopped
        after = cross.send("server/discover")
        await cross.begun(2, {**INITIALIZED, "instructions": "Ask twice."})
        assert (await result(after))["instructions"] == "Ask twice."


async def test_what_a_server_says_after_a_crash_is_discovered() -> None:
    async with crossing() as cross:
        before = cross.send("server/discover")
        child = await cross.begun()
        await result(before)
        child.die()
        await cross.settle()
        called = cross.tool()
        second = await cross.begun(2, {**INITIALIZED, "instructions": "Ask twice."})
        second.answer(await second.heard("tools/call"))
        await result(called)
        assert (await result(cross.send("server/discover")))["instructions"] == "Ask twice."


async def test_the_server_is_told_who_asks_and_never_sees_the_envelope() -> None:
    async with crossing() as cross:
        exchange = cross.tool(
            capabilities={"sampling": {"tools": {}}, "extensions": {"x": {}}},
            meta={"traceparent": "00-1", "progressToken": 1},
        )
        child = await cross.children.number(1)
        hello = await child.heard("initialize")
        assert hello["params"] == {
            "protocolVersion": "2025-11-25",
            "capabilities": {"sampling": {"tools": {}}},
            "clientInfo": {"name": "client", "version": "1"},
        }
        child.answer(hello, {"protocolVersion": "2025-11-25", "capabilities": {}})
        await child.heard("notifications/initialized")
        call = await child.heard("tools/call")
        assert call["params"] == {
            "name": "echo",
            "arguments": {},
            "_meta": {"traceparent": "00-1", "progressToken": 1},
        }
        child.answer(call, {"content": [], "_meta": {"mine": 1}})
        assert await result(exchange) == {"content": [], "_meta": {"mine": 1}, "resultType": "complete"}


async def test_lists_say_how_long_they_are_good_and_show_only_what_is_exposed() -> None:
    async with crossing(("tool:echo",)) as cross:
        exchange = cross.send("tools/list", id="one")
        child = await cross.begun()
        child.answer(await child.heard("tools/list"), {"tools": [{"name": "echo"}, {"name": "hidden"}]})
        found = await result(exchange)
        assert found["tools"] == [{"name": "echo"}]
        assert (found["ttlMs"], found["cacheScope"]) == (0, "private")
        assert (await exchange.json())["id"] == "one"


async def test_what_is_not_exposed_is_denied_before_any_server_is_started() -> None:
    async with crossing(("tool:echo",)) as cross:
        denied = await result(cross.tool("hidden"))
        assert denied["isError"] is True
        assert cross.children.started == []


@pytest.mark.parametrize(
    ("code", "seen"),
    [(-32002, (400, -32602)), (-32601, (404, -32601)), (-32603, (200, -32603)), (5, (200, 5))],
)
async def test_errors_of_the_server_are_those_of_the_callers_era(code: int, seen: tuple[int, int]) -> None:
    async with crossing() as cross:
        exchange = cross.send("resources/read", uri="test://x")
        child = await cross.begun()
        call = await child.heard("resources/read")
        child.say({"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": "no"}})
        assert await error(exchange) == seen


async def test_a_result_that_is_no_object_is_not_shown() -> None:
    async with crossing() as cross:
        exchange = cross.tool()
        child = await cross.begun()
        child.answer(await child.heard("tools/call"), [1, 2])
        assert await error(exchange) == (200, -32603)


# -- the server asks -------------------------------------------------------------------------------


async def test_a_question_of_the_server_is_answered_by_the_caller_and_the_same_call_goes_on() -> None:
    async with crossing() as cross:
        _, child, call, asked = await asked_back(cross)
        assert asked["resultType"] == "input_required"
        assert asked["inputRequests"] == {"1": {"method": "elicitation/create", "params": QUESTION}}
        retry = cross.tool(id=6, requestState=asked["requestState"], inputResponses={"1": YES})
        told = await child.heard()
        assert (told["id"], told["result"]) == (77, YES)
        child.answer(call, {"content": ["done"]})
        assert (await result(retry))["content"] == ["done"]
        assert (await retry.json())["id"] == 6
        assert child.heard_nothing


async def test_the_server_may_ask_more_than_once() -> None:
    async with crossing() as cross:
        _, child, call, asked = await asked_back(cross)
        second = cross.tool(requestState=asked["requestState"], inputResponses={"1": YES})
        await child.heard()
        child.ask(78, "elicitation/create", **QUESTION)
        again = await result(second)
        assert again["requestState"] != asked["requestState"]
        third = cross.tool(requestState=again["requestState"], inputResponses={"1": YES})
        assert (await child.heard())["id"] == 78
        child.answer(call)
        assert (await result(third))["resultType"] == "complete"


async def test_a_retry_without_an_answer_is_asked_again() -> None:
    async with crossing() as cross:
        _, child, call, asked = await asked_back(cross)
        again = await result(cross.tool(requestState=asked["requestState"], inputResponses={"other": YES}))
        assert again["inputRequests"] == asked["inputRequests"]
        last = cross.tool(requestState=again["requestState"], inputResponses={"1": YES})
        await child.heard()
        child.answer(call)
        assert (await result(last))["resultType"] == "complete"


async def test_a_state_is_good_once_for_its_caller_and_its_request() -> None:
    async with crossing() as cross:
        _, child, call, asked = await asked_back(cross)
        state = str(asked["requestState"])
        answers = {"1": YES}
        for wrong in (
            cross.tool(requestState=state, inputResponses=answers, caller=BOB),
            cross.tool("other", requestState=state, inputResponses=answers),
            cross.tool(requestState=state[:-1] + ("0" if state[-1] != "0" else "1"), inputResponses=answers),
            cross.tool(requestState="nonsense", inputResponses=answers),
            cross.tool(requestState="00" * 200, inputResponses=answers),
        ):
            assert await error(wrong) == (400, -32602)
        assert child.heard_nothing
        right = cross.tool(requestState=state, inputResponses=answers)
        await child.heard()
        assert await error(cross.tool(requestState=state, inputResponses=answers)) == (400, -32602)
        child.answer(call)
        await right.until_end()


async def test_a_caller_that_does_not_come_back_ends_the_call() -> None:
    async with crossing() as cross:
        _, child, call, asked = await asked_back(cross)
        cancelled = await child.heard("notifications/cancelled")  # the clock jumps
        params = cancelled["params"]
        assert isinstance(params, dict)
        assert params["requestId"] == call["id"]
        late = cross.tool(requestState=asked["requestState"], inputResponses={"1": YES})
        assert await error(late) == (400, -32602)


async def test_what_the_caller_cannot_do_is_refused_in_its_name() -> None:
    async with crossing() as cross:
        exchange = cross.tool()
        child = await cross.begun()
        call = await child.heard("tools/call")
        child.ask(1, "sampling/createMessage", messages=[])
        refused = await child.heard()
        assert refused["id"] == 1
        assert isinstance(refused["error"], dict)
        child.answer(call)
        await result(exchange)


async def test_a_url_that_the_server_wants_visited_is_asked_for_and_the_call_made_again() -> None:
    async with crossing() as cross:
        exchange = cross.tool()
        child = await cross.begun()
        call = await child.heard("tools/call")
        wanted = {"mode": "url", "elicitationId": "e1", "url": "https://x.example", "message": "Log in"}
        child.say(
            {
                "jsonrpc": "2.0",
                "id": call["id"],
                "error": {"code": -32042, "message": "first", "data": {"elicitations": [wanted]}},
            }
        )
        asked = await result(exchange)
        params = {"mode": "url", "url": "https://x.example", "message": "Log in"}
        assert asked["inputRequests"] == {"url-1": {"method": "elicitation/create", "params": params}}
        retry = cross.tool(requestState=asked["requestState"], inputResponses={"url-1": {"action": "accept"}})
        child.answer(await child.heard("tools/call"))
        assert (await result(retry))["resultType"] == "complete"


async def test_too_many_calls_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "PER_CALLER", 0)
    async with crossing() as cross:
        exchange = cross.tool()
        child = await cross.begun()
        await child.heard("tools/call")
        child.ask(1, "elicitation/create", **QUESTION)
        assert await error(exchange) == (200, -32603)
        await child.heard("notifications/cancelled")


# -- while it runs ---------------------------------------------------------------------------------


async def test_progress_comes_to_those_who_want_it() -> None:
    async with crossing() as cross:
        exchange = cross.tool(meta={"progressToken": 7})
        child = await cross.begun()
        call = await child.heard("tools/call")
        child.note("notifications/progress", progressToken=7, progress=1)
        child.answer(call, {"content": []})
        assert (await exchange.event())["params"] == {"progressToken": 7, "progress": 1}
        last = await exchange.event()
        assert last["id"] == 1


@pytest.mark.parametrize(("level", "seen"), [(None, []), ("debug", ["debug", "error"]), ("error", ["error"])])
async def test_log_messages_come_from_the_level_up_that_the_call_names(
    level: str | None, seen: list[str]
) -> None:
    async with crossing() as cross:
        exchange = cross.tool(meta={} if level is None else {META + "logLevel": level})
        child = await cross.begun()
        if level is not None:
            told = await child.heard("logging/setLevel")
            assert told["params"] == {"level": "debug"}
            child.answer(told)
        call = await child.heard("tools/call")
        for said in ("debug", "error"):
            child.note("notifications/message", level=said, data="x")
        child.answer(call)
        await exchange.until_end()
        found = [json.loads(data) for data in exchange.raw_events()] if seen else []
        assert [one["params"]["level"] for one in found[:-1]] == seen


@pytest.mark.parametrize("reason", [DoneReason.CLIENT_GONE, DoneReason.REVOKED, DoneReason.ORIGIN_LOST])
async def test_a_caller_that_goes_away_cancels(reason: DoneReason) -> None:
    async with crossing() as cross:
        exchange = cross.tool()
        child = await cross.begun()
        call = await child.heard("tools/call")
        exchange.leave(reason)
        cancelled = await child.heard("notifications/cancelled")
        assert isinstance(cancelled["params"], dict)
        assert cancelled["params"]["requestId"] == call["id"]


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    async with crossing(call_timeout=20) as cross:
        exchange = cross.tool()
        child = await cross.begun()
        await child.heard("tools/call")
        last = await exchange.event()  # an event stream since 15 s
        assert isinstance(last["result"], dict)
        assert last["result"]["isError"] is True
        await child.heard("notifications/cancelled")


async def test_a_server_that_dies_leaves_the_outcome_unknown_and_the_next_call_works() -> None:
    async with crossing() as cross:
        exchange = cross.tool()
        child = await cross.begun()
        await child.heard("tools/call")
        child.die()
        assert (await result(exchange))["isError"] is True
        following = cross.tool()
        again = await cross.begun(2)
        again.answer(await again.heard("tools/call"))
        assert (await result(following))["resultType"] == "complete"


async def test_a_server_that_refuses_to_begin_is_said_to() -> None:
    async with crossing() as cross:
        exchange = cross.send("tools/list")
        child = await cross.children.number(1)
        hello = await child.heard("initialize")
        child.say({"jsonrpc": "2.0", "id": hello["id"], "error": {"code": -1, "message": "no"}})
        assert await error(exchange) == (503, -32010)


async def test_a_caller_that_is_gone_when_it_is_asked_keeps_no_call_waiting() -> None:
    async with crossing() as cross:
        call = cross.tool()
        child = await cross.begun()
        heard = await child.heard("tools/call")
        child.ask("q", "elicitation/create", **QUESTION)
        await cross.settle()
        call.left = DoneReason.CLIENT_GONE  # nobody has noticed yet
        cancelled = await child.heard("notifications/cancelled")
        assert cancelled["params"] == {"requestId": heard["id"], "reason": "nobody answered"}
        assert len(cross.bridge._pending) == 0
