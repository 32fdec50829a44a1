"""Both ends of a websocket over real TLS on the loopback, and what a program of ours holds open."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from penstock import tls
from penstock.names import AgentId
from penstock.tunnel.agent import digest_of
from penstock.tunnel.frames import Hello, Lane, Role
from penstock.tunnel.limits import MAX_MESSAGE, SUBPROTOCOL, VERSIONS
from tests.harness.certs import Authority

AGENT = AgentId("plant", "a1")
WAIT = 15.0
"""Seconds after which a test that waits has failed."""


def hello(
    agent: AgentId = AGENT,
    servers: tuple[str, ...] = ("files",),
    *,
    epoch: int = 1,
    versions: tuple[int, ...] = VERSIONS,
    role: Role = Role.AGENT,
) -> Hello:
    """A good HELLO, unless told otherwise."""
    digest, names = digest_of(servers)
    return Hello(role, agent.agent, b"i" * 16, epoch, Lane.MAIN, versions, digest, names)


class Meeting:
    """A websocket server over TLS that hands out both ends of each connection."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.port = 0
        self._arrived: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def _handle(self, connection: ServerConnection) -> None:
        self._arrived.put_nowait(connection)
        await connection.wait_closed()

    async def pair(self) -> tuple[ServerConnection, ClientConnection]:
        client = await connect(
            f"wss://127.0.0.1:{self.port}/",
            ssl=tls.client_context(self.authority.ca, None, None),
            proxy=None,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=None,
            close_timeout=1,
            ping_interval=None,
        )
        return await self._arrived.get(), client

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Meeting]:
        files = self.authority.relay()
        async with serve(
            self._handle,
            "127.0.0.1",
            0,
            ssl=tls.server_context(files.chain, files.key, self.authority.ca),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MAX_MESSAGE,
            close_timeout=1,
            ping_interval=None,
            write_limit=16 * 1024,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self


@asynccontextmanager
async def meeting(folder: Path) -> AsyncIterator[Meeting]:
    """A :class:`Meeting` with certificates of its own."""
    async with Meeting(Authority(folder, "meeting")).open() as open_meeting:
        yield open_meeting


async def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Turns the loop until `condition` holds; an AssertionError after WAIT."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT
    while not condition():
        assert loop.time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0)


def kernel_takes(connection: Connection) -> bool:
    """Whether the kernel says that the socket of `connection` is writable."""
    sock: socket.socket = connection.transport.get_extra_info("socket")
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLOUT)
    return bool(poll.poll(0))


def descriptors() -> int:
    """How many descriptors this process holds."""
    return len(os.listdir("/proc/self/fd"))
