"""Documents at URLs that the operator wrote: they may be internal, and are still read with bounds.

Unlike `fetch`, which dials nothing but the public internet. TLS is verified as OpenSSL is set up here
(SSL_CERT_FILE adds an internal authority); redirects are not followed, proxies and .netrc are not read.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote_plus, urlsplit

import aiohttp

from penstock.jwks import FetchError
from penstock_relay.oauth.fetch import MAX_DOCUMENT, read

TIMEOUT_S: Final = 5.0
"""For all of it: resolving, connecting and reading."""
AT_ONCE: Final = 16


def problem(url: str) -> str | None:
    """Why the operator's `url` may not be asked, as a sentence; None when it may."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "it cannot be read as a URL"
    if not parts.hostname or "@" in parts.netloc or parts.fragment or not url.isprintable() or " " in url:
        return "it must be a URL with a host, without user and fragment"
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname)):
        return None
    return "it must be https; plain http is for loopback hosts only"


class Trusted:
    """Asks, and keeps nothing."""

    def __init__(self, *, context: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`context` is another one in tests only."""
        self._context = context
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, /) -> bytes:
        """The JSON document at `url`. Raises FetchError."""
        return await self._ask("GET", url, None, {})

    async def post(self, url: str, fields: Mapping[str, str], client_id: str, secret: str) -> bytes:
        """The JSON answer to a form of a client that proves itself (RFC 6749, 2.3.1). Raises FetchError."""
        pair = base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
        return await self._ask("POST", url, fields, {"Authorization": f"Basic {pair}"})

    async def close(self) -> None:
        """Closes what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self, method: str, url: str, *, fields: Mapping[str, str] | None = None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Status and body of whatever answer there is. Raises FetchError when there is none."""
        if (wrong := problem(url)) is not None:
            raise FetchError(wrong)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._opened().request(
                    method, url, data=fields, headers=headers, allow_redirects=False
                ) as response,
            ):
                if "content-encoding" in response.headers:
                    raise FetchError(f"it answered {response.status}, in an encoding that was not asked for")
                return response.status, await read(response.content, MAX_DOCUMENT)
        except TimeoutError:
            raise FetchError("it did not answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchError(f"it cannot be reached ({type(error).__name__})") from None

    async def _ask(
        self, method: str, url: str, fields: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> bytes:
        status, data = await self.send(method, url, fields=fields, headers=headers)
        if status != 200:
            raise FetchError(f"it answered {status}, not 200")
        return data

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=AT_ONCE, ssl=True if self._context is None else self._context
                ),
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "User-Agent": "penstock",
                },
            )
        return self._session


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
