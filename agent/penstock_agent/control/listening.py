"""The agent's end of the control socket."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from penstock_agent.control.wire import (
    MAX_CONNECTIONS,
    MAX_REQUEST_BYTES,
    TOKEN_NAME,
    Answer,
    ControlError,
    Error,
    Handler,
    NotRunning,
    Peer,
    Request,
    check_length,
    close,
    connect,
)
from penstock_agent.files import write_atomic
from penstock_agent.problem import Exit, Problem

#: A connection that sends no request for this long is closed (seconds).
IDLE_S = 60.0
#: The same before it has shown the token.
STRANGER_IDLE_S = 2.0


async def serve_control(
    path: Path, handlers: Mapping[str, Handler], *, ready: Callable[[], None] | None = None
) -> None:
    """Answer on the socket ``path`` until cancelled; removes it then. ``ready`` is called once it listens.

    Raises :exc:`ControlError` when the socket cannot be made, or another agent already listens there.
    """
    check_length(path)
    with suppress(NotRunning):
        _, writer = await connect(path)
        await close(writer)
        raise ControlError(f"Another agent already runs here: it answers on {path}. Stop it first.")
    token = _new_token(path)
    listener, inode = _listen(path)
    loop = asyncio.get_running_loop()
    slots = asyncio.BoundedSemaphore(MAX_CONNECTIONS)
    try:
        if ready is not None:
            ready()
        async with asyncio.TaskGroup() as group:
            while True:
                # Further peers wait in the kernel's queue, which is bounded too.
                await slots.acquire()
                connection, _ = await loop.sock_accept(listener)
                group.create_task(_converse(connection, handlers, token, slots))
    finally:
        listener.close()
        _remove(path, inode)


def _listen(path: Path) -> tuple[socket.socket, int]:
    """The listening socket, and the number of its file."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)  # the socket is 0600 from its first moment
    try:
        if path.is_socket():
            path.unlink()  # nobody answered there: what a killed agent leaves behind
        listener.bind(str(path))
        listener.listen(MAX_CONNECTIONS)
        return listener, path.stat().st_ino
    except OSError as e:
        listener.close()
        raise ControlError(
            f"{path} cannot be made: {e.strerror}. "
            "Check the folder, or set PENSTOCK_AGENT_RUNTIME_DIR to another."
        ) from None
    finally:
        os.umask(before)


def _new_token(path: Path) -> str:
    token = secrets.token_urlsafe(24)
    try:
        write_atomic(path.with_name(TOKEN_NAME), token.encode(), 0o600)
    except OSError as e:
        raise ControlError(
            f"{path.with_name(TOKEN_NAME)} cannot be made: {e.strerror}. "
            "Check the folder, or set PENSTOCK_AGENT_RUNTIME_DIR to another."
        ) from None
    return token


def _remove(path: Path, inode: int) -> None:
    with suppress(OSError):
        if path.stat().st_ino == inode:  # not the socket of a successor
            path.unlink()


async def _converse(
    connection: socket.socket, handlers: Mapping[str, Handler], token: str, slots: asyncio.BoundedSemaphore
) -> None:
    try:
        peer = _peer(connection)
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_REQUEST_BYTES)
        try:
            idle, known = STRANGER_IDLE_S, False
            while (line := await _request_line(reader, idle)) is not None:
                answer, shown = await _answer(peer, line, handlers, token)
                known = known or shown
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
                if not line or not known:
                    return  # too long: where the next request begins is not known
                idle = IDLE_S
        finally:
            await close(writer)
    except (OSError, TimeoutError):
        return  # the peer is gone or silent, which concerns nobody else
    finally:
        slots.release()


def _peer(connection: socket.socket) -> Peer:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _gid = struct.unpack("3i", data)
    return Peer(uid, pid)


async def _request_line(reader: asyncio.StreamReader, idle: float) -> bytes | None:
    """One request, ``b""`` for one that is too long, None at the end."""
    try:
        async with asyncio.timeout(idle):
            return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        return b""


async def _answer(
    peer: Peer, line: bytes, handlers: Mapping[str, Handler], token: str
) -> tuple[Answer, bool]:
    """The answer, and whether the peer is one who may ask."""
    if peer.uid not in (0, os.geteuid()):
        return _error("Only root and the user that runs the agent may ask it anything."), False
    if not line:
        return _error(f"The request is larger than {MAX_REQUEST_BYTES} bytes."), False
    try:
        request = msgspec.json.decode(line, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wanted = 'send {"verb": ..., "args": {...}, "token": ...} on one line.'
        return _error(f"Not a request; {wanted}", Exit.USAGE), False
    if not hmac.compare_digest(request.token.encode(), token.encode()):
        text = (
            f"Only who can read {TOKEN_NAME}, beside the socket, may ask. Use penstock-agent of this version."
        )
        return _error(text), False
    return await _carry_out(peer, request, handlers), True


async def _carry_out(peer: Peer, request: Request, handlers: Mapping[str, Handler]) -> Answer:
    handler = handlers.get(request.verb)
    if handler is None:
        known = ", ".join(sorted(handlers))
        return _error(
            f"This agent does not know the verb {request.verb[:40]!r} (known: {known}).", Exit.USAGE
        )
    try:
        return Answer(ok=dict(await handler(peer, request.args)))
    except Problem as e:
        return _error(str(e), e.status)
    except Exception as e:
        from penstock import log  # heavy, and only the agent gets here: commands start faster without it

        log.get(__name__).error("control_verb_failed", verb=request.verb, error=type(e).__name__)
        return _error(f"The agent failed at this ({type(e).__name__}); its log says more.")


def _error(text: str, status: int = Exit.FAILED) -> Answer:
    return Answer(error=Error(text, int(status)))
