"""Documents that the operator named: which URLs are asked, how, and what of the answers is taken."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from penstock.jwks import FetchError
from penstock_relay.oauth.fetch import MAX_DOCUMENT
from penstock_relay.oauth.trusted import Trusted, problem
from tests.harness.certs import Authority

BOTH_LOOPS = True
GOOD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@dataclass
class Host:
    """Says `head` and `body` to whoever asks; keeps what it was asked."""

    head: str = GOOD
    body: bytes = b"{}"
    silent: bool = False
    port: int = 0
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(line.split(":")[1]) for line in head.lower().split("\r\n") if
                           line.startswith("content-length:")), 0)  # fmt: skip
            self.requests.append(head + (await reader.readexactly(length)).decode())
            if not self.silent:
                writer.write(f"{self.head}\r\n".encode() + self.body)
                await writer.drain()
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the other side had enough
        finally:
            writer.close()


@asynccontextmanager
async def serving(host: Host, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'http' if context is None else 'https'}://localhost:{host.port}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def asking(timeout_s: float = 60.0, context: ssl.SSLContext | None = None) -> AsyncIterator[Trusted]:
    trusted = Trusted(context=context, timeout_s=timeout_s)
    try:
        yield trusted
    finally:
        await trusted.close()


async def refused(trusted: Trusted, url: str) -> str:
    with pytest.raises(FetchError) as caught:
        await trusted.get(url)
    assert caught.value.__cause__ is None
    return str(caught.value)


async def test_a_document_is_asked_for_plainly() -> None:
    host = Host(body=b'{"keys":[]}')
    async with serving(host) as url, asking() as trusted:
        assert await trusted.get(f"{url}/jwks") == b'{"keys":[]}'
    request = host.requests[0].lower()
    assert request.startswith("get /jwks http/1.1\r\n")
    assert "accept-encoding: identity\r\n" in request
    assert "cookie" not in request
    assert "authorization" not in request


async def test_a_form_is_sent_by_a_client_that_proves_itself() -> None:
    host = Host(body=b'{"active":true}')
    async with serving(host) as url, asking() as trusted:
        answer = await trusted.post(f"{url}/introspect", {"token": "a+b", "x": "é"}, "re:lay", "p ss%")
        assert answer == b'{"active":true}'
    head, _, form = host.requests[0].partition("\r\n\r\n")
    assert head.startswith("POST /introspect HTTP/1.1")
    assert form == "token=a%2Bb&x=%C3%A9"
    basic = next(line for line in head.split("\r\n") if line.startswith("Authorization: Basic "))
    # RFC 6749, 2.3.1: both encoded before they are joined
    assert base64.b64decode(basic.split()[-1]) == b"re%3Alay:p+ss%25"


@pytest.mark.parametrize(
    ("head", "body", "text"),
    [
        ("HTTP/1.1 404 Not Found\r\nConnection: close\r\n", b"{}", "404"),
        ("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nConnection: close\r\n", b"{}", "302"),
        (GOOD + "Content-Encoding: gzip\r\n", b"{}", "200"),
        (GOOD, b"x" * (MAX_DOCUMENT + 1), "too long"),
        ("nonsense\r\n", b"{}", "cannot be reached"),
    ],
)
async def test_another_answer_is_no_document(head: str, body: bytes, text: str) -> None:
    host = Host(head, body)
    async with serving(host) as url, asking() as trusted:
        assert text in await refused(trusted, url)
    assert len(host.requests) == 1  # no redirect was followed, nothing was asked twice


async def test_a_document_may_be_as_long_as_the_bound() -> None:
    host = Host(body=b"x" * MAX_DOCUMENT)
    async with serving(host) as url, asking() as trusted:
        assert len(await trusted.get(url)) == MAX_DOCUMENT


async def test_a_host_that_says_nothing_is_given_up() -> None:
    async with serving(Host(silent=True)) as url, asking(timeout_s=0.05) as trusted:
        assert "in time" in await refused(trusted, url)


async def test_a_host_that_is_away() -> None:
    async with serving(Host()) as url:
        pass
    async with asking() as trusted:
        assert "cannot be reached" in await refused(trusted, url)


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.relay([x509.DNSName("localhost")], file="issuer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    async with serving(Host(), context) as url:
        async with asking() as trusted:
            assert "cannot be reached" in await refused(trusted, url)
        async with asking(context=ssl.create_default_context(cafile=str(authority.ca))) as trusted:
            assert await trusted.get(url) == b"{}"


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com/x", "https://10.0.0.7:8443/realms/a", "https://keycloak.internal",
        "http://127.0.0.1:8080/a", "http://localhost/a", "http://[::1]:1/a",
    ],
)  # fmt: skip
def test_internal_hosts_may_be_asked(url: str) -> None:
    assert problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com", "http://10.0.0.7", "ftp://localhost", "https://", "", "login.example.com",
        "https://user:secret@login.example.com", "https://login.example.com/#a", "https://login.example.com:x/",
        "https://[", "https://login.example.com/a b", "https://login.example.com/a\n", "http://127.0.0.1.example",
    ],
)  # fmt: skip
async def test_no_other_url_is_asked(url: str) -> None:
    assert problem(url) is not None
    async with asking() as trusted:
        await refused(trusted, url)
