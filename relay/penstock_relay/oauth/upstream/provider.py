"""What an identity provider says of itself (OpenID Connect Discovery 1.0), kept for a while, and its keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from penstock import log
from penstock.jwk import KeySet, strict_object
from penstock.jwks import Fetch, FetchError, KeyCache, KeysUnavailable
from penstock_relay.oauth import discovery, trusted

FRESH_S: Final = 3600.0
"""Age above which the metadata is fetched again."""
STALE_S: Final = 24 * 3600.0
"""Age up to which it is used while it cannot be."""
RETRY_S: Final = 5.0
"""After a fetch that failed."""

_log = log.get(__name__)


class ProviderUnavailable(Exception):
    """The provider cannot be asked now, or its answer makes no sense. The text is for the log."""


@dataclass(frozen=True, slots=True)
class Metadata:
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    names_itself: bool
    """Whether every answer carries `iss` (RFC 9207)."""
    basic: bool
    """Whether the secret goes into a header (client_secret_basic), else into the form."""


def parse(issuer: str, data: bytes) -> Metadata:
    """The metadata of exactly that issuer. Raises FetchError."""
    found = strict_object(data)
    if found is None:
        raise FetchError("its metadata is not one plain JSON object")
    if found.get("issuer") != issuer:
        raise FetchError("its metadata is of an issuer with another name")

    def url(name: str) -> str:
        value = found.get(name)
        if not isinstance(value, str) or trusted.problem(value) is not None:
            raise FetchError(f"its metadata has no usable {name}")
        return value

    methods = found.get("token_endpoint_auth_methods_supported")
    return Metadata(
        issuer,
        url("authorization_endpoint"),
        url("token_endpoint"),
        url("jwks_uri"),
        url("userinfo_endpoint") if "userinfo_endpoint" in found else None,
        found.get("authorization_response_iss_parameter_supported") is True,
        not isinstance(methods, list) or "client_secret_basic" in methods,
    )


class Provider:
    """One of them. :meth:`run` must be running. `ticks` counts seconds that never go back."""

    def __init__(self, issuer: str, fetch: Fetch, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self.issuer: Final = issuer
        self._fetch = fetch
        self._ticks = ticks
        self._keys = KeyCache(fetch, ticks=ticks)
        self._turn = asyncio.Lock()
        self._known: tuple[float, Metadata] | None = None
        self._not_before = float("-inf")

    async def run(self) -> NoReturn:
        """Fetches keys as they are needed, for ever. A TaskGroup owns it."""
        await self._keys.run()

    async def metadata(self) -> Metadata:
        """Raises ProviderUnavailable."""
        if self._known is not None and self._ticks() - self._known[0] < FRESH_S:
            return self._known[1]
        async with self._turn:
            return await self._newer()

    async def keys(self, kid: str | None) -> KeySet:
        """The provider's keys, new enough to hold `kid` if it has such a key. Raises ProviderUnavailable."""
        try:
            return await self._keys.keys((await self.metadata()).jwks_uri, kid)
        except KeysUnavailable:
            raise ProviderUnavailable("its keys cannot be read") from None

    async def _newer(self) -> Metadata:
        now = self._ticks()
        age = float("inf") if self._known is None else now - self._known[0]
        if self._known is not None and age < FRESH_S:
            return self._known[1]  # another one fetched it while we waited for our turn
        if now >= self._not_before:
            try:
                found = parse(self.issuer, await self._fetch(discovery.places(self.issuer)[0]))
            except FetchError as error:
                self._not_before = self._ticks() + RETRY_S
                _log.warning("identity_provider_unavailable", issuer=self.issuer, cause=str(error))
            else:
                self._known = (now, found)
                return found
        if self._known is not None and age < STALE_S:
            return self._known[1]
        raise ProviderUnavailable("its metadata cannot be read")
