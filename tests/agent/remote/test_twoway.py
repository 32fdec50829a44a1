"""Conversations over HTTP+SSE (2024-11-05)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock_agent.children.child import ChildGone, ChildStartError
from penstock_agent.remote import twoway
from penstock_agent.remote.channel import Channel
from penstock_agent.remote.remotes import Remotes
from penstock_agent.remote.spec import RemoteSpec
from tests.agent.remote.kit import (
    HELLO,
    INITIALIZED,
    WAIT,
    WELCOME,
    Json,
    Scripted,
    Stream,
    call,
    line,
    read,
    result,
)


async def opened(server: Scripted, endpoint: str = "/messages?session=7") -> Stream:
    """What the server does when somebody comes."""
    heard = await server.heard("GET")
    assert heard.headers["Accept"] == "text/event-stream"
    stream = await heard.stream()
    await stream.event(endpoint, name="endpoint")
    return stream


@asynccontextmanager
async def conversation(server: Scripted) -> AsyncIterator[tuple[Channel, Stream]]:
    async with Remotes() as remotes:
        starting = asyncio.gather(remotes.start(RemoteSpec("crm", server.url("/sse"), "sse")))
        stream = await opened(server)
        [channel] = await starting
        yield channel, stream


async def problem(server: Scripted, script: object) -> str:
    """Why no conversation can be had with a server that does what ``script`` says."""
    assert callable(script)
    async with Remotes() as remotes:
        starting = asyncio.gather(remotes.start(RemoteSpec("crm", server.url("/sse"), "sse")))
        await script(server)
        with pytest.raises(ChildStartError) as failed:
            await starting
        assert len(remotes) == 0
        return str(failed.value)


async def test_messages_go_to_where_the_server_says_and_answers_come_on_the_stream() -> None:
    async with Scripted() as server, conversation(server) as (channel, stream):
        await channel.send(line(HELLO))
        hello = await server.heard("POST", "initialize")
        assert hello.path == "/messages?session=7"
        hello.status(202)
        await stream.event(WELCOME, name="message")
        assert await read(channel) == WELCOME
        telling = asyncio.gather(channel.send(line(INITIALIZED)))
        (await server.heard("POST", "notifications/initialized")).status(202)
        await telling
        await channel.send(line(call()))
        asked = await server.heard("POST", "tools/call")
        await stream.event(result())
        assert await read(channel) == result()
        asked.status(202)


async def test_the_address_may_be_absolute_within_the_origin() -> None:
    async with Scripted() as server, Remotes() as remotes:
        starting = asyncio.gather(remotes.start(RemoteSpec("crm", server.url("/sse"), "sse")))
        await opened(server, server.url("/elsewhere"))
        [channel] = await starting
        await channel.send(line(call()))
        assert (await server.heard("POST")).path == "/elsewhere"


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1/messages", "https://crm/messages", "//evil/messages", "javascript:x"]
)
async def test_an_address_of_another_origin_is_refused(endpoint: str) -> None:
    async def script(server: Scripted) -> None:
        await opened(server, endpoint)

    async with Scripted() as server:
        text = await problem(server, script)
        assert "posts only to the origin of url" in text
        assert server.heard_nothing


async def test_a_stream_that_ends_before_it_said_where_to_post() -> None:
    async def script(server: Scripted) -> None:
        await (await (await server.heard("GET")).stream()).end()

    async with Scripted() as server:
        assert "before it said where to post" in await problem(server, script)


@pytest.mark.parametrize("silent", [True, False])
async def test_a_server_that_does_not_say_where_to_post(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twoway, "BEGIN_S", 0.05)

    async def script(server: Scripted) -> None:
        heard = await server.heard("GET")
        if not silent:
            await heard.stream()

    async with Scripted() as server:
        assert "did not say within 0.05 s where to post" in await problem(server, script)


@pytest.mark.parametrize("status", [404, 200])
async def test_what_is_no_event_stream_is_said_with_what_to_check(status: int) -> None:
    async def script(server: Scripted) -> None:
        (await server.heard("GET")).raw(b"{}", "application/json", status)

    async with Scripted() as server:
        text = await problem(server, script)
        assert f"answered HTTP {status} and no event stream" in text
        assert "transport" in text


async def test_when_the_stream_ends_so_does_the_conversation() -> None:
    async with Scripted() as server, conversation(server) as (channel, stream):
        await channel.send(line(call()))
        (await server.heard("POST")).status(202)
        stream.break_off()
        with pytest.raises(ChildGone, match="ended its event stream"):
            await read(channel)
        with pytest.raises(ChildGone):
            await channel.send(line(call("c2")))


async def test_a_message_that_is_not_taken_is_answered_in_words() -> None:
    async with Scripted() as server, conversation(server) as (channel, _):
        await channel.send(line(call()))
        (await server.heard("POST")).status(401)
        answer = await read(channel)
        assert answer["id"] == "c1"
        assert "refuses the agent's own credentials" in str(answer)


async def test_a_server_that_never_says_that_it_took_a_message_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(twoway, "ACK_S", 0.01)
    async with Scripted() as server, conversation(server) as (channel, stream):
        await channel.send(line(call()))
        heard = await server.heard("POST")
        await stream.event(result())
        assert await read(channel) == result()
        async with asyncio.timeout(WAIT):
            await heard.left.wait()


async def test_leaving_closes_the_stream() -> None:
    async with Scripted() as server, Remotes() as remotes:
        starting = asyncio.gather(remotes.start(RemoteSpec("crm", server.url("/sse"), "sse")))
        heard = await server.heard("GET")
        stream = await heard.stream()
        await stream.event("/m", name="endpoint")
        [channel] = await starting
        await channel.stop()
        async with asyncio.timeout(WAIT):
            await heard.left.wait()


async def test_the_server_asks_on_the_stream_and_is_answered_by_post() -> None:
    ask: Json = {"jsonrpc": "2.0", "id": 3, "method": "ping"}
    async with Scripted() as server, conversation(server) as (channel, stream):
        await stream.event(ask)
        assert await read(channel) == ask
        telling = asyncio.gather(channel.send(line({"jsonrpc": "2.0", "id": 3, "result": {}})))
        (await server.heard("POST")).status(202)
        await telling
