"""The answer on its way to the caller: in one piece when it is small, else as it comes.

The caller's pace is the exchange's pace: what its connection does not take is not taken from the answer,
so its credit stops. One timer per streamed answer sends keep-alives and watches for a reader too slow.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import socket
import struct
import termios
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from penstock import http, log
from penstock.tunnel.frames import DoneReason
from penstock_relay.edge.limits import Limits
from penstock_relay.edge.slow import Reader
from penstock_relay.edge.sse import KeepAlive, says_when_to_return
from penstock_relay.edge.stats import Stats
from penstock_relay.switchboard import Answer, AnswerBroken

_SMALL: Final = 16 * 1024
"""An answer up to this size fits into the buffers of any connection: writing it never waits."""
_TYPES: Final = frozenset({http.JSON, http.EVENT_STREAM, "text/plain"})
"""Content types that a site may answer with: none that a browser would run in the relay's origin."""
_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")

_log = log.get(__name__)

LastEvent = Callable[[BaseException], bytes | None]
"""Makes the JSON-RPC error that ends an event stream which broke; None if there is no id to answer to."""


class Unusable(Exception):
    """The answer's head holds what a site may not send: the caller is told that the outcome is unknown."""


class Stop:
    """Whether the edge itself ends a request: then its own cancellation is not the caller's going."""

    __slots__ = ("reason", "text")

    def __init__(self) -> None:
        self.text = ""
        """What the caller is told; empty while nothing was ended."""
        self.reason = DoneReason.CLIENT_GONE
        """What the site is told."""

    @property
    def is_set(self) -> bool:
        return bool(self.text)

    def set(self, text: str, reason: DoneReason = DoneReason.CLIENT_GONE) -> None:
        """Ends the request; cancel its task next. The first call counts."""
        if not self.text:
            self.text, self.reason = text, reason


def survive(error: BaseException, stop: Stop) -> None:
    """Lets a handler that `stop` cancelled say its last word; any other cancellation is raised again."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if not stop.is_set or task is None:
            raise error
        task.uncancel()


async def forward(
    request: web.BaseRequest,
    answer: Answer,
    limits: Limits,
    stats: Stats,
    last_event: LastEvent,
    stop: Stop,
) -> web.StreamResponse:
    """Sends the whole answer, or returns it to be sent if it is small.

    Raises Unusable, and AnswerBroken while the caller has been told nothing; ConnectionError when the
    caller's connection is gone or had to be cut; CancelledError. The answer is always closed.
    """
    reason: DoneReason | None = None
    try:
        headers, media_type = _head(answer)
        if media_type == http.EVENT_STREAM:
            sent = await _events(request, answer, headers, limits, stats, last_event, stop)
        else:
            sent = await _plain(request, answer, headers, limits, stats, stop)
        reason = DoneReason.OK
        return sent
    finally:
        answer.close(stop.reason if reason is None or stop.is_set else reason)


def _head(answer: Answer) -> tuple[dict[str, str], str]:
    headers: dict[str, str] = {}
    for name, value in answer.headers:
        if name not in http.RESPONSE_HEADERS or name in headers or _VALUE.fullmatch(value) is None:
            raise Unusable
        headers[name] = value
    media_type = headers.get("content-type", http.JSON).partition(";")[0].strip().lower()
    if answer.status not in http.RESPONSE_STATUSES or media_type not in _TYPES:
        raise Unusable
    return headers, media_type


async def _plain(
    request: web.BaseRequest,
    answer: Answer,
    headers: dict[str, str],
    limits: Limits,
    stats: Stats,
    stop: Stop,
) -> web.StreamResponse:
    chunks: list[bytes] = []
    size = 0
    rest = aiter(answer)
    try:
        async for chunk in rest:
            chunks.append(chunk)
            size += len(chunk)
            if size > limits.whole:
                break
    except asyncio.CancelledError as error:
        survive(error, stop)
        raise AnswerBroken(stop.text) from None
    if size <= limits.whole:
        stats.answered(answer.status)
        whole = web.Response(status=answer.status, headers=headers, body=b"".join(chunks))
        if size > _SMALL:
            with _Pulse(request, answer, limits, None):
                await whole.prepare(request)
                await whole.write_eof()
        return whole

    stats.answered(answer.status)
    with _Pulse(request, answer, limits, None) as pulse:
        response = _streamed(request, answer.status, headers)
        await response.prepare(request)
        await pulse.write(response, b"".join(chunks))
        chunks.clear()
        try:
            async for chunk in rest:
                await pulse.write(response, chunk)
        except (AnswerBroken, asyncio.CancelledError) as error:
            survive(error, stop)
            pulse.cut("answer broken off")
        await response.write_eof()
    return response


async def _events(
    request: web.BaseRequest,
    answer: Answer,
    headers: dict[str, str],
    limits: Limits,
    stats: Stats,
    last_event: LastEvent,
    stop: Stop,
) -> web.StreamResponse:
    headers |= {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    keep_alive = KeepAlive(asyncio.get_running_loop().time(), limits.keep_alive_s)
    stats.answered(answer.status)
    returns: bool | None = None
    with _Pulse(request, answer, limits, keep_alive) as pulse:
        response = _streamed(request, answer.status, headers)
        await response.prepare(request)
        try:
            async for chunk in answer:
                if returns is None:
                    returns = says_when_to_return(chunk)
                await pulse.write(response, chunk)
        except (AnswerBroken, asyncio.CancelledError) as error:
            survive(error, stop)
            # When only this replica stops, a client that comes back gets its answer from the site.
            leaves = returns and stop.is_set and stop.reason is not DoneReason.REVOKED
            await _break_off(pulse, response, keep_alive, None if leaves else last_event(error))
        await response.write_eof()
    return response


async def _break_off(
    pulse: _Pulse, response: web.StreamResponse, keep_alive: KeepAlive, last: bytes | None
) -> None:
    """Ends a broken event stream with the error, if anybody waits for one."""
    if last is not None:
        # An event that is unfinished is ended first: what was cut off is not JSON any more, and clients
        # skip it; what follows they read.
        start = b"" if keep_alive.between_events else b"\n\n"
        await pulse.write(response, start + http.sse_event(last))
    elif not keep_alive.between_events:
        pulse.cut("event stream broken off")


def _streamed(request: web.BaseRequest, status: int, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    return response


class _Pulse:
    """The timer of one streamed answer, and the writes that it must know of."""

    __slots__ = ("_answer", "_fd", "_keep_alive", "_limits", "_loop", "_reader", "_request", "_timer")

    def __init__(
        self, request: web.BaseRequest, answer: Answer, limits: Limits, keep_alive: KeepAlive | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._answer = answer
        self._limits = limits
        self._keep_alive = keep_alive
        self._reader = Reader(self._loop.time(), limits.slow_bytes, limits.slow_s)
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._limits.keep_alive_s, self._beat)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def write(self, response: web.StreamResponse, chunk: bytes) -> None:
        """Hands `chunk` over and waits until the connection has room again. Raises ConnectionError."""
        await response.write(chunk)
        if self._keep_alive is not None:
            self._keep_alive.forwarded(chunk, self._loop.time())
        if self._request.protocol.writing_paused:
            await self._request.writer.drain()

    def cut(self, why: str) -> None:
        """Breaks the connection, so that nobody takes what was sent for the whole. Raises ConnectionError."""
        _log.warning("caller_cut_off", why=why, exchange=self._answer.key)
        transport = self._request.transport
        if transport is not None:
            _reset(transport)
        raise ConnectionResetError(why)

    def _beat(self) -> None:
        self._timer = None
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return
        now = self._loop.time()
        sent = self._request.writer.output_size
        if self._reader.too_slow(now, sent, transport.get_write_buffer_size() + _unacknowledged(transport)):
            _log.warning("caller_cut_off", why="reads too slowly", exchange=self._answer.key)
            self._answer.close(DoneReason.TOO_SLOW)
            _reset(transport)  # ends the handler, too
            return
        pause = self._limits.keep_alive_s
        if self._keep_alive is not None:
            if self._keep_alive.due(now) and not self._request.protocol.writing_paused:
                self._comment(transport)
                self._keep_alive.commented(now)
            # In the middle of an event nothing is due until its end has come: look again soon.
            pause = max(self._keep_alive.at - now, pause / 10)
        self._timer = self._loop.call_later(pause, self._beat)

    def _comment(self, transport: asyncio.Transport) -> None:
        comment = http.KEEP_ALIVE
        if self._request.version >= (1, 1):  # in chunks, as the answer is
            comment = b"%x\r\n%b\r\n" % (len(comment), comment)
        self._request.writer.output_size += len(comment)
        transport.write(comment)


def _reset(transport: asyncio.Transport) -> None:
    """Ends the connection by RST: a FIN would mean a complete answer in HTTP/1.0, and would leave the
    kernel trying to deliver what it holds."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes that our kernel holds because the other end's has not acknowledged them."""
    fd = transport.get_extra_info("socket").fileno()
    size: int = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return size
