"""The provider's keys: from a file on site, or, if the site wants it, from a URL of the provider."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final, NoReturn, Protocol

from penstock import jwk, jwt
from penstock.jwk import BadKeys, KeySet
from penstock.jwks import FetchError, KeyCache, KeysUnavailable
from penstock_agent.problem import Exit, Problem

MAX_BYTES: Final = 64 * 1024
TIMEOUT_S: Final = 10.0


class Keys(Protocol):
    """Where the keys come from."""

    async def of(self, token: str) -> KeySet:
        """The set that the key of ``token`` is looked for in. Raises KeysUnavailable, BadToken."""
        ...

    async def run(self) -> None:
        """What has to run for it. A TaskGroup owns it."""
        ...


class InFile:
    """Read once: a reload of the configuration reads it again."""

    def __init__(self, path: Path) -> None:
        """Raises Problem."""
        try:
            data = path.read_bytes()
            self._keys = jwk.parse(data)
        except OSError as error:
            raise Problem(f"caller.keys_file: {path} cannot be read: {error.strerror}.", Exit.USAGE) from None
        except BadKeys as error:
            raise Problem(
                f"caller.keys_file: {path} is no set of keys (JWKS) that can be used: {error}. Save what the "
                "provider shows at its jwks_uri.",
                Exit.USAGE,
            ) from None

    async def of(self, token: str) -> KeySet:
        return self._keys

    async def run(self) -> None:
        return None


class AtUrl:
    """Fetched when a login has to be judged, through the proxy if one is set; kept for a while."""

    def __init__(self, url: str, proxy: str | None) -> None:
        self._url = url
        self._proxy = proxy
        self._cache = KeyCache(self._fetch)

    async def of(self, token: str) -> KeySet:
        return await self._cache.keys(self._url, jwt.unverified(token).kid)

    async def run(self) -> NoReturn:
        await self._cache.run()

    async def _fetch(self, url: str, /) -> bytes:
        return await asyncio.to_thread(_read, url, self._proxy)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _read(url: str, proxy: str | None) -> bytes:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": proxy, "http": proxy} if proxy else {}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _NoRedirects,
    )
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "penstock"})  # noqa: S310  https, or loopback: the settings see to it
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            data: bytes = answer.read(MAX_BYTES + 1)
    except (OSError, urllib.error.URLError, HTTPException, ValueError) as error:
        raise FetchError(f"it cannot be reached ({type(error).__name__})") from None
    if len(data) > MAX_BYTES:
        raise FetchError("it is too long")
    return data


__all__ = ["AtUrl", "InFile", "Keys", "KeysUnavailable"]
