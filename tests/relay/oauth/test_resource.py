"""The metadata of MCP endpoints where users log in elsewhere."""

from __future__ import annotations

import msgspec
import pytest

from penstock.http import first
from penstock_relay.oauth.issuer import Issuer, Opens
from penstock_relay.oauth.resource import ResourceMetadata
from penstock_relay.oauth.web import Asked

ORIGIN = "https://mcp.example.com"
PLACE = "/.well-known/oauth-protected-resource"
PAGES = ResourceMetadata(ORIGIN, (Issuer("https://login.example", (Opens("mcp", "*", "*"),)),))


async def test_it_leads_to_the_issuer_and_to_no_server_of_ours() -> None:
    reply = await PAGES.handle(Asked("GET", f"{PLACE}/oslo/files/mcp", ""))
    assert reply.status == 200
    assert first(reply.headers, "access-control-allow-origin") == "*"
    assert msgspec.json.decode(reply.body) == {
        "resource": f"{ORIGIN}/oslo/files/mcp",
        "authorization_servers": ["https://login.example"],
        "scopes_supported": ["mcp"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Penstock",
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", PLACE, 200),
        ("HEAD", f"{PLACE}/a/b/mcp/", 200),
        ("OPTIONS", f"{PLACE}/a/b/mcp", 204),
        ("POST", f"{PLACE}/a/b/mcp", 405),
        ("GET", f"{PLACE}/a/b", 404),
        ("GET", "/.well-known/oauth-authorization-server", 404),
    ],
)
async def test_nothing_else_is_there(method: str, path: str, status: int) -> None:
    assert (await PAGES.handle(Asked(method, path, ""))).status == status
