"""A proxy that gives every request a bearer token, for clients that cannot send one; it changes nothing else.

It listens on `localhost`. A relay whose public URL is `proxy.origin` takes it for what stands before it on
the way in, so Host and Origin stay what the client wrote, and the relay judges them as it always does.

Runs its event loop in a thread of its own. Responses pass as they come; when one end is gone, the other goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Self

CHUNK: Final = 64 * 1024  # at most so much of each direction is inside the proxy; a request's head, too
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n", re.IGNORECASE)
_CODING: Final = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)


class _Gone(Exception):
    """One end has nothing more to say."""


class HeaderProxy:
    """``with HeaderProxy() as proxy: proxy.target, proxy.token = ("127.0.0.1", 8080), "…"``."""

    def __init__(self) -> None:
        self.target = ("127.0.0.1", 0)
        self.token = ""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="header-proxy", daemon=True)
        self._up: Future[None] = Future()
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    # -- the loop's side

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set_result(None)
        await self._stop.wait()
        server.close()
        # The runner cancels what still flows.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self.target, limit=CHUNK)
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._until_gone(self._requests(reader, there_writer)))
                tasks.create_task(self._until_gone(self._copy(there_reader, writer, None)))
        except* _Gone:
            pass
        finally:
            there_writer.close()
            writer.close()

    async def _until_gone(self, work: Coroutine[object, object, None]) -> None:
        """Raises _Gone at the end of `work`, which ends the other direction, too."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await work
        raise _Gone

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if _CODING.search(head):
                raise _Gone  # no client here sends chunks: where such a body ends is not known to us
            writer.write(head[:-2] + b"Authorization: Bearer " + self.token.encode() + b"\r\n\r\n")
            length = _LENGTH.search(head)
            await self._copy(reader, writer, int(length[1]) if length else 0)

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None
    ) -> None:
        """So many bytes; without a length, all until the end."""
        while length != 0:
            data = await reader.read(CHUNK if length is None else min(CHUNK, length))
            if not data:
                return
            writer.write(data)
            await writer.drain()
            if length is not None:
                length -= len(data)
