import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.adding.documents import MAX_ENTRIES, BadDocument, plain, read

MANY: dict[str, object] = {f"s{n}": {} for n in range(MAX_ENTRIES + 1)}
CORPUS = Path(__file__).parents[2] / "data/import"


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("claude_desktop_config.json", ["filesystem", "Brave Search", "github"]),
        ("claude.json", ["memory", "sentry", "shop-db", "old"]),
        ("claude_project.mcp.json", ["api", "tools"]),
        ("cursor_mcp.json", ["web-of-things", "calendar", "notes"]),
        ("vscode_mcp.json", ["perplexity", "fetch", "remote", "legacy"]),
        ("windsurf_mcp_config.json", ["zapier", "userjot", "ollama"]),
        ("cline_mcp_settings.json", ["postgres", "puppeteer", "linear"]),
        ("gemini_settings.json", ["git", "pythonTools", "httpServer", "sseServer"]),
        ("codex_config.toml", ["docs", "figma", "off"]),
        ("zed_settings.json", ["local", "older", "postgres-context-server"]),
        ("twice.json", ["Files", "files", "crm"]),
    ],
)
def test_each_hosts_file_is_understood(file: str, names: list[str]) -> None:
    found = read((CORPUS / file).read_text(), toml=file.endswith(".toml"))
    assert [entry.name for entry in found.entries] == names


def test_every_file_of_the_corpus_is_tried() -> None:
    for path in CORPUS.iterdir():
        if path.name != "broken.json":
            assert read(path.read_text(), toml=path.suffix == ".toml").entries, path


def test_what_a_host_does_not_use_is_known() -> None:
    files = ("claude.json", "windsurf_mcp_config.json", "cline_mcp_settings.json", "codex_config.toml")
    off = {
        entry.name
        for file in files
        for entry in read((CORPUS / file).read_text(), toml=file.endswith(".toml")).entries
        if entry.disabled
    }
    assert off == {"old", "ollama", "puppeteer", "off"}


def test_comments_trailing_commas_and_a_byte_order_mark_are_no_matter() -> None:
    text = (
        '\ufeff{ // one\n "servers": { /* two\n , */ "a": {"command": "x//y", "args": ["/*", ",]",], }, }, }'
    )
    [entry] = read(text).entries
    assert entry.table == {"command": "x//y", "args": ["/*", ",]"]}


def test_inputs_say_what_is_asked_and_what_is_a_password() -> None:
    found = read((CORPUS / "vscode_mcp.json").read_text())
    assert found.inputs == {"perplexity-key": ("Perplexity API Key", True), "region": ("Region", False)}


def test_a_name_that_stands_there_twice_is_known() -> None:
    entries = read((CORPUS / "twice.json").read_text()).entries
    assert [(e.name, e.twice) for e in entries] == [("Files", False), ("files", False), ("crm", True)]


def test_broken_json_is_named_with_its_place_and_nothing_of_it_is_repeated() -> None:
    with pytest.raises(BadDocument) as caught:
        read('{"mcpServers": {"a": {"env": {"TOKEN": "canary"} "x": 1}}}')
    assert "line 1, column" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_broken_toml_is_named_with_its_place_and_nothing_of_it_is_repeated() -> None:
    with pytest.raises(BadDocument) as caught:
        read('[mcp_servers.x]\nenv = { TOKEN = "canary" oops', toml=True)
    assert "(at line 2" in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[]", '"x"', "[" * 100_000, "", "nul", '{"a": 1', json.dumps({"servers": MANY})],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadDocument):
        read(text)


@pytest.mark.parametrize(
    "text", ["{}", '{"mcpServers": []}', '{"mcpServers": {"a": 5}}', '{"projects": [1]}']
)
def test_a_file_without_servers_has_none(text: str) -> None:
    assert read(text).entries == ()


@given(st.text(max_size=200))
def test_garbage_is_refused_or_empty(text: str) -> None:
    for toml in (False, True):
        try:
            read(text, toml=toml)
        except BadDocument:
            continue


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_without_comments_is_not_changed(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert plain(text) == text
