"""The public entries of a server: Streamable HTTP, and the two halves of HTTP+SSE. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from penstock import http
from penstock.http import Headers, Refusal
from penstock.tunnel.frames import Purpose

SESSION: Final = "mcp-session-id"
QUERY: Final = "sessionId"
"""In the query of a message of HTTP+SSE. The site wrote that URL, so there is one word for it."""

_PURPOSES: Final = {"mcp": Purpose.MCP, "sse": Purpose.SSE, "messages": Purpose.MESSAGES}
_CHECKS: Final[Mapping[Purpose, Callable[[str, Headers], Refusal | None]]] = {
    Purpose.MCP: http.check,
    Purpose.SSE: http.check_stream,
    Purpose.MESSAGES: http.check_messages,
}


def of(name: str, slash: str) -> tuple[Purpose, str]:
    """What the last part of a path means, and the end of the URL that its user has pasted.

    Nobody pastes the URL of messages: who has to log in for it does so for that of the stream.
    """
    purpose = _PURPOSES[name]
    return purpose, "/sse" if purpose is Purpose.MESSAGES else f"/{name}{slash}"


def headers(purpose: Purpose, travelling: Iterable[tuple[str, str]], query: str) -> Headers:
    """What travels to the agent. In HTTP+SSE a session is named by the query of its messages, by no header.

    A query that names two is the agent's to refuse.
    """
    if purpose is Purpose.MCP:
        return tuple(travelling)
    found = [pair for pair in travelling if pair[0] != SESSION]
    if purpose is Purpose.MESSAGES:
        pairs = (part.partition("=") for part in query.split("&"))
        found += ((SESSION, value) for name, _, value in pairs if name == QUERY)
    return tuple(found)


@lru_cache(maxsize=256)
def check(
    purpose: Purpose,
    method: str,
    encoding: str | None,
    media_type: str | None,
    accept: str | None,
    version: str | None,
) -> Refusal | None:
    """Method, encoding, type and Accept; remembered, since a client sends the same few with every request."""
    named = (
        ("content-encoding", encoding),
        ("content-type", media_type),
        ("accept", accept),
        (http.VERSION, version),
    )
    return _CHECKS[purpose](method, tuple((name, value) for name, value in named if value is not None))
