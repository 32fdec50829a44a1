import json
from collections import deque
from collections.abc import Callable

import msgspec
import pytest

from penstock_agent.catalogue import conversation
from penstock_agent.catalogue.conversation import MAX_ITEMS, Conversation
from penstock_agent.catalogue.offer import Catalogue, CatalogueError, Effect, Offer
from penstock_agent.children.lines import Oversize
from penstock_agent.gate.expose import Item as Kind

Answer = dict[str, object]


class FakeChild:
    """Answers requests by a function of method and params; ``before`` lines come before each answer."""

    def __init__(
        self, answers: Callable[[str, Answer], Answer], before: tuple[bytes | Oversize, ...] = ()
    ) -> None:
        self.sent: list[Answer] = []
        self._answers = answers
        self._before = before
        self._lines: deque[bytes | Oversize] = deque()

    async def send(self, line: bytes) -> None:
        message = json.loads(line)
        self.sent.append(message)
        if "method" in message and "id" in message:
            self._lines.extend(self._before)
            answer = {
                "jsonrpc": "2.0",
                "id": message["id"],
                **self._answers(message["method"], message["params"]),
            }
            self._lines.append(json.dumps(answer).encode())

    async def receive(self) -> bytes | Oversize:
        return self._lines.popleft()


def offers(**lists: list[Answer]) -> Callable[[str, Answer], Answer]:
    def answer(method: str, _params: Answer) -> Answer:
        if method == "initialize":
            return {"result": {"protocolVersion": "2025-11-25", "capabilities": {k: {} for k in lists}}}
        kind = method.split("/")[0]
        if method == "resources/templates/list":
            return {"error": {"code": -32601, "message": "no"}}
        return {"result": {kind: lists[kind]}}

    return answer


async def lists(child: FakeChild) -> list[Offer]:
    found = await Conversation("x", child).lists()
    return [msgspec.structs.replace(one, definition=b"") for one in found]


async def test_only_what_the_server_has_is_asked_for() -> None:
    child = FakeChild(offers(tools=[{"name": "a"}]))
    assert await lists(child) == [Offer(Kind.TOOL, "a", "", Effect.UNMARKED)]
    assert [m["method"] for m in child.sent] == ["initialize", "notifications/initialized", "tools/list"]


@pytest.mark.parametrize(
    ("annotations", "effect"),
    [
        (None, Effect.UNMARKED),
        ({}, Effect.UNMARKED),
        ({"title": "T"}, Effect.UNMARKED),
        ({"readOnlyHint": True}, Effect.READ),
        ({"readOnlyHint": True, "destructiveHint": True}, Effect.READ),
        ({"readOnlyHint": False}, Effect.DESTRUCTIVE),  # the specification's default
        ({"destructiveHint": True}, Effect.DESTRUCTIVE),
        ({"destructiveHint": False}, Effect.WRITE),
        ({"readOnlyHint": False, "destructiveHint": False}, Effect.WRITE),
    ],
)
async def test_tools_are_grouped_by_what_they_say(annotations: Answer | None, effect: Effect) -> None:
    child = FakeChild(offers(tools=[{"name": "a", "annotations": annotations}]))
    assert (await lists(child))[0].effect is effect


@pytest.mark.parametrize(
    ("annotations", "contained"),
    [
        (None, False),
        ({"readOnlyHint": True}, False),  # the specification's default
        ({"readOnlyHint": True, "openWorldHint": True}, False),
        ({"openWorldHint": False}, False),
        ({"readOnlyHint": False, "openWorldHint": False}, False),
        ({"readOnlyHint": True, "openWorldHint": False}, True),
    ],
)
async def test_a_tool_is_contained_if_it_says_that_it_only_reads_and_stays_inside(
    annotations: Answer | None, contained: bool
) -> None:
    child = FakeChild(offers(tools=[{"name": "a", "annotations": annotations}]))
    assert Catalogue("s", await lists(child)).contained == ({"a"} if contained else frozenset())


async def test_prompts_resources_and_templates_are_listed() -> None:
    def answer(method: str, params: Answer) -> Answer:
        if method == "resources/templates/list":
            return {"result": {"resourceTemplates": [{"name": "t", "uriTemplate": "file:///{p}"}]}}
        return offers(prompts=[{"name": "p"}], resources=[{"name": "r", "uri": "file:///r"}])(method, params)

    found = [(o.kind, o.name) for o in await lists(FakeChild(answer))]
    assert found == [(Kind.PROMPT, "p"), (Kind.RESOURCE, "file:///r"), (Kind.RESOURCE, "file:///{p}")]


async def test_pages_are_followed_to_the_end() -> None:
    def answer(method: str, params: Answer) -> Answer:
        if method == "initialize":
            return {"result": {"capabilities": {"tools": {}}}}
        page = int(str(params.get("cursor", 0)))
        more = {"nextCursor": str(page + 1)} if page < 4 else {}
        return {"result": {"tools": [{"name": f"t{page}"}], **more}}

    assert [o.name for o in await lists(FakeChild(answer))] == ["t0", "t1", "t2", "t3", "t4"]


async def test_endless_pages_are_refused() -> None:
    def answer(method: str, _params: Answer) -> Answer:
        if method == "initialize":
            return {"result": {"capabilities": {"tools": {}}}}
        return {"result": {"tools": [], "nextCursor": "again"}}

    with pytest.raises(CatalogueError, match="more than 1000 pages"):
        await lists(FakeChild(answer))


async def test_too_many_items_are_refused() -> None:
    child = FakeChild(offers(tools=[{"name": f"t{n}"} for n in range(MAX_ITEMS + 1)]))
    with pytest.raises(CatalogueError, match="more than 10000 items"):
        await lists(child)


async def test_pages_without_end_are_refused_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_BYTES", 1000)

    def endless(method: str, params: Answer) -> Answer:
        if method == "tools/list":
            page = {"tools": [{"name": "a", "description": "x" * 100}], "nextCursor": "more"}
            return {"result": page}
        return offers(tools=[])(method, params)

    child = FakeChild(endless)
    with pytest.raises(CatalogueError, match="too much"):
        await lists(child)
    assert len(child.sent) < 20


async def test_noise_notifications_and_long_lines_are_passed_over() -> None:
    noise = (
        b"Server started!",
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}',
        b'{"jsonrpc":"2.0","id":"other","result":{}}',
        Oversize(10),
    )
    assert await lists(FakeChild(offers(tools=[{"name": "a"}]), before=noise))


async def test_pings_are_answered_and_other_requests_refused() -> None:
    requests = (
        b'{"jsonrpc":"2.0","id":"p","method":"ping"}',
        b'{"jsonrpc":"2.0","id":7,"method":"roots/list"}',
    )
    child = FakeChild(offers(), before=requests)
    await lists(child)
    answers = [m for m in child.sent if "method" not in m]
    assert answers[0] == {"jsonrpc": "2.0", "id": "p", "result": {}}
    assert answers[1]["error"]["code"] == -32601  # type: ignore[index]  # a JSON object
    assert answers[1]["id"] == 7


async def test_a_refused_handshake_is_said_in_words() -> None:
    child = FakeChild(lambda _m, _p: {"error": {"code": -32600, "message": "no"}})
    with pytest.raises(
        CatalogueError, match=r"x refused initialize and server/discover\. Does it speak MCP over stdio"
    ):
        await lists(child)


async def test_a_list_that_is_none_is_said_in_words() -> None:
    def answer(method: str, params: Answer) -> Answer:
        if method == "tools/list":
            return {"result": {"tools": "many"}}
        return offers(tools=[])(method, params)

    with pytest.raises(CatalogueError, match="a list that is not one of MCP"):
        await lists(FakeChild(answer))


async def test_a_server_without_a_handshake_is_asked_as_servers_are_since_2026_07_28() -> None:
    schema = {"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}

    def answer(method: str, params: Answer) -> Answer:
        if method == "initialize":
            return {"error": {"code": -32601, "message": "no"}}
        meta = params["_meta"]
        assert isinstance(meta, dict)
        assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
        assert "io.modelcontextprotocol/clientCapabilities" in meta
        if method == "server/discover":
            return {"result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}}
        if "cursor" not in params:
            return {"result": {"tools": [{"name": "a", "inputSchema": schema}], "nextCursor": "2"}}
        return {"result": {"tools": [{"name": "b"}]}}

    child = FakeChild(answer)
    a, b = await lists(child)
    assert ([one.header for one in a.mirrored], b.mirrored) == (["mcp-param-region"], ())
    assert [message["method"] for message in child.sent] == [
        "initialize",
        "server/discover",
        "tools/list",
        "tools/list",
    ]
