"""What clients discover: where a resource's authorization server is, and what that can do. Pure.

RFC 9728 and RFC 8414, both computed from the path alone: no look-up tells a stranger which sites exist.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penstock.names import RESERVED, WHOLE_SITE
from penstock_relay.oauth import assertion
from penstock_relay.oauth.issuer import Issuer

SCOPE: Final = "mcp"
"""To call what the user granted. There is one: the consent page, not its name, says what it covers."""
OFFLINE: Final = "offline_access"
"""Listed by the server, never by a resource: clients that ask for it expect refresh tokens. All get them."""
AUTH_METHODS: Final = ("none", "client_secret_post", "client_secret_basic")
"""How clients that register themselves may prove who they are. Those with a document, and those that the
operator made, may also sign."""

PROTECTED: Final = "/.well-known/oauth-protected-resource"
SERVER: Final = "/.well-known/oauth-authorization-server"
OPENID: Final = "/.well-known/openid-configuration"

CALLED: Final = frozenset({"/oauth/register", "/oauth/token", "/oauth/revoke", "/register", "/token"})
"""Endpoints that programs call; they need no cookie, and trust none."""

_RESOURCE: Final = re.compile(r"/([a-z0-9-]{1,40})/([a-z0-9-]{1,40})/(mcp|sse)/?")
_SITE: Final = re.compile(r"/([a-z0-9-]{1,40})/mcp/?")
_TAILS: Final = ("/mcp", "/mcp/", "/sse", "/sse/")
"""What follows site and server in the URLs that users paste."""
_SITE_TAILS: Final = ("/mcp", "/mcp/")
"""What follows the site in those of all its servers together."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One server of a site, or all of them together (`WHOLE_SITE`), whichever of its URLs was pasted: what it
    allows is the same at all of them."""

    site: str
    server: str

    @property
    def path(self) -> str:
        """What the paths of its URLs begin with."""
        return f"/{self.site}" if self.server == WHOLE_SITE else f"/{self.site}/{self.server}"

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the URLs, in all their spellings: Streamable HTTP, and the event stream of HTTP+SSE."""
        return tuple(self.path + tail for tail in (_SITE_TAILS if self.server == WHOLE_SITE else _TAILS))

    @property
    def title(self) -> str:
        """In words, for a page."""
        return f"all servers of {self.site}" if self.server == WHOLE_SITE else f"{self.server} at {self.site}"


def resource_at(path: str) -> Resource | None:
    """The server, or the site, whose endpoint is at this path, with or without a slash at its end."""
    found = _RESOURCE.fullmatch(path)
    if found is not None:
        site, server = found[1], found[2]
    else:
        found = _SITE.fullmatch(path)
        if found is None:
            return None
        site, server = found[1], WHOLE_SITE
    return None if site in RESERVED or server in RESERVED else Resource(site, server)


def resource_of(origin: str, url: str) -> Resource | None:
    """The server or site of this relay whose endpoint `url` names, byte for byte; None for any other."""
    return resource_at(url.removeprefix(origin)) if url.startswith(origin + "/") else None


def any_origin(path: str) -> bool:
    """Whether programs in pages of other origins may call this path."""
    return path.startswith("/.well-known/") or path in CALLED


def challenge(origin: str, site: str, server: str, scopes: Sequence[str], tail: str = "/mcp") -> str:
    """Parameters of WWW-Authenticate that lead a client to where it can log in (RFC 9728, 5.1).

    `tail` is the rest of the URL that the user pasted, with its slash if it had one: clients compare the
    metadata's resource with that.
    """
    where = f"{origin}{PROTECTED}{Resource(site, server).path}{tail}"
    return f'resource_metadata="{where}", scope="{" ".join(scopes)}"'


def asked(oauth: bool, issuers: Sequence[Issuer], site: str, server: str) -> tuple[str, ...]:
    """The scopes to ask for at the first authorization server, which is the one that clients take; () when
    there is none. `oauth`: whether ours is running, which then is the first."""
    if oauth:
        return (SCOPE,)
    return issuers[0].asked(site, server) if issuers else ()


def protected(
    origin: str, path: str, *, oauth: bool = True, issuers: Sequence[Issuer] = ()
) -> dict[str, object] | None:
    """The metadata of the resource at `path`, with the slash that its user typed; "" is the whole relay."""
    resource = resource_at(path)
    if path not in ("", "/") and resource is None:
        return None
    scopes = [SCOPE] if oauth else []
    for issuer in issuers:
        # Of the relay as a whole there is nothing to ask for where it depends on the server.
        names = issuer.asked(resource.site, resource.server) if resource else ()
        scopes += [name for name in names if name not in scopes]
    return {
        "resource": origin + path.removesuffix("/") if path in ("", "/") else origin + path,
        "authorization_servers": [*([origin] if oauth else []), *(issuer.url for issuer in issuers)],
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
        "resource_name": "Penstock",
    }


def authorization_server(origin: str) -> dict[str, object]:
    """RFC 8414; also served where OpenID Connect clients look."""
    return {
        "issuer": origin,
        "authorization_endpoint": f"{origin}/oauth/authorize",
        "token_endpoint": f"{origin}/oauth/token",
        "registration_endpoint": f"{origin}/oauth/register",
        "revocation_endpoint": f"{origin}/oauth/revoke",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        # "none" is what Claude looks for before it shows its document.
        "token_endpoint_auth_methods_supported": [*AUTH_METHODS, assertion.METHOD],
        "token_endpoint_auth_signing_alg_values_supported": list(assertion.ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": [*AUTH_METHODS, assertion.METHOD],
        "revocation_endpoint_auth_signing_alg_values_supported": list(assertion.ALGORITHMS),
        "scopes_supported": [SCOPE, OFFLINE],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
    }
