"""The proxy that brings the token: what passes, and what it does when one end goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from tests.harness.header_proxy import HeaderProxy

Ends: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
WAIT = 10
POST = b"POST /a/b/mcp HTTP/1.1\r\nHost: evil.example.com\r\nOrigin: http://evil.example.com\r\n"


@dataclass
class Behind:
    """What stands behind the proxy, in this test's hands: the connections that came, in order."""

    came: asyncio.Queue[Ends] = field(default_factory=asyncio.Queue)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.came.put((reader, writer))


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[Ends, Ends]]:
    """A client's reader and writer, and those of the server behind the proxy."""
    behind = Behind()
    server = await asyncio.start_server(behind.accept, "127.0.0.1", 0)
    async with asyncio.timeout(WAIT), server:
        with HeaderProxy() as proxy:
            proxy.target, proxy.token = server.sockets[0].getsockname(), "the-token"
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            there, answering = await behind.came.get()
            try:
                yield (reader, writer), (there, answering)
            finally:
                writer.close()
                answering.close()


async def test_each_request_of_a_connection_gets_the_token_and_nothing_else() -> None:
    async with talking() as ((_, writer), (there, _)):
        for body in (b'{"a":1}', b"", b"x" * 200_000):
            head = POST + b"content-length: %d\r\n" % len(body)
            writer.write(head + b"\r\n" + body)
            wanted = head + b"Authorization: Bearer the-token\r\n\r\n" + body
            assert await there.readexactly(len(wanted)) == wanted


async def test_a_request_without_a_body_is_followed_by_the_next() -> None:
    async with talking() as ((_, writer), (there, _)):
        for target in (b"/one", b"/two"):
            writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await there.readuntil(b"\r\n\r\n")).startswith(b"GET " + target + b" ")


async def test_a_response_passes_piece_by_piece_as_it_comes() -> None:
    async with talking() as ((reader, _), (_, answering)):
        for piece in (b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\ndata:\r\n"):
            answering.write(piece)
            assert await reader.readexactly(len(piece)) == piece


async def test_a_client_that_leaves_is_gone_for_the_server_too() -> None:
    async with talking() as ((_, writer), (there, _)):
        writer.write(POST + b"\r\n")
        await there.readuntil(b"\r\n\r\n")
        writer.close()
        assert await there.read() == b""


async def test_a_server_that_leaves_is_gone_for_the_client_too_after_its_last_byte() -> None:
    async with talking() as ((reader, _), (_, answering)):
        answering.write(b"y" * 500_000)
        answering.close()
        assert await reader.read() == b"y" * 500_000


async def test_a_body_whose_end_is_not_known_is_not_carried() -> None:
    async with talking() as ((reader, writer), (there, _)):
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        assert await reader.read() == b""
        assert await there.read() == b""


async def test_where_nobody_listens_the_connection_ends() -> None:
    with HeaderProxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        async with asyncio.timeout(WAIT):
            with pytest.raises(asyncio.IncompleteReadError):
                await reader.readexactly(1)
        writer.close()
