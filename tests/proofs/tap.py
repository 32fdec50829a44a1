"""Ends TLS between a real agent and a real relay, and keeps every byte that the agent sent, decrypted.

Neither program is changed: the tap shows the relay's own certificate to the agent and the agent's to the
relay. A test may do that, because both lie in folders that it made. Runs its event loop in a thread.

    with Tap() as tap, tap.stack({"files": Server(...)}) as stack:
        ...
        tap.captures
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock import tls
from penstock.tunnel.codec import Decoder
from penstock.tunnel.frames import Welcome
from tests.harness.stack import Server, Stack

CHUNK = 64 * 1024
LOST_S = 0.05
"""Before a connection breaks, what the agent sends for so long does not arrive."""
LAST_WORDS_S = 3.0
"""How long the agent may go on sending after the relay has closed."""


@dataclass
class Capture:
    """One connection that the agent made."""

    number: int
    cipher: bytearray = field(default_factory=bytearray)
    """What the agent sent, as it was on the wire: TLS records."""
    handshake: int = 0
    """How many bytes of it belong to the handshake of TLS; 0 while it is not done."""
    certificate: bool = False
    """Whether the agent showed one."""
    up: bytearray = field(default_factory=bytearray)
    """What the agent sent, decrypted."""
    down: bytearray = field(default_factory=bytearray)
    """What the relay sent, decrypted, as the agent got it."""


class Tap:
    """`heartbeat_ms`: what WELCOME says to the agent in place of the relay's own figure, to save time."""

    def __init__(self, heartbeat_ms: int | None = None) -> None:
        self.heartbeat_ms = heartbeat_ms
        self.captures: list[Capture] = []
        self.broken: list[str] = []
        """What went wrong in the tap itself."""
        self.port = 0
        self._folder: Path | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tap", daemon=True)
        self._up: Future[None] = Future()
        self.cut_off: set[int] = set()
        """Numbers of the connections that `cut` has ended."""
        self._near: dict[int, asyncio.StreamWriter] = {}
        self._losing = False
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
        assert self.broken == []

    def stack(
        self,
        servers: Mapping[str, Server],
        *,
        agent_env: Mapping[str, str] | None = None,
        relay_env: Mapping[str, str] | None = None,
        agent_program: Sequence[str] | None = None,
    ) -> Stack:
        """A stack whose agent dials the tap."""
        through = {"PENSTOCK_RELAY_TUNNEL_URL": f"wss://127.0.0.1:{self.port}"}
        stack = Stack(
            servers,
            relay_env={**(relay_env or {}), **through},
            agent_env=agent_env,
            agent_program=agent_program,
        )
        self._folder = stack.folder
        return stack

    def cut(self) -> None:
        """Break off all connections, as a network does: what the agent sent last is lost on the way."""
        self._loop.call_soon_threadsafe(self._lose)

    @property
    def standing(self) -> set[int]:
        """Numbers of the connections that stand now."""
        return set(list(self._near))

    @property
    def up(self) -> bytes:
        """All that the agent has sent, decrypted, connection after connection."""
        return b"".join(bytes(capture.up) for capture in self.captures)

    # -- the loop's side

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.create_task(self._accept(reader, writer))

            server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=CHUNK)
            self.port = server.sockets[0].getsockname()[1]
            self._up.set_result(None)
            await self._stop.wait()
            server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        capture = Capture(len(self.captures) + 1)
        self.captures.append(capture)
        self._near[capture.number] = writer
        try:
            await self._carry(capture, reader, writer)
        except (OSError, EOFError):
            pass  # one of the ends is gone, or has not begun
        except Exception as error:
            self.broken.append(repr(error))
        finally:
            self._near.pop(capture.number, None)
            writer.transport.abort()

    def _lose(self) -> None:
        self._losing = True
        self._loop.call_later(LOST_S, self._abort)

    def _abort(self) -> None:
        self._losing = False
        self.cut_off |= self._near.keys()
        for writer in self._near.values():
            writer.transport.abort()

    async def _carry(
        self, capture: Capture, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert self._folder is not None
        state = self._folder / "relay-state"
        near = _Near(
            capture,
            reader,
            writer,
            tls.server_context(state / "tunnel.pem", state / "tunnel.pem", state / "ca.crt"),
        )
        await near.greet()
        # Read anew each time: a renewal replaces it.
        identity = self._folder / "agent" / "state" / "identity.pem" if capture.certificate else None
        context = tls.client_context(state / "ca.crt", identity, identity)
        host, _, port = json.loads((state / "listening.json").read_text())["tunnel_listen"].rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port), ssl=context, limit=CHUNK)

        async def up() -> None:
            while data := await near.read():
                if not self._losing:
                    far_writer.write(data)
                    await far_writer.drain()

        async def down() -> None:
            welcome = _Welcomed(self.heartbeat_ms) if self.heartbeat_ms and capture.certificate else None
            while data := await far_reader.read(CHUNK):
                if welcome is not None:
                    data = welcome.changed(data)
                capture.down += data
                await near.write(data)
            await near.close()

        try:
            async with asyncio.TaskGroup() as tasks:
                rising, falling = tasks.create_task(up()), tasks.create_task(down())
                await asyncio.wait((rising, falling), return_when=asyncio.FIRST_COMPLETED)
                if not rising.done():
                    await asyncio.wait((rising,), timeout=LAST_WORDS_S)
                rising.cancel()
                falling.cancel()
        except* (OSError, EOFError):
            pass
        finally:
            far_writer.transport.abort()


class _Near:
    """The side of the agent. By hand and not by asyncio, to see the records as well as what is in them."""

    def __init__(
        self,
        capture: Capture,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext,
    ) -> None:
        self._capture, self._reader, self._writer = capture, reader, writer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    async def greet(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
        await self._flush()
        self._capture.handshake = len(self._capture.cipher) - self._in.pending
        self._capture.certificate = self._tls.getpeercert(binary_form=True) is not None

    async def read(self) -> bytes:
        """Empty at the end."""
        while True:
            try:
                data = self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                try:
                    await self._more()
                except EOFError:
                    return b""
                continue
            except ssl.SSLZeroReturnError:
                return b""
            self._capture.up += data
            return data

    async def write(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
            await self._flush()

    async def close(self) -> None:
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()

    async def _more(self) -> None:
        data = await self._reader.read(CHUNK)
        if not data:
            raise EOFError
        self._capture.cipher += data
        self._in.write(data)

    async def _flush(self) -> None:
        if self._out.pending:
            self._writer.write(self._out.read())
            await self._writer.drain()


class _Welcomed:
    """Puts another heartbeat into WELCOME, which is in the first message after the handshake."""

    def __init__(self, heartbeat_ms: int) -> None:
        self._heartbeat_ms = heartbeat_ms
        self._upgraded = self._done = False
        self._held = b""

    def changed(self, data: bytes) -> bytes:
        """What may go on now."""
        if self._done:
            return data
        data, self._held = self._held + data, b""
        head = b""
        if not self._upgraded:
            end = data.find(b"\r\n\r\n") + 4
            if end == 3:
                self._held = data
                return b""
            head, data = data[:end], data[end:]
            self._upgraded, self._done = True, not head.startswith(b"HTTP/1.1 101")
        start = 4 if data[1:2] == b"\x7e" else 2  # a message of over 125 bytes has a longer header
        size = int.from_bytes(data[start - 2 : start] if start == 4 else data[1:2])
        if self._done or len(data) < start + size or len(data) < 2:
            self._held = b"" if self._done else data
            return head + (data if self._done else b"")
        self._done = True
        for _, frame in Decoder().feed(data[start : start + size]):
            if isinstance(frame, Welcome):
                other = dataclasses.replace(frame, heartbeat_ms=self._heartbeat_ms)
                data = data.replace(frame.encode(), other.encode(), 1)
        return head + data
