"""One child that systemd runs: a connection to its server's socket, and its end in words."""

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from penstock_agent.children.child import LAST_WORDS, STOP_GRACE_S, ChildGone, ChildStartError
from penstock_agent.children.launch import explain
from penstock_agent.children.lines import Oversize
from penstock_agent.children.pipes import LineReader, LineWriter
from penstock_agent.children.units.spec import UnitSpec, harden, journal, unit

START_TIMEOUT_S: Final = 20.0
"""How long an instance may take to say that it starts its command: systemd makes its sandbox before."""

_TOKEN_MAX: Final = 256


class UnitChild:
    """A running instance. When it has ended, or is stopped, its descriptors are closed."""

    pid: Final = 0
    """No process of ours: systemd's."""
    returncode: Final = None
    """Only the journal knows."""

    def __init__(self, spec: UnitSpec, connected: socket.socket) -> None:
        """Owns ``connected``. Use ``UnitChild.start``."""
        loop = asyncio.get_running_loop()
        self.spec = spec
        self.started_at = time.time()
        """Wall clock, seconds since 1970."""
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)
        """Always empty: its standard error is the journal's."""
        self._gone = asyncio.Event()
        self._callbacks: list[Callable[[UnitChild], None]] = []
        self._stopping = False
        self._socket = connected
        # Each end of the pipes' kind owns a descriptor of its own.
        self._stdin = LineWriter(loop, os.dup(connected.fileno()))
        self._stdout = LineReader(loop, os.dup(connected.fileno()), self._close)

    @classmethod
    async def start(cls, spec: UnitSpec, timeout_s: float = START_TIMEOUT_S) -> "UnitChild":
        """Connect; return once the instance runs its command.

        Raises ChildStartError. The connection is closed then, and when this call is cancelled.
        """
        token = await asyncio.to_thread(_token, spec)
        child = cls(spec, _connect(spec))
        try:
            child._stdin.put(f"penstock-unit/1 {token} {spec.settings}\n".encode())
            async with asyncio.timeout(timeout_s):
                answer = await child._stdout.get()
            why = "" if answer == b"ok" else _explain(spec, answer)
        except TimeoutError:
            why = f"its unit did not start it within {timeout_s:g} s. See: {journal(spec.name)}"
        except BaseException:  # cancelled, above all
            child._close()
            raise
        if why:
            child._stopping = True
            child._close()
            raise ChildStartError(f"server {spec.name}: {why}")
        return child

    @property
    def stopping(self) -> bool:
        """True from the moment ``stop`` was called: its end is then no crash."""
        return self._stopping

    @property
    def hint(self) -> dict[str, str]:
        """For the log: where to see why it ended by itself."""
        return {} if self._stopping else {"hint": journal(self.spec.name)}

    def when_gone(self, callback: Callable[["UnitChild"], None]) -> None:
        """Call ``callback`` once when the child has ended; at once if it has."""
        if self._gone.is_set():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def send(self, line: bytes) -> None:
        """As ``Child.send``."""
        if b"\n" in line or b"\r" in line:
            raise ValueError("what is sent to a child is one line; this has a line break in it")
        if self._stopping or not await self._stdin.send(line + b"\n"):
            raise self._gone_error()

    async def receive(self) -> bytes | Oversize:
        """As ``Child.receive``."""
        line = await self._stdout.get()
        if line is None:
            raise self._gone_error()
        return line

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End the child: close its input, wait up to ``grace_s`` seconds, then close the connection, upon
        which the unit's own program ends what has not ended. Idempotent; cancelling closes at once.
        """
        if self._stopping:
            await self._gone.wait()
            return
        self._stopping = True
        self._stdin.close()
        try:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            self._stdout.drop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._gone.wait()
        finally:
            self._close()

    def _close(self) -> None:
        """The connection has ended, or is not wanted any more."""
        if self._gone.is_set():
            return
        self._gone.set()
        self._stdin.close()
        self._stdout.finish()
        self._socket.close()
        for callback in self._callbacks:
            callback(self)
        self._callbacks.clear()

    def _gone_error(self) -> ChildGone:
        name = self.spec.name
        if self._stopping:
            return ChildGone(f"server {name} was stopped by the agent", None)
        return ChildGone(f"server {name} ended; its last words are in the journal of its unit", None)


def _token(spec: UnitSpec) -> str:
    try:
        with open(spec.token, "rb") as file:
            token = file.read(_TOKEN_MAX).decode("ascii", "replace").strip()
    except OSError as error:
        raise ChildStartError(
            f"server {spec.name}: {spec.token}, which its unit asks for, cannot be read: {error.strerror}. "
            f"Write its units: {harden(spec.name)}"
        ) from None
    if not token or not token.isalnum():
        raise ChildStartError(
            f"server {spec.name}: {spec.token} holds no token. Write its units again: {harden(spec.name)}"
        )
    return token


def _connect(spec: UnitSpec) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A local socket connects at once, or not at all.
        connected.connect(str(spec.socket))
    except OSError as error:
        connected.close()
        raise ChildStartError(f"server {spec.name}: {_unreachable(spec, error)}") from None
    return connected


def _unreachable(spec: UnitSpec, error: OSError) -> str:
    listener = f"{unit(spec.name)}.socket"
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return (
                f'isolation = "unit", and there is no {spec.socket}. Write its units: {harden(spec.name)}; '
                f"or, if they are there: sudo systemctl start {listener}"
            )
        case errno.ECONNREFUSED:
            return (
                f"nothing listens at {spec.socket} any more. See: systemctl status {listener}; then: sudo "
                f"systemctl restart {listener}"
            )
        case errno.EACCES | errno.EPERM:
            return (
                f"this user may not connect to {spec.socket}, which belongs to the agent's. Run the agent as "
                f"the user of its state folder, or write the units again: {harden(spec.name)}"
            )
        case errno.EAGAIN:
            return f"too many connections wait at {spec.socket}. See: systemctl status {listener}"
    return f"{spec.socket} cannot be connected to: {error.strerror}. See: systemctl status {listener}"


def _explain(spec: UnitSpec, answer: bytes | Oversize | None) -> str:
    """Why the instance does not start its command, and the next step."""
    if not isinstance(answer, bytes) or not answer.startswith(b"no "):
        return (
            "its unit ended before it had started the server, or ran as often as it may "
            f"(MaxConnections). See: {journal(spec.name)}"
        )
    failure = answer[3:]
    word, _, rest = failure.decode("utf-8", "replace").partition(" ")
    match word:
        case "settings":
            return (
                "agent.toml asks for something else than its unit was made of, so it is not started. Write "
                f"the units again: {harden(spec.name)}"
            )
        case "token" | "hello":
            return f"its unit does not take this agent's word. Write its units again: {harden(spec.name)}"
        case "credential":
            name = rest.partition(" ")[2].removeprefix("env.")[:100]
            return (
                f"{name}, a secret of its unit, cannot be read, or is no text (UTF-8) of at most 64 KiB. "
                f"Correct its file. See: {journal(spec.name)}"
            )
        case "ports":
            return (
                "this kernel cannot hold it to the ports in network (that needs Landlock and Linux 6.7). "
                f"Name addresses without ports in network, then: {harden(spec.name)}"
            )
        case "addresses":
            return (
                "systemd could not put the addresses in network in force (that needs cgroups v2 and BPF). "
                f"See: {journal(spec.name)}. Or write another network; then: {harden(spec.name)}"
            )
        case "path" | "denied" | "missing":
            return (
                "its program is not found, or may not be executed, by the user of its unit, who sees no home."
                f" Write its absolute path in command, or add its folder to read; then: {harden(spec.name)}"
            )
    return explain(failure, ("its program",), {}, spec.token.parent)
