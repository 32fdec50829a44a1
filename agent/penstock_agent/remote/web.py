"""The HTTP client: one conversation's connections to one origin, and nothing else of the web.

Imports aiohttp, which not every agent has: :mod:`penstock_agent.remote.remotes` imports this when it is
needed.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from penstock import __version__
from penstock_agent.children.child import ChildStartError
from penstock_agent.remote import address
from penstock_agent.remote.address import Refused

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.tracing import Trace

CONNECT_S: Final = 10.0
"""Seconds for name, connection and TLS."""
KEEP_S: Final = 4.0
"""Seconds for which an idle connection is used again: less than the 5 s after which common servers close it,
since a request that crosses with the closing has an unknown outcome."""
REDIRECTS_MAX: Final = 3

#: aiohttp warns of larger bodies that are given as bytes, because they are copied in one go.
_LARGE: Final = 1024 * 1024


class Failed(Exception):
    """No answer. The text says why and what to do, for the log; ``sent`` is whether the server may have the
    request.
    """

    def __init__(self, text: str, *, sent: bool, elsewhere: bool = False) -> None:
        super().__init__(text)
        self.sent = sent
        self.elsewhere = elsewhere
        """The server sent us to another address."""


class Gate:
    """Holds one request between its connection and its first byte, so that it can be taken back with
    certainty.
    """

    def __init__(self) -> None:
        self._ready = asyncio.Event()
        self._open = asyncio.Event()
        self._failure: Failed | None = None

    async def ready(self) -> None:
        """Returns once there is a connection; raises :exc:`Failed` when there will be none."""
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def open(self) -> None:
        """Now it may be sent."""
        self._open.set()

    @property
    def opened(self) -> bool:
        return self._open.is_set()

    def fail(self, failure: Failed) -> None:
        """There is no connection."""
        self._failure = failure
        self._ready.set()

    async def passage(self) -> None:
        """For the connection: there is one, may it be used?"""
        self._ready.set()
        await self._open.wait()


class _Reached(Exception):
    """There is a connection, and that was all that was asked."""


class _Probe(Gate):
    async def passage(self) -> None:
        raise _Reached


_gate: contextvars.ContextVar[Gate | None] = contextvars.ContextVar("penstock_remote_gate", default=None)


class _Connector(aiohttp.TCPConnector):
    """Asks the gate of a request, if it has one, before its first byte is written."""

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        gate = _gate.get()
        if gate is not None:
            try:
                await gate.passage()
            except BaseException:
                connection.close()
                raise
        return connection


class Response:
    """The head of an answer, and its body in pieces. ``close`` it."""

    def __init__(self, found: aiohttp.ClientResponse) -> None:
        self._found = found
        self.status = found.status

    def header(self, name: str) -> str | None:
        return self._found.headers.get(name)

    async def piece(self) -> bytes:
        """What came of the body since the last; empty at its end. Raises :exc:`Failed` when it breaks off."""
        try:
            return await self._found.content.readany()
        except (OSError, aiohttp.ClientError) as e:
            raise Failed(f"the answer broke off ({type(e).__name__})", sent=True) from None

    async def start(self, most: int) -> bytes:
        """The first ``most`` bytes of the body, or what came of them."""
        body = bytearray()
        try:
            while len(body) < most and (piece := await self.piece()):
                body += piece
        except Failed:
            pass
        return bytes(body[:most])

    def close(self) -> None:
        """Ends the connection, unless the body was read to its end."""
        self._found.close()


class Web:
    """Requests to one server. ``close`` it."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        """``context``: from ``trust``, None where no https is spoken."""
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=0,  # whoever sends counts its requests
                ssl=context if context is not None else True,
                use_dns_cache=False,
                keepalive_timeout=KEEP_S,
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_connect=CONNECT_S),
            headers={"User-Agent": f"penstock-agent/{__version__}", "Accept-Encoding": "identity"},
        )

    async def reach(self, url: str) -> None:
        """Connect once, and send nothing. Raises :exc:`Failed`."""
        try:
            (await self._once("GET", url, {}, None, _Probe())).close()
        except _Reached:
            return

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        gate: Gate | None = None,
    ) -> Response:
        """Send, and wait for the head of the answer. Follows a few redirects within the origin.

        Raises :exc:`Failed`; a ``gate`` that was not opened hears of it too.
        """
        try:
            return await self._request(method, url, headers, body, gate)
        except Failed as e:
            if gate is not None and not gate.opened:
                gate.fail(e)
            raise

    async def close(self) -> None:
        await self._session.close()

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, gate: Gate | None
    ) -> Response:
        for _ in range(REDIRECTS_MAX + 1):
            found = await self._once(method, url, headers, body, gate)
            if found.status not in address.REDIRECTS:
                return Response(found)
            try:
                url = address.redirected(method, url, found.status, found.headers.get("Location", ""))
            except Refused as e:
                raise Failed(
                    f"{address.show(url)} redirects to {e}; the agent repeats a request only within one "
                    "origin. Write the address that is meant into url",
                    sent=False,
                    elsewhere=True,
                ) from None
            finally:
                found.close()
            gate = None
        raise Failed(
            f"{address.show(url)} redirects more than {REDIRECTS_MAX} times", sent=False, elsewhere=True
        )

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, gate: Gate | None
    ) -> aiohttp.ClientResponse:
        token = _gate.set(gate)
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE else body
        try:
            # The address as it was written: to quote it anew could mean another resource.
            target = URL(url, encoded=True)
            return await self._session.request(
                method, target, headers=headers, data=data, allow_redirects=False
            )
        except (OSError, ValueError, aiohttp.ClientError) as e:
            raise _why(e, url, sent=gate is None or gate.opened) from None
        finally:
            _gate.reset(token)


def trust(name: str, ca_file: Path | None) -> ssl.SSLContext:
    """Who may speak for the server: the authorities in ``ca_file``, or those of this machine. The name in the
    certificate is checked always. Raises :exc:`ChildStartError`.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as e:
        why = e.strerror if not isinstance(e, ssl.SSLError) and e.strerror else "it is no PEM file"
        raise ChildStartError(
            f"server {name}: ca_file {ca_file} cannot be used: {why}. It must be a PEM file with the "
            "certificate of the authority, which the agent's user may read."
        ) from None
    # The authority of a company may be an intermediate one.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _why(error: Exception, url: str, *, sent: bool) -> Failed:
    where = address.show(url)
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        return Failed(_tls_words(error, where), sent=False)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failed(f"the name in {where} cannot be resolved. Check it, and the site's DNS", sent=False)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Failed(
            f"{where} did not take a connection within {CONNECT_S:g} s. Check that it runs, and the firewall "
            "between",
            sent=False,
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        why = os.strerror(number) if number else type(error.os_error).__name__
        return Failed(f"no connection to {where}: {why}. Check that it runs there", sent=False)
    return Failed(f"the connection to {where} broke ({type(error).__name__})", sent=sent)


def _tls_words(error: Exception, where: str) -> str:
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {where} is not accepted: {inner.verify_message}. If an authority of your "
            "own issued it, name that authority's certificate in ca_file"
        )
    reason = str(getattr(inner, "reason", None) or type(error).__name__).lower().replace("_", " ")
    return f"no TLS connection to {where}: {reason}. Check that it speaks https there"


def _socket(info: AddrInfoType) -> socket.socket:
    """A machine that vanishes must not leave streams that wait for ever."""
    made = socket.socket(info[0], info[1], info[2])
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ):
        made.setsockopt(level, option, value)
    made.setblocking(False)
    return made
