"""Every revision with every kind of server: what goes wrong, what comes together, what only some have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Final

import aiohttp
import pytest
import pytest_asyncio

from tests.harness.cells import CHILDREN, CLIENTS
from tests.harness.conversing.callers import Callers, all_servers
from tests.harness.conversing.conversation import ANSWERS, Json, refused
from tests.harness.conversing.handshake import Handshake
from tests.harness.conversing.streams import Response
from tests.harness.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

WAIT: Final = 20
WATCHED: Final = "plain://watched"
HANDSHAKES: Final = [client for client in CLIENTS if client < "2026"]
ASKED: Final = [client for client in CLIENTS if client >= "2025-06-18"]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    # Those that are for it to die have a server to themselves: one that crashes often is not started again.
    with all_servers(*CLIENTS) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(stack: Stack) -> AsyncIterator[Callers]:
    callers = Callers(stack)
    yield callers
    await callers.close()


# -- questions


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("client", ASKED)
async def test_a_tool_may_ask_two_things_at_once_and_one_after_the_other(
    callers: Callers, client: str, child: str
) -> None:
    async with asyncio.timeout(WAIT), callers.talking(client, child) as caller:
        for tool in ("both", "twice"):
            heard = await caller.call(tool)
            assert sorted(method for method, _ in heard.asked) == [
                "elicitation/create",
                "sampling/createMessage",
            ]
            assert heard.text == "The user said accept: blue. The model said: Paris"


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_that_offers_nothing_is_asked_nothing(
    callers: Callers, client: str, child: str
) -> None:
    async with asyncio.timeout(WAIT), callers.another(client, child, {}) as caller:
        for tool, capability in (("elicit", "elicitation"), ("sample", "sampling"), ("roots", "roots")):
            assert refused(await caller.call(tool)) == f"The client does not offer {capability}."
        assert (await caller.call("echo", text="x")).text == "x"


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("client", ASKED)
async def test_two_calls_that_ask_at_the_same_time_get_their_own_answers(
    callers: Callers, client: str, child: str
) -> None:
    async with asyncio.timeout(WAIT), callers.talking(client, child) as caller:
        elicited, sampled = await asyncio.gather(caller.call("elicit"), caller.call("sample"))
        assert (elicited.text, sampled.text) == ("The user said accept: blue", "The model said: Paris")
        methods = [method for method, _ in (*elicited.asked, *sampled.asked)]
        assert sorted(methods) == ["elicitation/create", "sampling/createMessage"]
        # A server with sessions does not say to which call a question belongs.
        if child == "modern" or client not in HANDSHAKES:
            assert (len(elicited.asked), methods[0]) == (1, "elicitation/create")


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("client", HANDSHAKES)
async def test_a_call_is_cancelled_while_its_client_is_asked(
    callers: Callers, client: str, child: str
) -> None:
    async with asyncio.timeout(WAIT), callers.talking(client, child) as caller:
        async with caller.running("tools/call", {"name": "sample", "arguments": {}}) as running:
            assert (await running.next())["method"] == "sampling/createMessage"
            await caller.cancel(running)
            for message in await running.rest():
                assert "result" not in message
        assert (await caller.call("sample")).text == "The model said: Paris"


@pytest.mark.parametrize("child", CHILDREN)
async def test_only_the_very_state_that_was_given_continues_a_call_of_2026_07_28(
    callers: Callers, child: str
) -> None:
    async with asyncio.timeout(WAIT), callers.talking("2026-07-28", child) as caller:
        call = {"name": "sample", "arguments": {}}
        async with caller.running("tools/call", call) as running:
            asked = (await running.next())["result"]
        state, (key,) = asked["requestState"], asked["inputRequests"]
        again = {**call, "inputResponses": {key: ANSWERS["sampling/createMessage"]}}
        refusal = await caller.request("tools/call", {**again, "requestState": state[:-4] + "~~~~"})
        assert (refusal.status, refusal.error["code"]) == (400, -32602)
        done = await caller.request("tools/call", {**again, "requestState": state})
        assert done.text == "The model said: Paris"


# -- what passes


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("client", CLIENTS)
async def test_what_mcp_does_not_know_passes_both_ways(callers: Callers, client: str, child: str) -> None:
    given = {"example.com/trace": [1, "é", {"a": None}], "traceparent": "00-1-2-01"}
    async with asyncio.timeout(WAIT), callers.talking(client, child) as caller:
        heard = await caller.call("meta", meta=given, id=2**70)
        assert json.loads(heard.text) == given
        assert heard.result["_meta"] == {"example.com/back": [1]}
        assert heard.result["example"] == {"a": None}


# -- what goes wrong


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_server_that_dies_ends_its_calls_in_words_and_is_itself_again(
    callers: Callers, client: str, child: str
) -> None:
    async with asyncio.timeout(WAIT), callers.another(client, f"{child}-{client}") as caller:
        await caller.log_level("error")
        async with caller.listening(WATCHED) as news:
            assert "It may or may not have taken effect" in refused(await caller.call("die"))
            assert (await caller.call("log", text="quiet", level="warning")).before == []
            if client in HANDSHAKES or child == "handshake":  # the session is begun again
                await caller.call("change", what="watched")
                assert (await news.next())["params"] == {"uri": WATCHED}
            else:  # there is none: who listens asks again
                with pytest.raises((EOFError, aiohttp.ClientConnectionError)):
                    await news.next()
        async with caller.listening(WATCHED) as news:
            await caller.call("change", what="watched")
            assert (await news.next())["params"] == {"uri": WATCHED}


# -- what only some revisions have


@pytest.mark.parametrize("child", CHILDREN)
async def test_subscriptions_of_2026_07_28_are_kept_apart(callers: Callers, child: str) -> None:
    async with (
        asyncio.timeout(WAIT),
        callers.talking("2026-07-28", child) as caller,
        caller.listening(WATCHED, id=9001) as one,
        caller.listening(id="9001") as all_lists,
    ):
        for what in ("tools", "watched", "resources"):
            await caller.call("change", what=what)
        assert (await one.next())["method"] == "notifications/resources/updated"
        for what in ("tools", "resources"):
            assert (await all_lists.next())["method"] == f"notifications/{what}/list_changed"


@pytest.mark.parametrize("child", CHILDREN)
async def test_a_call_of_a_batch_may_ask_its_client(callers: Callers, child: str) -> None:
    call = {"name": "sample", "arguments": {}}
    batch = [
        {"jsonrpc": "2.0", "id": 8001, "method": "tools/call", "params": call},
        {"jsonrpc": "2.0", "id": "8001", "method": "ping"},
    ]
    async with asyncio.timeout(WAIT), callers.talking("2025-03-26", child) as caller:
        assert isinstance(caller, Handshake)
        answers: dict[object, Json] = {}
        async with caller.post(batch) as response:
            stream = Response(response)
            while len(answers) < 2:
                message = await stream.next()
                if "method" in message:
                    answer = {"jsonrpc": "2.0", "id": message["id"], "result": ANSWERS[message["method"]]}
                    async with caller.post([answer]) as taken:
                        assert taken.status == 202
                else:
                    answers[message["id"]] = message["result"]
        assert answers["8001"] == {}
        assert answers[8001]["content"][0]["text"] == "The model said: Paris"


@pytest.mark.parametrize("child", CHILDREN)
async def test_a_batch_of_2025_03_26_is_answered_whole(callers: Callers, child: str) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": "a", "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
        {
            "jsonrpc": "2.0",
            "id": 1.5e3,
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": "x"}},
        },
    ]
    async with asyncio.timeout(WAIT), callers.talking("2025-03-26", child) as caller:
        assert isinstance(caller, Handshake)
        async with caller.post(batch) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            answers = {answer["id"]: answer["result"] for answer in await response.json()}
        assert answers.keys() == {"a", 1500}
        assert answers["a"] == {}
        assert answers[1500]["content"] == [{"type": "text", "text": "x"}]
        async with caller.post(
            [{"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}]
        ) as response:
            assert (response.status, await response.read()) == (202, b"")


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("client", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_a_client_that_lost_its_stream_gets_the_rest_of_it(
    callers: Callers, client: str, child: str
) -> None:
    async with asyncio.timeout(WAIT), callers.talking(client, child) as caller:
        slow = {"name": "slow", "arguments": {"steps": 4, "pause": 0.05}}
        async with caller.running("tools/call", slow, token="r") as running:
            assert (await running.next())["params"]["progress"] == 1
            running.response.close()
        async with caller.resumed(running) as rest:
            *notes, answer = await rest.rest()
        assert [note["params"]["progress"] for note in notes] == [2, 3, 4]
        assert (answer["id"], answer["result"]["content"][0]["text"]) == (running.id, "Took 4 steps.")
