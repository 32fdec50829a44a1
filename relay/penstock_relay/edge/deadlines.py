"""How long each known client waits, so that the answer that says why arrives before it gives up.

Pure. The figures stay below what was measured or documented for each client; progress and keep-alives do
not extend them on the client's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MODERN: Final = "2026-07-28"
"""The first stateless revision; revisions compare as text."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """Seconds from the request to the end of its answer, and to the first byte of it."""

    deadline_s: float
    no_byte_s: float


NO_BYTE: Final = 55.0
"""Proxies between caller and relay commonly give up after 60 s without a byte."""

DEFAULT: Final = Deadline(120.0, NO_BYTE)
RESPONSES_API: Final = Deadline(55.0, NO_BYTE)
CHATGPT: Final = Deadline(110.0, NO_BYTE)
CLAUDE_MODERN: Final = Deadline(140.0, NO_BYTE)
CLAUDE_LEGACY: Final = Deadline(230.0, NO_BYTE)
LISTENING: Final = Deadline(24 * 3600.0, NO_BYTE)
"""A stream that the client listens on ends when the client goes, or after a day."""


def of(method: str, user_agent: str, revision: str | None, *, listens: bool = False) -> Deadline:
    """The deadlines of one request, by method, User-Agent and MCP-Protocol-Version.

    `listens`: it asks for a stream that lasts, as `penstock.http.only_listens` finds out.
    """
    if method == "GET" or listens:
        return LISTENING
    agent = user_agent.lower()
    if agent.startswith("openai-mcp"):
        # "openai-mcp/1.0.0 (ChatGPT)", "(Codex)", "(Responses API)": the last two give up after 60 s.
        return CHATGPT if "chatgpt" in agent else RESPONSES_API
    if agent.startswith(("claude", "anthropic")):
        return CLAUDE_MODERN if revision is not None and revision >= MODERN else CLAUDE_LEGACY
    return DEFAULT
