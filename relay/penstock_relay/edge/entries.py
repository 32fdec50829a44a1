"""The public entries of a server: Streamable HTTP, and the two halves of HTTP+SSE; and that of all servers of
a site together, which is Streamable HTTP alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from penstock import http
from penstock.http import Headers, Refusal
from penstock.names import RESERVED, WHOLE_SITE
from penstock.tunnel.frames import Purpose

ENDPOINT: Final = re.compile(r"/([a-z0-9-]{1,40})/([a-z0-9-]{1,40})/(mcp|sse|messages)(/?)")
SITE_ENDPOINT: Final = re.compile(r"/([a-z0-9-]{1,40})/(mcp|sse|messages)(/?)")
"""It has a segment less than that of a server, which may itself be called `mcp`."""

_NOTHING: Final = Refusal(
    404,
    "There is nothing at this path: an MCP endpoint is /{site}/{server}/mcp, or /{site}/mcp for all servers "
    "of a site together.",
)
_ONE_BY_ONE: Final = Refusal(
    404,
    "HTTP+SSE is for single servers, at /{site}/{server}/sse. All servers of a site together are at "
    "/{site}/mcp, which speaks Streamable HTTP.",
)

SESSION: Final = "mcp-session-id"
QUERY: Final = "sessionId"
"""In the query of a message of HTTP+SSE. The site wrote that URL, so there is one word for it."""

_PURPOSES: Final = {"mcp": Purpose.MCP, "sse": Purpose.SSE, "messages": Purpose.MESSAGES}
_CHECKS: Final[Mapping[Purpose, Callable[[str, Headers], Refusal | None]]] = {
    Purpose.MCP: http.check,
    Purpose.SSE: http.check_stream,
    Purpose.MESSAGES: http.check_messages,
}


def at(path: str) -> tuple[str, str, str, str] | None:
    """Site, server, last part and slash of the entry at `path`; the server may be `WHOLE_SITE`."""
    found = ENDPOINT.fullmatch(path)
    if found is not None:
        site, server, name, slash = found.groups()
    else:
        found = SITE_ENDPOINT.fullmatch(path)
        if found is None or found[2] != "mcp":
            return None
        server = WHOLE_SITE
        site, name, slash = found.groups()
    return None if site in RESERVED or server in RESERVED else (site, server, name, slash)


def nothing(path: str) -> Refusal:
    """The answer where there is no entry."""
    found = SITE_ENDPOINT.fullmatch(path)
    return _NOTHING if found is None or found[1] in RESERVED else _ONE_BY_ONE


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
