"""The modern era from outside: which requests reach a server, and what the others are told."""

from __future__ import annotations

import asyncio

import pytest

from penstock.allowance import Allowance, Later
from penstock.principal import Principal
from penstock_agent.children.child import ChildStartError
from penstock_agent.children.eras import Era
from penstock_agent.children.pool import CrashLooping, TooManyChildren
from penstock_agent.endpoint import Limits
from penstock_agent.endpoint.versions import SERVED
from penstock_agent.gate.gate import Gate
from tests.agent.endpoint.modern.kit import (
    BOB,
    ENVELOPE,
    META,
    VERSION,
    ask,
    error_of,
    found,
    greeted,
    probed,
    refuse,
    request,
    result_of,
    send,
    started,
)
from tests.agent.endpoint.talk import EVERYTHING, Json, Talk, spec, talking


async def test_a_call_needs_no_session_and_its_result_comes_back_byte_for_byte() -> None:
    async with talking() as talk:
        call = ask(talk, 7, arguments={"text": "hi"})
        child = await greeted(talk, await probed(talk, Era.DUAL))
        heard = await child.heard("tools/call")
        assert heard["id"] != 7
        assert heard["params"] == {"name": "echo", "arguments": {"text": "hi"}, "_meta": ENVELOPE}
        result = b'{"resultType" : "complete","n":1.0000000000000000001,"_meta":{"x":"\\u00e9"}}'
        child.answer_raw(heard, result)
        await call.until_end()
        assert call.status == 200
        assert call.content == b'{"jsonrpc":"2.0","id":7,"result":' + result + b"}"
        assert dict(call.answered) == {"content-type": "application/json"}


async def test_a_server_is_asked_for_its_era_once_by_processes_that_serve_nobody() -> None:
    async with talking() as talk:
        calls = [ask(talk, id) for id in range(3)]
        child = await greeted(talk, await probed(talk, Era.DUAL))
        for _ in calls:
            child.answer(await child.heard("tools/call"))
        for call in calls:
            await call.json()
        assert len(talk.children.started) == 3
        assert [one.stopped for one in talk.children.started] == [True, True, False]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("version", [VERSION, "2099-01-01", "nonsense"])
async def test_everything_but_post_is_405(method: str, version: str) -> None:
    async with talking() as talk:
        exchange = await talk.send(method, version=version, headers={"accept": "*/*"}).until_end()
        assert (exchange.status, dict(exchange.answered)["allow"]) == (405, "POST")


async def test_a_version_that_is_not_served_is_answered_with_those_that_are() -> None:
    version = "2099-01-01"
    async with talking() as talk:
        body = request(1, "server/discover", {META + "protocolVersion": version})
        exchange = send(talk, body, version=version)
        error = error_of(await exchange.json())
        assert exchange.status == 400
        assert error["code"] == -32022
        assert error["data"] == {"supported": [*SERVED], "requested": version}
        assert talk.children.started == []


@pytest.mark.parametrize("era", [Era.DUAL, Era.MODERN])
async def test_discovery_names_what_is_served_here_and_keeps_all_else(era: Era) -> None:
    async with talking() as talk:
        exchange = ask(talk, 1, "server/discover")
        child = await greeted(talk, await probed(talk, era))
        said = {**found(), "capabilities": {"extensions": {"io.example/x": {"a": [1]}}}, "instructions": "Hm"}
        child.answer(await child.heard("server/discover"), said)
        answer = result_of(await exchange.json())
        assert answer == {
            **said,
            "supportedVersions": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"],
        }


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe"])
async def test_methods_that_are_gone_are_404_and_no_server_hears_of_them(method: str) -> None:
    async with talking() as talk:
        child = await started(talk)
        exchange = ask(talk, "x", method)
        answer = await exchange.json()
        assert (exchange.status, error_of(answer)["code"], answer["id"]) == (404, -32601, "x")
        assert child.heard_nothing


async def test_a_method_that_the_server_does_not_know_is_404_in_its_words() -> None:
    async with talking() as talk:
        child = await started(talk)
        exchange = ask(talk, 1, "x/y")
        child.say(
            {
                "jsonrpc": "2.0",
                "id": (await child.heard("x/y"))["id"],
                "error": {"code": -32601, "message": "Hm?"},
            }
        )
        answer = await exchange.json()
        assert (exchange.status, error_of(answer)["message"]) == (404, "Hm?")


async def test_a_method_that_the_site_does_not_expose_looks_like_one_that_is_not_there() -> None:
    async with talking(("*",)) as talk:
        child = await started(talk)
        exchange = ask(talk, 1, "x/y")
        assert error_of(await exchange.json())["code"] == -32601
        assert exchange.status == 404
        assert child.heard_nothing


async def test_a_tool_that_is_not_exposed_is_denied_in_words_that_a_model_can_read() -> None:
    async with talking(("tool:other",)) as talk:
        child = await started(talk)
        exchange = ask(talk, 1)
        result = result_of(await exchange.json())
        assert (exchange.status, result["isError"], result["resultType"]) == (200, True, "complete")
        assert child.heard_nothing


async def test_lists_show_what_is_exposed_and_no_cache_may_keep_them_for_others() -> None:
    async with talking(("echo",)) as talk:
        child = await started(talk)
        exchange = ask(talk, 1, "tools/list")
        child.answer(
            await child.heard("tools/list"),
            {
                "resultType": "complete",
                "tools": [{"name": "echo"}, {"name": "rm"}],
                "ttlMs": 5,
                "cacheScope": "public",
            },
        )
        assert result_of(await exchange.json()) == {
            "resultType": "complete",
            "tools": [{"name": "echo"}],
            "ttlMs": 5,
            "cacheScope": "private",
        }


async def test_rounds_of_input_pass_untouched() -> None:
    async with talking() as talk:
        child = await started(talk)
        first = ask(talk, 1)
        asks_back: Json = {
            "resultType": "input_required",
            "inputRequests": {"k": {"method": "elicitation/create", "params": {"message": "Sure?"}}},
            "requestState": "opaque",
        }
        child.answer(await child.heard("tools/call"), asks_back)
        assert result_of(await first.json()) == asks_back
        again = ask(talk, 2, inputResponses={"k": {"action": "accept"}}, requestState="opaque")
        heard = await child.heard("tools/call")
        params = heard["params"]
        assert isinstance(params, dict)
        assert (params["inputResponses"], params["requestState"]) == ({"k": {"action": "accept"}}, "opaque")
        child.answer(heard, {"resultType": "complete"})
        await again.json()


async def test_a_notification_is_accepted_and_dropped() -> None:
    async with talking() as talk:
        child = await started(talk)
        note: Json = {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": "first"},
        }
        exchange = await send(talk, note).until_end()
        assert (exchange.status, exchange.content) == (202, b"")
        await talk.settle()
        assert child.heard_nothing


async def test_a_notification_of_a_version_that_is_not_served_is_told_so() -> None:
    async with talking() as talk:
        exchange = send(talk, {"jsonrpc": "2.0", "method": "notifications/x"}, version="2099-01-01")
        assert error_of(await exchange.json())["code"] == -32022
        assert exchange.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b'[{"jsonrpc":"2.0","id":4,"method":"tools/list"}]',
        b'{"jsonrpc":"2.0","id":4,"result":{}}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
    ],
)
async def test_what_is_not_one_request_or_notification_is_refused(body: bytes) -> None:
    async with talking() as talk:
        exchange = talk.send("POST", body, version=VERSION)
        assert error_of(await exchange.json())["code"] == -32600
        assert exchange.status == 400
        assert not talk.children.started


async def test_ids_of_sessions_and_events_are_ignored() -> None:
    async with talking() as talk:
        child = await started(talk)
        body = request(1, "tools/call", name="echo")
        exchange = send(talk, body, extra={"mcp-session-id": "abc", "last-event-id": "7"})
        child.answer(await child.heard("tools/call"))
        await exchange.json()
        assert "mcp-session-id" not in dict(exchange.answered)


async def test_two_versions_in_one_request_are_a_mismatch() -> None:
    async with talking() as talk:
        body = request(1, "tools/list")
        exchange = send(talk, body)
        exchange.headers += (("mcp-protocol-version", "2025-11-25"),)
        answer = await exchange.json()
        assert (exchange.status, error_of(answer)["code"], answer["id"]) == (400, -32020, 1)


async def test_a_server_that_is_not_there_is_404() -> None:
    async with talking() as talk:
        exchange = send(talk, request(1, "tools/list"), server="nothing")
        assert (await exchange.json())["id"] == 1
        assert exchange.status == 404


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (TooManyChildren("no"), "max_children"),
        (CrashLooping("no", 30.0), "keeps crashing"),
        (ChildStartError("command not found: /secret/path"), "could not be started"),
    ],
)
async def test_a_server_that_cannot_be_asked_was_not_executed(refusal: Exception, words: str) -> None:
    async with talking() as talk:
        talk.children.refusal = refusal
        exchange = ask(talk, 1, "tools/list")
        error = error_of(await exchange.json())
        assert (exchange.status, error["code"]) == (503, -32010)
        assert words in str(error["message"])
        assert "secret" not in str(error["message"])
        assert dict(exchange.answered)["retry-after"]


async def test_a_server_that_takes_long_to_start_is_asked_further_and_known_the_next_time() -> None:
    async with talking() as talk:
        slow = ask(talk, 1, "tools/list")
        child = await talk.children.number(1)
        assert error_of(await slow.json())["code"] == -32010
        assert slow.status == 503
        child.answer(await child.heard("server/discover"), found())
        next_one = ask(talk, 2, "tools/list")
        two = await talk.children.number(2)
        two.answer(await two.heard("initialize"), {"protocolVersion": "2025-11-25"})
        process = await greeted(talk, 3)
        process.answer(await process.heard("tools/list"), {"tools": []})
        assert (await next_one.json())["id"] == 2


async def test_each_principal_has_a_process_of_its_own() -> None:
    async with talking() as talk:
        alices = await started(talk)
        exchange = send(talk, request(1, "tools/list"), principal=BOB)
        bobs = await greeted(talk, 4)
        bobs.answer(await bobs.heard("tools/list"), {"tools": []})
        await exchange.json()
        assert alices.heard_nothing


async def test_where_the_site_says_so_all_share_one() -> None:
    async with talking() as talk:
        talk.endpoint.reload({"files": spec()}, Gate.of({"files": EVERYTHING}), None, {"files"})
        child = await started(talk)
        exchange = send(talk, request(1, "tools/list"), principal=BOB)
        child.answer(await child.heard("tools/list"), {"tools": []})
        await exchange.json()


async def test_a_task_of_another_is_asked_for_as_one_that_nobody_has() -> None:
    async with talking() as talk:
        talk.endpoint.reload({"files": spec()}, Gate.of({"files": EVERYTHING}), None, {"files"})
        child = await started(talk)
        call = ask(talk, 1)
        task: Json = {"resultType": "task", "taskId": "t-1", "status": "working"}
        child.answer(await child.heard("tools/call"), task)
        assert result_of(await call.json()) == task

        mine = send(talk, request(2, "tasks/get", taskId="t-1"))
        own = await child.heard("tasks/get")
        theirs = send(talk, request(2, "tasks/get", taskId="t-1"), principal=BOB)
        foreign = await child.heard("tasks/get")
        names = [m["params"]["taskId"] for m in (own, foreign) if isinstance(m["params"], dict)]
        assert names[0] == "t-1"
        assert names[1] != "t-1"
        child.answer(own)
        refuse(child, foreign, -32602)
        assert (await mine.json())["id"] == 2
        assert error_of(await theirs.json())["code"] == -32602


async def test_headers_that_repeat_arguments_are_checked_once_a_list_has_said_which() -> None:
    async with talking() as talk:
        child = await started(talk)

        async def call(**extra: str) -> tuple[int | None, object]:
            body = request(1, "tools/call", name="echo", arguments={"region": "eu"})
            exchange = send(talk, body, extra=extra)
            await talk.settle()
            if exchange.status is None:
                child.answer(await child.heard("tools/call"))
            answer = await exchange.json()
            return exchange.status, error_of(answer)["code"] if "error" in answer else None

        assert await call() == (200, None), "nobody knows yet"
        listed = ask(talk, 2, "tools/list")
        schema = {"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
        child.answer(await child.heard("tools/list"), {"tools": [{"name": "echo", "inputSchema": schema}]})
        await listed.json()
        assert await call() == (400, -32020)
        assert await call(**{"mcp-param-region": "us"}) == (400, -32020)
        assert await call(**{"mcp-param-region": "eu"}) == (200, None)
        assert await call(**{"mcp-param-region": "eu", "mcp-param-unknown": "x"}) == (200, None)


async def test_a_grant_of_read_only_tools_asks_a_modern_server_in_its_own_words() -> None:
    limited = Principal("https://idp.example", "carol", allowance=Allowance(later=Later.READ_ONLY))
    async with talking() as talk:
        exchange = send(talk, request(1, "tools/call", name="look"), principal=limited)
        number = await probed(talk, Era.MODERN)
        asked = await talk.children.number(number)
        hello = await asked.heard("initialize")
        asked.say({"jsonrpc": "2.0", "id": hello["id"], "error": {"code": -32601, "message": "no"}})
        asked.answer(await asked.heard("server/discover"), found())
        tools = [{"name": "look", "annotations": {"readOnlyHint": True}}]
        asked.answer(await asked.heard("tools/list"), {"resultType": "complete", "tools": tools})
        child = await greeted(talk, number + 1)
        child.answer(await child.heard("tools/call"), {"resultType": "complete"})
        assert result_of(await exchange.json()) == {"resultType": "complete"}


async def test_while_the_agent_stops_nothing_is_started() -> None:
    async with talking() as talk:
        endpoint = talk.endpoint
    children = len(talk.children.started)
    async with asyncio.TaskGroup() as tasks:
        exchange = ask(Talk(endpoint, talk.children, tasks), 1, "tools/list")
        await exchange.until_end()
    assert exchange.status == 503
    assert len(talk.children.started) == children


async def test_an_idle_process_is_stopped_and_started_again_when_it_is_needed() -> None:
    async with talking(limits=Limits(idle_timeout=100.0)) as talk:
        child = await started(talk)
        await asyncio.sleep(150)
        assert child.stopped
        exchange = ask(talk, 1, "tools/list")
        again = await greeted(talk, 4)
        again.answer(await again.heard("tools/list"), {"tools": []})
        await exchange.json()
