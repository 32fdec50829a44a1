"""What `pip install` gives: the wheel, built from what the repository holds, where nothing else is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest

from penstock import __version__
from penstock.joinstring import JoinString

ROOT = Path(__file__).parents[2]
PACKAGES = {"penstock": "core", "penstock_agent": "agent", "penstock_relay": "relay"}
MOST_DISTRIBUTIONS = 24
"""What the plain install may bring, itself included (23 now). It runs inside a customer's network."""
ONLY_EXTRA = {
    "aiohttp", "aiosqlite", "alembic", "argon2-cffi", "jinja2", "prometheus-client", "sqlalchemy",
}  # fmt: skip

# A cold download cache takes longer than any test of ours should.
pytestmark = pytest.mark.timeout(600)


def run(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def must(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = run(*argv, cwd=cwd, env=env)
    assert done.returncode == 0, f"{' '.join(map(str, argv))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="module")
def sources(work: Path) -> set[str]:
    """Copies what git has, or would take, to `work/source`, and says what that is."""
    listed = must(
        # A checkout may belong to somebody else than whoever runs its tests.
        "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
        cwd=ROOT,
    )  # fmt: skip
    names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for name in names:
        (work / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, work / "source" / name)
    return names


@dataclass(frozen=True, slots=True)
class Built:
    wheel: Path
    sdist: Path

    def names(self) -> set[str]:
        return set(zipfile.ZipFile(self.wheel).namelist())

    def read(self, end: str) -> str:
        (name,) = [name for name in self.names() if name.endswith(f".dist-info/{end}")]
        return zipfile.ZipFile(self.wheel).read(name).decode()


@pytest.fixture(scope="module")
def built(work: Path, sources: set[str]) -> Built:
    """The source archive, and the wheel that is made from it."""
    assert sources
    must(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", work / "dist", work / "source", cwd=work
    )
    (wheel,) = (work / "dist").glob("*.whl")
    (sdist,) = (work / "dist").glob("*.tar.gz")
    return Built(wheel, sdist)


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that holds the wheel, what it asks for, and nothing else."""

    folder: Path

    def run(self, program: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs ``program`` of the environment as a user's shell would, away from our sources."""
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8", **variables}
        return run(self.folder / "bin" / program, *arguments, cwd=self.folder, env=env)

    def python(self, code: str) -> str:
        done = self.run("python", "-I", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def distributions(self) -> set[str]:
        code = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
        return {name.lower().replace("_", "-") for name in self.python(code).split()}


def install(work: Path, name: str, requirement: str) -> Installed:
    """A new environment with ``requirement``, at the versions of requirements.lock; by uv if it is there."""
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^[A-Za-z0-9][^\\\n#]*", lock, re.MULTILINE)
    constraints = work / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n")
    folder = work / name
    must(sys.executable, "-m", "venv", "--without-pip", folder, cwd=work)
    python = folder / "bin" / "python"
    asked = ("install", "--quiet", "-c", constraints, requirement)
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv and run(uv, "pip", *asked, "--python", python, cwd=work).returncode == 0:
        return Installed(folder)
    # No uv, or pip knows a package index that uv has not been told about.
    must(sys.executable, "-m", "pip", "--python", python, *asked, "--no-compile", cwd=work)
    return Installed(folder)


@pytest.fixture(scope="module")
def plain(work: Path, built: Built) -> Installed:
    """`pip install penstock`."""
    return install(work, "plain", str(built.wheel))


@pytest.fixture(scope="module")
def full(work: Path, built: Built) -> Installed:
    """`pip install 'penstock[relay]'`."""
    return install(work, "full", f"{built.wheel}[relay]")


# ---------------------------------------------------------------- what is in it


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(built: Built, sources: set[str]) -> None:
    ours = {
        name.split("/", 1)[1]
        for name in sources
        if any(name.startswith(f"{folder}/{package}/") for package, folder in PACKAGES.items())
    }
    inside = {name for name in built.names() if ".dist-info/" not in name}
    assert inside == ours
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside
    assert any(
        re.fullmatch(r"penstock_relay/store/migrations/versions/v\d+_\w+\.py", name) for name in inside
    )
    assert "penstock_agent/examples/docsearch.py" in inside


def test_the_wheel_puts_three_names_of_ours_into_site_packages(built: Built) -> None:
    tops = {name.split("/")[0] for name in built.names()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1


def test_the_wheel_says_what_it_is(built: Built) -> None:
    metadata = HeaderParser().parsestr(built.read("METADATA"))
    assert metadata["Name"] == "penstock"
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Provides-Extra") == ["console", "http", "patterns", "relay"]
    assert "Version 2.0, January 2004" in built.read("licenses/LICENSE")
    assert built.wheel.name.endswith("-py3-none-any.whl")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, target in scripts.items():
        assert f"{name} = {target}\n" in built.read("entry_points.txt") + "\n"


def test_the_source_archive_holds_all_that_the_repository_does(built: Built, sources: set[str]) -> None:
    with tarfile.open(built.sdist) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert sources - inside == set()
    assert inside - sources == {"PKG-INFO"}


# ---------------------------------------------------------------- the agent alone


def test_the_plain_install_is_small_and_without_what_only_the_extras_bring(plain: Installed) -> None:
    found = plain.distributions()
    assert "penstock" in found
    assert not found & ONLY_EXTRA
    assert len(found) <= MOST_DISTRIBUTIONS, sorted(found)


def test_the_plain_install_works_as_the_agent(plain: Installed, tmp_path: Path) -> None:
    version = plain.run("penstock-agent", "--version")
    assert (version.returncode, version.stdout) == (0, f"penstock-agent {__version__}\n")
    helped = plain.run("penstock-agent", "--help")
    assert helped.returncode == 0
    for command in ("join", "run", "expose", "hide", "status", "config"):
        assert re.search(rf"\b{command}\b", helped.stdout), command
    config = tmp_path / "agent.toml"
    config.write_text('[servers.files]\ncommand = ["cat"]\nexpose = ["tool:*"]\n')
    # Good, but not joined yet: a check reads settings, state and certificates and says so.
    where = ("--config", config, "--state-dir", tmp_path / "state")
    checked = plain.run("penstock-agent", "config", "check", *where, "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "files" in json.dumps(json.loads(checked.stdout))


def test_every_module_of_the_agent_but_what_extras_are_for_can_be_imported_from_the_plain_install(
    plain: Installed,
) -> None:
    code = """
import importlib, pkgutil, penstock, penstock_agent
for package in (penstock, penstock_agent):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name in {extra}:
            continue
        importlib.import_module(module.name)
        print(module.name)
"""
    extra = [f"penstock_agent.remote.{name}" for name in ("channel", "streamable", "twoway", "web")]
    extra.append("penstock_agent.console.app")
    names = plain.python(code.replace("{extra}", repr(extra))).split()
    some = {"penstock.link", "penstock_agent.daemon.daemon", "penstock_agent.children.keeper_main"}
    assert some <= set(names)


def test_config_check_of_the_plain_install_names_the_extra_that_a_url_needs(
    plain: Installed, tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('[servers.crm]\nurl = "http://crm.internal:9000/mcp"\n')
    done = plain.run("penstock-agent", "config", "check", "--config", config, "--state-dir", tmp_path)
    assert done.returncode == 2
    assert "pip install 'penstock[http]'" in done.stdout


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("serve",), ("config", "check"), ()])
def test_penstock_relay_of_the_plain_install_names_the_extra(
    plain: Installed, arguments: tuple[str, ...]
) -> None:
    done = plain.run("penstock-relay", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "pip install 'penstock[relay]'" in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- with the extra


def test_with_the_extra_both_programs_start(full: Installed) -> None:
    for program in ("penstock-agent", "penstock-relay"):
        version = full.run(program, "--version")
        assert (version.returncode, version.stdout) == (0, f"{program} {__version__}\n")
        assert full.run(program, "--help").returncode == 0
    assert full.distributions() >= ONLY_EXTRA


def test_with_the_extra_the_relay_checks_its_settings_and_keeps_records(
    full: Installed, tmp_path: Path
) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(
        f'state_dir = "{tmp_path / "state"}"\npublic_url = "https://mcp.example.com"\n'
        'tunnel_url = "wss://tunnel.example.com:443"\n'
    )
    checked = full.run("penstock-relay", "--config", config, "config", "check", "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["settings"]["public_url"] == "https://mcp.example.com"
    # Makes the database by the migrations in the wheel, and the certificate authority.
    added = full.run("penstock-relay", "--config", config, "site", "add", "mill")
    assert added.returncode == 0, added.stderr
    assert JoinString.parse(added.stdout.strip()).site == "mill"
    issued = full.run("penstock-relay", "--config", config, "token", "issue", "--site", "mill")
    assert issued.returncode == 0, issued.stderr
