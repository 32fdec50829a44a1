"""Every revision meets every revision: each kind of client with each kind of server, feature by feature."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Final

import pytest
import pytest_asyncio

from tests.harness.cells import CANNOT, CHILDREN, CLIENTS, FEATURES
from tests.harness.conversing.callers import Callers, all_servers
from tests.harness.conversing.conversation import Conversation, Heard, refused
from tests.harness.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

WAIT: Final = 20
WATCHED: Final = "plain://watched"
HANDSHAKES: Final = [client for client in CLIENTS if client < "2026"]

Check = Callable[[Conversation], Awaitable[None]]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with all_servers() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(stack: Stack) -> AsyncIterator[Callers]:
    callers = Callers(stack)
    yield callers
    await callers.close()


# -- the features


async def lists(caller: Conversation) -> None:
    tools = (await caller.request("tools/list")).result["tools"]
    assert {"echo", "slow", "elicit", "sample", "roots", "log", "change"} <= {tool["name"] for tool in tools}
    assert {tool["inputSchema"]["type"] for tool in tools} == {"object"}
    (prompt,) = (await caller.request("prompts/list")).result["prompts"]
    assert prompt["name"] == "greeting"
    resources = (await caller.request("resources/list")).result["resources"]
    assert [resource["uri"] for resource in resources] == ["plain://note", WATCHED]


async def calls(caller: Conversation) -> None:
    number, text = await asyncio.gather(
        caller.call("echo", id=7001, text="Wehr, 水"), caller.call("echo", id="7001", text="Schütz, 堰")
    )
    assert (number.text, text.text) == ("Wehr, 水", "Schütz, 堰")
    failed = await caller.call("fail")
    assert (failed.text, failed.result["isError"]) == ("It failed, as it should.", True)


async def progress(caller: Conversation) -> None:
    three, two = await asyncio.gather(
        caller.call("slow", token=1, steps=3, pause=0.01), caller.call("slow", token="1", steps=2, pause=0.01)
    )
    for heard, token, steps in ((three, 1, 3), (two, "1", 2)):
        assert heard.text == f"Took {steps} steps."
        assert {note["method"] for note in heard.before} == {"notifications/progress"}
        assert [note["params"] for note in heard.before] == [
            {"progressToken": token, "progress": step, "total": steps, "message": f"step {step}"}
            for step in range(1, steps + 1)
        ]
        assert {type(note["params"]["progressToken"]) for note in heard.before} == {type(token)}
    assert (await caller.call("slow", steps=1, pause=0)).before == []


async def cancel(caller: Conversation) -> None:
    key = uuid.uuid4().hex
    endless = {"name": "slow", "arguments": {"steps": 1_000_000, "pause": 0.2, "key": key}}
    async with caller.running("tools/call", endless, token="t") as running:
        assert (await running.next())["method"] == "notifications/progress"
        assert (await caller.call("cancelled", key=key)).text == "no"
        await caller.cancel(running)
        while (await caller.call("cancelled", key=key)).text == "no":
            pass
        for message in await running.rest():
            assert "result" not in message  # at most more progress, and an error that ends the stream


def asked_once(heard: Heard, method: str) -> Mapping[str, object]:
    ((asked, params),) = heard.asked
    assert asked == method
    return params


async def elicitation(caller: Conversation) -> None:
    heard = await caller.call("elicit")
    params = asked_once(heard, "elicitation/create")
    colour = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
    assert (params["message"], params["requestedSchema"]) == ("Which colour?", colour)
    assert heard.text == "The user said accept: blue"


async def no_elicitation(caller: Conversation) -> None:
    assert refused(await caller.call("elicit")) == "The client does not offer elicitation."


async def sampling(caller: Conversation) -> None:
    heard = await caller.call("sample")
    params = asked_once(heard, "sampling/createMessage")
    question = {"role": "user", "content": {"type": "text", "text": "What is the capital of France?"}}
    assert (params["messages"], params["maxTokens"]) == ([question], 100)
    assert heard.text == "The model said: Paris"


async def roots(caller: Conversation) -> None:
    heard = await caller.call("roots")
    asked_once(heard, "roots/list")
    assert heard.text == "The roots are: file:///srv/share"


async def log(caller: Conversation) -> None:
    await caller.log_level("warning")
    assert (await caller.call("log", text="quiet", level="info")).before == []
    (note,) = (await caller.call("log", text="loud", level="error")).before
    assert note["method"] == "notifications/message"
    assert note["params"] == {"level": "error", "logger": "plain", "data": "loud"}


async def subscribe(caller: Conversation) -> None:
    async with caller.listening(WATCHED) as news:
        await caller.call("change", what="watched")
        told = await news.next()
        assert (told["method"], told["params"]) == ("notifications/resources/updated", {"uri": WATCHED})
    assert (await caller.call("change", what="watched")).before == []


async def list_changed(caller: Conversation) -> None:
    async with caller.listening() as news:
        for what in ("tools", "prompts", "resources"):
            await caller.call("change", what=what)
            assert (await news.next())["method"] == f"notifications/{what}/list_changed"


async def completion(caller: Conversation) -> None:
    reference, argument = {"type": "ref/prompt", "name": "greeting"}, {"name": "whom", "value": "A"}
    heard = await caller.request("completion/complete", {"ref": reference, "argument": argument})
    assert heard.result == {"completion": {"values": ["Ada", "Alan"], "total": 2, "hasMore": False}}


async def prompts(caller: Conversation) -> None:
    heard = await caller.request("prompts/get", {"name": "greeting", "arguments": {"whom": "Ada"}})
    words = {"type": "text", "text": "Greet Ada."}
    assert heard.result == {"messages": [{"role": "user", "content": words}]}
    refused = await caller.request("prompts/get", {"name": "nothing"})
    # What the server never listed was never approved, so it does not even hear of it.
    assert (refused.status, refused.error["code"]) == (200, -32012)


async def resources(caller: Conversation) -> None:
    (template,) = (await caller.request("resources/templates/list")).result["resourceTemplates"]
    assert template["uriTemplate"] == "plain://square/{number}"
    for uri, text in (
        ("plain://note", "Water flows through the penstock."),
        ("plain://square/12", "144"),
    ):
        heard = await caller.request("resources/read", {"uri": uri})
        assert heard.result == {"contents": [{"uri": uri, "mimeType": "text/plain", "text": text}]}
    refused = await caller.request("resources/read", {"uri": "plain://nothing"})
    # The code of the older revisions is none of 2026-07-28.
    assert refused.error["code"] in ((-32602,) if caller.revision >= "2026" else (-32002, -32602))
    assert (refused.status, refused.error["data"]) == (caller.status_of_invalid, {"uri": "plain://nothing"})


WORKS: Final[Mapping[str, Check]] = {
    "list": lists,
    "call": calls,
    "progress": progress,
    "cancel": cancel,
    "elicitation": elicitation,
    "sampling": sampling,
    "roots": roots,
    "log": log,
    "subscribe": subscribe,
    "list_changed": list_changed,
    "completion": completion,
    "prompts": prompts,
    "resources": resources,
}
INSTEAD: Final[Mapping[str, Check]] = {"elicitation": no_elicitation}
"""What is seen where a feature cannot work."""


@pytest.mark.parametrize(
    ("client", "child", "feature"),
    [
        pytest.param(client, child, feature, id=f"{client}-{child}-{feature}")
        for client in CLIENTS
        for child in CHILDREN
        for feature in FEATURES
    ],
)
async def test_feature(callers: Callers, client: str, child: str, feature: str) -> None:
    check = (INSTEAD if (client, child, feature) in CANNOT else WORKS)[feature]
    async with asyncio.timeout(WAIT), callers.talking(client, child) as caller:
        await check(caller)


# -- what belongs to some revisions


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("client", HANDSHAKES)
async def test_initialize_agrees_on_the_clients_version_and_says_what_there_is(
    callers: Callers, client: str, child: str
) -> None:
    async with asyncio.timeout(WAIT), callers.talking(client, child) as caller:
        assert caller.begun["protocolVersion"] == caller.revision
        assert caller.begun["capabilities"] == {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": True},
            "resources": {"listChanged": True, "subscribe": True},
            "logging": {},
            "completions": {},
        }
        assert caller.begun["serverInfo"]["name"] == ("plain" if child == "handshake" else "revisions")
        assert (await caller.request("ping")).result == {}


@pytest.mark.parametrize("child", CHILDREN)
async def test_discovery_names_all_versions_that_are_served(callers: Callers, child: str) -> None:
    async with asyncio.timeout(WAIT), callers.talking("2026-07-28", child) as caller:
        versions = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
        assert caller.begun["supportedVersions"] == versions
        assert caller.begun["capabilities"]["resources"] == {"listChanged": True, "subscribe": True}
