"""Packages, fetched by npm and pip from registries of our own; in ``long``, from the real ones."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock_agent.adding import fetch, install
from penstock_agent.adding.fetch import Prepared
from penstock_agent.adding.packages import wanted
from penstock_agent.children.environment import prepared_folder
from penstock_agent.problem import Problem
from tests.harness.registries import Registry

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
}


def put(state: Path, environ: Mapping[str, str] | None, command: str, *, scripts: bool = False) -> Prepared:
    meant = wanted(command.split())
    assert meant is not None
    return install.install(meant, command.split(), state, "srv", scripts=scripts, environ=environ)


def left(state: Path) -> list[str]:
    return sorted(path.name for path in prepared_folder(state, "srv").iterdir())


def says(made: Prepared, environ: Mapping[str, str]) -> dict[str, object]:
    """What the installed program answers to initialize."""
    done = subprocess.run(
        made.command,
        input=json.dumps(HELLO) + "\n",
        env={"PATH": environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    value = json.loads(done.stdout)["result"]["serverInfo"]
    assert isinstance(value, dict)
    return value


def test_a_package_of_npm_is_there_at_a_fixed_version(
    packages: Registry, environ: Mapping[str, str], tmp_path: Path
) -> None:
    packages.npm("left", "3.0.0", {"index.js": ""})
    packages.npm("@a/srv", "1.0.0", dependencies={"left": "^3"})
    packages.npm("@a/srv", "1.1.0", dependencies={"left": "^3"})
    made = put(tmp_path, environ, "npx -y @a/srv@1.0 --root /srv")
    assert (made.registry, made.name, made.version, made.packages) == ("npm", "@a/srv", "1.0.0", 2)
    assert made.integrity.startswith("sha512-")
    assert made.command[1:] == ["--root", "/srv"]
    assert made.command[0] == f"{made.folder}/node_modules/.bin/srv"
    assert says(made, environ) == {"name": "noded", "version": "1.0.0"}
    assert put(tmp_path, environ, "npx -y @a/srv").version == "1.1.0"
    assert stat.S_IMODE(prepared_folder(tmp_path, "srv").stat().st_mode) == 0o700


def test_what_was_made_is_recorded_and_found_by_its_command(
    packages: Registry, environ: Mapping[str, str], tmp_path: Path
) -> None:
    packages.npm("srv", "1.0.0")
    made = put(tmp_path, environ, "npx srv")
    assert install.record_of(tmp_path, "srv", made.command) == made
    assert made.was == ["npx", "srv"]
    assert sorted(path.name for path in Path(made.folder).iterdir()) == [
        "node_modules", "package-lock.json", "package.json", "prepared.json",
    ]  # fmt: skip
    assert install.record_of(tmp_path, "srv", ["npx", "srv"]) is None
    (Path(made.folder) / install.RECORD).write_text("{}")
    assert install.record_of(tmp_path, "srv", made.command) is None


def test_nothing_of_a_package_runs_unless_that_is_allowed(
    packages: Registry, environ: Mapping[str, str], tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    packages.npm("srv", "1.0.0", scripts={"postinstall": f"env > {mark}"})
    made = put(tmp_path, environ, "npx srv")
    assert made.scripts == ["srv"]
    assert not mark.exists()
    assert put(tmp_path, environ, "npx srv", scripts=True).scripts == []
    assert "canary" not in mark.read_text()


def test_the_program_is_the_one_that_npx_would_choose(
    packages: Registry, environ: Mapping[str, str], tmp_path: Path
) -> None:
    packages.npm("@a/one", "1.0.0", bin={"other": "server.js"})
    packages.npm("@a/many", "1.0.0", bin={"x": "server.js", "y": "server.js"})
    packages.npm("none", "1.0.0", bin={})
    assert put(tmp_path, environ, "npx @a/one").command[0].endswith("/.bin/other")
    assert put(tmp_path, environ, "npx -p @a/many y a").command[0].endswith("/.bin/y")
    for command, why in (
        ("npx @a/many", "several: x, y. Say which: npx -p @a/many NAME"),
        ("npx none", "has none"),
        ("npx -p @a/one z", "has no program z"),
    ):
        with pytest.raises(Problem, match=why):
            put(tmp_path, environ, command)


def test_a_package_that_is_not_there_is_said_and_nothing_is_left(
    packages: Registry, environ: Mapping[str, str], tmp_path: Path
) -> None:
    with pytest.raises(Problem) as caught:
        put(tmp_path, environ, "npx -y @a/none")
    assert "npm failed (status 1):" in str(caught.value)
    assert "The registry has no such package" in str(caught.value)
    assert left(tmp_path) == []
    assert packages.asked


def test_a_package_of_pypi_is_there_at_a_fixed_version(
    packages: Registry, environ: Mapping[str, str], tmp_path: Path
) -> None:
    packages.pypi("py-srv", "1.0")
    packages.pypi("py-srv", "1.1")
    made = put(tmp_path, environ, "uvx py-srv@1.0 -v")
    assert (made.registry, made.name, made.version) == ("PyPI", "py-srv", "1.0")
    assert made.integrity.startswith("sha256:")
    assert made.command[-1] == "-v"
    assert says(made, environ)["version"] == "1.0"
    assert sorted(path.name for path in Path(made.folder).iterdir())[0] == "prepared.json"


def test_a_package_of_pypi_that_is_not_there_is_said_and_nothing_is_left(
    environ: Mapping[str, str], tmp_path: Path
) -> None:
    with pytest.raises(Problem, match="The registry has no such package"):
        put(tmp_path, environ, "uvx py-none-such")
    assert left(tmp_path) == []


def test_without_a_client_its_name_and_package_are_told(environ: Mapping[str, str], tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"npm is not found on PATH. Install Node.js with npm"):
        put(tmp_path, {**environ, "PATH": str(tmp_path)}, "npx srv")
    assert left(tmp_path) == []


def scripted(tmp_path: Path, text: str) -> dict[str, str]:
    """An environment whose npm is this script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "npm").chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_whoever_interrupts_it_finds_nothing_left(tmp_path: Path) -> None:
    # Not in the moment in which it is started: a terminal's Ctrl-C reaches both.
    environ = scripted(tmp_path, "echo $$ > ../npm.pid; sleep 0.3; kill -INT $PPID; exec sleep 60")
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path, environ, "npx srv")
    assert left(tmp_path) == ["npm.pid"]
    pid = int((prepared_folder(tmp_path, "srv") / "npm.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_never_ends_is_ended_and_whoever_waits_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "NEWS_S", 0.05)
    monkeypatch.setattr(fetch, "LIMIT_S", 0.2)
    heard: list[str] = []
    meant = wanted(["npx", "srv"])
    assert meant is not None
    with pytest.raises(Problem, match=r"npm did not end within 0.2 s"):
        install.install(
            meant, [], tmp_path, "srv", tell=heard.append, environ=scripted(tmp_path, "exec sleep 60")
        )
    assert heard
    assert left(tmp_path) == []


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path, "srv")
    folder.mkdir(parents=True)
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(Problem, match="by somebody else right now"):
        put(tmp_path, {}, "npx srv")
    os.close(fd)


def test_only_what_is_used_is_kept(tmp_path: Path) -> None:
    home = prepared_folder(tmp_path, "srv")
    for name in ("old", "now", "half"):
        (home / name / "bin").mkdir(parents=True)
    install.tidy(tmp_path, "srv", [str(home / "now/bin/x"), "/usr/bin/other"])
    assert left(tmp_path) == ["now"]
    install.tidy(tmp_path, "srv", [])
    assert not home.exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("npx -y @modelcontextprotocol/server-memory", "@modelcontextprotocol/server-memory"),
        ("uvx mcp-server-time", "mcp-server-time"),
    ],
)
def test_servers_of_the_real_registries(tmp_path: Path, command: str, name: str) -> None:
    made = put(tmp_path, None, command)
    assert made.name == name
    assert made.integrity
    assert "name" in says(made, os.environ)
