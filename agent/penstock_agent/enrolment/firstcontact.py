"""The first connection to a relay that nobody vouches for yet: fetches its CA, sends nothing of worth."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from websockets.proxy import parse_proxy

from penstock import enrolment, tls
from penstock_agent.dialer.reach import ProxyRefused

MAX_HEAD_BYTES = 16 * 1024
MAX_CA_BYTES = 64 * 1024


class NotARelay(Exception):
    """What answers is not a relay's tunnel listener; ``str()`` says what it did instead."""


@dataclass(frozen=True, slots=True)
class FirstContact:
    """What an unverified peer showed: nothing of it is trusted before the CA's pin is compared."""

    #: More than one while the relay changes its CA.
    cas: tuple[x509.Certificate, ...]
    #: Issuer of the certificate that the connection itself showed: names a TLS inspector when there is one.
    leaf_issuer: str


def trusted(cas: Sequence[x509.Certificate], pin: bytes) -> tuple[x509.Certificate, ...]:
    """Those of ``cas`` that ``pin`` (``tls.spki_pin``) stands for: the pinned CA, and what it vouches for.

    A relay that goes over to another CA shows a certificate for the new one's name and key, signed by the old
    one. Empty where the pinned CA is not among them.
    """
    found = next((ca for ca in cas if tls.spki_pin(ca) == pin), None)
    return () if found is None else (found, *(ca for ca in cas if ca != found and _vouched(ca, found)))


def _vouched(ca: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        ca.verify_directly_issued_by(by)
        return ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False


async def fetch_ca(url: str, proxy: str | None) -> FirstContact:
    """``GET /ca`` from ``url`` (``wss://host:port``), through the CONNECT ``proxy`` when one is given.

    Raises :exc:`NotARelay`, :exc:`OSError` (also :exc:`ssl.SSLError` and
    :exc:`~penstock_agent.dialer.reach.ProxyRefused`) and :exc:`EOFError`. The caller sets the time limit.
    """
    host, _, authority = _place(url)
    reader, writer = await connected(url, proxy)
    try:
        await writer.start_tls(tls.probe_context(), server_hostname=host)
        writer.write(
            f"GET {enrolment.CA_PATH} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode()
        )
        issuer = issuer_of(writer)
        status, length = await _head(reader)
        if status != 200:
            raise NotARelay(f"answered HTTP {status} when asked for its CA")
        if length is not None and length > MAX_CA_BYTES:
            raise NotARelay("answered with something far larger than a certificate")
        body = await _body(reader, length)
    finally:
        # Not close(): that would wait for the peer's end of TLS, and nothing more is wanted of it.
        writer.transport.abort()
    try:
        cas = tuple(x509.load_pem_x509_certificates(body))
    except ValueError:
        raise NotARelay("answered with something that is not a certificate") from None
    return FirstContact(cas, issuer)


async def connected(url: str, proxy: str | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A plain connection to ``url`` (``wss://host:port``), through the CONNECT ``proxy`` if there is one.

    Raises as :func:`fetch_ca` does.
    """
    host, port, authority = _place(url)
    if proxy is None:
        return await asyncio.open_connection(host, port, limit=MAX_HEAD_BYTES)
    # The websocket library has its own CONNECT, but only for websockets; the parsing is shared, so that both
    # connections read one proxy address alike.
    address = parse_proxy(proxy)
    reader, writer = await asyncio.open_connection(address.host, address.port, limit=MAX_HEAD_BYTES)
    try:
        writer.write(_connect_request(authority, address.user_info))
        try:
            status, _ = await _head(reader)
        except NotARelay:
            raise ProxyRefused(0) from None
        if not 200 <= status < 300:
            raise ProxyRefused(status)
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def _place(url: str) -> tuple[str, int, str]:
    """Host, port, and both as a header has them."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    return host, port, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _connect_request(authority: str, user_info: tuple[str, str] | None) -> bytes:
    from websockets.headers import build_authorization_basic

    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if user_info is not None:
        lines.append(f"Proxy-Authorization: {build_authorization_basic(*user_info)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _head(reader: asyncio.StreamReader) -> tuple[int, int | None]:
    """Status and Content-Length of an answer. Raises :exc:`NotARelay` and :exc:`EOFError`."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise NotARelay("answered with an endless header") from None
    status_line, *lines = head.decode("latin-1").split("\r\n")
    words = status_line.split(" ", 2)
    if (
        len(words) < 2
        or not words[0].startswith("HTTP/1.")
        or not (words[1].isdecimal() and len(words[1]) == 3)
    ):
        raise NotARelay("does not speak HTTP")
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-length" and value.strip().isdecimal():
            return int(words[1]), int(value)
    return int(words[1]), None


async def _body(reader: asyncio.StreamReader, length: int | None) -> bytes:
    if length is not None:
        return await reader.readexactly(length)
    body = bytearray()
    while chunk := await reader.read(MAX_CA_BYTES):
        body += chunk
        if len(body) > MAX_CA_BYTES:
            raise NotARelay("answered with something far larger than a certificate")
    return bytes(body)


def issuer_of(writer: asyncio.StreamWriter) -> str:
    """Who issued the certificate that the peer shows; empty where that cannot be said."""
    ssl_object = writer.get_extra_info("ssl_object")
    if not isinstance(ssl_object, ssl.SSLObject):
        return ""
    der = ssl_object.getpeercert(binary_form=True)
    try:
        return x509.load_der_x509_certificate(der).issuer.rfc4514_string() if der else ""
    except ValueError:
        return ""
