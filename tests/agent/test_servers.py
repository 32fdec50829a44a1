"""One place that starts servers, whatever they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from penstock_agent.children.child import Child, ChildSpec, ChildStartError, ProcessSpec
from penstock_agent.children.pool import Children
from penstock_agent.remote.headers import Header
from penstock_agent.remote.remotes import Remotes
from penstock_agent.remote.spec import RemoteSpec
from penstock_agent.remote.streamable import Streamable
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import Servers, spec
from tests.agent.remote.kit import Scripted


def test_a_command_becomes_a_process_with_folders_of_its_own(tmp_path: Path) -> None:
    found = spec(tmp_path, "files", ServerSettings(command=("prog", "x"), env={"A": "b"}), {"PATH": "/bin"})
    assert isinstance(found, ProcessSpec)
    assert found.command == ("prog", "x")
    assert found.env["A"] == "b"
    assert found.folder.is_dir()


@pytest.mark.parametrize(
    ("url", "transport", "expected"),
    [
        ("http://crm/mcp", None, "http"),
        ("http://crm/sse", None, "sse"),
        ("http://crm/mcp", "sse", "sse"),
        ("http://crm/sse", "http", "http"),
    ],
)
def test_a_url_becomes_a_conversation_of_the_transport_that_is_meant(
    url: str, transport: str | None, expected: str, tmp_path: Path
) -> None:
    settings = ServerSettings.model_validate({"url": url, "transport": transport, "headers": {"X-A": "b"}})
    found = spec(tmp_path, "crm", settings, {})
    assert found == RemoteSpec("crm", url, expected, (Header("X-A", "b"),))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


async def test_both_kinds_are_started_counted_and_ended(tmp_path: Path) -> None:
    async with Scripted() as server, Children(2) as children, Remotes() as remotes:
        servers = Servers(children, remotes)
        settings = ServerSettings(command=(sys.executable, "-c", "import sys; sys.stdin.read()"))
        process = await servers.start(spec(tmp_path, "files", settings, {"PATH": "/usr/bin:/bin"}))
        conversation = await servers.start(RemoteSpec("crm", server.url()))
        assert isinstance(process, Child)
        assert isinstance(conversation, Streamable)
        assert servers.running() == {"files": 1, "crm": 1}
        await process.stop()
        await conversation.stop()
        assert not any(servers.running().values())


async def test_the_past_of_either_kind_counts_until_it_is_forgotten() -> None:
    async with Scripted() as server, Children() as children, Remotes(chance=lambda: 1.0) as remotes:
        servers = Servers(children, remotes)
        channel = await remotes.start(RemoteSpec("crm", server.url()))
        channel.over = True
        await channel.stop()
        servers.worked("crm")
        assert servers.restart_delay("crm") == 0.5
        servers.forget("crm")
        assert servers.restart_delay("crm") == 0.0


async def test_what_nobody_can_start_is_said_to_be_so() -> None:
    async with Children() as children, Remotes() as remotes:
        with pytest.raises(ChildStartError, match="nothing here starts a ChildSpec"):
            await Servers(children, remotes).start(ChildSpec("x"))
