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
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, NoReturn

from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.protocol import State

from penstock import log
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.limits import BATCH
from penstock.tunnel.link import Link

# Linux; the socket module has no name for it.
TCP_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", 25)

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for the closing handshake of a websocket, before its connection is dropped."""
MAX_REASON: Final = 120
"""Bytes of the text beside a close code; a websocket allows 123."""
TICK: Final = 0.005
"""Seconds: the shortest pause between two looks at the clock."""

_log = log.get(__name__)


def now() -> float:
    """Seconds on a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a link is gone."""

    code: int
    """Close code of the websocket; 1006 when the connection just broke."""
    text: str
    """In our own words, never the peer's: it may be logged."""
    ours: bool
    """Whether this end closed it."""


class _Stop(Exception):
    """`Driver.stop` was called."""

    def __init__(self, ended: Ended) -> None:
        super().__init__()
        self.ended = ended


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
        self._beats_anew = asyncio.Event()
        self._beats_at = 0.0
        self._stopping = asyncio.Event()
        self._stop = Ended(CloseCode.GOING_AWAY, "this program stops", ours=True)
        self._over = False
        self._kernel = _Kernel(websocket)
        link.wake = self._awake.set

    def stop(self, code: CloseCode = CloseCode.GOING_AWAY, text: str = "stopped") -> None:
        """Ends `run`; harmless when it has ended."""
        if not self._stopping.is_set():
            self._stop = Ended(code, text, ours=True)
            self._stopping.set()

    async def flushed(self) -> None:
        """Waits until everything that the link had to send was handed to the transport, or the link ended."""
        if self._over:
            return
        if self.link.pending:
            self._flushed.clear()
        await self._flushed.wait()

    async def run(self, gone: Callable[[Ended], None]) -> Ended:
        """Carries frames until the link ends. Never raises for what the peer or the network does.

        `gone` is called once, when no frame is carried any more, also when `run` is cancelled: the closing
        handshake comes after it, and may take CLOSE_TIMEOUT. The tasks of a link end with it.
        """
        ended = self._stop
        try:
            ended = await self._carry()
        finally:
            self._over = True
            self._flushed.set()
            self._kernel.close()
            try:
                gone(ended)
            finally:
                await self._close(ended)
        return ended

    async def _carry(self) -> Ended:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read())
                tasks.create_task(self._write())
                tasks.create_task(self._beat())
                tasks.create_task(self._stopped())
        except ExceptionGroup as group:
            return min(map(_judged, group.exceptions), key=itemgetter(0))[1]
        raise AssertionError("none of the tasks returns")

    async def _close(self, ended: Ended) -> None:
        code, text = (ended.code, ended.text) if ended.ours else (1000, "")
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._websocket.close(code, text.encode()[:MAX_REASON].decode(errors="ignore"))
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
            # Time is counted from this end's own silence once it is greeted, and that may be over before
            # what was waited for until then.
            if self.link.due < self._beats_at:
                self._beats_anew.set()

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
            if self.link.pending:
                # Nothing above waits while the kernel takes it all: everybody else gets a turn, and what
                # they queue leaves together.
                await asyncio.sleep(0)

    async def _beat(self) -> NoReturn:
        while True:
            self._beats_anew.clear()
            self._beats_at = self.link.due
            with suppress(TimeoutError):
                async with asyncio.timeout(max(TICK, self._beats_at - now())):
                    await self._beats_anew.wait()
            self.link.tick(now())

    async def _stopped(self) -> NoReturn:
        await self._stopping.wait()
        raise _Stop(self._stop)


def _judged(error: Exception) -> tuple[int, Ended]:
    """What one task of a link ended with, and how little it weighs beside what another ended with."""
    match error:
        case RemoteError():
            return 0, Ended(error.code, str(error), ours=True)
        case _Stop():
            return 1, error.ended
        case ConnectionClosed(sent=Close(code=code)) if error.rcvd is None or not error.rcvd_then_sent:
            return 3, Ended(code, "closed by the websocket", ours=True)
        case ConnectionClosed(rcvd=Close(code=code)):
            return 3, Ended(code, f"closed by the peer: {_name(code)}", ours=False)
        case ConnectionClosed() | OSError():
            return 4, Ended(1006, "the connection broke", ours=False)
    # Ours alone: it must cost this link, not the program with all the others.
    _log.error("link_failed", exc_info=error)
    return 2, Ended(1011, f"{type(error).__name__} at this end", ours=True)


def _name(code: int) -> str:
    try:
        return CloseCode(code).name.lower()
    except ValueError:
        return str(code)


class _Kernel:
    """Knows when the kernel has little left to send on the socket of a websocket.

    The event loop refuses to watch the descriptor of a transport, but not a duplicate of it.
    """

    def __init__(self, websocket: Connection) -> None:
        self._fd = -1
        self._poll = select.poll()
        transport = websocket.transport
        sock = transport.get_extra_info("socket")
        # A transport that is closing may have given its descriptor back already.
        if sock is None or transport.is_closing() or websocket.state is not State.OPEN:
            return
        try:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, BATCH)
            self._fd = os.dup(sock.fileno())
        except OSError:
            return  # the connection is gone, which its reader is about to hear
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
