"""The three pipes of a child, on the readiness calls of the event loop: bounded, and closed exactly once.

asyncio's own pipe transports are not used: their read size and buffers are not ours to bound on both loops.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from penstock_agent.children.lines import LINE_MAX, LineFramer, Oversize
from penstock_agent.children.stderr import StderrFilter

PIPE_SIZE: Final = 512 * 1024
"""Kernel buffer asked for a child's output, in bytes; where the kernel refuses, its own size stays.

All pipes of 64 children fit in the 64 MiB that Linux lets one user have; beyond that its pipes get one page.
"""

READ_SIZE: Final = 256 * 1024
"""Bytes taken from a child's output in one turn of the loop."""

OUTPUT_WAITING_MAX: Final = 4 * 1024 * 1024
"""Bytes of complete lines waiting to be received, above which a child's output is left in its pipe."""

INPUT_WAITING_MAX: Final = 1024 * 1024
"""Bytes waiting for a child to read, above which ``send`` waits; one line may go beyond."""

LINE_COST: Final = 64
"""What a waiting line is counted for besides its bytes: a flood of tiny lines costs memory too."""

STDERR_PAUSE_S: Final = 0.01
"""Rest between two reads of a standard error that is over its rate: a flood may not keep the loop busy."""


def grow(fd: int) -> None:
    """Ask for a larger pipe; a refusal (the user's pipe budget is spent) costs speed, nothing else."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        return


class LineReader:
    """A child's output as lines. Owns ``fd`` (non-blocking)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        on_end: Callable[[], None],
        line_max: int = LINE_MAX,
        waiting_max: int = OUTPUT_WAITING_MAX,
    ) -> None:
        """``on_end`` is called once if the output ends before ``finish``."""
        self._loop = loop
        self._fd = fd
        self._on_end = on_end
        self._framer = LineFramer(line_max)
        self._waiting_max = waiting_max
        self._lines: deque[bytes | Oversize] = deque()
        self._waiting = 0
        self._reading = False
        self._dropping = False
        self._finished = False
        self._wake: asyncio.Future[None] | None = None
        self._read_on()

    @property
    def paused(self) -> bool:
        """True while the child's output is left in its pipe because nobody receives."""
        return self._fd >= 0 and not self._reading

    @property
    def waiting(self) -> int:
        """Bytes waiting to be received, each line counted with its cost."""
        return self._waiting

    async def get(self) -> bytes | Oversize | None:
        """The next line; None when the child has ended and everything has been delivered.

        One receiver at a time (RuntimeError). Cancelling loses no line.
        """
        while not self._lines:
            if self._finished:
                return None
            if self._wake is not None:
                raise RuntimeError("two tasks receive from one child")
            self._wake = self._loop.create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        line = self._lines.popleft()
        self._waiting -= _cost(line)
        if self._waiting <= self._waiting_max // 2:
            self._read_on()
        return line

    def drop(self) -> None:
        """From now on read and forget, so that a child that is being stopped can finish writing."""
        self._dropping = True
        self._read_on()

    def finish(self) -> None:
        """The child has ended: take what is left in the pipe, then close. Idempotent."""
        if self._finished:
            return
        self._finished = True
        left = PIPE_SIZE
        # Bounded: a descendant that left the group may hold the pipe open and write for ever.
        while left > 0 and self._fd >= 0 and (got := self._read()):
            left -= got
        self._close()
        self._wake_up()

    def _read_on(self) -> None:
        if self._fd >= 0 and not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        self._read()
        if self._waiting > self._waiting_max and self._reading and not self._dropping:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _read(self) -> int:
        """Returns the number of bytes read, 0 when there are none now or no more."""
        try:
            data = os.read(self._fd, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            data = b""
        if not data:
            self._close()
            if not self._finished:
                self._on_end()
        elif not self._dropping:
            for line in self._framer.feed(data):
                self._lines.append(line)
                self._waiting += _cost(line)
            if self._lines:
                self._wake_up()
        return len(data)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._reading:
                self._loop.remove_reader(fd)
            os.close(fd)

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def _cost(line: bytes | Oversize) -> int:
    return LINE_COST + (len(line) if isinstance(line, bytes) else 0)


class LineWriter:
    """A child's input. Owns ``fd`` (non-blocking)."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, waiting_max: int = INPUT_WAITING_MAX
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._waiting_max = waiting_max
        self._parts: deque[memoryview] = deque()
        self._waiting = 0
        self._writing = False
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def closed(self) -> bool:
        return self._fd < 0

    @property
    def waiting(self) -> int:
        """Bytes accepted and not yet in the pipe."""
        return self._waiting

    async def send(self, data: bytes) -> bool:
        """Wait for room, then accept ``data`` whole; False when the input is closed. In order of arrival.

        Cancelled before it is accepted, nothing of it is written; afterwards all of it is.
        """
        async with self._turn:
            await self._room.wait()
            return self.put(data)

    def put(self, data: bytes) -> bool:
        """Accept ``data`` at once, room or not; False when the input is closed."""
        if self._fd < 0:
            return False
        self._parts.append(memoryview(data))
        self._waiting += len(data)
        if not self._writing:
            self._write()
        self._measure()
        return self._fd >= 0

    def close(self) -> None:
        """Close the input; what is not yet in the pipe is lost. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._writing:
                self._loop.remove_writer(fd)
            os.close(fd)
        self._parts.clear()
        self._waiting = 0
        self._room.set()

    def _write(self) -> None:
        while self._parts:
            part = self._parts[0]
            try:
                done = os.write(self._fd, part)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # The child closed its input, or has ended: its exit says more, and comes by itself.
                self.close()
                return
            self._waiting -= done
            if done == len(part):
                self._parts.popleft()
            else:
                self._parts[0] = part[done:]
        if self._writing != bool(self._parts):
            self._writing = bool(self._parts)
            if self._writing:
                self._loop.add_writer(self._fd, self._write)
            else:
                self._loop.remove_writer(self._fd)
        self._measure()

    def _measure(self) -> None:
        if self._waiting > self._waiting_max:
            self._room.clear()
        else:
            self._room.set()


class StderrReader:
    """A child's standard error, to ``log`` line by line. Owns ``fd`` (non-blocking)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, log: Callable[[str], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._log = log
        self._filter = StderrFilter(loop.time())
        self._pause: asyncio.TimerHandle | None = None
        self._finished = False
        loop.add_reader(fd, self._readable)

    def finish(self) -> None:
        """The child has ended: log what is left, then close. Idempotent."""
        if self._finished:
            return
        self._finished = True
        # This pipe has the kernel's own size, so one read takes all of it.
        self._read()
        self._close()
        for line in self._filter.finish():
            self._log(line)

    def _readable(self) -> None:
        self._read()
        if self._fd >= 0 and self._filter.suppressed:
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.call_later(STDERR_PAUSE_S, self._after_pause)

    def _after_pause(self) -> None:
        self._pause = None
        if self._fd < 0:
            return
        self._read()
        if self._fd < 0:
            return
        if self._filter.suppressed:
            self._pause = self._loop.call_later(STDERR_PAUSE_S, self._after_pause)
        else:
            self._loop.add_reader(self._fd, self._readable)

    def _read(self) -> None:
        if self._fd < 0:
            return
        data: bytes | None
        try:
            data = os.read(self._fd, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            data = None
        except OSError:
            data = b""
        if data == b"":
            self._close()
            return
        for line in self._filter.feed(data or b"", self._loop.time()):
            self._log(line)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._pause is None:
                self._loop.remove_reader(fd)
            else:
                self._pause.cancel()
            os.close(fd)
