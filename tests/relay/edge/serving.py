"""A running edge and a caller that writes and reads bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from penstock_relay.address import Network
from penstock_relay.edge.callers import Callers
from penstock_relay.edge.limits import Limits
from penstock_relay.edge.ports import Pages
from penstock_relay.edge.serve import serve_edge
from penstock_relay.edge.stats import Stats
from tests.harness.fake_switchboard import FakeAccess, FakeSwitchboard

WAIT = 15.0
"""Seconds after which a test that waits has failed."""
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search"}}'
LIST = b'{"jsonrpc":"2.0","id":"a","method":"tools/list"}'


@dataclass
class Served:
    """A running edge and what it talks to."""

    port: int
    switchboard: FakeSwitchboard
    access: FakeAccess
    stats: Stats
    task: asyncio.Task[None]

    @asynccontextmanager
    async def caller(self, *, receive_buffer: int | None = None) -> AsyncIterator[Caller]:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            yield Caller(reader, writer, self.port)
        finally:
            writer.transport.abort()

    async def ask(self, body: bytes = LIST, **changes: str | None) -> Response:
        """One request on a connection of its own; see `Caller.head` for `changes`."""
        async with self.caller() as caller:
            return await caller.ask(body, **changes)

    async def raw(self, data: bytes) -> list[Response]:
        """Everything that comes back for `data`, up to the end of the connection."""
        async with self.caller() as caller:
            caller.writer.write(data)
            return await caller.until_closed()


@asynccontextmanager
async def serving(
    switchboard: FakeSwitchboard | None = None,
    access: FakeAccess | None = None,
    limits: Limits | None = None,
    public_url: str | None = None,
    pages: Pages | None = None,
    trusted_proxies: Sequence[Network] | None = None,
    callers: Callers | None = None,
) -> AsyncIterator[Served]:
    """An edge on a free port; its public URL follows the port unless one is given."""
    switchboard = switchboard or FakeSwitchboard()
    access = access or FakeAccess()
    stats = Stats()
    ports: list[int] = []

    def listening(host: str, port: int) -> str:
        ports.append(port)
        return public_url or f"http://{host}:{port}"

    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            serve_edge(
                "127.0.0.1",
                0,
                listening=listening,
                switchboard=switchboard,
                access=access,
                stats=stats,
                limits=limits or Limits(linger_s=0.05),
                pages=None if pages is None else lambda origin: pages,
                trusted_proxies=trusted_proxies,
                callers=callers,
            )
        )
        while not ports:
            await asyncio.sleep(0)
        try:
            yield Served(ports[0], switchboard, access, stats, task)
        finally:
            task.cancel()


@dataclass
class Response:
    """One response as it was on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Caller:
    """One connection to the edge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader = reader
        self.writer = writer
        self.port = port

    def head(self, method: str = "POST", path: str = "/oslo/files/mcp", **changes: str | None) -> bytes:
        """A good request's head; a keyword sets the header of that name, None removes it."""
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "Authorization": "Bearer good",
            "Accept": "application/json, text/event-stream",
        }
        if method == "POST":
            headers["Content-Type"] = "application/json"
        for name, value in changes.items():
            key = name.replace("_", "-").title()
            if value is None:
                headers.pop(key, None)
            else:
                headers[key] = value
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    def send(self, body: bytes = LIST, method: str = "POST", **changes: str | None) -> None:
        length = None if method in ("GET", "DELETE") else str(len(body))
        changes = {"Content-Length": length, **changes}
        path = changes.pop("path", None) or "/oslo/files/mcp"
        self.writer.write(self.head(method, path, **changes) + (body if length else b""))

    def stop_reading(self) -> None:
        """The kernel's buffers fill up, and nothing is acknowledged any more."""
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    async def ask(self, body: bytes = LIST, **changes: str | None) -> Response:
        method = changes.pop("method", "POST") or "POST"
        self.send(body, method, **changes)
        return await self.response(head_only=method == "HEAD")

    async def begin(self) -> Response:
        """Status and headers of the next response."""
        async with asyncio.timeout(WAIT):
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Response(int(first.split(" ")[1]), headers, b"")

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        async with asyncio.timeout(WAIT):
            size = int(await self.reader.readline(), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def response(self, *, head_only: bool = False) -> Response:
        response = await self.begin()
        if head_only:
            return response
        if response.headers.get("transfer-encoding") == "chunked":
            while chunk := await self.chunk():
                response.body += chunk
        else:
            async with asyncio.timeout(WAIT):
                response.body = await self.reader.readexactly(int(response.headers.get("content-length", 0)))
        return response

    async def until_closed(self) -> list[Response]:
        found: list[Response] = []
        while True:
            try:
                found.append(await self.response())
            except (asyncio.IncompleteReadError, ConnectionError):
                return found

    async def closed(self) -> bytes:
        """What else comes before the connection ends."""
        async with asyncio.timeout(WAIT):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""
