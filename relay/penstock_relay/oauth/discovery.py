"""Where an issuer shows its keys: found by its name (OpenID Connect Discovery 1.0, 4; RFC 8414, 3)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from penstock.jwk import strict_object
from penstock.jwks import Fetch, FetchError
from penstock_relay.oauth import trusted

_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"


def places(issuer: str) -> tuple[str, ...]:
    """URLs of the metadata of `issuer`, in the order in which they are tried."""
    base = issuer.removesuffix("/")
    parts = urlsplit(base)
    return (base + _OPENID, f"{parts.scheme}://{parts.netloc}{_OAUTH}{parts.path}")


class Discovery:
    """The key sets of issuers by their names; nothing is kept here, a `KeyCache` stands in front."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def keys(self, issuer: str, /) -> bytes:
        """The key set of `issuer`, which its metadata names. Raises FetchError."""
        return await self._fetch(_jwks_uri(issuer, await self._metadata(issuer)))

    async def _metadata(self, issuer: str) -> bytes:
        first, second = places(issuer)
        try:
            return await self._fetch(first)
        except FetchError:
            return await self._fetch(second)


def _jwks_uri(issuer: str, data: bytes) -> str:
    found = strict_object(data)
    if found is None:
        raise FetchError("its metadata is not one plain JSON object")
    if found.get("issuer") != issuer:
        raise FetchError("its metadata is of an issuer with another name")
    uri = found.get("jwks_uri")
    if not isinstance(uri, str) or trusted.problem(uri) is not None:
        raise FetchError("its metadata names no key set that may be read")
    return uri
