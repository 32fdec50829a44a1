"""What callers see through the whole stack: real processes, real TLS, a server of good and bad manners."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.harness.caller import Caller
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
EXPOSED = (
    "echo", "count", "big", "progress", "sleep", "hang", "die", "junk", "endless", "surrogate", "ask", "pid",
)  # fmt: skip


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    servers = {"tools": Server([sys.executable, str(TOOL_SERVER)], EXPOSED)}
    with Stack(servers) as stack:
        yield stack


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    caller = Caller(stack.url("tools"), stack.token)
    yield caller
    await caller.hang_up()


async def test_only_what_is_exposed_is_listed_and_its_bytes_are_the_servers_own(caller: Caller) -> None:
    async with caller:
        reply = await caller.request("tools/list")
        assert [tool["name"] for tool in reply.last["result"]["tools"]] == list(EXPOSED)
        assert reply.raw[0].count(b'"x-number": 1000000000000000000000000000000000000007') == len(EXPOSED)


async def test_a_hidden_tool_cannot_be_reached_and_looks_like_one_that_does_not_exist(caller: Caller) -> None:
    async with caller:
        hidden, absent = await caller.tool("hidden", 1), await caller.tool("absent", 1)
        assert hidden.is_error
        # They differ in nothing but the exchange that they name, and the caller's own words.
        assert hidden.text == absent.text
        assert hidden.status == absent.status == 200


async def test_ids_one_and_text_one_are_two_requests(caller: Caller) -> None:
    async with caller:
        number, text = await asyncio.gather(
            caller.tool("progress", 1, steps=5, label="number"),
            caller.tool("progress", "1", steps=5, label="text"),
        )
        assert (number.last["id"], number.text) == (1, "number")
        assert (text.last["id"], text.text) == ("1", "text")


async def test_three_calls_with_progress_each_get_their_own_notifications(caller: Caller) -> None:
    async with caller:
        labels = ["red", "green", "blue"]
        replies = await asyncio.gather(*(caller.tool("progress", steps=10, label=label) for label in labels))
        for label, reply in zip(labels, replies, strict=True):
            *notes, result = reply.messages
            assert [note["params"]["message"] for note in notes] == [label] * 10
            assert result["result"]["content"][0]["text"] == label


async def test_a_number_of_forty_digits_arrives_as_it_was_written(caller: Caller) -> None:
    digits = b"1234567890123456789012345678901234567890"
    async with caller:
        body = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"echo","arguments":{"n":%b}}}'
        reply = await caller.post(body % digits)
        assert digits in reply.raw[0]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b"[" * 4000 + b"]" * 4000 + b"}", -32700),
        (b"{", -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
    ],
    ids=["duplicate key", "over-deep", "no JSON", "batch"],
)
async def test_json_that_could_be_read_in_two_ways_is_refused_and_the_next_call_works(
    caller: Caller, body: bytes, code: int
) -> None:
    async with caller:
        reply = await caller.post(body)
        assert reply.status == 400
        assert reply.last["error"]["code"] in (code, -32700, -32600)
        assert (await caller.tool("echo", a=1)).text == '{"a": 1}'


async def test_a_result_of_twenty_mebibytes_arrives_whole(caller: Caller) -> None:
    size = 20 << 20
    async with caller:
        assert (await caller.tool("big", size=size)).text == "x" * size


async def test_a_server_that_writes_rubbish_still_answers(caller: Caller) -> None:
    async with caller:
        assert (await caller.tool("junk")).text == "after junk"
        assert (await caller.tool("echo", a=1)).text == '{"a": 1}'


async def test_a_line_without_end_fails_the_call_that_it_must_be_the_answer_of(caller: Caller) -> None:
    async with caller:
        reply = await caller.tool("endless", size=80 << 20)
        assert reply.is_error
        assert "larger than this agent accepts" in reply.text
        assert (await caller.tool("echo", a=1)).text == '{"a": 1}'


async def test_a_lone_surrogate_is_a_named_error_and_the_session_lives(caller: Caller) -> None:
    async with caller:
        reply = await caller.tool("surrogate", 9)
        assert reply.last["id"] == 9
        assert "surrogate" in json.dumps(reply.last)
        assert (await caller.tool("echo", a=1)).text == '{"a": 1}'


async def test_a_server_that_dies_leaves_the_outcome_unknown_and_the_next_call_works(caller: Caller) -> None:
    async with caller:
        before = (await caller.tool("pid")).text
        reply = await caller.tool("die", 3)
        assert reply.is_error
        assert reply.last["result"]["_meta"]["penstock/outcome"]["outcome"] == "outcome_unknown"
        after = (await caller.tool("pid")).text
        assert after != before


async def test_a_server_may_ask_its_client(caller: Caller) -> None:
    async def post_answer(id: object) -> None:
        body = {"jsonrpc": "2.0", "id": id, "result": {"roots": [{"uri": "file:///srv"}]}}
        assert (await caller.post(json.dumps(body).encode())).status == 202

    await caller.initialize({"roots": {}})
    # The question comes on the stream of the call that is in flight.
    async with caller.stream("tools/call", {"name": "ask", "arguments": {}}) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        text = b""
        while b"roots/list" not in text or not text.endswith(b"\n\n"):
            text += await response.content.readany()
        data = next(line for line in text.split(b"\n") if line.startswith(b"data:") and b"roots/list" in line)
        await post_answer(json.loads(data[5:])["id"])
        text = await response.content.read()
    assert b"file:///srv" in text


async def test_a_cancelled_call_ends_in_the_server_too(caller: Caller) -> None:
    async with caller:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            call = tasks.create_task(caller.tool("sleep", 77, seconds=60))
            while not call.done():  # it comes on a connection of its own, perhaps after this
                await caller.notify("notifications/cancelled", {"requestId": 77})
                await caller.tool("echo")
        assert call.result().last["id"] == 77
        assert (await caller.tool("echo", a=1)).text == '{"a": 1}'


async def test_sessions_are_not_shared_between_tokens(stack: Stack, caller: Caller) -> None:
    async with caller:
        thief = Caller(stack.url("tools"), stack.issue_token("--name", "thief"))
        thief.session_id = caller.session_id
        stolen = await thief.tool("echo", 1)
        thief.session_id = "aaaaaaaa." + "A" * 43
        made_up = await thief.tool("echo", 1)
        assert stolen.status == made_up.status == 404
        assert stolen.body == made_up.body
        await thief.hang_up()


async def test_a_revoked_token_is_refused_at_once(stack: Stack) -> None:
    token = stack.issue_token("--name", "short")
    caller = Caller(stack.url("tools"), token)
    await caller.initialize()
    stack.relay_cli("token", "revoke", token)
    async with asyncio.timeout(5):
        while (reply := await caller.tool("echo")).status != 401:
            pass
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    await caller.hang_up()
