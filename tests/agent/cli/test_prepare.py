"""`servers prepare`: npm and pip as they are, and registries of our own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.adding import tables
from penstock_agent.config import Options
from penstock_agent.problem import Exit
from penstock_agent.server_settings import ServerSettings
from tests.harness.agent_site import Site
from tests.harness.registries import Registry, registry


@pytest.fixture
def packages(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    home = site.folder / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    with registry() as found:
        for name, value in found.environ.items():
            monkeypatch.setenv(name, value)
        yield found


def server(site: Site) -> ServerSettings:
    return config.load(Options(config=site.config, state_dir=site.state), {}).server("srv")


def configure(site: Site, more: str = "") -> None:
    site.configure(
        f'# mine\n[servers.srv]\ncommand = ["npx", "-y", "@a/srv", "--root"]  # as it came\n{more}'
    )


def prepared(site: Site) -> list[str]:
    return sorted(path.name for path in (site.state / "prepared/srv").iterdir())


def test_it_starts_without_a_network_from_a_fixed_version_then(site: Site, packages: Registry) -> None:
    packages.npm("@a/srv", "1.0.0")
    configure(site)
    assert "servers prepare srv" in site.run("servers", "test", "srv").stdout
    done = site.run("servers", "prepare", "srv")
    assert done.status == Exit.DONE, done
    assert "@a/srv 1.0.0, with 0 packages that it needs" in done.stdout
    assert "integrity sha512-" in done.stdout
    assert "srv works." in done.stdout
    program, *arguments = server(site).command
    assert arguments == ["--root"]
    assert program.startswith(f"{site.state}/prepared/srv/")
    text = site.config.read_text()
    assert text.startswith("# mine\n")
    assert "# @a/srv 1.0.0, prepared; was: npx -y @a/srv --root" in text
    packages.asked.clear()
    tested = site.run("servers", "test", "srv")
    assert tested.status == Exit.DONE
    assert "network none" in tested.stdout
    assert packages.asked == []
    assert "prepared: @a/srv 1.0.0" in site.run("servers", "list").stdout
    again = site.run("servers", "prepare", "srv", "--json").json
    assert (again["changed"], again["version"]) == (False, "1.0.0")


def test_the_server_cannot_change_its_own_program(site: Site, packages: Registry) -> None:
    from penstock_agent.children.confinement import kernel

    if not kernel.look().landlock:
        pytest.skip("the kernel has no Landlock")
    program = 'require("fs").appendFileSync(__filename, "//")\n'
    packages.npm("@a/srv", "1.0.0", {"server.js": f"#!/usr/bin/env node\n{program}"})
    configure(site)
    done = site.run("servers", "prepare", "srv")
    assert done.status == Exit.FAILED
    assert "EACCES" in done.stdout


def test_an_upgrade_shows_both_versions_and_keeps_the_one_before(site: Site, packages: Registry) -> None:
    packages.npm("@a/srv", "1.0.0")
    configure(site)
    site.run("servers", "prepare", "srv")
    before = server(site).command
    same = site.run("servers", "prepare", "srv", "--upgrade")
    assert "1.0.0 is the newest that the command allows" in same.stdout
    assert server(site).command == before
    packages.npm("@a/srv", "1.2.0")
    done = site.run("servers", "prepare", "srv", "--upgrade")
    assert "@a/srv 1.0.0 -> 1.2.0" in done.stdout
    assert server(site).command != before
    assert len(prepared(site)) == 2
    packages.npm("@a/srv", "1.3.0")
    assert site.run("servers", "prepare", "srv", "--upgrade", "--json").json["before"] == "1.2.0"
    assert len(prepared(site)) == 2


def test_one_that_does_not_start_from_there_changes_nothing(site: Site, packages: Registry) -> None:
    packages.npm("@a/srv", "1.0.0", {"server.js": "#!/usr/bin/env node\nprocess.exit(3)\n"})
    configure(site)
    before = site.config.read_text()
    done = site.run("servers", "prepare", "srv")
    assert done.status == Exit.FAILED
    assert done.stdout.endswith("Nothing was changed.\n")
    assert site.config.read_text() == before
    assert not (site.state / "prepared/srv").exists()
    assert site.run("servers", "prepare", "srv", "--no-test").status == Exit.DONE


def test_the_network_that_import_opened_is_closed_if_it_can_be(site: Site, packages: Registry) -> None:
    packages.npm("@a/srv", "1.0.0")
    configure(site, f'network = "host"  # {tables.MARK}\n')
    assert site.run("servers", "prepare", "srv").status == Exit.DONE
    assert server(site).network == "none"
    text = 'require("dgram").createSocket("udp4").bind(0).on("error", () => process.exit(1))\n'
    from tests.harness.registries import NODE_SERVER

    packages.npm("@a/srv", "1.1.0", {"server.js": NODE_SERVER + text})
    configure(site, f'network = "host"  # {tables.MARK}\n')
    assert site.run("servers", "prepare", "srv").status == Exit.DONE
    assert server(site).network == "host"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('command = ["node", "x.js"]', "fetches nothing when it starts"),
        ('url = "http://x/mcp"', "has a url"),
        ('command = ["npx", "-y", "github:a/b"]', "cannot be prepared: 'github:a/b' is not a package"),
    ],
)
def test_what_cannot_be_prepared_is_said(site: Site, table: str, why: str) -> None:
    site.configure(f"[servers.srv]\n{table}\n")
    done = site.run("servers", "prepare", "srv")
    assert done.status == Exit.USAGE
    assert why in done.stderr


def test_a_package_that_is_not_there_changes_nothing(site: Site, packages: Registry) -> None:
    configure(site)
    done = site.run("servers", "prepare", "srv")
    assert done.status == Exit.FAILED
    assert "no such package" in done.stderr
    assert packages.asked
    assert server(site).command[0] == "npx"


@pytest.mark.long
@pytest.mark.parametrize(
    "line", ['"npx", "-y", "@modelcontextprotocol/server-everything"', '"uvx", "mcp-server-time"']
)
def test_servers_of_the_real_registries_start_without_a_network_then(site: Site, line: str) -> None:
    site.configure(f"[servers.srv]\ncommand = [{line}]\n")
    assert site.run("servers", "prepare", "srv").status == Exit.DONE
    done = site.run("servers", "test", "srv")
    assert done.status == Exit.DONE
    assert "network none" in done.stdout
