"""Conversations over Streamable HTTP, as the endpoint and a scripted server have them."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock_agent.children.child import ChildGone
from penstock_agent.children.lines import Oversize
from penstock_agent.remote import channel as channels
from penstock_agent.remote import streamable
from penstock_agent.remote.web import Gate
from tests.agent.remote.kit import (
    HELLO,
    INITIALIZED,
    WAIT,
    WELCOME,
    Heard,
    Json,
    Scripted,
    call,
    greet,
    line,
    modern,
    read,
    result,
    talking,
)


def outcome(message: Json) -> tuple[str, str]:
    """Outcome and words of an answer that the agent gave in the server's place."""
    if "error" in message:
        error = message["error"]
        assert isinstance(error, dict)
        return error["data"]["outcome"], error["message"]
    found = message["result"]
    assert isinstance(found, dict)
    assert found["isError"]
    return found["_meta"]["penstock/outcome"]["outcome"], found["content"][0]["text"]


# The handshake era.


async def test_the_session_and_the_version_of_initialize_are_on_every_later_message() -> None:
    async with Scripted() as server, talking(server) as channel:
        await channel.send(line(HELLO))
        hello = await server.heard("POST", "initialize")
        assert hello.body == line(HELLO)
        assert hello.headers["Content-Type"] == "application/json"
        assert hello.headers["Accept"] == "application/json, text/event-stream"
        assert hello.headers["Accept-Encoding"] == "identity"
        assert "Mcp-Session-Id" not in hello.headers
        assert "MCP-Protocol-Version" not in hello.headers
        hello.json(WELCOME, Mcp_Session_Id="s-1", Set_Cookie="a=b")
        assert await read(channel) == WELCOME
        sending = asyncio.gather(channel.send(line(INITIALIZED)))
        told = await server.heard("POST", "notifications/initialized")
        told.status(202)
        await sending
        stream = await server.heard("GET")
        stream.status(405)
        await channel.send(line(call()))
        asked = await server.heard("POST", "tools/call")
        for heard in (told, stream, asked):
            assert heard.headers["Mcp-Session-Id"] == "s-1"
            assert heard.headers["MCP-Protocol-Version"] == "2025-11-25"
            assert "Cookie" not in heard.headers
        assert stream.headers["Accept"] == "text/event-stream"
        asked.json(result())
        assert await read(channel) == result()


async def test_an_answer_may_be_a_stream_with_what_belongs_to_it_before_it() -> None:
    note: Json = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        stream = await (await server.heard()).stream()
        await stream.raw(b": hello\n\nid: 1\ndata:\n\n")
        await stream.event(note)
        assert await read(channel) == note
        await stream.event("ignored", name="ping")
        await stream.event(result())
        assert await read(channel) == result()


async def test_slow_answers_hold_up_nothing() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call("slow")))
        slow = await server.heard()
        await channel.send(line(call("quick")))
        (await server.heard()).json(result("quick"))
        assert (await read(channel))["id"] == "quick"
        slow.json(result("slow"))
        assert (await read(channel))["id"] == "slow"


async def test_a_batch_of_an_older_server_is_taken_apart() -> None:
    note: Json = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        (await server.heard()).json([note, result()])
        assert await read(channel) == note
        assert await read(channel) == result()


async def test_the_server_asks_on_its_own_stream_and_is_answered_by_post() -> None:
    ask: Json = {"jsonrpc": "2.0", "id": 9, "method": "roots/list"}
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server, listen=0)
        stream = await (await server.heard("GET")).stream()
        await stream.event(ask)
        assert await read(channel) == ask
        sending = asyncio.gather(channel.send(line({"jsonrpc": "2.0", "id": 9, "result": {"roots": []}})))
        heard = await server.heard("POST")
        assert heard.message["result"] == {"roots": []}
        heard.status(202)
        await sending


async def test_the_stream_of_notifications_is_asked_for_again_from_where_it_stood() -> None:
    note: Json = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server, listen=0)
        stream = await (await server.heard("GET")).stream()
        await stream.raw(b"retry: 5\n")
        await stream.event(note, id="e7")
        await read(channel)
        stream.break_off()
        again = await server.heard("GET")
        assert again.headers["Last-Event-ID"] == "e7"
        await (await again.stream()).event(note, id="e8")
        assert await read(channel) == note


async def test_an_answer_that_broke_off_is_resumed() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        stream = await (await server.heard()).stream()
        await stream.raw(b"id: p1\nretry: 5\ndata:\n\n")
        stream.break_off()
        again = await server.heard("GET")
        assert again.headers["Last-Event-ID"] == "p1"
        second = await again.stream()
        await second.raw(b"id: p2\nretry: 5\ndata:\n\n")
        await second.end()  # 2025-11-25: a server may want to be asked again
        third = await server.heard("GET")
        assert third.headers["Last-Event-ID"] == "p2"
        await (await third.stream()).event(result(), id="p3")
        assert await read(channel) == result()


@pytest.mark.parametrize("status", [400, 405])
async def test_an_answer_whose_rest_is_not_to_be_had_is_of_unknown_outcome(status: int) -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        stream = await (await server.heard()).stream()
        await stream.raw(b"id: p1\nretry: 5\ndata:\n\n")
        stream.break_off()
        (await server.heard("GET")).status(status)
        assert outcome(await read(channel))[0] == "outcome_unknown"


async def test_a_connection_that_breaks_under_a_request_leaves_its_outcome_unknown_and_no_more() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call("a")))
        broken = await server.heard()
        await channel.send(line(call("b")))
        other = await server.heard()
        broken.break_off()
        message = await read(channel)
        assert message["id"] == "a"
        assert outcome(message)[0] == "outcome_unknown"
        assert "broke while this request ran" in outcome(message)[1]
        other.json(result("b"))
        assert await read(channel) == result("b")


async def test_a_stream_that_breaks_without_ids_is_not_asked_for_again() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        stream = await (await server.heard()).stream()
        await stream.raw(b"data: {\n")
        stream.break_off()
        assert outcome(await read(channel))[0] == "outcome_unknown"
        assert server.heard_nothing


async def test_what_was_cancelled_is_posted_and_its_answer_not_waited_for() -> None:
    note: Json = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "c1"}}
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        asked = await server.heard()
        sending = asyncio.gather(channel.send(line(note)))
        told = await server.heard("POST", "notifications/cancelled")
        assert not asked.left.is_set()
        told.status(202)
        await sending
        async with asyncio.timeout(WAIT):
            await asked.left.wait()


async def test_a_session_is_ended_at_the_server_when_the_conversation_ends() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        server.says_goodbye = False
        stopping = asyncio.gather(channel.stop())
        heard = await server.heard("DELETE")
        assert heard.headers["Mcp-Session-Id"] == "s-1"
        heard.status(405)
        await stopping
        with pytest.raises(ChildGone, match="was left by the agent"):
            await channel.receive()
        with pytest.raises(ChildGone):
            await channel.send(line(call()))


async def test_a_server_without_sessions_is_not_told_of_the_end() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server, session=None)
        await channel.stop()
        assert server.heard_nothing


async def test_a_server_that_never_lets_go_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "GOODBYE_S", 0.05)
    async with Scripted() as server, talking(server) as channel:
        server.says_goodbye = False
        await greet(channel, server)
        await channel.send(line(call()))
        asked = await server.heard()
        async with asyncio.timeout(WAIT):
            await channel.stop()
            await asked.left.wait()


# When the server has forgotten the session.


@pytest.mark.parametrize(
    "forgotten",
    [
        lambda heard: heard.json(
            {
                "jsonrpc": "2.0",
                "id": "server-error",
                "error": {"code": -32600, "message": "Session not found"},
            },
            404,
        ),
        lambda heard: heard.json(
            {
                "jsonrpc": "2.0",
                "id": None,
                "error": {"code": -32000, "message": "No valid session ID provided"},
            },
            400,
        ),
    ],
    ids=["404", "400"],
)
async def test_a_request_in_a_forgotten_session_was_not_executed_and_the_conversation_is_over(
    forgotten: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(forgotten)
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        forgotten(await server.heard())
        what, words = outcome(await read(channel))
        assert what == "not_executed"
        assert "no longer knows this conversation" in words
        with pytest.raises(ChildGone):
            await channel.send(line(call("later")))
        with pytest.raises(ChildGone, match="ended the conversation"):
            await read(channel)
        await channel.stop()
        assert server.heard_nothing  # no DELETE for what is gone


async def test_requests_that_ran_beside_it_say_for_themselves_how_they_ended() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        heard: list[Heard] = []
        for id in ("a", "b", "c"):
            await channel.send(line(call(id)))
            heard.append(await server.heard())
        for one in heard:
            one.status(404)
        answers = [await read(channel) for _ in heard]
        assert {str(one["id"]) for one in answers} == {"a", "b", "c"}
        assert {outcome(one)[0] for one in answers} == {"not_executed"}
        with pytest.raises(ChildGone):
            await read(channel)


@pytest.mark.parametrize("status", [404, 400])
async def test_a_stream_that_was_granted_and_is_refused_later_ends_the_conversation(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "LOST_S", 0.01)
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server, listen=0)
        stream = await (await server.heard("GET")).stream()
        await stream.raw(b"retry: 5\n\n")
        await stream.end()
        (await server.heard("GET")).status(status)
        with pytest.raises(ChildGone):
            await read(channel)


async def test_404_without_a_session_is_a_wrong_address() -> None:
    async with Scripted() as server, talking(server) as channel:
        await channel.send(line(HELLO))
        (await server.heard()).status(404)
        what, words = outcome(await read(channel))
        assert what == "not_executed"
        assert 'transport = "sse"' in words


# Answers that are none.


@pytest.mark.parametrize(
    ("answer", "what", "words"),
    [
        (lambda heard: heard.status(401), "not_executed", "refuses the agent's own credentials"),
        (lambda heard: heard.status(403), "not_executed", "refuses the agent's own credentials"),
        (lambda heard: heard.status(405), "not_executed", "HTTP 405"),
        (lambda heard: heard.status(413), "not_executed", "too large"),
        (lambda heard: heard.status(429), "not_executed", "too many requests"),
        (lambda heard: heard.status(422), "not_executed", "HTTP 422"),
        (lambda heard: heard.status(500), "outcome_unknown", "HTTP 500"),
        (lambda heard: heard.status(503), "outcome_unknown", "HTTP 503"),
        (lambda heard: heard.status(202), "outcome_unknown", "without an answer"),
        (lambda heard: heard.status(204), "outcome_unknown", "without an answer"),
        (lambda heard: heard.raw(b"<html>", "text/html"), "outcome_unknown", "probably no MCP server"),
        (lambda heard: heard.raw(b"", "application/json"), "outcome_unknown", "without an answer"),
        (
            lambda heard: heard.raw(b"{}", "application/json", Content_Encoding="br"),
            "outcome_unknown",
            "compressed its answer",
        ),
        (lambda heard: heard.status(302, Location="/other"), "not_executed", "to another address"),
        (lambda heard: heard.status(307, Location="http://127.0.0.1:1/x"), "not_executed", "another address"),
    ],
)
async def test_what_is_no_answer_becomes_one_that_a_model_can_read(
    answer: object, what: str, words: str
) -> None:
    assert callable(answer)
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        answer(await server.heard())
        message = await read(channel)
        assert message["id"] == "c1"
        found, text = outcome(message)
        assert found == what
        assert words in text
        assert "127.0.0.1" not in text


async def test_an_error_of_the_server_is_its_own_whatever_the_status_and_the_id() -> None:
    refused: Json = {"jsonrpc": "2.0", "id": None, "error": {"code": -32602, "message": "no such tool"}}
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        for status in (200, 400, 500):
            await channel.send(line(call()))
            (await server.heard()).json(refused, status)
            assert await read(channel) == {**refused, "id": "c1"}


async def test_an_answer_above_the_limit_is_said_to_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "LINE_MAX", 1000)
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        (await server.heard()).json(result(text="x" * 2000))
        what, words = outcome(await read(channel))
        assert what == "outcome_unknown"
        assert "larger than this agent accepts" in words


async def test_an_event_above_the_limit_is_said_to_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "SseParser", lambda: streamable_parser(1000))
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server, listen=0)
        listening = await (await server.heard("GET")).stream()
        await listening.event(result("nobody", "x" * 2000))
        async with asyncio.timeout(WAIT):
            assert await channel.receive() == Oversize(1000)
        await channel.send(line(call()))
        stream = await (await server.heard()).stream()
        await stream.event(result(text="x" * 2000), id="1")
        await stream.end()
        assert "larger than this agent accepts" in outcome(await read(channel))[1]


def streamable_parser(limit: int) -> object:
    from penstock_agent.remote.sse import SseParser

    return SseParser(limit)


async def test_ten_mebibytes_arrive_whole_either_way() -> None:
    big = result(text="x" * (10 << 20))
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call()))
        (await server.heard()).json(big)
        assert await read(channel) == big
        await channel.send(
            line({**call("c2"), "params": {"name": "put", "arguments": {"x": "y" * (3 << 20)}}})
        )
        heard = await server.heard()
        assert len(heard.body) > 3 << 20
        stream = await heard.stream()
        sending = asyncio.gather(stream.event({**big, "id": "c2"}))
        assert await read(channel) == {**big, "id": "c2"}
        await sending


async def test_a_late_answer_is_dropped_once_the_agent_has_given_its_own() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server, listen=0)
        listening = await (await server.heard("GET")).stream()
        await channel.send(line(call()))
        (await server.heard()).break_off()
        assert outcome(await read(channel))[0] == "outcome_unknown"
        await listening.event(result("other"))
        assert (await read(channel))["id"] == "other"


# Being reached.


async def test_a_request_is_taken_back_before_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        monkeypatch.setattr(channels, "Gate", ClosedGate)
        sending = asyncio.gather(channel.send(line(call())))
        await asyncio.wait({sending}, timeout=0.1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        monkeypatch.undo()
        await channel.send(line(call("next")))
        assert (await server.heard()).message["id"] == "next"


class ClosedGate(Gate):
    async def ready(self) -> None:
        await asyncio.Event().wait()


async def test_a_server_that_is_gone_ends_the_conversation_and_nothing_was_sent() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await server.stop()
        with pytest.raises(ChildGone, match="cannot be reached"):
            await channel.send(line(call()))
        with pytest.raises(ChildGone):
            await read(channel)


async def test_a_refused_connection_does_not_take_the_answers_of_others() -> None:
    async with Scripted() as server, Scripted() as other, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call("a")))
        running = await server.heard()
        channel._target = lambda: f"http://127.0.0.1:{dead}/"  # type: ignore[method-assign]
        dead = other.port
        await other.stop()
        await channel.send(line(call("b")))
        message = await read(channel)
        assert (message["id"], outcome(message)[0]) == ("b", "not_executed")
        running.json(result("a"))
        assert (await read(channel))["id"] == "a"


async def test_no_more_requests_are_open_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "REQUESTS_MAX", 1)
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(call("a")))
        first = await server.heard()
        second = asyncio.gather(channel.send(line(call("b"))))
        await asyncio.wait({second}, timeout=0.05)
        assert server.heard_nothing
        first.json(result("a"))
        (await server.heard()).json(result("b"))
        await second


# 2026-07-28.


async def test_a_modern_request_stands_alone() -> None:
    async with Scripted() as server, talking(server) as channel:
        await greet(channel, server)
        await channel.send(line(modern()), (("Mcp-Param-Region", "eu"),))
        heard = await server.heard()
        assert heard.headers["MCP-Protocol-Version"] == "2026-07-28"
        assert heard.headers["Mcp-Method"] == "tools/call"
        assert heard.headers["Mcp-Name"] == "find"
        assert heard.headers["Mcp-Param-Region"] == "eu"
        assert "Mcp-Session-Id" not in heard.headers
        heard.json(result("m1"))
        assert await read(channel) == result("m1")


async def test_closing_its_stream_cancels_a_modern_request() -> None:
    note: Json = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "m1"}}
    async with Scripted() as server, talking(server) as channel:
        await channel.send(line(modern()))
        heard = await server.heard()
        await heard.stream()
        await channel.send(line(note))
        async with asyncio.timeout(WAIT):
            await heard.left.wait()
        await channel.send(line(note))
        assert server.heard_nothing


async def test_a_modern_stream_that_breaks_is_not_resumed_and_says_so_in_a_result() -> None:
    async with Scripted() as server, talking(server) as channel:
        await channel.send(line(modern()))
        stream = await (await server.heard()).stream()
        await stream.raw(b"id: 1\nretry: 1\ndata:\n\n")
        stream.break_off()
        message = await read(channel)
        assert outcome(message)[0] == "outcome_unknown"
        found = message["result"]
        assert isinstance(found, dict)
        assert found["resultType"] == "complete"
        assert server.heard_nothing


async def test_a_modern_refusal_is_the_servers_own() -> None:
    error: Json = {"jsonrpc": "2.0", "id": "m1", "error": {"code": -32601, "message": "no such method"}}
    async with Scripted() as server, talking(server) as channel:
        await channel.send(line(modern(method="x/y")))
        (await server.heard()).json(error, 404)
        assert await read(channel) == error
        await channel.send(line(modern("m2")))
        (await server.heard()).json(result("m2"))
        assert await read(channel) == result("m2")


async def test_a_subscription_is_a_stream_that_stays() -> None:
    note: Json = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    async with Scripted() as server, talking(server) as channel:
        await channel.send(line(modern("l1", "subscriptions/listen", notifications={})))
        stream = await (await server.heard("POST", "subscriptions/listen")).stream()
        for _ in range(3):
            await stream.event(note)
            assert await read(channel) == note
        await stream.event({"jsonrpc": "2.0", "id": "l1", "result": {"resultType": "complete"}})
        assert (await read(channel))["id"] == "l1"


async def test_credentials_that_were_replaced_are_read_again_after_a_refusal(tmp_path: object) -> None:
    from pathlib import Path

    token = Path(str(tmp_path)) / "token"
    token.write_text("old")
    token.chmod(0o600)
    own = {"Authorization": f"Bearer file:{token}"}
    async with Scripted() as server, talking(server, headers=own) as channel:
        await channel.send(line(HELLO))
        heard = await server.heard()
        assert heard.headers["Authorization"] == "Bearer old"
        token.write_text("new")
        heard.status(401)
        assert outcome(await read(channel))[0] == "not_executed"
        await channel.send(line(HELLO))
        assert (await server.heard()).headers["Authorization"] == "Bearer new"


def test_numbers_are_what_the_documentation_says() -> None:
    assert channels.REQUESTS_MAX == 128
    assert json.dumps(streamable.LISTEN_PAUSE_MAX_S) == "60.0"
