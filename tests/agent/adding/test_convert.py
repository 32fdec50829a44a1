"""Other hosts' entries, and what becomes of them; with ``placeholders``, which fill them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.names import parse_name
from penstock_agent.adding.convert import Proposal, convert, free_name, in_file, name_of
from penstock_agent.adding.documents import Entry, read
from penstock_agent.adding.placeholders import World

CORPUS = Path(__file__).parents[2] / "data/import"
WORLD = World("/home/anna")


def of(file: str, name: str, world: World = WORLD) -> Proposal:
    document = read((CORPUS / file).read_text(), toml=file.endswith(".toml"))
    [entry] = [entry for entry in document.entries if entry.name == name]
    return convert(
        entry, World(world.home, world.project, world.exists, document.inputs, world.values, world.service)
    )


def entry(**table: object) -> Proposal:
    return convert(Entry("x", table), WORLD)


def test_a_command_with_home_paths() -> None:
    found = of("claude_desktop_config.json", "filesystem")
    assert found.command == (
        "npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/anna/Documents", "/srv/share",
    )  # fmt: skip
    assert found.fetches == "npx"
    assert not found.refused


def test_existing_places_among_arguments_and_variables_may_be_read_and_no_others() -> None:
    there = World("/home/anna", exists=lambda path: path in ("/srv/share", "/var/cache", "/", "/home/anna"))
    made = convert(
        Entry(
            "x",
            {
                "command": "srv",
                "args": ["/srv/share", "/srv/none", "--cache=/var/cache", "/", "~", "https://x/srv/share"],
                "env": {"ROOT": "/srv/share"},
            },
        ),
        there,
    )
    assert made.read == ("/srv/share", "/var/cache")
    assert "it names /, /home/anna, which holds much else" in made.notes[0]


def test_the_script_of_an_interpreter_needs_no_line_of_its_own() -> None:
    there = World("/home/anna", exists=lambda _: True)
    assert convert(Entry("x", {"command": "python3", "args": ["/opt/s.py", "/srv"]}), there).read == ("/srv",)


@pytest.mark.parametrize(
    ("file", "name", "secret"),
    [
        ("claude_desktop_config.json", "Brave Search", {"BRAVE_API_KEY"}),
        ("cursor_mcp.json", "web-of-things", {"X-Api-Key"}),
        ("cline_mcp_settings.json", "linear", {"Authorization"}),
        ("zed_settings.json", "older", {"ZED_SECRET"}),
        ("gemini_settings.json", "pythonTools", {"API_KEY"}),
        ("codex_config.toml", "docs", {"DOCS_TOKEN"}),
        ("vscode_mcp.json", "perplexity", {"PERPLEXITY_API_KEY"}),
    ],
)
def test_values_that_look_like_secrets_go_into_files(file: str, name: str, secret: set[str]) -> None:
    assert of(file, name).secret == secret


@pytest.mark.parametrize(
    ("file", "name", "url", "sse"),
    [
        ("claude.json", "sentry", "https://mcp.sentry.dev/mcp", False),
        ("vscode_mcp.json", "legacy", "http://old.internal:8080/events", True),
        ("vscode_mcp.json", "remote", "http://api.contoso.internal/mcp", False),
        ("gemini_settings.json", "httpServer", "http://localhost:3000/mcp", False),
        ("gemini_settings.json", "sseServer", "http://localhost:3001/sse", True),
        ("cursor_mcp.json", "web-of-things", "http://crm.internal:9000/sse", True),
        ("claude_project.mcp.json", "api", "https://api.example.com/mcp", False),
    ],
)  # fmt: skip
def test_servers_that_run_elsewhere(file: str, name: str, url: str, sse: bool) -> None:
    found = of(file, name)
    assert (found.url, found.sse, found.refused) == (url, sse, "")


@pytest.mark.parametrize(
    ("file", "name", "asked"),
    [
        ("cursor_mcp.json", "calendar", ["CALENDAR_URL"]),
        ("claude_project.mcp.json", "api", ["API_TOKEN"]),
        ("vscode_mcp.json", "perplexity", ["perplexity-key", "region"]),
        ("windsurf_mcp_config.json", "userjot", ["USERJOT_API_TOKEN"]),
        ("gemini_settings.json", "pythonTools", ["MY_API_TOKEN"]),
        ("codex_config.toml", "docs", ["DOCS_TOKEN"]),
        ("codex_config.toml", "figma", ["FIGMA_OAUTH_TOKEN"]),
    ],
)
def test_placeholders_that_nobody_has_filled_are_asked_for(file: str, name: str, asked: list[str]) -> None:
    found = of(file, name, World("/home/anna", "/home/anna/shop"))
    assert [each.name for each in found.asked] == asked
    filled = of(
        file, name, World("/home/anna", "/home/anna/shop", values={each: f"given-{each}" for each in asked})
    )
    assert filled.asked == ()
    held = [*filled.env.values(), *filled.headers.values(), *filled.command]
    assert all(any(f"given-{each}" in value for value in held) for each in asked)


def test_known_placeholders_are_filled_and_defaults_taken() -> None:
    project = World("/home/anna", "/home/anna/shop")
    found = of("claude_project.mcp.json", "tools", project)
    assert found.command == ("/home/anna/shop/tools/server", "--cache", "/var/cache/tools")
    assert found.env == {"LOG_LEVEL": "info"}
    assert of("cursor_mcp.json", "notes").command[-1] == "/home/anna/notes"


def test_paths_relative_to_a_project_are_written_out() -> None:
    project = World("/home/anna", "/home/anna/shop", lambda path: path == "/home/anna/shop/config/db.json")
    found = of("claude.json", "shop-db", project)
    assert found.command == ("/home/anna/shop/bin/db-server", "--config", "/home/anna/shop/config/db.json")
    assert "relative path" in of("claude.json", "shop-db").refused


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (of("claude_desktop_config.json", "github"), "servers add github --image IMAGE@sha256:…"),
        (of("zed_settings.json", "postgres-context-server"), "neither a command nor a url"),
        (of("windows.json", "win"), "one of Windows"),
        (of("windows.json", "wrong"), "args is not a list"),
        (of("cursor_mcp.json", "calendar"), "relative to a project (${workspaceFolder} in argument)"),
        (entry(command="x", args=["${command:pick}"]), "only that host can fill"),
        (entry(command="x", args=[{"a": 1}]), "not text"),
        (entry(command="x", env=["a"]), "not an object"),
        (entry(command="x", env={"A=B": "c"}), "no process can be given"),
        (entry(command="x\0"), "NUL byte"),
        (entry(url="ftp://x"), "is not a URL"),
        (entry(url="https://u:p@host/mcp"), "user name or password"),
        (entry(url="https://x/mcp", headers={"Host": "y"}), "sets itself"),
        (entry(type="stdio"), "neither a command nor a url"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_says_why_and_what_to_write(found: Proposal, reason: str) -> None:
    assert reason in found.refused


def test_a_secret_is_never_part_of_what_is_shown() -> None:
    found = of("cline_mcp_settings.json", "postgres")
    assert found.shown == "node /opt/mcp/postgres.js …"
    assert "list of processes" in found.notes[0]
    typed = convert(
        Entry("x", {"command": "srv", "args": ["--who", "${input:w}"]}),
        World("/h", inputs={"w": ("", True)}, values={"w": "plain-word"}),
    )
    assert typed.shown == "srv --who …"
    for each in (found, typed):
        assert "canary" not in repr(each)
        assert "plain-word" not in repr(each)


def test_a_url_is_shown_without_its_path_and_one_with_a_key_is_noted() -> None:
    found = of("windsurf_mcp_config.json", "zapier")
    assert found.shown == "https://actions.zapier.com/…"
    keyed = entry(url="https://x.example/s/0123456789abcdef0123456789abcdef/mcp")
    assert "held a secret" in keyed.notes[0]


def test_a_service_does_not_see_homes() -> None:
    there = World("/home/anna", service=True)
    assert "ProtectHome" in convert(Entry("x", {"command": "/home/anna/bin/srv"}), there).notes[0]


def test_a_value_that_would_mean_a_file_here_becomes_a_file() -> None:
    assert entry(command="x", env={"A": "file:/etc/passwd", "B": "file:///etc"}).secret == {"A"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("filesystem", "filesystem"),
        ("Brave Search", "brave-search"),
        ("pythonTools", "python-tools"),
        ("io.github.user/srv", "io-github-user-srv"),
        ("oauth", "oauth-mcp"),
        ("", "server"),
        ("日本", "server"),
        ("x" * 60, "x" * 40),
        ("-a-", "a"),
    ],
)
def test_names_become_ours(name: str, expected: str) -> None:
    assert parse_name(name_of(name)) == expected


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert free_name("a", {"b"}) == "a"
    assert free_name("a", {"a", "a-2"}) == "a-3"
    assert len(free_name("x" * 40, {"x" * 40})) == 40


def test_a_word_before_a_secret_header_stays_outside_of_the_file() -> None:
    assert in_file("Bearer abc", header=True) == ("Bearer ", "abc")
    assert in_file("abc", header=True) == ("", "abc")
    assert in_file("two words", header=False) == ("", "two words")
