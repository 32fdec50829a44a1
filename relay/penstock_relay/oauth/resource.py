"""What a relay says of its MCP endpoints when users log in elsewhere: RFC 9728, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from penstock_relay.oauth import metadata, web
from penstock_relay.oauth.issuer import Issuer
from penstock_relay.oauth.web import Asked, Reply

PREFLIGHT: Final = Reply(
    204,
    b"",
    (
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST"),
        ("access-control-allow-headers", "authorization, content-type, mcp-protocol-version"),
        ("access-control-max-age", "3600"),
    ),
)


def described(method: str, found: Mapping[str, object] | None) -> Reply:
    """The answer of a metadata endpoint that found this."""
    if method == "OPTIONS":
        return PREFLIGHT
    if method not in ("GET", "HEAD"):
        return Reply(405, b"", (("allow", "GET"),))
    if found is None:
        return web.json(404, {"error": "not_found"})
    return web.json(200, found, stored=True)


class ResourceMetadata:
    """The relay's own pages where its authorization server is switched off; `origin` is the public URL."""

    def __init__(self, origin: str, issuers: Sequence[Issuer]) -> None:
        self._origin = origin
        self._issuers = issuers

    async def handle(self, asked: Asked) -> Reply:
        """Answers; never raises for what was asked."""
        found = None
        if asked.path.startswith(metadata.PROTECTED):
            place = asked.path.removeprefix(metadata.PROTECTED)
            found = metadata.protected(self._origin, place, oauth=False, issuers=self._issuers)
        return described(asked.method, found)
