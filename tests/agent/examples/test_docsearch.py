"""The bundled example server, driven by the Python SDK over stdio as any MCP host would."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, ClientSession, MCPError, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent, TextResourceContents

DOCUMENTS = Path(__file__).parents[3] / "docs" / "demo" / "documents"
MODULE = "penstock_agent.examples.docsearch"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "documents"
    shutil.copytree(DOCUMENTS, copy)
    (tmp_path / "secret.md").write_text("# outside the folder\n")
    return copy


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[ClientSession]:
    server = StdioServerParameters(command=sys.executable, args=["-m", MODULE, str(folder)])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        async with asyncio.timeout(30):
            await session.initialize()
            yield session


async def call(session: ClientSession, name: str, **arguments: object) -> CallToolResult:
    result = await session.call_tool(name, arguments)
    assert isinstance(result, CallToolResult)
    return result


def words_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def raw(folder: Path, *messages: object) -> list[dict[str, object]]:
    """Give the server these lines (str: as it is, else: as JSON) and return all that it answered."""
    lines = [m if isinstance(m, str) else json.dumps(m) for m in messages]
    done = subprocess.run(
        [sys.executable, "-m", MODULE, str(folder)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_the_best_hit_is_about_what_was_asked_and_shows_where(folder: Path) -> None:
    async with connected(folder) as session:
        result = await call(session, "search", query="pressure wave in a pipe")
    assert result.structured_content is not None
    assert json.loads(words_of(result)) == result.structured_content
    best = result.structured_content["results"][0]
    assert best["id"] == "water-hammer.md"
    assert best["title"] == "Water hammer"
    assert "pressure" in best["snippet"].lower()
    scores = [hit["score"] for hit in result.structured_content["results"]]
    assert scores == sorted(scores, reverse=True)


async def test_a_search_reports_progress_for_every_document_to_who_asked_for_it(folder: Path) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with connected(folder) as session:
        await session.call_tool("search", {"query": "turbine"}, progress_callback=note)
        await session.send_ping()
    documents = len(list(DOCUMENTS.rglob("*.md")))
    assert [progress for progress, _, _ in seen] == list(range(1, documents + 1))
    assert {total for _, total, _ in seen} == {float(documents)}
    assert seen[0][2] is not None
    assert seen[0][2].startswith("read ")


def test_nobody_is_told_about_progress_who_did_not_ask(folder: Path) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    call["params"] = {"name": "search", "arguments": {"query": "turbine"}}
    assert [answer.get("id") for answer in raw(folder, INITIALIZE, call)] == [0, 1]


async def test_a_found_document_can_be_read_whole_as_a_tool_and_as_a_resource(folder: Path) -> None:
    text = (DOCUMENTS / "turbines" / "choosing.md").read_text()
    async with connected(folder) as session:
        fetched = await call(session, "fetch", id="turbines/choosing.md")
        listed = await session.list_resources()
        uri = next(r.uri for r in listed.resources if r.name == "turbines/choosing.md")
        read = await session.read_resource(uri)
    assert fetched.structured_content is not None
    assert fetched.structured_content["text"] == text
    (content,) = read.contents
    assert isinstance(content, TextResourceContents)
    assert content.text == text
    assert content.mime_type == "text/markdown"


async def test_the_outline_names_every_document_and_its_headings(folder: Path) -> None:
    async with connected(folder) as session:
        result = await call(session, "outline")
    assert result.structured_content is not None
    outline = {d["id"]: d for d in result.structured_content["documents"]}
    assert set(outline) == {str(path.relative_to(DOCUMENTS)) for path in DOCUMENTS.rglob("*.md")}
    assert outline["water-hammer.md"]["headings"] == ["How much pressure", "What helps"]


async def test_tools_say_whether_they_only_read_and_the_destructive_one_really_deletes(folder: Path) -> None:
    async with connected(folder) as session:
        tools = {tool.name: tool.annotations for tool in (await session.list_tools()).tools}
        assert {name for name, notes in tools.items() if notes and notes.read_only_hint} == {
            "search",
            "fetch",
            "outline",
        }
        deleting = tools["delete_document"]
        assert deleting is not None
        assert deleting.destructive_hint is True
        await call(session, "delete_document", id="surge-tank.md")
        again = await call(session, "fetch", id="surge-tank.md")
    assert not (folder / "surge-tank.md").exists()
    assert again.is_error


@pytest.mark.parametrize(
    "name",
    [
        "../secret.md",
        "turbines/../../secret.md",
        "/etc/hostname",
        "link.md",
        "hidden/.x.md",
        "a\0b.md",
        "turbines",
    ],
)
@pytest.mark.parametrize("tool", ["fetch", "delete_document"])
async def test_nothing_outside_the_folder_is_read_or_deleted(folder: Path, tool: str, name: str) -> None:
    (folder / "link.md").symlink_to(folder.parent / "secret.md")
    (folder / "hidden").mkdir()
    (folder / "hidden" / ".x.md").write_text("# hidden\n")
    async with connected(folder) as session:
        result = await call(session, tool, id=name)
        with pytest.raises(MCPError) as refused:
            await session.read_resource("docs:///" + name.replace("\0", "%00"))
    assert result.is_error
    assert "outline" in words_of(result)
    assert refused.value.error.code == -32002
    assert (folder.parent / "secret.md").exists()


@pytest.mark.parametrize(
    "arguments",
    [{}, {"query": "  "}, {"query": 7}, {"query": "x", "limit": 0}, {"query": "x", "limit": True}],
)
async def test_wrong_arguments_come_back_as_words_for_the_model(
    folder: Path, arguments: dict[str, object]
) -> None:
    async with connected(folder) as session:
        result = await call(session, "search", **arguments)
    assert result.is_error
    assert words_of(result).endswith(".")


async def test_a_client_of_the_newest_revision_falls_back_to_the_handshake(folder: Path) -> None:
    server = StdioServerParameters(command=sys.executable, args=["-m", MODULE, str(folder)])
    async with asyncio.timeout(30), Client(server) as client:
        assert client.protocol_version == "2025-11-25"
        assert {tool.name for tool in (await client.list_tools()).tools} >= {"search", "fetch"}


def test_each_revision_of_the_handshake_is_answered_with_itself_and_others_with_the_newest(
    folder: Path,
) -> None:
    def version(asked: str) -> object:
        message = {**INITIALIZE, "params": {"protocolVersion": asked, "capabilities": {}}}
        (answer,) = raw(folder, message)
        result = answer["result"]
        assert isinstance(result, dict)
        return result["protocolVersion"]

    assert version("2025-06-18") == "2025-06-18"
    assert version("2025-11-25") == "2025-11-25"
    assert version("1999-01-01") == "2025-11-25"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", -32700),
        ("[" * 100_000, -32700),
        ("[]", -32600),
        ('{"id":1,"method":"ping"}', -32600),
        ('{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"no/such"}', -32601),
        ('{"jsonrpc":"2.0","id":1,"method":7}', -32601),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"none"}}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{}}', -32602),
        ('{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}', -32002),
    ],
)
def test_a_wrong_message_gets_its_error_and_the_next_one_is_answered(
    folder: Path, line: str, code: int
) -> None:
    ping = {"jsonrpc": "2.0", "id": "after", "method": "ping"}
    _, wrong, after = raw(folder, INITIALIZE, line, ping)
    error = wrong["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
    assert after == {"jsonrpc": "2.0", "id": "after", "result": {}}


def test_ids_keep_their_type_and_size(folder: Path) -> None:
    ids = [1, "1", 1234567890123456789012345678901234567890]
    answers = raw(folder, INITIALIZE, *({"jsonrpc": "2.0", "id": id, "method": "ping"} for id in ids))
    assert [answer["id"] for answer in answers[1:]] == ids


def test_notifications_and_answers_are_not_answered(folder: Path) -> None:
    silent = [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "no/such"},
        {"jsonrpc": "2.0", "id": 9, "result": {}},
    ]
    assert [answer["id"] for answer in raw(folder, INITIALIZE, *silent)] == [0]


def test_the_handshake_comes_first(folder: Path) -> None:
    early, ping = raw(
        folder,
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
    )
    assert "error" in early
    assert ping["result"] == {}


def test_without_a_folder_it_says_how_it_is_used(tmp_path: Path) -> None:
    command = [sys.executable, "-m", MODULE, str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
