"""`import`, from the files of other hosts to agent.toml; with `found`, which shows them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from penstock_agent import config
from penstock_agent.adding import hosts
from penstock_agent.cli import importing as command
from penstock_agent.config import Options
from penstock_agent.problem import Exit
from tests.harness.agent_site import SERVER, Result, Site

CORPUS = Path(__file__).parents[2] / "data/import"


@pytest.fixture
def program(site: Site) -> Callable[..., dict[str, object]]:
    """An entry whose command is a server, after some code of its own."""
    site.config.write_text("# the site's file\n")

    def make(code: str = "", args: list[str] | None = None, **more: object) -> dict[str, object]:
        path = site.folder / f"server{len(list(site.folder.glob('server*')))}.py"
        path.write_text(code + SERVER)
        return {"command": sys.executable, "args": [str(path), *(args or [])], **more}

    return make


def put(site: Site, **servers: object) -> str:
    path = site.folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return str(path)


def settings(site: Site) -> config.Settings:
    return config.load(Options(config=site.config, state_dir=site.state), {})


def unchanged(site: Site) -> bool:
    secrets = site.state / "secrets"
    return site.config.read_text() == "# the site's file\n" and not (
        secrets.exists() and list(secrets.iterdir())
    )


Entries = Callable[..., dict[str, object]]


def test_what_is_taken_is_started_once_and_written_with_what_it_needs(site: Site, program: Entries) -> None:
    docs = site.folder / "docs"
    docs.mkdir()
    file = put(
        site,
        plain=program(),
        Docs=program(
            "import os, sys; os.listdir(sys.argv[1])", [str(docs)], env={"CRM_TOKEN": "canary", "LEVEL": "x"}
        ),
        net=program("import socket; socket.socket()"),
    )
    done = site.run("import", file, "--all")
    assert done.status == Exit.DONE, done
    made = settings(site)
    assert list(made.servers) == ["plain", "docs", "net"]
    plain, docs_, net = made.servers.values()
    assert (plain.read, plain.network, plain.expose) == ((), "none", ())
    assert (docs_.read, docs_.network) == ((docs,), "none")
    assert (docs_.env["LEVEL"], docs_.env["CRM_TOKEN"][:6]) == ("x", "file:/")
    assert net.network == "host"
    assert "ATTENTION: the whole network of this machine is open to net:" in done.stdout
    assert "Nothing is exposed yet. Next: penstock-agent expose plain --read-only" in done.stdout
    assert "canary" not in done.stdout + done.stderr + site.config.read_text()
    assert site.config.with_name("agent.toml.before-import").read_text() == "# the site's file\n"
    notes = site.run("config", "check").stdout
    assert "servers.docs: import wrote read, which nobody has reviewed" in notes
    assert "servers.net: import wrote network, which nobody has reviewed" in notes
    assert "servers.plain: import" not in notes


def test_what_is_there_already_is_not_taken_again_and_names_are_not_overwritten(
    site: Site, program: Entries
) -> None:
    one = program()
    site.run("import", put(site, a=one), "--all")
    again = site.run("import", put(site, b=one, a=program()), "--all")
    assert "has the same already, as a." in again.stdout
    assert "a-2 (there: a)" in again.stdout
    assert list(settings(site).servers) == ["a", "a-2"]


def test_what_does_not_start_is_left_unless_forced(site: Site, program: Entries) -> None:
    file = put(site, good=program(), bad=program("raise SystemExit(3)"))
    done = site.run("import", file, "--all")
    assert done.status == Exit.FAILED
    assert "NOT taken: bad: it does not start; --force takes it all the same." in done.stdout
    assert list(settings(site).servers) == ["good"]
    assert site.run("import", file, "--take", "bad", "--force").status == Exit.DONE
    assert list(settings(site).servers) == ["good", "bad"]


def test_only_what_is_ticked_is_taken(site: Site, program: Entries, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(site, a=program(), b=program(), off=program(disabled=True))
    assert site.run("import", file).status == Exit.USAGE
    assert unchanged(site)
    monkeypatch.setattr(command, "on_terminal", lambda: True)
    answers = iter(["9", "", "2, 3"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    nothing = site.run("import", file)
    assert "Numbers from the list, please." in nothing.stdout
    assert "[ ] off" in nothing.stdout
    assert unchanged(site)
    assert site.run("import", file).status == Exit.DONE
    assert list(settings(site).servers) == ["b", "off"]
    monkeypatch.setattr("builtins.input", lambda _: "a")
    site.run("import", file)
    assert list(settings(site).servers) == ["b", "off", "a"]


def test_values_for_placeholders_are_asked_for_or_read_from_a_file(
    site: Site, program: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(site, a=program(env={"A_TOKEN": "${input:key}", "REGION": "${env:REGION}"}))
    refused = site.run("import", file, "--all")
    assert refused.status == Exit.FAILED
    assert "it needs values for key, REGION. Write lines such as key=…" in refused.stdout
    assert unchanged(site)
    values = site.folder / "values"
    values.write_text("key=canary-1\nREGION=eu\n")
    assert site.run("import", file, "--all", "--values", str(values)).status == Exit.DONE
    site.configure("# the site's file\n")
    monkeypatch.setattr(command, "on_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda _: "canary-2")
    monkeypatch.setattr("builtins.input", lambda _: "eu")
    done = site.run("import", file, "--all")
    assert done.status == Exit.DONE
    env = settings(site).server("a").env
    assert env["REGION"] == "eu"
    assert Path(env["A_TOKEN"].removeprefix("file:")).read_text() == "canary-2"
    assert "canary" not in done.stdout


@pytest.mark.parametrize("where", ["builtins.input", "penstock_agent.cli.importing.try_out"])
def test_ctrl_c_changes_nothing(
    site: Site, program: Entries, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    file = put(site, a=program(env={"A_TOKEN": "canary"}))
    monkeypatch.setattr(command, "on_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "1")
    monkeypatch.setattr(where, interrupted)
    assert site.run("import", file).status == Exit.INTERRUPTED
    assert unchanged(site)


def test_a_dry_run_starts_and_writes_nothing(site: Site, program: Entries) -> None:
    file = put(site, a=program(f"open({str(site.folder / 'ran')!r}, 'w')\n", env={"A_TOKEN": "canary"}))
    done = site.run("import", file, "--all", "--dry-run")
    assert "[servers.a]" in done.stdout
    assert 'A_TOKEN = "file:/…"' in done.stdout
    assert unchanged(site)
    assert not (site.folder / "ran").exists()
    assert site.run("import", file, "--all", "--dry-run", "--json").json["written"] is False


def test_without_a_file_those_of_this_machine_are_found(
    site: Site, program: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = site.folder / "home"
    for name, text in (
        (".cursor/mcp.json", json.dumps({"mcpServers": {"a": program()}})),
        (".claude.json", "{ broken"),
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.setattr(hosts, "homes", lambda: [home])
    monkeypatch.chdir(site.folder)
    done = site.run("import", "--all")
    assert done.status == Exit.DONE
    assert f"not read: {home}/.claude.json: it is not valid JSON" in done.stdout
    assert f"from Cursor, {home}/.cursor/mcp.json" in done.stdout
    assert "a" in settings(site).servers
    monkeypatch.setattr(hosts, "homes", lambda: [site.folder / "none"])
    nothing = site.run("import")
    assert (nothing.status, "No servers were found" in nothing.stdout) == (Exit.DONE, True)


def test_a_file_that_is_named_must_be_one(site: Site) -> None:
    for name, why in (("broken.json", "not valid JSON"), ("none.json", "No such file")):
        done = site.run("import", str(CORPUS / name), "--all")
        assert done.status == Exit.USAGE
        assert why in done.stderr


def test_a_name_that_is_not_there_or_cannot_be_taken_is_said(site: Site, program: Entries) -> None:
    file = put(site, box={"command": "docker", "args": ["run", "-i", "ghcr.io/a/b"]})
    assert "No server named 'x'" in site.run("import", file, "--take", "x").stderr
    done = site.run("import", file, "--take", "box")
    assert done.status == Exit.USAGE
    assert "box cannot be taken: it runs in a container" in done.stderr


def test_json_lists_what_is_there_and_what_was_taken(site: Site, program: Entries) -> None:
    file = put(site, a=program(env={"A_TOKEN": "canary"}), box={"command": "docker", "args": ["run", "x/y"]})
    listed = site.run("import", file, "--json")
    assert listed.status == Exit.USAGE
    assert listed.json["taken"] == []
    done = site.run("import", file, "--all", "--json")
    all_taken = done.json["taken"]
    assert isinstance(all_taken, list)
    [taken] = all_taken
    assert (taken["name"], taken["env"], taken["secrets"]) == ("a", ["A_TOKEN"], ["A_TOKEN"])
    assert taken["test"]["works"] is True
    assert "canary" not in listed.stdout + done.stdout


@pytest.mark.parametrize("file", sorted(path.name for path in CORPUS.iterdir()))
def test_no_value_of_the_corpus_is_ever_shown(site: Site, file: str) -> None:
    for more in ([], ["--json"], ["--dry-run", "--all"], ["--dry-run", "--all", "--json"]):
        done = site.run("import", str(CORPUS / file), *more)
        assert "canary" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("import")


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12)


@hypothesis(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        _WORDS,
        st.fixed_dictionaries(
            {"env": st.dictionaries(_WORDS, _WORDS.map(lambda text: f"canary{text}"), max_size=4)},
            optional={
                "command": _WORDS | st.sampled_from(["npx", "node", "docker"]),
                "args": st.lists(_WORDS, max_size=3),
                "headers": st.dictionaries(_WORDS, _WORDS.map(lambda text: f"canary{text}")),
                "url": st.just("http://x/mcp"),
            },
        ),
        max_size=4,
    )
)
def test_no_value_of_any_file_is_ever_shown(folder: Path, servers: dict[str, object]) -> None:
    site = Site(folder)
    site.configure("")
    file = put(site, **servers)
    shown: list[Result] = [
        site.run("import", file, *more) for more in ([], ["--all", "--dry-run"], ["--json"])
    ]
    assert all("canary" not in done.stdout + done.stderr for done in shown)
