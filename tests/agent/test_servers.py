"""One place that starts servers, whatever they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from penstock.names import WHOLE_SITE
from penstock_agent.children.child import Child, ChildSpec, ChildStartError, ProcessSpec
from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.children.confinement.plan import CannotConfine, Level
from penstock_agent.children.pool import Children
from penstock_agent.children.units.spec import UnitSpec
from penstock_agent.endpoint.ports import Stopping
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.redaction.settings import RedactSettings
from penstock_agent.remote.headers import Header
from penstock_agent.remote.remotes import Remotes
from penstock_agent.remote.spec import RemoteSpec
from penstock_agent.remote.streamable import Streamable
from penstock_agent.server_settings import LimitSettings, ServerSettings
from penstock_agent.servers import Servers, members, redactors, spec, whole_site
from penstock_agent.site.names import Target
from penstock_agent.site.settings import SiteSettings
from tests.agent.remote.kit import Scripted
from tests.harness.unit_host import UnitHost


def test_rules_are_there_for_servers_that_have_some_and_for_the_site() -> None:
    rule = RedactSettings(find=("card",))
    servers = {
        "a": ServerSettings(command=("x",), expose=("*",), redact=(rule,)),
        "b": ServerSettings(command=("x",), expose=("*",)),
    }
    site = whole_site(SiteSettings(), servers, {name: ChildSpec(name) for name in servers})
    assert set(redactors(servers, site)) == {"a", WHOLE_SITE}
    assert set(redactors(servers, None)) == {"a"}
    without = {name: server.model_copy(update={"redact": ()}) for name, server in servers.items()}
    assert redactors(without, site) == {}


def test_a_command_becomes_a_process_with_folders_of_its_own(tmp_path: Path) -> None:
    found = spec(tmp_path, "files", ServerSettings(command=("prog", "x"), env={"A": "b"}), {"PATH": "/bin"})
    assert isinstance(found, ProcessSpec)
    assert found.command == ("prog", "x")
    assert found.env["A"] == "b"
    assert found.folder.is_dir()


def test_a_process_is_confined_as_its_table_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Kernel(landlock=7, seccomp=True, machine="x86_64")
    monkeypatch.setattr(kernel, "look", lambda: full)
    settings = ServerSettings(command=("prog",), read=(Path("/srv"),), limits=LimitSettings(files=99))
    found = spec(tmp_path, "files", settings, {}, [Path("/etc/agent.toml")])
    assert isinstance(found, ProcessSpec)
    assert (found.confinement.level, found.confinement.network) == (Level.LANDLOCK, False)
    assert found.confinement.read == (Path("/srv"),)
    assert found.confinement.hidden == (tmp_path, Path("/etc/agent.toml"))
    assert found.confinement.limits.files == 99
    assert found.env["UV_OFFLINE"] == "1"
    open_one = spec(tmp_path, "files", ServerSettings(command=("prog",), network="host"), {})
    assert isinstance(open_one, ProcessSpec)
    assert open_one.confinement.network
    assert "UV_OFFLINE" not in open_one.env


def test_what_cannot_be_had_names_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "look", lambda: Kernel(machine="x86_64", seccomp=True))
    with pytest.raises(CannotConfine, match=r'servers.files: isolation = "landlock" cannot be had'):
        spec(tmp_path, "files", ServerSettings(command=("prog",), isolation="landlock"), {})


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
        assert servers.warm() == {"files": 0}
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


def settings(*expose: str, trust: str = "relay") -> ServerSettings:
    return ServerSettings.model_validate({"command": ["x"], "expose": expose, "trust": trust})


def test_the_whole_site_is_what_two_servers_expose_in_the_files_order() -> None:
    servers = {
        "b": settings("*"),
        "own": settings("*", trust="caller"),
        "shut": settings(),
        "a": settings("read", "prompt:*"),
    }
    specs = {name: ChildSpec(name) for name in servers}
    found = whole_site(SiteSettings(name="Plant", status=True, alias={"x": "a.read"}), servers, specs)
    assert members(servers) == ["b", "a"]
    assert found is not None
    assert [(one.name, one.expose) for one in found.members] == [
        ("b", Expose.parse(["*"])),
        ("a", Expose.parse(["read", "prompt:*"])),
    ]
    assert (found.name, found.title, found.status) == (WHOLE_SITE, "Plant", True)
    assert found.names.alias == {"x": Target("a", "read")}


def test_one_server_is_no_site() -> None:
    servers = {"a": settings("*"), "own": settings("*", trust="caller"), "shut": settings()}
    assert members(servers) == []
    assert whole_site(SiteSettings(), servers, {}) is None


async def test_the_whole_site_is_to_be_had_within_the_context_only() -> None:
    servers = {"a": settings("*"), "b": settings("*")}
    site = whole_site(SiteSettings(), servers, {name: ChildSpec(name) for name in servers})
    assert site is not None
    async with Children() as children, Remotes() as remotes:
        async with Servers(children, remotes) as running:
            child = await running.start(site)
            # Whoever forgets to stop it must not keep the agent from ending.
            await child.send(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}')
        late = await running.start(site)
        with pytest.raises(Stopping):
            await late.send(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}')


def test_a_server_in_a_unit_is_a_socket_and_the_settings_that_it_was_made_of(tmp_path: Path) -> None:
    server = ServerSettings(command=("prog",), isolation="unit")
    found = spec(tmp_path, "files", server, {})
    assert isinstance(found, UnitSpec)
    assert found.socket == Path("/run/penstock/files.sock")
    assert found.confinement.words(Kernel()) == ("unit", "none (network namespace)")
    # Nothing is made for it: it runs elsewhere.
    assert list(tmp_path.iterdir()) == []
    other = spec(tmp_path, "files", ServerSettings(command=("prog",), isolation="unit", network="host"), {})
    assert isinstance(other, UnitSpec)
    assert other.settings != found.settings
    assert spec(tmp_path, "files", server.model_copy(update={"expose": ("*",)}), {}) == found


async def test_one_in_a_unit_is_connected_to_and_answers(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ["cat"]) as host:
        async with Children() as children, Remotes() as remotes, Servers(children, remotes) as servers:
            child = await servers.start(host.spec("files"))
            assert servers.running() == {"files": 1}
            await child.send(b"{}")
            assert await child.receive() == b"{}"
            await child.stop()
