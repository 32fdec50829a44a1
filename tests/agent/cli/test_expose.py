import json
import sys

import pytest

from penstock_agent import config
from penstock_agent.cli import expose as command
from penstock_agent.config import Options
from tests.harness.agent_site import Site


def entries(site: Site) -> tuple[str, ...]:
    return config.load(Options(config=site.config, state_dir=site.state), {}).server("files").expose


def test_without_a_form_it_shows_what_is_there_and_names_the_three(site: Site) -> None:
    site.add_server(["read_file"])
    before = site.config.read_text()
    done = site.run("expose", "files")
    assert done.status == 2
    assert "files offers 5 tools, 1 prompts, 0 resources. Exposed (+): 1." in done.stdout
    groups = [line for line in done.stdout.splitlines() if line.endswith(":")]
    assert groups == [
        "  tools, read:",
        "  tools, write:",
        "  tools, destructive:",
        "  tools, unmarked:",
        "  prompts:",
    ]
    assert "    + read_file   Reads." in done.stdout
    assert "      read_all" in done.stdout
    for form in ("--read-only", "--all", "'GLOB'"):
        assert form in done.stderr
    assert site.config.read_text() == before


def test_what_a_server_says_cannot_steer_the_terminal(site: Site) -> None:
    site.add_server()
    assert "\x1b" not in site.run("expose", "files").stdout


def test_without_a_form_json_lists_and_changes_nothing(site: Site) -> None:
    site.add_server()
    done = site.run("expose", "files", "--json")
    assert done.status == 2
    offers = done.json["offers"]
    assert isinstance(offers, list)
    wipe = {"kind": "tool", "name": "wipe", "effect": "destructive", "exposed": False}
    assert {**wipe, "withheld": None, "ours": False} in offers
    assert entries(site) == ()


def test_read_only_writes_the_read_only_tools_by_name(site: Site) -> None:
    site.add_server()
    done = site.run("expose", "files", "--read-only")
    assert done.status == 0
    assert entries(site) == ("tool:read_file", "tool:read_all")
    text = site.config.read_text()
    assert text.startswith("# the site's file\n")
    assert "# listing only" in text


def test_globs_add_and_all_takes_everything(site: Site) -> None:
    site.add_server(["read_file"])
    assert site.run("expose", "files", "wipe", "prompt:*").status == 0
    assert entries(site) == ("read_file", "tool:wipe", "prompt:*")
    assert site.run("expose", "files", "--all").status == 0
    assert entries(site) == ("tool:*", "prompt:*")


def test_a_glob_that_matches_nothing_is_refused_unless_forced(site: Site) -> None:
    site.add_server()
    done = site.run("expose", "files", "raed_*")
    assert done.status == 2
    assert "raed_* matches no tool that files offers now" in done.stderr
    assert entries(site) == ()
    assert site.run("expose", "files", "raed_*", "--force").status == 0
    assert entries(site) == ("tool:raed_*",)


def test_two_forms_at_once_are_refused(site: Site) -> None:
    site.add_server()
    assert site.run("expose", "files", "--all", "--read-only").status == 2
    assert site.run("expose", "files", "wipe", "--all").status == 2


def test_the_running_agent_reads_it_and_the_connector_url_is_shown(site: Site) -> None:
    site.join()
    site.add_server()
    with site.running(site.status()) as asked:
        done = site.run("expose", "files", "wipe")
        as_json = site.run("expose", "files", "wipe", "--json")
    assert asked[:2] == ["reload", "status"]
    assert "Connector URL, to paste into the assistant: https://relay.example/plant/files/mcp" in done.stdout
    assert as_json.json["url"] == "https://relay.example/plant/files/mcp"
    assert as_json.json["expose"] == ["tool:wipe"]
    assert as_json.json["reloaded"] is True


def test_without_a_running_agent_it_says_where_the_url_will_be(site: Site) -> None:
    site.join()
    site.add_server()
    done = site.run("expose", "files", "wipe")
    assert done.status == 0
    assert "The agent does not run" in done.stdout
    assert "penstock-agent status" in done.stdout


def test_an_unknown_server_is_status_2_and_names_the_known(site: Site) -> None:
    site.add_server()
    done = site.run("expose", "crm", "--all")
    assert done.status == 2
    assert "no server named 'crm' (configured: files)" in done.stderr


def test_a_server_that_cannot_start_is_said_in_words_and_nothing_is_written(site: Site) -> None:
    site.configure('[servers.files]\ncommand = ["/no/such/program"]\n')
    done = site.run("expose", "files", "--all")
    assert done.status == 1
    assert "/no/such/program" in done.stderr
    assert entries(site) == ()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("r", ("tool:read_file", "tool:read_all")),
        ("a", ("tool:*", "prompt:*")),
        ("wipe misc", ("tool:wipe", "tool:misc")),
        ("", ()),
    ],
)
def test_on_a_terminal_it_asks(
    site: Site, monkeypatch: pytest.MonkeyPatch, typed: str, expected: tuple[str, ...]
) -> None:
    site.add_server()
    monkeypatch.setattr(command, "_on_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _prompt: typed)
    assert site.run("expose", "files").status == 0
    assert entries(site) == expected


def test_ctrl_c_at_the_question_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add_server()
    monkeypatch.setattr(command, "_on_terminal", lambda: True)

    def interrupted(_prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    assert site.run("expose", "files").status == 130
    assert entries(site) == ()


def test_hide_removes_some_or_all(site: Site) -> None:
    site.add_server(["read_*", "wipe", "prompt:greet"])
    assert site.run("hide", "files", "wipe").status == 0
    assert entries(site) == ("read_*", "prompt:greet")
    done = site.run("hide", "files", "--json")
    assert done.json["expose"] == []
    assert entries(site) == ()


def test_hide_works_without_starting_the_server(site: Site) -> None:
    site.configure('[servers.files]\ncommand = ["/no/such/program"]\nexpose = ["a"]\n')
    assert site.run("hide", "files").status == 0
    assert entries(site) == ()


def test_hide_refuses_what_would_stay_exposed(site: Site) -> None:
    site.add_server(["read_*"])
    done = site.run("hide", "files", "read_file")
    assert done.status == 2
    assert "would stay exposed through read_*" in done.stderr


def test_a_secret_in_env_is_never_shown(site: Site) -> None:
    command_line = json.dumps([sys.executable, "-c", "raise SystemExit(1)"])
    site.configure(f'[servers.files]\ncommand = {command_line}\nenv = {{ TOKEN = "hunter2" }}\n')
    done = site.run("expose", "files", "--all")
    assert done.status == 1
    assert "hunter2" not in done.stdout + done.stderr


def test_the_url_of_the_site_is_shown_once_two_servers_expose_something(site: Site) -> None:
    site.join()
    site.add_server()
    url = "https://relay.example/plant/mcp"
    with site.running(site.status(whole_site=["crm", "files"])):
        assert (
            f"All servers of the site in one connector: {url}" in site.run("expose", "files", "wipe").stdout
        )
        assert site.run("expose", "files", "wipe", "--json").json["site_url"] == url
    with site.running(site.status()):
        assert url not in site.run("expose", "files", "wipe").stdout
        assert site.run("expose", "files", "wipe", "--json").json["site_url"] is None
    with site.running(site.status(whole_site=["crm", "erp"])):  # this one has trust = "caller"
        assert url not in site.run("expose", "files", "wipe").stdout
