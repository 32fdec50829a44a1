"""The control socket: how the commands talk to the running agent.

One JSON object per line in each direction: ``{"verb": ..., "args": {...}}`` is answered by ``{"ok": {...}}``
or ``{"error": {"text": ..., "status": ...}}``. The socket is 0600; who asks is known from the kernel
(SO_PEERCRED), never from what the peer says.

A confined child has the agent's uid, and Landlock does not keep it from connecting to a socket whose path it
knows. So each request carries the token that lies in a file beside the socket, which a child cannot read.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec

from penstock_agent.config import DEFAULT_STATE_DIR, Settings
from penstock_agent.exposing.reviewing import Review
from penstock_agent.files import write_atomic
from penstock_agent.gate.pause import Entry
from penstock_agent.ledger.entries import LedgerStatus
from penstock_agent.problem import Exit, Problem

SOCKET_NAME = "control.sock"
TOKEN_NAME = "control.token"  # noqa: S105  # its name
#: Where the unit's runtime directory is; a command in an administrator's shell is not told.
UNIT_RUNTIME_DIR = Path("/run/penstock-agent")
MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_CONNECTIONS = 16
#: A server is started to be asked what it offers; a first start may download it (seconds).
REVIEW_S = 130.0
#: A connection that sends no request for this long is closed (seconds).
IDLE_S = 60.0
#: The same before it has shown the token.
STRANGER_IDLE_S = 2.0
_MAX_SOCKET_PATH = 107  # sun_path, without its NUL


class ControlError(Problem):
    """The running agent refused, or failed at, what it was asked."""


class NotRunning(ControlError):
    """No agent listens on the control socket."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of the control socket, as the kernel names it."""

    uid: int
    pid: int


Args: TypeAlias = Mapping[str, object]
#: Carries out one verb. What it returns is the answer; a :exc:`Problem` is told to the peer in its own words.
Handler: TypeAlias = Callable[[Peer, Args], Awaitable[Args]]


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    verb: str
    args: dict[str, object] = {}
    token: str = ""


class _Error(msgspec.Struct, frozen=True):
    text: str
    status: int = 1


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    ok: dict[str, object] | None = None
    error: _Error | None = None


class ServerStatus(msgspec.Struct, frozen=True):
    """One configured server, in the answer to ``status``."""

    name: str
    #: How many children of it serve somebody now.
    children: int = 0
    #: How many more wait for somebody to need them.
    warm: int = 0
    #: The ``expose`` list in effect.
    expose: list[str] = []
    #: How far its children are confined, and what network they have; empty for one with a ``url``.
    isolation: str = ""
    network: str = ""


class Status(msgspec.Struct, frozen=True):
    """The answer to ``status``. Times are seconds since 1970."""

    version: str
    pid: int
    site: str
    agent: str
    relay_url: str
    linked: bool
    #: Since when it has been like that.
    since: float
    #: Origin of the public URL that the relay told; empty until the first link.
    public_url: str = ""
    replica: str = ""
    #: Why there is no link, in words; empty while there is one.
    problem: str = ""
    children: int = 0
    #: Children that wait for somebody to need them, beside those.
    warm: int = 0
    max_children: int = 0
    exchanges: int = 0
    #: When the certificate ends, and when it will be renewed, by the running agent's clock.
    certificate_expires: float = 0.0
    renews_at: float = 0.0
    #: Why the last renewal failed, in words; empty when it did not.
    renewal_problem: str = ""
    servers: list[ServerStatus] = []
    #: The servers that can be used together under the site's own URL.
    whole_site: list[str] = []
    #: What is stopped for now.
    paused: list[Entry] = []
    #: Definitions that are exposed and withheld until they are approved, by server.
    withheld: dict[str, list[str]] = {}
    #: Servers of which what was approved cannot be read, and why.
    not_read: dict[str, str] = {}
    ledger: LedgerStatus = LedgerStatus()


class Link(msgspec.Struct, frozen=True):
    """The answer to ``link`` {wait_s: seconds}: whether there was a link before that time was over."""

    linked: bool
    public_url: str = ""
    problem: str = ""


class Pause(msgspec.Struct, frozen=True):
    """The answer to ``pause`` and ``resume`` {kind, name}."""

    changed: bool
    """Whether it was not so already."""
    ended: int = 0
    """Sessions, processes and requests that were ended."""
    entries: list[Entry] = []
    """All that is paused now."""


class Approval(msgspec.Struct, frozen=True):
    """A call that waits for somebody on site, or has its answer. Times are seconds since 1970."""

    id: str
    state: str
    """waiting, approved or denied."""
    name: str
    """Who calls: a display name, the verified e-mail, the issuer's subject, and the client."""
    email: str
    subject: str
    client: str
    server: str
    item: str
    arguments: str
    """As the caller wrote them; only the beginning, where ``cut`` says so."""
    arguments_hash: str
    why: str
    asked_at: float
    expires_at: float
    cut: bool = False
    by_uid: int = -1
    answer_bytes: int = 0
    """Of the answer that is kept; 0 for a call that has not run."""
    answer: str = ""
    """What is kept, for who asks for this one; only the beginning, where it is longer."""


class Approvals(msgspec.Struct, frozen=True):
    """The answer to ``approvals`` {id}: the calls that are open, oldest first; with an id that one only, and
    all of its arguments that fit into an answer.
    """

    requests: list[Approval] = []


class Call(msgspec.Struct, frozen=True):
    """An exchange that is open now. Texts that its caller chose may be cut."""

    exchange: str
    since: float
    """Seconds since 1970."""
    state: str
    """running, waiting (for approval on site) or listening."""
    name: str
    email: str
    subject: str
    client: str
    server: str
    """Empty for all servers of the site together."""
    item: str
    """``tool:NAME`` and so on, else the method; empty until it is decided."""
    bytes: int
    """Of the answer, so far."""


class Calls(msgspec.Struct, frozen=True):
    """The answer to ``calls``: what runs now, and how many more than these."""

    calls: list[Call] = []
    more: int = 0


class Renewal(msgspec.Struct, frozen=True):
    """The answer to ``renew``: until when the new certificate is good, in seconds since 1970."""

    certificate_expires: float
    generation: int


async def serve_control(
    path: Path, handlers: Mapping[str, Handler], *, ready: Callable[[], None] | None = None
) -> None:
    """Answer on the socket ``path`` until cancelled; removes it then. ``ready`` is called once it listens.

    Raises :exc:`ControlError` when the socket cannot be made, or another agent already listens there.
    """
    _check_length(path)
    with suppress(NotRunning):
        _, writer = await _connect(path)
        await _close(writer)
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


def _token(path: Path) -> str:
    """Empty where there is none to be read: the agent then says who may ask."""
    try:
        return path.with_name(TOKEN_NAME).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


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
            await _close(writer)
    except (OSError, TimeoutError):
        return  # the peer is gone or silent, which concerns nobody else
    finally:
        slots.release()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


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
) -> tuple[_Answer, bool]:
    """The answer, and whether the peer is one who may ask."""
    if peer.uid not in (0, os.geteuid()):
        return _error("Only root and the user that runs the agent may ask it anything."), False
    if not line:
        return _error(f"The request is larger than {MAX_REQUEST_BYTES} bytes."), False
    try:
        request = msgspec.json.decode(line, type=_Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wanted = 'send {"verb": ..., "args": {...}, "token": ...} on one line.'
        return _error(f"Not a request; {wanted}", Exit.USAGE), False
    if not hmac.compare_digest(request.token.encode(), token.encode()):
        text = (
            f"Only who can read {TOKEN_NAME}, beside the socket, may ask. Use penstock-agent of this version."
        )
        return _error(text), False
    return await _carry_out(peer, request, handlers), True


async def _carry_out(peer: Peer, request: _Request, handlers: Mapping[str, Handler]) -> _Answer:
    handler = handlers.get(request.verb)
    if handler is None:
        known = ", ".join(sorted(handlers))
        return _error(
            f"This agent does not know the verb {request.verb[:40]!r} (known: {known}).", Exit.USAGE
        )
    try:
        return _Answer(ok=dict(await handler(peer, request.args)))
    except Problem as e:
        return _error(str(e), e.status)
    except Exception as e:
        from penstock import log  # heavy, and only the agent gets here: commands start faster without it

        log.get(__name__).error("control_verb_failed", verb=request.verb, error=type(e).__name__)
        return _error(f"The agent failed at this ({type(e).__name__}); its log says more.")


def _error(text: str, status: int = Exit.FAILED) -> _Answer:
    return _Answer(error=_Error(text, int(status)))


async def ask(path: Path, verb: str, /, *, timeout: float = 30.0, **args: object) -> Args:
    """Ask the agent behind the socket ``path`` to carry out one verb; wait at most ``timeout`` seconds.

    Raises :exc:`NotRunning`, or :exc:`ControlError` with the agent's words.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(path)
            try:
                writer.write(msgspec.json.encode(_Request(verb, dict(args), _token(path))) + b"\n")
                line = await reader.readuntil(b"\n")
            finally:
                await _close(writer)
        answer = msgspec.json.decode(line, type=_Answer)
    except TimeoutError:
        raise ControlError(
            f"The agent did not answer within {timeout:g} s. Its log says what it is doing."
        ) from None
    except (OSError, asyncio.IncompleteReadError):
        raise NotRunning(f"The agent on {path} went away before it answered.") from None
    except (asyncio.LimitOverrunError, msgspec.DecodeError):
        raise ControlError(f"What listens on {path} does not answer like an agent of this version.") from None
    if answer.error is not None:
        raise ControlError(
            answer.error.text, Exit(answer.error.status) if answer.error.status in _STATUSES else None
        )
    return answer.ok or {}


_STATUSES = frozenset(status.value for status in Exit)


async def _connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    _check_length(path)
    try:
        return await asyncio.open_unix_connection(path, limit=MAX_ANSWER_BYTES)
    except PermissionError:
        raise ControlError(
            f"{path}: not allowed. Run the command as root or as the user that runs the agent."
        ) from None
    except OSError:
        raise NotRunning(
            f"The agent does not run (nothing answers on {path}). "
            "Start it: systemctl start penstock-agent, or: penstock-agent run"
        ) from None


def _check_length(path: Path) -> None:
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise ControlError(
            f"{path} is too long for a socket (at most {_MAX_SOCKET_PATH} bytes). "
            "Set PENSTOCK_AGENT_RUNTIME_DIR to a shorter folder.",
            Exit.USAGE,
        )


def socket_path(settings: Settings) -> Path:
    """Where the agent listens."""
    return settings.runtime_dir / SOCKET_NAME


def socket_to_ask(settings: Settings) -> Path:
    """Where a command finds the agent: as set, else in the unit's folder if the unit's state is meant."""
    unit = UNIT_RUNTIME_DIR / SOCKET_NAME
    derived = settings.sources.get("runtime_dir") == "state_dir"
    if derived and settings.state_dir == DEFAULT_STATE_DIR and _exists(unit):
        return unit
    return socket_path(settings)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # asking then says who may


async def status(path: Path) -> Status:
    """What the running agent says of itself. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "status"), Status, path)


async def link(path: Path, wait_s: float) -> Link:
    """Wait up to ``wait_s`` seconds for the agent's link. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "link", timeout=wait_s + 5, wait_s=wait_s), Link, path)


async def renew(path: Path, timeout: float) -> Renewal:
    """Have the agent renew its certificate now. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "renew", timeout=timeout), Renewal, path)


async def pause(path: Path, verb: str, kind: str, name: str) -> Pause:
    """Stop something or let it go on (``verb`` is pause or resume). Raises :exc:`ControlError`."""
    return _typed(await ask(path, verb, kind=kind, name=name), Pause, path)


async def calls(path: Path) -> Calls:
    """What runs now. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "calls"), Calls, path)


async def approvals(path: Path, id: str = "") -> Approvals:
    """What waits for approval. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "approvals", id=id), Approvals, path)


async def approve(path: Path, id: str, approved: bool) -> Approval:
    """Approve or deny one call. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "approve" if approved else "deny", id=id), Approval, path)


async def review(path: Path, server: str) -> Review:
    """What waits for approval of a server, which is asked for it. Raises :exc:`ControlError`."""
    return _typed(await ask(path, "review", timeout=REVIEW_S, server=server), Review, path)


async def pin(path: Path, server: str, items: Mapping[str, str], *, afresh: bool = False) -> Review:
    """Approve definitions by their digests, or all that there is ``afresh``; what waits then.

    Raises :exc:`ControlError`.
    """
    answer = await ask(path, "pin", timeout=REVIEW_S, server=server, items=dict(items), afresh=afresh)
    return _typed(answer, Review, path)


_T = TypeVar("_T")


def _typed(answer: Args, shape: type[_T], path: Path) -> _T:
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError:
        raise ControlError(f"The agent on {path} is of another version. Restart it.") from None
