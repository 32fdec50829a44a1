from __future__ import annotations

import pytest

from penstock_relay.oauth.client import Client
from penstock_relay.oauth.naming import name_warning

EVIL = "https://evil.example/cb"
CLAUDE = "https://claude.ai/api/mcp/auth_callback"


def warned(name: str, uri: str = EVIL, host: str | None = None) -> str:
    return name_warning(Client("x", name, (uri,), "none", None, host), uri) or ""


@pytest.mark.parametrize(
    "name", ["Claude", "Claude - described by claude.ai", "\u0421laude", "C1aude for work"]
)
def test_a_name_like_an_assistants_is_warned_of_where_the_answer_goes_elsewhere(name: str) -> None:
    said = warned(name)
    assert "Anthropic" in said
    assert "evil.example" in said
    assert "Anthropic" in warned(name, host="evil.example")  # who describes itself there proves nothing more
    assert "Anthropic" in warned(name, "https://chatgpt.com/connector_platform_oauth_redirect")
    assert "Anthropic" in warned(name, "https://x.claude.ai/cb")
    assert "Anthropic" in warned(name, "https://claude.ai.evil.example/cb")


def test_an_assistant_is_not_warned_of() -> None:
    assert not warned("Claude", CLAUDE)
    assert not warned("Claude", CLAUDE, "claude.ai")
    assert not warned("Claude Code", "http://localhost:4711/callback", "claude.ai")
    assert not warned("ChatGPT", "https://chatgpt.com/connector/oauth/abc")
    assert not warned("Visual Studio Code", "https://vscode.dev/redirect")


def test_a_program_on_the_users_machine_is_warned_of_elsewhere() -> None:
    assert not warned("Claude", "http://127.0.0.1:4711/cb")
    assert not warned("Claude", "http://[::1]:4711/cb")


@pytest.mark.parametrize("name", ["Banк login", "Ba\u3164nk", "Ba\u202enk"])
def test_letters_that_are_not_what_they_seem_are_warned_of(name: str) -> None:
    assert "different alphabets" in warned(name)


def test_a_name_that_speaks_of_another_host_is_warned_of() -> None:
    assert "acme-bank.com" in warned("Acme - described by acme-bank.com")
    assert "acme-bank.com" in warned("ACME-BANK.COM")
    assert not warned("Evil, of evil.example")
    assert not warned("App", "https://app.acme.com/cb")
    assert not warned("acme.com", "https://app.acme.com/cb")
    assert warned("app.acme.com", "https://acme.com/cb")
    assert not warned("acme.com", EVIL, "acme.com")


@pytest.mark.parametrize(
    "name", ["My notes", "Node.js helper", "v1.2", "Заметки", "An application without a name"]
)
def test_other_names_pass(name: str) -> None:
    assert not warned(name)
