"""Each known client is answered before it gives up."""

import pytest

from penstock_relay.edge import deadlines


@pytest.mark.parametrize(
    ("user_agent", "revision", "expected"),
    [
        ("openai-mcp/1.0.0 (Responses API)", "2025-11-25", 55),
        ("openai-mcp/1.0.0 (Codex)", None, 55),
        ("openai-mcp/1.0.0 (ChatGPT)", "2026-07-28", 110),
        ("Claude-User", "2026-07-28", 140),
        ("Claude-User", "2027-01-01", 140),
        ("Claude-User", "2025-11-25", 230),
        ("Claude-User", None, 230),
        ("claude-code/2.1.328 (sdk-cli)", "2025-06-18", 230),
        ("Anthropic/ClaudeAI", None, 230),
        ("python-httpx/0.28", "2025-06-18", 120),
        ("not-openai-mcp (ChatGPT)", None, 120),
        ("", None, 120),
    ],
)
def test_a_post_has_the_deadline_of_its_client(
    user_agent: str, revision: str | None, expected: float
) -> None:
    assert deadlines.of("POST", user_agent, revision).deadline_s == expected


def test_the_first_byte_is_due_before_a_proxy_gives_up_on_silence() -> None:
    for user_agent in ("openai-mcp/1 (Responses API)", "Claude-User", ""):
        due = deadlines.of("POST", user_agent, None)
        assert due.no_byte_s < 60
        assert due.no_byte_s <= due.deadline_s


def test_a_listening_stream_is_not_ended_by_the_deadline_of_calls() -> None:
    assert deadlines.of("GET", "Claude-User", None).deadline_s == 24 * 3600


def test_a_subscription_lasts_as_long_as_the_stream_of_a_get() -> None:
    listening = deadlines.of("POST", "Claude-User", "2026-07-28", listens=True)
    assert listening == deadlines.of("GET", "Claude-User", None)
