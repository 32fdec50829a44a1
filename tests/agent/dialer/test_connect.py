"""Opening a websocket, and letting go of it. (Redirects: test_dialer_obstacles.py.)"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from penstock import tls
from penstock_agent.dialer.connect import Connect
from tests.harness.certs import Authority


@pytest.mark.timeout(20)
async def test_one_cancelled_while_it_says_goodbye_leaves_no_connection(tmp_path: Path) -> None:
    """The other end does not read, so the goodbye would take all of `close_timeout`."""
    authority = Authority(tmp_path)
    files = authority.relay()
    over = asyncio.Event()
    leaving = asyncio.Event()

    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await over.wait()
        connection.transport.abort()

    async def visit(port: int) -> None:
        context = tls.client_context(authority.ca, None, None)
        opening = Connect(f"wss://127.0.0.1:{port}/", ssl=context, proxy=None, close_timeout=60)
        async with opening as connection:
            transports.append(connection.transport)
            leaving.set()

    transports: list[asyncio.Transport] = []
    context = tls.server_context(files.chain, files.key, authority.ca)
    async with serve(deaf, "127.0.0.1", 0, ssl=context) as server, asyncio.TaskGroup() as tasks:
        visiting = tasks.create_task(visit(next(iter(server.sockets)).getsockname()[1]))
        try:
            await leaving.wait()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not visiting.done()
            assert not transports[0].is_closing()

            visiting.cancel()
            await asyncio.wait((visiting,))
            assert visiting.cancelled()
            assert transports[0].is_closing()
        finally:
            over.set()
            transports[0].abort()
