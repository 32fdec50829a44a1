"""One public connection: what a socket may cost before a request of it is handled.

aiohttp parses; what it leaves open is closed here: headers that never end, more pipelining than anybody
needs, a damaged chunk behind which the handler would wait for ever, trailers, too many connections, and
error pages and log lines that repeat the peer's bytes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, cast

from aiohttp import StreamReader, http_parser, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import _ErrInfo

from penstock import log
from penstock_relay.edge.limits import MAX_HEADER_BYTES, MAX_HEADERS, MAX_LINE, RETRY_AFTER, Limits
from penstock_relay.edge.stats import Stats

_TCP_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", 18)
_TCP_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_UNFINISHED: Final = MAX_HEADER_BYTES + MAX_LINE
"""Bytes that may come before the headers are complete."""
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"

_log = log.get(__name__)


class NoParser(RuntimeError):
    """aiohttp's C parser is missing; the relay does not serve the public with the other one."""


def require_parser() -> None:
    """Raises NoParser unless aiohttp parses with llhttp: its Python parser has let requests be smuggled."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise NoParser(
            "aiohttp runs without its C parser, which the public listener needs. Install an aiohttp wheel "
            "for this platform and unset AIOHTTP_NO_EXTENSIONS."
        )


class _Quiet(logging.Filter):
    """Keeps what the library says about a request, which may quote it, down to the kind of the problem."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        record.msg = f"public connection: {type(error).__name__ if error else 'notice'}"
        record.args = ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def quiet_logger() -> logging.Logger:
    """The logger that aiohttp gets: never a byte of a request, whatever it is asked to log."""
    logger = logging.getLogger("penstock_relay.edge.http")
    if not any(isinstance(each, _Quiet) for each in logger.filters):
        logger.addFilter(_Quiet())
    return logger


class Request(web.BaseRequest):
    """A request whose answer does not say what software sent it."""

    async def _prepare_hook(self, resp: web.StreamResponse) -> None:
        resp.headers.pop("Server", None)


class Connection(web.RequestHandler):
    """aiohttp's connection with the bounds that it lacks."""

    __slots__ = ("_counted", "_damaged", "_edge", "_ending", "_header_timer", "_latest", "_unfinished")

    def __init__(self, edge: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            edge,
            loop=loop,
            logger=quiet_logger(),
            access_log=None,  # type: ignore[arg-type]  # None turns it off; the annotation lacks it
            keepalive_timeout=edge.limits.idle_s,
            lingering_time=edge.limits.linger_s,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            read_bufsize=edge.limits.unread,
            auto_decompress=False,
        )
        self._edge = edge
        self._counted = False
        self._damaged = False  # the parser gave up: what comes is not read any more
        self._latest: StreamReader | None = None  # the body of the request parsed last
        self._unfinished = 0  # bytes of a request whose headers are not complete
        self._header_timer: asyncio.TimerHandle | None = None
        self._ending = b""  # the last bytes that came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's are not of that class
        limits = self._edge.limits
        if self._edge.stats.connections >= limits.connections:
            self._force_close = True
            stream.write(_raw(503, b"Service Unavailable", b"Retry-After: %d\r\n" % RETRY_AFTER))
            stream.close()
            return
        self._counted = True
        self._edge.stats.connections += 1
        super().connection_made(stream)
        stream.set_write_buffer_limits(high=limits.unsent)
        sock = stream.get_extra_info("socket")
        with suppress(OSError):  # gone already
            # Bounds what a reader that stalls keeps in the kernel, and how long one that vanished does.
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, limits.unsent)
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, int(limits.slow_s * 1000))
        self._await_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._counted:
            self._edge.stats.connections -= 1
        self._headers_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._damaged:
            return
        if data:
            self._ending = data[-7:] if len(data) >= 7 else (self._ending + data)[-7:]
        before = self._latest
        in_body = before is not None and not before.is_eof()
        super().data_received(data)
        if self._messages:
            self._parsed(before if in_body else None)
        elif not in_body and data:
            self._unfinished += len(data)
            if self._unfinished > _UNFINISHED:
                self._refuse(400, b"Bad Request")
            elif self._header_timer is None:
                self._await_headers()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp runs its parser over nothing after every body; where nothing was paused, nothing waits.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _parsed(self, body: StreamReader | None) -> None:
        """Requests wait to be handled; `body` is the one that was being read before they were parsed."""
        self._unfinished = 0
        if self._header_timer is not None:
            self._headers_came()
        message, self._latest = self._messages[-1]
        if isinstance(message, _ErrInfo):
            self._damaged = True
            if body is not None:
                # The parser never tells the body that it will not end.
                body.set_exception(web.RequestPayloadError("damaged body"))
        elif len(self._messages) > self._edge.limits.pipelined + 1:
            self.force_close()

    @property
    def ended_plainly(self) -> bool:
        """Whether a chunked body that is complete ended without trailers, chunk extensions or a next request.

        The parser drops trailers silently. A caller that sends them, or sends on before it has the
        answer, may count on another reading of where this request ends.
        """
        return self._ending == _LAST_CHUNK

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be parsed, and to a failure of our own; it quotes nothing."""
        if isinstance(exc, ConnectionError):
            raise exc  # the caller went, or was cut off: there is nobody to answer
        if status == 400:
            text = "The request is not HTTP/1.1 as this relay reads it."
        else:
            status, text = 500, "The relay failed. Try again; tell its operator if it stays."
            _log.error("request failed", problem=type(exc).__name__, at=_where(exc))
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        self._edge.stats.answered(status)
        answer = web.Response(status=status, text=text + "\n")
        answer.force_close()
        return answer

    def _await_headers(self) -> None:
        self._header_timer = self._loop.call_later(
            self._edge.limits.header_s, self._refuse, 408, b"Request Timeout"
        )

    def _headers_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse(self, status: int, reason: bytes) -> None:
        """The headers took too long, or are too long: there is no request to answer, but a peer to tell."""
        self._headers_came()
        if self._current_request is not None:
            if status == 408:  # while an answer is under way, the next request has no hurry
                return
        elif self._unfinished and self.transport is not None:
            self._edge.stats.answered(status)
            self.transport.write(_raw(status, reason))
        self.force_close()


def _raw(status: int, reason: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d %b\r\n%bConnection: close\r\nContent-Length: 0\r\n\r\n" % (status, reason, headers)


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Server(web.Server):
    """Makes a `Connection` for each accepted socket, up to the limit."""

    def __init__(self, handler: Handler, limits: Limits, stats: Stats) -> None:
        super().__init__(handler, request_factory=self._request, handler_cancellation=True)
        self.limits = limits
        self.stats = stats

    def __call__(self) -> web.RequestHandler:
        return Connection(self, asyncio.get_running_loop())

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> Request:
        return Request(message, payload, protocol, writer, task, asyncio.get_running_loop())


def _where(error: BaseException | None) -> str:
    """File and line where `error` was raised: enough to find it, and nothing of what it says."""
    trace = error.__traceback__ if error is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
