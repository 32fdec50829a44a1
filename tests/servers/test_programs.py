"""The servers without Penstock: what the official suite does not try of them, and all of the Perl one."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.shared.subscriptions import PromptsListChanged, ResourceUpdated, ToolsListChanged
from pydantic import FileUrl

from tests.harness.stack import Server, clean_environment
from tests.servers.programs import everything_dual, everything_handshake, plain

pytestmark = pytest.mark.e2e

WAIT = 30
WATCHED = "test://watched-resource"
Make: TypeAlias = Callable[[], Server]

# -- the two on SDKs


@dataclass
class Heard:
    """Notifications, in order."""

    methods: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def note(self, message: IncomingMessage) -> None:
        if isinstance(message, Exception):
            raise message
        await self.methods.put(message.method)


async def elicited(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "Ada", "username": "ada", "email": "a@b.c"})


async def sampled(
    context: ClientRequestContext, params: types.CreateMessageRequestParams
) -> types.CreateMessageResult:
    return types.CreateMessageResult(role="assistant", content=types.TextContent(text="Paris"), model="none")


async def rooted(context: ClientRequestContext) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///srv/share"))])


@asynccontextmanager
async def connected(server: Server, mode: str) -> AsyncIterator[tuple[Client, Heard]]:
    program, *arguments = server.command
    parameters = StdioServerParameters(
        command=program, args=arguments, env={**clean_environment(), **server.env}
    )
    heard = Heard()
    client = Client(
        parameters,
        mode=mode,
        message_handler=heard.note,
        elicitation_callback=elicited,
        sampling_callback=sampled,
        list_roots_callback=rooted,
    )
    async with asyncio.timeout(WAIT), client:
        yield client, heard


def words(result: types.CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, types.TextContent))


@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize("make", [everything_dual, everything_handshake])
async def test_changes_are_told_to_a_client_of_the_handshake_era(make: Make) -> None:
    async with connected(make(), "legacy") as (client, heard):
        await client.call_tool("test_trigger_tool_change", {})
        assert await heard.methods.get() == "notifications/tools/list_changed"
        await client.call_tool("test_trigger_prompt_change", {})
        assert await heard.methods.get() == "notifications/prompts/list_changed"
        await client.subscribe_resource(WATCHED)
        await client.call_tool("test_trigger_resource_update", {})
        assert await heard.methods.get() == "notifications/resources/updated"
        await client.unsubscribe_resource(WATCHED)
        await client.call_tool("test_trigger_resource_update", {})
        await client.call_tool("test_trigger_tool_change", {})
        assert await heard.methods.get() == "notifications/tools/list_changed"  # and no update before it


async def test_changes_are_told_to_a_client_of_2026_07_28_that_listens() -> None:
    async with connected(everything_dual(), "auto") as (client, _):
        assert client.protocol_version == "2026-07-28"
        wanted = client.listen(
            tools_list_changed=True, prompts_list_changed=True, resource_subscriptions=[WATCHED]
        )
        async with wanted as events:
            told = aiter(events)
            await client.call_tool("test_trigger_tool_change", {})
            assert await anext(told) == ToolsListChanged()
            await client.call_tool("test_trigger_prompt_change", {})
            assert await anext(told) == PromptsListChanged()
            await client.call_tool("test_trigger_resource_update", {})
            assert await anext(told) == ResourceUpdated(uri=WATCHED)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_dual_server_asks_in_the_way_of_each_era(mode: str) -> None:
    async with connected(everything_dual(), mode) as (client, _):
        asked = await client.call_tool("test_elicitation", {"message": "Who are you?"})
        assert "accept" in words(asked)
        assert "ada" in words(asked)
        assert words(await client.call_tool("test_sampling", {"prompt": "?"})) == "LLM response: Paris"
        roots = await client.call_tool("test_input_required_result_list_roots", {})
        assert words(roots) == "file:///srv/share"
        twice = await client.call_tool("test_input_required_result_multi_round", {})
        assert words(twice).count("accept") == 2


# -- the one in Perl


class Wire:
    """The server's stdin and stdout, a message a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout
        self._ids = 0

    def say(self, **members: object) -> None:
        self._to.write(json.dumps({"jsonrpc": "2.0", **members}) + "\n")
        self._to.flush()

    def hear(self) -> dict[str, object]:
        found = json.loads(self._from.readline())
        assert isinstance(found, dict)
        return found

    def ask(self, method: str, **params: object) -> object:
        """The result of a request that nothing precedes."""
        answer = self.answer(self.begin(method, **params))
        return answer["result"]

    def begin(self, method: str, **params: object) -> int:
        self._ids += 1
        self.say(id=self._ids, method=method, params=params)
        return self._ids

    def answer(self, id: object) -> dict[str, object]:
        heard = self.hear()
        assert heard["id"] == id, heard
        return heard

    def call(self, tool: str, **arguments: object) -> str:
        return said(self.ask("tools/call", name=tool, arguments=arguments))


def said(result: object) -> str:
    """The text of a tool's result."""
    assert isinstance(result, dict)
    (content,) = result["content"]
    return str(content["text"])


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    argv = list(plain().command)
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        yield Wire(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(WAIT) == 0


CLIENT: dict[str, object] = {"name": "test", "version": "1"}


def greet(wire: Wire, version: str = "2025-11-25", **capabilities: object) -> str:
    found = wire.ask("initialize", protocolVersion=version, capabilities=capabilities, clientInfo=CLIENT)
    wire.say(method="notifications/initialized")
    assert isinstance(found, dict)
    return str(found["protocolVersion"])


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1999-12-31", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ],
)
def test_plain_agrees_to_a_version_that_it_speaks_or_names_its_newest(
    wire: Wire, asked: str, agreed: str
) -> None:
    assert greet(wire, asked) == agreed
    assert wire.ask("ping") == {}


def test_plain_does_not_know_what_belongs_to_another_era(wire: Wire) -> None:
    refused = wire.answer(wire.begin("server/discover"))
    assert refused["error"] == {"code": -32601, "message": "There is no method server/discover."}


def test_plain_answers_with_the_id_and_the_words_it_got(wire: Wire) -> None:
    greet(wire)
    for id in ("1", 1, 12345678901234567890, "é"):
        wire.say(
            id=id, method="tools/call", params={"name": "echo", "arguments": {"text": "Wehr, 水 \u2028"}}
        )
        assert said(wire.answer(id)["result"]) == "Wehr, 水 \u2028"


def test_plain_tells_progress_with_the_callers_token(wire: Wire) -> None:
    greet(wire)
    slow = {"name": "slow", "arguments": {"steps": 2, "pause": 0}, "_meta": {"progressToken": "t"}}
    wire.say(id=9, method="tools/call", params=slow)
    for step in (1, 2):
        progress = {"progressToken": "t", "progress": step, "total": 2, "message": f"step {step}"}
        heard = wire.hear()
        assert (heard["method"], heard["params"]) == ("notifications/progress", progress)
    assert said(wire.answer(9)["result"]) == "Took 2 steps."


def test_plain_stops_a_call_that_is_cancelled_and_never_answers_it(wire: Wire) -> None:
    greet(wire)
    slow = {"name": "slow", "arguments": {"pause": 3600, "key": "k1"}}
    wire.say(id=9, method="tools/call", params=slow)
    assert wire.call("running") == "1"
    assert wire.call("cancelled", key="k1") == "no"
    wire.say(method="notifications/cancelled", params={"requestId": 9})
    assert wire.call("running") == "0"
    assert wire.call("cancelled", key="k1") == "yes"


def test_plain_asks_the_user_and_the_model_of_a_client_that_can(wire: Wire) -> None:
    greet(wire, elicitation={}, sampling={}, roots={})
    for tool, method, result, words in (
        ("elicit", "elicitation/create", {"action": "accept", "content": {"colour": "blue"}}, "accept: blue"),
        ("elicit", "elicitation/create", {"action": "decline"}, "decline: nothing"),
        ("sample", "sampling/createMessage", {"content": {"type": "text", "text": "Paris"}}, "Paris"),
        ("roots", "roots/list", {"roots": [{"uri": "file:///srv"}]}, "The roots are: file:///srv"),
    ):
        id = wire.begin("tools/call", name=tool, arguments={})
        question = wire.hear()
        assert question["method"] == method
        assert wire.ask("ping") == {}  # it does not wait for us
        wire.say(id=question["id"], result=result)
        assert words in said(wire.answer(id)["result"])


def test_plain_does_not_ask_a_client_that_cannot_answer(wire: Wire) -> None:
    greet(wire)
    assert wire.call("elicit") == "The client does not offer elicitation."
    assert wire.call("sample") == "The client does not offer sampling."


def test_plain_logs_from_the_level_on_that_was_set(wire: Wire) -> None:
    greet(wire)
    assert wire.ask("logging/setLevel", level="warning") == {}
    assert wire.call("log", text="quiet", level="info") == "Logged."
    id = wire.begin("tools/call", name="log", arguments={"text": "loud", "level": "error"})
    assert wire.hear()["params"] == {"level": "error", "logger": "plain", "data": "loud"}
    assert said(wire.answer(id)["result"]) == "Logged."


@pytest.mark.parametrize("what", ["tools", "prompts", "resources"])
def test_plain_says_that_a_list_has_changed(wire: Wire, what: str) -> None:
    greet(wire)
    id = wire.begin("tools/call", name="change", arguments={"what": what})
    assert wire.hear()["method"] == f"notifications/{what}/list_changed"
    assert said(wire.answer(id)["result"]) == "Said so."


def test_plain_says_that_a_resource_has_changed_while_somebody_subscribes(wire: Wire) -> None:
    greet(wire)
    assert wire.call("change", what="watched") == "Said so."
    assert wire.ask("resources/subscribe", uri="plain://watched") == {}
    id = wire.begin("tools/call", name="change", arguments={"what": "watched"})
    assert wire.hear()["params"] == {"uri": "plain://watched"}
    wire.answer(id)
    assert wire.ask("resources/unsubscribe", uri="plain://watched") == {}
    assert wire.call("change", what="watched") == "Said so."


def test_plain_has_prompts_completions_resources_and_a_template(wire: Wire) -> None:
    greet(wire)
    prompt = wire.ask("prompts/get", name="greeting", arguments={"whom": "Ada"})
    assert prompt == {"messages": [{"role": "user", "content": {"type": "text", "text": "Greet Ada."}}]}
    reference, argument = {"type": "ref/prompt", "name": "greeting"}, {"name": "whom", "value": "A"}
    completed = wire.ask("completion/complete", ref=reference, argument=argument)
    assert completed == {"completion": {"values": ["Ada", "Alan"], "total": 2, "hasMore": False}}
    listed = wire.ask("resources/list")
    assert isinstance(listed, dict)
    assert [each["uri"] for each in listed["resources"]] == ["plain://note", "plain://watched"]
    square = {"uri": "plain://square/12", "mimeType": "text/plain", "text": "144"}
    assert wire.ask("resources/read", uri="plain://square/12") == {"contents": [square]}
    refused = wire.answer(wire.begin("resources/read", uri="plain://nothing"))
    error = {"code": -32002, "message": "Resource not found", "data": {"uri": "plain://nothing"}}
    assert refused["error"] == error
