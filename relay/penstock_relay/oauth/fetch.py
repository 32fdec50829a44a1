"""Metadata documents of clients, fetched so that a stranger's URL reaches nothing but the public internet.

The name is resolved here, every address is judged, and exactly a judged one is dialled: between the
judgement and the connection no second answer of a name server counts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from penstock import log
from penstock.jwks import FetchError
from penstock_relay.oauth import vendors
from penstock_relay.oauth.copies import Copies
from penstock_relay.oauth.resolve import Resolver

MAX_DOCUMENT: Final = 64 * 1024
TIMEOUT_S: Final = 3.0
"""For all of it: resolving, connecting and reading."""
AT_ONCE: Final = 8
"""Fetches from hosts of strangers."""
KNOWN_AT_ONCE: Final = 4
"""Fetches from hosts that are in use, so that strangers do not keep these waiting."""
PER_HOST: Final = 2
_LATE: Final = "it did not come in time"
_TROUBLE: Final = frozenset({408, 425, 429})
"""Like those from 500 on: what says nothing about the document."""

_BLOCKED: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15",
        "240.0.0.0/4", "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20",
        "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
    )
)  # fmt: skip
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

_log = log.get(__name__)

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host name. Raises OSError."""


def is_public(address: str) -> bool:
    """Whether `address` is a host on the public internet; addresses that carry another are judged by that."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return False
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    if not found.is_global or found.is_multicast or found.is_reserved:
        return False
    return not any(found in network for network in _BLOCKED if network.version == found.version)


@dataclass(slots=True)
class _Flight:
    """One fetch that several wait for. Neither data nor problem: whoever flew was cancelled."""

    landed: asyncio.Event = field(default_factory=asyncio.Event)
    data: bytes | None = None
    problem: str | None = None


class _Judged(AbstractResolver):
    """Gives aiohttp the judged addresses of a name, all of them or none."""

    def __init__(self, find: Lookup, allow: Callable[[str], bool]) -> None:
        self._find = find
        self._allow = allow

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._find(host, port)
        if not addresses or not all(map(self._allow, addresses)):
            raise OSError("not a public host")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _Connector(aiohttp.TCPConnector):
    """Dials judged addresses only, and looks once more at who it is connected to before anything is asked."""

    def __init__(self, find: Lookup, allow: Callable[[str], bool], context: ssl.SSLContext | None) -> None:
        self._allow = allow
        super().__init__(
            resolver=_Judged(find, allow),
            use_dns_cache=False,
            socket_factory=self._socket,
            force_close=True,
            limit=AT_ONCE + KNOWN_AT_ONCE,
            ssl=True if context is None else context,
        )

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        made = await super().connect(req, traces, timeout)
        peer = None if made.transport is None else made.transport.get_extra_info("peername")
        if not peer or not self._allow(str(peer[0])):
            made.close()
            raise OSError("not a public host")
        return made

    def _socket(self, address: AddrInfoType) -> socket.socket:
        # aiohttp asks no resolver about a host that is an address: whatever it dials is judged here.
        family, kind, protocol, _, where = address
        if not self._allow(str(where[0])):
            raise OSError("not a public host")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


class Documents:
    """Fetches, and remembers unless somebody else does (`keeps`).

    `port`, `allow`, `find` and `context` are others in tests only.
    """

    def __init__(
        self,
        *,
        find: Lookup | None = None,
        allow: Callable[[str], bool] = is_public,
        context: ssl.SSLContext | None = None,
        port: int = 443,
        ticks: Callable[[], float] = time.monotonic,
        timeout_s: float = TIMEOUT_S,
        keeps: bool = True,
    ) -> None:
        self._copies = Copies()
        self._resolver = Resolver(self._known)
        self._find = self._resolver.find if find is None else find
        self._allow = allow
        self._context = context
        self._port = port
        self._ticks = ticks
        self._timeout_s = timeout_s
        self._keeps = keeps
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._known_turn = asyncio.Semaphore(KNOWN_AT_ONCE)
        self._at_host: dict[str, tuple[asyncio.Semaphore, int]] = {}
        self._flights: dict[str, _Flight] = {}
        self._session: aiohttp.ClientSession | None = None

    def costs(self, url: str) -> bool:
        """Whether the document would have to be fetched now."""
        now = self._ticks()
        return self._copies.fresh(url, now) is None and self._copies.failed(url, now) is None

    def use(self, url: str) -> None:
        """A user is connected with the client that `url` describes: its copy is kept before others."""
        self._copies.use(url)

    async def get(self, url: str, /) -> bytes:
        """The document at `url`, at most five minutes old, a day if its host fails. Raises FetchError."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            while True:
                now = self._ticks()
                data, problem = self._copies.fresh(url, now), self._copies.failed(url, now)
                if data is not None:
                    return data
                if problem is not None:
                    return self._last_good(url, problem)
                flight = self._flights.get(url)
                if flight is None:
                    return await self._fly(url, deadline)
                async with asyncio.timeout_at(deadline):
                    await flight.landed.wait()
                if flight.data is not None:
                    return flight.data
                if flight.problem is not None:
                    return self._last_good(url, flight.problem)
        except TimeoutError:
            return self._last_good(url, _LATE)

    def _last_good(self, url: str, problem: str) -> bytes:
        data = self._copies.stale(url, self._ticks())
        if data is None:
            raise FetchError(problem) from None
        return data

    async def close(self) -> None:
        """Closes what is open."""
        self._resolver.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _fly(self, url: str, deadline: float) -> bytes:
        flight = self._flights[url] = _Flight()
        begun = False
        try:
            async with asyncio.timeout_at(deadline), self._turns(url):
                begun = True
                flight.data = await self._fetch(url)
        except TimeoutError:
            flight.problem = _LATE
            if begun:  # otherwise it was not the host that was slow
                self._failed(url, FetchError(_LATE))
            raise
        except FetchError as error:
            flight.problem = str(error)
            self._failed(url, error)
            return self._last_good(url, str(error))
        finally:
            del self._flights[url]
            flight.landed.set()
        if self._keeps:
            self._copies.keep(url, flight.data, self._ticks())
        return flight.data

    def _failed(self, url: str, error: FetchError) -> None:
        if not self._keeps:
            return
        now = self._ticks()
        self._copies.fail(url, str(error), now, withdrawn=error.withdrawn)
        if self._copies.stale(url, now) is not None:
            _log.warning(
                "client_document_stale",
                host=_host(url),
                age_s=int(self._copies.age(url, now)),
                cause=str(error),
                meaning="the last good copy is used, for a day at most",
            )

    @asynccontextmanager
    async def _turns(self, url: str) -> AsyncIterator[None]:
        """Waits for the host first: who waits for that takes no turn of others."""
        host = _host(url)
        turn, users = self._at_host.get(host, (asyncio.Semaphore(PER_HOST), 0))
        self._at_host[host] = (turn, users + 1)
        try:
            async with turn, self._known_turn if self._known(host) else self._turn:
                yield
        finally:
            turn, users = self._at_host.pop(host)
            if users > 1:
                self._at_host[host] = (turn, users - 1)

    def _known(self, host: str) -> bool:
        return host in vendors.HOSTS or self._copies.knows(host)

    async def _fetch(self, url: str) -> bytes:
        try:
            parts = urlsplit(url)
            usual = parts.port in (None, self._port)
        except ValueError:
            raise FetchError("its URL cannot be read") from None
        if parts.scheme != "https" or not parts.hostname or not usual or "@" in parts.netloc:
            raise FetchError("its URL is not https on the usual port")
        if _is_address(parts.hostname):
            raise FetchError("its URL names an address, not a host")
        try:
            async with self._opened().get(url, allow_redirects=False) as response:
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if response.status in _TROUBLE or response.status >= 500:
                    raise FetchError("its host cannot answer now")
                if response.status != 200 or "content-encoding" in response.headers:
                    raise FetchError("there is no such document", withdrawn=True)
                if kind != "application/json" and not kind.endswith("+json"):
                    raise FetchError("it is not JSON", withdrawn=True)
                return await read(response.content, MAX_DOCUMENT)
        except (aiohttp.ClientError, OSError, ValueError):
            raise FetchError("its host cannot be reached") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(self._find, self._allow, self._context),
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


async def read(content: aiohttp.StreamReader, most: int) -> bytes:
    """All of an answer. Raises FetchError above `most` bytes."""
    data = bytearray()
    async for chunk in content.iter_any():
        data += chunk
        if len(data) > most:
            raise FetchError("it is too long", withdrawn=True)
    return bytes(data)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
