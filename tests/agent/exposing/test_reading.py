import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from penstock_agent.catalogue.offer import Catalogue, CatalogueError, Effect, Offer
from penstock_agent.exposing import reading
from penstock_agent.gate.expose import Item as Kind
from penstock_agent.server_settings import ServerSettings
from tests.agent.remote.kit import WELCOME, Json, Scripted


def server(code: str) -> ServerSettings:
    return ServerSettings(command=(sys.executable, "-c", code))


REAL = """
import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if m.get("method") == "initialize":
        r = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}}
    elif m.get("method") == "tools/list":
        r = {"tools": [{"name": "one", "description": "First.", "annotations": {"readOnlyHint": True}}]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
"""


def bare(catalogue: Catalogue) -> list[Offer]:
    """Its tools without their definitions."""
    return [msgspec.structs.replace(one, definition=b"") for one in catalogue.of(Kind.TOOL)]


async def test_a_real_child_is_asked_and_ended(tmp_path: Path) -> None:
    found = await reading.read("files", server(REAL), tmp_path)
    assert found.server == "files"
    assert bare(found) == [Offer(Kind.TOOL, "one", "First.", Effect.READ)]


async def test_a_child_that_ends_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="The server files ended with status 3 before it said"):
        await reading.read("files", server("raise SystemExit(3)"), tmp_path)


async def test_a_child_that_would_have_to_download_and_cannot_is_said_in_words(tmp_path: Path) -> None:
    npx = tmp_path / "npx"
    npx.write_text("#!/bin/sh\nexit 1\n")
    npx.chmod(0o755)
    with pytest.raises(CatalogueError, match=r'npx downloads what it runs.*network = "host"'):
        await reading.read("files", ServerSettings(command=(str(npx), "-y", "x")), tmp_path / "state")


async def test_a_program_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no-such-program"):
        await reading.read("files", ServerSettings(command=("no-such-program",)), tmp_path)


async def test_a_child_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TIMEOUT_S", 0.3)
    with pytest.raises(CatalogueError, match=r"did not say what it offers within 0.3 s"):
        await reading.read("files", server("import sys; sys.stdin.read()"), tmp_path)


async def test_a_server_of_the_network_is_asked_over_http(tmp_path: Path) -> None:
    tools: Json = {"tools": [{"name": "find", "description": "", "annotations": {"readOnlyHint": True}}]}
    async with Scripted() as site:
        reading_it = asyncio.gather(reading.read("crm", ServerSettings(url=site.url()), tmp_path))
        (await site.heard("POST", "initialize")).json({**WELCOME, "id": 1}, Mcp_Session_Id="s")
        (await site.heard("POST", "notifications/initialized")).status(202)
        asked = [await site.heard("GET"), await site.heard("POST", "tools/list")]
        asked[0].status(405)
        asked[1].json({"jsonrpc": "2.0", "id": 2, "result": tools})
        [found] = await reading_it
        assert bare(found) == [Offer(Kind.TOOL, "find", "", Effect.READ)]


async def test_a_server_of_the_network_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    async with Scripted() as site:
        url = site.url()
    with pytest.raises(CatalogueError, match=r"Connection refused\. Check that it runs there"):
        await reading.read("crm", ServerSettings(url=url), tmp_path)
