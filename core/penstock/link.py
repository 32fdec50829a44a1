"""Drives one end of a link over a websocket: the only place where tunnel frames meet a socket.

Everything is handed to the kernel late and little at a time. What lies in a socket buffer can no longer be
overtaken, so a small call beside a bulk transfer waits for all of it: `TCP_NOTSENT_LOWAT` keeps that at
32 KiB, and the next batch is made only once the kernel asks for it.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.limits import BATCH
from penstock.tunnel.link import Link

# Linux; the socket module has no name for it.
TCP_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", 25)

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for the closing handshake of a websocket, before its connection is dropped."""


def now() -> float:
    """Seconds on a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a link is gone."""

    code: int
    """Close code of the websocket; 1006 when the connection just broke."""
    text: str
    ours: bool
    """Whether this end closed it."""


class _Stop(Exception):
    """`Driver.stop` was called."""


class Driver:
    """Owns one websocket from HELLO to its end."""

    def __init__(
        self,
        link: Link,
        websocket: Connection,
        deliver: Callable[[bytes, float], None],
        taken: Callable[[], None] | None = None,
    ) -> None:
        """`deliver(data, now)` hands what arrives to the tunnel; a RemoteError of it closes the link.
        `taken()` is called after frames left, which may have made room for a writer.
        """
        self.link = link
        self._websocket = websocket
        self._deliver = deliver
        self._taken = taken
        self._awake = asyncio.Event()
        self._flushed = asyncio.Event()
        self._stop: asyncio.Future[CloseCode] = asyncio.get_running_loop().create_future()
        self._kernel = _Kernel(websocket)
        link.wake = self._awake.set

    def stop(self, code: CloseCode = CloseCode.GOING_AWAY) -> None:
        """Ends `run`; harmless when it has ended."""
        if not self._stop.done():
            self._stop.set_result(code)

    async def flushed(self) -> None:
        """Waits until everything that the link had to send was handed to the kernel, or the link ended."""
        if self.link.pending:
            self._flushed.clear()
        await self._flushed.wait()

    async def run(self) -> Ended:
        """Carries frames until the link ends. Never raises for what the peer or the network does.

        Its three tasks (reader, writer, heartbeat) end with it.
        """
        ended = Ended(1006, "the connection broke", ours=False)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read())
                tasks.create_task(self._write())
                tasks.create_task(self._beat())
                tasks.create_task(self._stopped())
        except* RemoteError as group:
            error = next(e for e in group.exceptions if isinstance(e, RemoteError))
            ended = Ended(error.code, str(error), ours=True)
        except* ConnectionClosed as group:
            closed = next(e for e in group.exceptions if isinstance(e, ConnectionClosed))
            if closed.rcvd is not None:
                ended = Ended(closed.rcvd.code, closed.rcvd.reason, ours=False)
        except* _Stop:
            ended = Ended(self._stop.result(), "stopped", ours=True)
        except* OSError as group:
            ended = Ended(1006, type(group.exceptions[0]).__name__, ours=False)
        finally:
            self._flushed.set()
            self._kernel.close()
            await self._close(ended)
        return ended

    async def _close(self, ended: Ended) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._websocket.close(
                    ended.code if ended.ours else 1000, ended.text[:100] if ended.ours else ""
                )
        except TimeoutError:
            pass
        finally:
            self._websocket.transport.abort()

    async def _read(self) -> NoReturn:
        while True:
            message = await self._websocket.recv()
            if isinstance(message, str):
                raise RemoteError(CloseCode.MALFORMED, "a text message on a link")
            self._deliver(message, now())

    async def _write(self) -> NoReturn:
        # Waking up through the event puts this task behind everything that is ready in this turn of the
        # loop, so what that queues leaves in one message.
        while True:
            if not self.link.pending:
                self._flushed.set()
                self._awake.clear()
                await self._awake.wait()
                self._flushed.clear()
            await self._kernel.writable()
            data = self.link.take(now())
            if data:
                if self._taken is not None:
                    self._taken()
                await self._websocket.send(data)

    async def _beat(self) -> NoReturn:
        while True:
            await asyncio.sleep(max(0.0, self.link.due - now()))
            self.link.tick(now())

    async def _stopped(self) -> NoReturn:
        await asyncio.shield(self._stop)
        raise _Stop


class _Kernel:
    """Knows when the kernel has little left to send on the socket of a websocket.

    The event loop refuses to watch the descriptor of a transport, but not a duplicate of it.
    """

    def __init__(self, websocket: Connection) -> None:
        self._fd = -1
        self._poll = select.poll()
        sock = websocket.transport.get_extra_info("socket")
        if sock is None or websocket.state is not State.OPEN:
            return
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, BATCH)
        self._fd = os.dup(sock.fileno())
        self._poll.register(self._fd, select.POLLOUT)

    async def writable(self) -> None:
        if self._fd < 0 or self._poll.poll(0):
            return
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
