"""A small HTTP CONNECT proxy for tests: optional basic authentication, and a record of what it was asked."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """A running proxy. ``targets`` are the ``host:port`` of every CONNECT that it let through."""

    port: int = 0
    credentials: str | None = None
    #: Answer every CONNECT with this status instead of connecting.
    refuse_with: int | None = None
    #: Where names lead that do not exist: ``"relay.test:8443" -> ("127.0.0.1", port)``.
    routes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    refused: int = 0
    #: Every byte that clients sent after their CONNECT.
    upstream: bytearray = field(default_factory=bytearray)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url_with(self, credentials: str) -> str:
        return f"http://{credentials}@127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._connect(reader, writer)
        writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        given = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
        status = self.refuse_with
        if self.credentials is not None:
            wanted = "Basic " + base64.b64encode(self.credentials.encode()).decode()
            if given.get("proxy-authorization") != wanted:
                status = 407
        if method != "CONNECT":
            status = 405
        if status is not None:
            self.refused += 1
            writer.write(b"HTTP/1.1 %d Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            await writer.drain()
            return
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        address = self.routes.get(target, (host.strip("[]"), int(port)))
        there_reader, there_writer = await asyncio.open_connection(*address)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, there_writer, self.upstream))
                group.create_task(self._pump(there_reader, writer, None))
        finally:
            there_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray | None
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if record is not None:
                    record += data
                writer.write(data)
                await writer.drain()
            writer.write_eof()


@asynccontextmanager
async def connect_proxy(
    *,
    credentials: str | None = None,
    refuse_with: int | None = None,
    routes: Mapping[str, tuple[str, int]] | None = None,
) -> AsyncIterator[ConnectProxy]:
    """A proxy on a free port of the loopback; ``credentials`` is ``user:password``."""
    proxy = ConnectProxy(credentials=credentials, refuse_with=refuse_with, routes=routes or {})
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()
