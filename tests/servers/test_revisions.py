"""The server of every era without Penstock, with the Python SDK as judge of what it says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from mcp.shared.subscriptions import ResourceUpdated, ToolsListChanged

from tests.servers.programs import ROOT, revisions
from tests.servers.test_programs import connected, words

pytestmark = pytest.mark.e2e

WATCHED = "plain://watched"


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves notes where it runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize(
    ("eras", "mode", "version"),
    [
        ("handshake", "legacy", "2025-11-25"),
        ("handshake", "auto", "2025-11-25"),
        ("dual", "legacy", "2025-11-25"),
        ("dual", "auto", "2026-07-28"),
        ("modern", "auto", "2026-07-28"),
    ],
)
async def test_the_sdk_understands_all_that_it_says(eras: str, mode: str, version: str) -> None:
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connected(revisions(eras), mode) as (client, _):
        assert client.protocol_version == version
        assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        assert words(await client.call_tool("echo", {"text": "水"})) == "水"
        done = await client.call_tool("slow", {"steps": 3, "pause": 0}, progress_callback=note)
        assert (words(done), steps) == ("Took 3 steps.", [1, 2, 3])
        assert words(await client.call_tool("elicit", {})) == "The user said accept: nothing"
        assert words(await client.call_tool("sample", {})) == "The model said: Paris"
        assert words(await client.call_tool("roots", {})) == "The roots are: file:///srv/share"
        (greeting,) = (await client.get_prompt("greeting", {"whom": "Ada"})).messages
        assert "Greet Ada." in str(greeting.content)
        assert len((await client.list_resources()).resources) == 2
        assert "144" in str((await client.read_resource("plain://square/12")).contents)


@pytest.mark.parametrize("eras", ["modern", "dual"])
async def test_who_listens_hears_of_changes(eras: str) -> None:
    async with connected(revisions(eras), "auto") as (client, _):
        wanted = client.listen(tools_list_changed=True, resource_subscriptions=[WATCHED])
        async with wanted as events:
            told = aiter(events)
            await client.call_tool("change", {"what": "prompts"})
            await client.call_tool("change", {"what": "tools"})
            assert await anext(told) == ToolsListChanged()
            await client.call_tool("change", {"what": "watched"})
            assert await anext(told) == ResourceUpdated(uri=WATCHED)


def test_one_of_2026_07_28_only_names_its_versions_to_who_begins_in_the_old_way() -> None:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    asked = json.dumps({"jsonrpc": "2.0", "id": "1", "method": "initialize", "params": hello}) + "\n"
    done = subprocess.run(
        revisions("modern").command, input=asked, capture_output=True, text=True, timeout=30, check=True
    )
    answer = json.loads(done.stdout)
    assert (answer["id"], answer["error"]["code"]) == ("1", -32022)
    assert answer["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}
