"""The load: callers that keep one HTTP connection and one MCP session each, and check every answer.

Raw HTTP/1.1 on purpose: an MCP SDK would cost more than what is measured. Reads JSON and SSE answers, sized
and chunked ones. The callers' own CPU is not counted; it still matters, since they share the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

REVISION = "2025-06-18"
TIMEOUT_S = 30.0


class WrongAnswer(Exception):
    """The target answered with something else than the call's own result."""


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes  # status line and header lines
    body: bytes  # chunks put together; SSE framing left in


def header(head: bytes, name: bytes) -> bytes | None:
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip()


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._got = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionResetError("closed by the target"))

    def data_received(self, data: bytes) -> None:
        self._got += data
        answer = parse(self._got)
        if answer is not None and self._waiting is not None and not self._waiting.done():
            self._got.clear()
            self._waiting.set_result(answer)

    async def ask(self, request: bytes) -> Answer:
        assert self._transport is not None
        self._waiting = self._loop.create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def parse(got: bytearray) -> Answer | None:
    """One whole answer, or None while it is not all here."""
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(got[: end + 2])
    status, rest = int(head[9:12]), end + 4
    length = header(head, b"content-length")
    if length is not None:
        whole = rest + int(length)
        return Answer(status, head, bytes(got[rest:whole])) if len(got) >= whole else None
    if header(head, b"transfer-encoding") is None:
        return Answer(status, head, b"")  # 202 and 204
    parts: list[bytes] = []
    while True:
        line = got.find(b"\r\n", rest)
        if line < 0:
            return None
        size = int(bytes(got[rest:line]).split(b";")[0], 16)
        if len(got) < line + 4 + size:
            return None
        if size == 0:
            return Answer(status, head, b"".join(parts))
        parts.append(bytes(got[line + 2 : line + 2 + size]))
        rest = line + 4 + size


class Caller:
    """One MCP client: a session of its own for its life, a connection of its own for each measurement."""

    def __init__(self, url: str, token: str, name: str) -> None:
        parts = urlsplit(url)
        self._where = (str(parts.hostname), int(parts.port or 80))
        self._name = name
        self._numbers = itertools.count(1)
        self._connection: Connection | None = None
        self._fixed = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        ).encode()

    async def connect(self) -> None:
        """A new connection; the session goes on, if there is one. Servers close connections that idle."""
        self.disconnect()
        loop = asyncio.get_running_loop()
        _, self._connection = await loop.create_connection(Connection, *self._where)

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _post(self, message: dict[str, object]) -> Answer:
        assert self._connection is not None
        body = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode()
        length = f"Content-Length: {len(body)}\r\n\r\n".encode()
        return await self._connection.ask(self._fixed + length + body)

    async def initialize(self) -> None:
        about = {"name": "penstock-bench", "version": "1"}
        params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": about}
        async with asyncio.timeout(TIMEOUT_S):
            answer = await self._post({"id": 0, "method": "initialize", "params": params})
            session = header(answer.head, b"mcp-session-id")
            if answer.status != 200 or session is None:
                raise WrongAnswer(f"initialize was answered {answer.status}: {answer.body[:300]!r}")
            self._fixed += (
                b"Mcp-Session-Id: " + session + f"\r\nMCP-Protocol-Version: {REVISION}\r\n".encode()
            )
            answer = await self._post({"method": "notifications/initialized"})
            if answer.status != 202:
                raise WrongAnswer(f"the initialized notification was answered {answer.status}")

    async def call(self) -> None:
        """One tools/call. Raises WrongAnswer unless its own text comes back."""
        number = next(self._numbers)
        text = f"{self._name}-{number}"
        params = {"name": "echo", "arguments": {"text": text}}
        answer = await self._post({"id": number, "method": "tools/call", "params": params})
        if answer.status != 200 or f'"{text}"'.encode() not in answer.body or b'"result"' not in answer.body:
            raise WrongAnswer(f"call {text} was answered {answer.status}: {answer.body[:300]!r}")

    async def call_until(self, end: float, latencies: list[float]) -> None:
        """Call without a pause until perf_counter() passes `end`; seconds per call go into `latencies`."""
        now = time.perf_counter()
        while now < end:
            began = now
            await self.call()
            now = time.perf_counter()
            latencies.append(now - began)


async def open_sessions(url: str, token: str, count: int, at_once: int = 8) -> list[Caller]:
    """`count` callers with an initialized session each, made `at_once` at a time."""
    callers = [Caller(url, token, f"c{number}") for number in range(count)]
    limit = asyncio.Semaphore(at_once)

    async def start(caller: Caller) -> None:
        async with limit:
            await caller.connect()
            await caller.initialize()
            caller.disconnect()

    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(start(caller))
    return callers


async def measure(callers: list[Caller], seconds: float) -> list[float]:
    """All callers at once for so long. Returns the seconds that each call took."""
    latencies: list[float] = []
    async with asyncio.timeout(seconds + TIMEOUT_S):
        for caller in callers:
            await caller.connect()
        end = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as tasks:
            for caller in callers:
                tasks.create_task(caller.call_until(end, latencies))
        for caller in callers:
            caller.disconnect()
    return latencies
