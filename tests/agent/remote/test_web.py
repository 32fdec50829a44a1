"""The HTTP client: whom it trusts, where it goes, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from penstock_agent.children.child import ChildStartError
from penstock_agent.remote import web
from penstock_agent.remote.web import Failed, Web, trust
from tests.agent.remote.kit import Heard, Scripted
from tests.harness.certs import Authority


@asynccontextmanager
async def client(context: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    made = Web(context)
    try:
        yield made
    finally:
        await made.close()


def serving(authority: Authority, *names: str) -> ssl.SSLContext:
    found = [x509.DNSName(name) for name in names]
    files = authority.relay(found) if found else authority.relay()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    return context


async def failure(made: Web, url: str) -> str:
    with pytest.raises(Failed) as failed:
        await made.reach(url)
    assert not failed.value.sent
    return str(failed.value)


async def test_a_server_whose_authority_is_named_is_reached_and_sent_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with Scripted(serving(authority)) as server, client(trust("crm", authority.ca)) as made:
        await made.reach(server.url())
        asking = asyncio.gather(made.request("POST", server.url(), {}, b"x"))
        heard = await server.heard()
        heard.status(200)
        [response] = await asking
        response.close()
        assert heard.body == b"x"
        assert server.heard_nothing


async def test_a_server_of_another_authority_is_refused_and_the_setting_named(tmp_path: Path) -> None:
    theirs, ours = Authority(tmp_path, "theirs"), Authority(tmp_path, "ours")
    async with Scripted(serving(theirs)) as server:
        for context in (trust("crm", ours.ca), trust("crm", None)):
            async with client(context) as made:
                text = await failure(made, server.url())
                assert "is not accepted: self-signed certificate in certificate chain" in text
                assert "ca_file" in text
        assert server.heard_nothing


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = serving(authority, "other.example")
    async with Scripted(context) as server, client(trust("crm", authority.ca)) as made:
        assert "IP address mismatch" in await failure(made, server.url())


async def test_a_server_that_speaks_no_tls_is_said_to(tmp_path: Path) -> None:
    async with Scripted() as server, client(trust("crm", None)) as made:
        text = await failure(made, server.url().replace("http://", "https://"))
        assert "Check that it speaks https there" in text


async def test_who_cannot_be_reached_is_said_with_the_next_step() -> None:
    async with Scripted() as server:
        url = server.url()
    async with client() as made:
        assert "Connection refused. Check that it runs there" in await failure(made, url)
        assert "cannot be resolved" in await failure(made, "http://no-such-name.invalid/mcp")


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_a_file_that_holds_no_authority_is_said_to(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(text)
    with pytest.raises(ChildStartError, match=r"ca\.pem cannot be used: it is no PEM file"):
        trust("crm", path)
    with pytest.raises(ChildStartError, match="No such file"):
        trust("crm", tmp_path / "none.pem")


async def test_a_redirect_within_the_origin_repeats_the_whole_request() -> None:
    async with Scripted() as server, client() as made:
        asking = asyncio.gather(made.request("POST", server.url("/mcp"), {"X-A": "b"}, b"body"))
        (await server.heard()).status(307, Location="/mcp/")
        heard = await server.heard()
        assert (heard.path, heard.body, heard.headers["X-A"]) == ("/mcp/", b"body", "b")
        heard.status(200)
        [response] = await asking
        response.close()


async def refused_redirect(location: str, status: int = 307) -> tuple[Failed, bool]:
    async with Scripted() as server, Scripted() as other, client() as made:
        target = location.replace("OTHER", str(other.port))
        asking = asyncio.gather(made.request("POST", server.url(), {"Authorization": "x"}, b""))
        (await server.heard()).status(status, Location=target)
        with pytest.raises(Failed) as failed:
            await asking
        return failed.value, other.heard_nothing


@pytest.mark.parametrize("location", ["http://127.0.0.1:OTHER/mcp", "http://localhost:OTHER/", "ftp://x/"])
async def test_a_redirect_to_another_origin_is_refused_and_named(location: str) -> None:
    error, untouched = await refused_redirect(location)
    assert error.elsewhere
    assert not error.sent
    assert untouched
    assert "Write the address that is meant into url" in str(error)


async def test_a_redirect_that_would_lose_the_body_is_refused() -> None:
    error, _ = await refused_redirect("/mcp/", 302)
    assert "a POST is not repeated" in str(error)


async def test_redirects_come_to_an_end() -> None:
    async with Scripted() as server, client() as made:
        asking = asyncio.gather(made.request("GET", server.url(), {}))
        for _ in range(web.REDIRECTS_MAX + 1):
            (await server.heard("GET")).status(308, Location="/again")
        with pytest.raises(Failed, match="redirects more than 3 times"):
            await asking


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Scripted() as server, Scripted() as proxy, client() as made:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        asking = asyncio.gather(made.request("GET", server.url(), {}))
        heard: Heard = await server.heard("GET")
        heard.status(200)
        [response] = await asking
        response.close()
        assert proxy.heard_nothing


async def test_an_address_is_asked_for_as_it_was_written() -> None:
    async with Scripted() as server, client() as made:
        asking = asyncio.gather(made.request("GET", server.url("/a%2Fb?x=%7e"), {}))
        heard = await server.heard("GET")
        assert heard.path == "/a%2Fb?x=%7e"
        heard.status(200)
        [response] = await asking
        response.close()


async def test_a_body_that_breaks_off_is_said_to() -> None:
    async with Scripted() as server, client() as made:
        asking = asyncio.gather(made.request("GET", server.url(), {}))
        stream = await (await server.heard("GET")).stream()
        await stream.raw(b"abc")
        [response] = await asking
        assert await response.piece() == b"abc"
        stream.break_off()
        with pytest.raises(Failed, match="broke off"):
            await response.piece()
        assert await response.start(10) == b""
        response.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 100,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 999999 ?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_whatever_answers_it_is_a_failure_in_words_and_nothing_else(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(made: web.Web) -> None:
        response = await made.request("POST", f"http://127.0.0.1:{port}/mcp", {}, b"x")
        try:
            while await response.piece():
                pass
        finally:
            response.close()

    async with server, client() as made:
        with pytest.raises(Failed) as failed:
            await ask(made)
        assert "x" * 100 not in str(failed.value)
