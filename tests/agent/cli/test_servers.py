"""`servers list`, `test`, `add`, `remove` and `accept`; with `trying` and `variables`, which they share."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.adding import tables
from penstock_agent.cli import servers as command
from penstock_agent.config import Options
from penstock_agent.control import ServerStatus
from penstock_agent.problem import Exit
from tests.harness.agent_site import SERVER, Site


@pytest.fixture
def program(site: Site) -> list[str]:
    """A command line that is a server."""
    path = site.folder / "server.py"
    path.write_text(SERVER)
    return [sys.executable, str(path)]


def settings(site: Site) -> config.Settings:
    return config.load(Options(config=site.config, state_dir=site.state), {})


def test_the_list_says_what_each_is_and_what_runs_of_it(site: Site) -> None:
    site.join()
    site.configure(
        '[servers.files]\ncommand = ["srv", "--api-key", "canary"]\nexpose = ["a", "b"]\nnetwork = "host"\n'
        '[servers.crm]\nurl = "http://crm.internal:9000/mcp"\n'
    )
    alone = site.run("servers", "list")
    assert alone.status == 0
    assert "files: command srv --api-key …" in alone.stdout
    assert "exposes 2 entries; isolation " in alone.stdout
    assert "crm: url http://crm.internal:9000" in alone.stdout
    assert "The agent does not run." in alone.stdout
    assert "canary" not in alone.stdout
    with site.running(site.status(servers=[ServerStatus("files", children=3), ServerStatus("crm")])):
        running = site.run("servers", "list")
        rows = site.run("servers", "list", "--json").json["servers"]
    assert "3 children run" in running.stdout
    assert isinstance(rows, list)
    assert [(row["name"], row["kind"], row["network"], row["children"]) for row in rows] == [
        ("files", "command", "host", 3),
        ("crm", "url", None, 0),
    ]


def test_without_servers_it_says_how_to_get_some(site: Site) -> None:
    assert "penstock-agent import" in site.run("servers", "list").stdout


def test_a_server_that_works_is_shown_step_by_step(site: Site) -> None:
    site.add_server()
    done = site.run("servers", "test", "files")
    assert done.status == Exit.DONE
    assert [line[:6] for line in done.stdout.splitlines()[:3]] == ["  ok  "] * 3
    assert done.stdout.endswith("files works.\n")
    as_json = site.run("servers", "test", "files", "--json").json
    assert (as_json["works"], as_json["tools"], as_json["stderr"]) == (True, 5, [])


def test_one_that_does_not_is_status_1_with_cause_and_next_step(site: Site) -> None:
    line = json.dumps([sys.executable, "-c", "import no_such_module_of_ours"])
    site.configure(f"[servers.x]\ncommand = {line}\n")
    done = site.run("servers", "test", "x")
    assert done.status == Exit.FAILED
    assert "  FAIL  ended with status 1 before it had answered" in done.stdout
    assert "    | ModuleNotFoundError: No module named 'no_such_module_of_ours'" in done.stdout
    assert "  cause: Its module no_such_module_of_ours is not found." in done.stdout
    assert "  next:  Install it" in done.stdout
    assert site.run("servers", "test", "x", "--json").status == Exit.FAILED
    assert site.run("servers", "test", "y").status == Exit.USAGE


def test_a_server_is_added_tested_and_the_next_command_named(site: Site, program: list[str]) -> None:
    site.configure("# the site's file\n")
    (site.folder / "docs").mkdir()
    done = site.run("servers", "add", "files", "--read", str(site.folder / "docs"), "--", *program)
    assert done.status == Exit.DONE
    assert "files works." in done.stdout
    assert done.stdout.endswith("Next: penstock-agent expose files --read-only\n")
    assert site.config.read_text().startswith("# the site's file\n\n[servers.files]\ncommand = [")
    made = settings(site).server("files")
    assert (made.command, made.read, made.expose) == (tuple(program), (site.folder / "docs",), ())


def test_values_that_look_like_secrets_go_into_files(site: Site, program: list[str]) -> None:
    listed = site.folder / "variables"
    listed.write_text("# of the CRM\nexport CRM_PASSWORD='canary two'\n\nLEVEL=info\n")
    done = site.run(
        "servers",
        "add",
        "x",
        "--env",
        "CRM_TOKEN=canary-one",
        "--env-file",
        str(listed),
        "--no-test",
        "--",
        *program,
    )
    assert done.status == Exit.DONE
    assert "canary" not in done.stdout + done.stderr + site.config.read_text()
    env = settings(site).server("x").env
    assert env["LEVEL"] == "info"
    for name, content in (("CRM_TOKEN", "canary-one"), ("CRM_PASSWORD", "canary two")):
        path = Path(env[name].removeprefix("file:"))
        assert path.read_text() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_server_of_the_network_gets_its_headers_from_files(site: Site) -> None:
    done = site.run(
        "servers",
        "add",
        "crm",
        "--url",
        "http://127.0.0.1:9/mcp",
        "--header",
        "Authorization=Bearer canary",
        "--json",
    )
    assert done.status == Exit.FAILED  # nobody listens there
    assert done.json["written"] is True
    header = settings(site).server("crm").headers["Authorization"]
    assert header.startswith("Bearer file:/")
    assert Path(header.removeprefix("Bearer file:")).read_text() == "canary"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["x"], "Give either"),
        (["x", "--url", "http://a/mcp", "--", "srv"], "Give either"),
        (["X y", "--", "srv"], "not usable"),
        (["there", "--", "srv"], "named there already"),
        (["x", "--env", "novalue", "--", "srv"], "NAME=VALUE"),
        (["x", "--env", "A_TOKEN=canary", "--network", "all", "--", "srv"], "network"),
        (["x", "--env-file", "/no/such/file", "--", "srv"], "cannot be read"),
        (["x", "--url", "ftp://a"], "not a URL"),
    ],
)
def test_what_cannot_be_added_is_said_and_nothing_is_left(site: Site, arguments: list[str], why: str) -> None:
    text = '[servers.there]\ncommand = ["srv"]\n'
    site.configure(text)
    done = site.run("servers", "add", *arguments)
    assert done.status == Exit.USAGE
    assert why in done.stderr
    assert site.config.read_text() == text
    assert not list((site.state / "secrets").glob("*"))


def test_one_that_does_not_work_is_written_all_the_same(site: Site) -> None:
    done = site.run("servers", "add", "x", "--", "/no/such/program")
    assert done.status == Exit.FAILED
    assert "then: penstock-agent servers test x" in done.stdout
    assert settings(site).server("x").command == ("/no/such/program",)


def test_what_fetches_itself_is_to_be_prepared(site: Site) -> None:
    done = site.run("servers", "add", "x", "--no-test", "--", "npx", "-y", "@a/b")
    assert "penstock-agent servers prepare x" in done.stdout


def test_a_server_is_removed_with_its_secrets_and_the_agent_reads_it(site: Site, program: list[str]) -> None:
    site.join()
    site.run("servers", "add", "x", "--env", "A_TOKEN=canary", "--no-test", "--", *program)
    prepared = site.state / "prepared/x/one"
    prepared.mkdir(parents=True)
    with site.running(site.status()) as asked:
        done = site.run("servers", "remove", "x")
    assert done.status == Exit.DONE
    assert "reload" in asked
    assert "x is no longer in" in done.stdout
    assert settings(site).servers == {}
    assert not list((site.state / "secrets").iterdir())
    assert not prepared.exists()


def test_a_secret_that_another_uses_stays(site: Site) -> None:
    site.run("servers", "add", "x", "--env", "A_TOKEN=canary", "--no-test", "--", "srv")
    [secret] = (site.state / "secrets").iterdir()
    site.run("servers", "add", "y", "--env", f"A_TOKEN=file:{secret}", "--no-test", "--", "srv")
    assert site.run("servers", "remove", "x").status == Exit.DONE
    assert secret.exists()
    assert site.run("servers", "remove", "y", "--json").json["secrets"] == [str(secret)]


def test_one_that_exposes_something_is_asked_about(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add_server(["read_file"])
    refused = site.run("servers", "remove", "files")
    assert refused.status == Exit.USAGE
    assert "files exposes read_file." in refused.stderr
    monkeypatch.setattr(command, "on_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert "Nothing was changed." in site.run("servers", "remove", "files").stdout
    assert "files" in settings(site).servers
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert site.run("servers", "remove", "files").status == Exit.DONE
    assert settings(site).servers == {}
    site.add_server(["read_file"])
    assert site.run("servers", "remove", "files", "--yes").status == Exit.DONE


def test_what_import_opened_is_noted_until_it_is_accepted(site: Site) -> None:
    site.configure(f'[servers.x]\ncommand = ["srv"]\nread = ["{site.folder}"]  # {tables.MARK}\n')
    note = "servers.x: import wrote read, which nobody has reviewed"
    assert note in site.run("config", "check").stdout
    assert "not reviewed: read" in site.run("servers", "list").stdout
    done = site.run("servers", "accept", "x")
    assert done.stdout == f'accepted: read = ["{site.folder}"]\n'
    assert note not in site.run("config", "check").stdout
    assert "Nothing of x waits" in site.run("servers", "accept", "x").stdout
    assert site.run("servers", "accept", "x", "--json").json["accepted"] == []


def test_a_server_is_tried_with_the_running_agents_path(site: Site, program: list[str]) -> None:
    site.join()
    site.run("servers", "add", "x", "--no-test", "--", *program)
    with site.running(site.status(pid=os.getpid())):
        assert site.run("servers", "test", "x").status == Exit.DONE


def test_one_with_units_of_its_own_is_not_removed_without_them(site: Site) -> None:
    site.configure('[servers.x]\ncommand = ["srv"]\nisolation = "unit"\n')
    done = site.run("servers", "remove", "x", "--yes")
    assert done.status == Exit.USAGE
    assert "sudo penstock-agent servers harden x --undo" in done.stderr
