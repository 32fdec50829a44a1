from __future__ import annotations

import pytest

from penstock_relay.oauth import redirects
from penstock_relay.oauth.vendors import HOSTS, VENDORS, resembled, takes_answers


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("Claude", "Anthropic"),
        ("Claude - described by claude.ai", "Anthropic"),
        ("\u0421laude", "Anthropic"),
        ("C l a u d e", "Anthropic"),
        ("C.l.a.u.d.e", "Anthropic"),
        ("Clau-de", "Anthropic"),
        ("Cluade", "Anthropic"),
        ("Claudde", "Anthropic"),
        ("MyClaude", "Anthropic"),
        ("Anthr0pic", "Anthropic"),
        ("ChatGPT", "OpenAI"),
        ("Chat GPT", "OpenAI"),
        ("ChatGTP", "OpenAI"),
        ("\u0421hat\u0413\u0420\u0422 4".replace("\u0413", "G"), "OpenAI"),
        ("Open Al", "OpenAI"),
        ("0penAI helper", "OpenAI"),
        ("Gernini", "Google"),
        ("Goog1e Drive", "Google"),
        ("Rnicrosoft", "Microsoft"),
        ("Visual Studio Code", "Microsoft"),
        ("GitHub Copilot", "Microsoft"),
        ("Cursor", "Cursor"),
        ("Le Chat", "Mistral"),
        ("Perplexity", "Perplexity"),
        ("Penstock", "Penstock"),
    ],
)
def test_a_name_that_is_read_as_a_vendors_is_found(name: str, vendor: str) -> None:
    assert vendor in {found.name for found in resembled(name)}


@pytest.mark.parametrize(
    "name",
    ["", "My notes", "Clause checker", "Cloud drive", "Music lauded", "Cum laude", "Precursor", "Le chateau",
     "Grokking", "An application without a name", "Mystery", "MCP Inspector", "\u65e5\u672c\u8a9e"],
)  # fmt: skip
def test_other_names_are_nobodys(name: str) -> None:
    assert resembled(name) == []


def test_every_vendor_finds_itself_and_names_hosts_that_can_be_registered() -> None:
    for vendor in VENDORS:
        assert vendor in resembled(vendor.name)
        for word in vendor.words:
            assert vendor in resembled(word)
        for host in vendor.hosts:
            assert redirects.problem(f"https://{host}/callback") is None
    assert {"chatgpt.com", "claude.ai", "claude.com"} < HOSTS


@pytest.mark.parametrize(
    "uri",
    [
        "https://chatgpt.com/connector_platform_oauth_redirect",
        "https://chatgpt.com/connector/oauth/abc_DEF-123",
        "https://claude.ai/api/mcp/auth_callback",
        "https://claude.com/api/mcp/auth_callback",
    ],
)
def test_the_callbacks_of_the_named_assistants_are_known(uri: str) -> None:
    assert takes_answers(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "https://claude.ai/",
        "https://claude.ai/api/mcp/auth_callback/x",
        "https://claude.ai/api/mcp/auth_callback?next=https://evil.example",
        "https://claude.ai.evil.example/api/mcp/auth_callback",
        "https://claudexai/api/mcp/auth_callback",
        "http://claude.ai/api/mcp/auth_callback",
        "https://claude.ai:8443/api/mcp/auth_callback",
        "https://chatgpt.com/connector/oauth/",
        "https://chatgpt.com/connector/oauth/a/b",
        "https://chatgpt.com/connector/oauth/a?b=c",
        "https://chatgpt.com/",
        "http://127.0.0.1:1234/callback",
        "https://evil.example/cb",
        "",
    ],
)
def test_no_other_is(uri: str) -> None:
    assert not takes_answers(uri)
