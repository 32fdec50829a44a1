"""The keeper: one small process that outlives the agent by a moment, to end every child's process group.

Nothing of the agent's own runs when it is killed with SIGKILL, but its descriptors are closed all the same.
The keeper, in a session of its own, reads from a pipe that only the agent holds, and knows every group
(``keeper_main`` is its program). A child's command runs only after the keeper has confirmed its group.

A child may start processes that leave its group. Where it has a user namespace of its own (see
``confinement.plan``), which it cannot leave, those are known by that and end with it too.

If the keeper itself dies, the agent starts another and tells it all groups again. If that cannot be done, the
agent kills every group itself and starts no child until a keeper lives: it fails closed.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock import log
from penstock_agent.children.exits import ExitWatch

ANSWER_WAIT_S: Final = 4.0
"""How long the keeper may take to confirm a group before it is replaced."""

CLOSE_WAIT_S: Final = 5.0
"""How long ``close`` gives the keeper to end by itself before it is killed."""

_PROGRAM: Final = str(Path(__file__).with_name("keeper_main.py"))
_log = log.get("penstock_agent.children")


class KeeperError(Exception):
    """No keeper can be started, so no child may run; the text says why."""


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    groups_fd: int
    answers_fd: int
    watch: ExitWatch | None = None
    rest: bytes = b""
    ready: bool = False


class Keeper:
    """Registers process groups with the keeper process. Belongs to the loop that was running at ``start``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: _Running | None = None
        self._groups: set[int] = set()
        self._namespaces: dict[int, int] = {}
        """Of groups, by their inodes."""
        self._held: dict[int, int] = {}
        """Descriptors by which they keep their inodes to themselves until nothing is in them any more."""
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._closing = False
        self._ended = asyncio.Event()

    @classmethod
    async def start(cls) -> "Keeper":
        """Start the keeper process. Does not wait for it: ``add`` does. Raises KeeperError."""
        keeper = cls(asyncio.get_running_loop())
        keeper._spawn()
        return keeper

    @property
    def pid(self) -> int | None:
        """The keeper process; None while there is none."""
        return self._running.process.pid if self._running else None

    @property
    def groups(self) -> frozenset[int]:
        """The groups that end with the agent."""
        return frozenset(self._groups)

    async def add(self, group: int) -> None:
        """Return once the keeper has confirmed that it will kill ``group``.

        The group's leader must be a child of the agent that is not reaped before ``remove``. Raises
        KeeperError; the group is then forgotten and may have been killed.
        """
        if self._closing:
            raise KeeperError("the agent is stopping")
        if self._running is None:
            self._spawn()
        confirmed: asyncio.Future[None] = self._loop.create_future()
        self._groups.add(group)
        self._waiters[group] = confirmed
        try:
            self._tell(b"+%d\n" % group)
            await self._confirmation(confirmed)
        except KeeperError:
            self._groups.discard(group)
            raise
        finally:
            self._waiters.pop(group, None)

    async def _confirmation(self, confirmed: asyncio.Future[None]) -> None:
        for _ in range(2):
            done, _ = await asyncio.wait((confirmed,), timeout=ANSWER_WAIT_S)
            if done:
                return confirmed.result()
            # Stuck or stopped. The next one is told all groups, so it confirms this one too.
            if self._running is not None:
                self._running.process.kill()
        raise KeeperError(
            "the process that guards the servers' processes does not answer. No server can run without it; "
            "check the load of the machine and try again."
        )

    def know(self, group: int) -> None:
        """The group has become what it was meant to be: see which user namespace it is in. Idempotent."""
        if group not in self._groups or group in self._namespaces:
            return
        with contextlib.suppress(OSError):
            held = os.open(f"/proc/{group}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            namespace = os.fstat(held).st_ino
            if namespace == os.stat("/proc/self/ns/user").st_ino or namespace in self._held:
                os.close(held)
                return
            self._held[namespace] = held
            self._namespaces[group] = namespace
            self._tell(b"=%d %d\n" % (group, namespace))

    def remove(self, group: int) -> None:
        """The group has ended: forget it, and end what has left it. To be called before its leader is reaped
        and its number free.
        """
        if group in self._groups:
            self.know(group)
            self._groups.discard(group)
            self._namespaces.pop(group, None)
            self._tell(b"-%d\n" % group)

    async def close(self) -> None:
        """End the keeper process, and with it every group that is still registered. Idempotent."""
        self._closing = True
        running = self._running
        if running is None:
            self._let_go()
            return
        _close_groups(running)
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._ended.wait()
        except TimeoutError:
            _log.warning("keeper_killed", why="it did not end by itself", waited_s=CLOSE_WAIT_S)
        finally:
            if self._running is running:
                running.process.kill()
        await self._ended.wait()
        self._let_go()

    def _let_go(self) -> None:
        for held in self._held.values():
            os.close(held)
        self._held.clear()

    def _spawn(self) -> None:
        try:
            with contextlib.ExitStack() as undo:
                groups_r, groups_w = os.pipe()
                undo.callback(os.close, groups_r)
                keep_w = undo.enter_context(contextlib.ExitStack())
                keep_w.callback(os.close, groups_w)
                answers_r, answers_w = os.pipe()
                undo.callback(os.close, answers_w)
                keep_r = undo.enter_context(contextlib.ExitStack())
                keep_r.callback(os.close, answers_r)
                os.set_blocking(groups_w, False)
                os.set_blocking(answers_r, False)
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", _PROGRAM],
                    stdin=groups_r,
                    stdout=answers_w,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={},
                    close_fds=True,
                    start_new_session=True,
                )
                keep_w.pop_all()
                keep_r.pop_all()
        except OSError as error:
            raise KeeperError(
                f"the process that guards the servers' processes could not be started: {error.strerror}. "
                "No server can run without it; free memory, processes or descriptors and try again."
            ) from None
        running = _Running(process, groups_w, answers_r)
        self._running = running
        self._loop.add_reader(answers_r, self._answered, running)
        try:
            running.watch = ExitWatch(self._loop, process.pid, lambda: self._exited(running))
        except OSError as error:
            process.kill()
            process.wait()
            self._exited(running)
            raise KeeperError(
                f"the process that guards the servers' processes cannot be watched: {error.strerror}"
            ) from None
        if lines := b"".join(self._known()):
            self._tell(lines)
        self._ended.clear()

    def _known(self) -> Iterator[bytes]:
        """What a keeper has to be told that comes after another."""
        for group in self._groups:
            yield b"+%d\n" % group
        for group, namespace in self._namespaces.items():
            yield b"=%d %d\n" % (group, namespace)
        for namespace in self._held.keys() - self._namespaces.values():
            # The other one had not done with these. No group has the number 0.
            yield b"=0 %d\n-0\n" % namespace

    def _tell(self, lines: bytes) -> None:
        running = self._running
        if running is None or running.groups_fd < 0:
            return
        try:
            whole = os.write(running.groups_fd, lines) == len(lines)
        except OSError:
            whole = False
        if not whole:
            # Dead, or so stuck that a pipe of thousands of lines is full: not one to rely on. Killed
            # before its pipe closes, or it would take that for the agent's end.
            running.process.kill()

    def _answered(self, running: _Running) -> None:
        try:
            data = os.read(running.answers_fd, 65536)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._loop.remove_reader(running.answers_fd)
            if not self._closing:
                running.process.kill()
            return
        *lines, running.rest = (running.rest + data).split(b"\n")
        for line in lines:
            if line == b"ready":
                running.ready = True
            elif line.startswith(b"~"):
                if (held := self._held.pop(int(line[1:]), None)) is not None:
                    os.close(held)
            elif (waiter := self._waiters.get(int(line[1:]))) and not waiter.done():
                waiter.set_result(None)

    def _exited(self, running: _Running) -> None:
        running.process.poll()
        self._loop.remove_reader(running.answers_fd)
        os.close(running.answers_fd)
        _close_groups(running)
        self._running = None
        self._ended.set()
        if self._closing:
            self._refuse(KeeperError("the agent is stopping"))
            return
        _log.warning("keeper_lost", status=running.process.returncode, groups=len(self._groups))
        try:
            if not running.ready:
                raise KeeperError(
                    "the process that guards the servers' processes ends as soon as it is started"
                )
            self._spawn()
        except KeeperError as error:
            self._fail_closed(error)

    def _fail_closed(self, error: KeeperError) -> None:
        _log.error("keeper_failed", why=str(error), killed_groups=len(self._groups))
        for group in self._groups:
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        self._refuse(error)

    def _refuse(self, error: KeeperError) -> None:
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_exception(KeeperError(str(error)))


def _close_groups(running: _Running) -> None:
    fd, running.groups_fd = running.groups_fd, -1
    if fd >= 0:
        os.close(fd)
