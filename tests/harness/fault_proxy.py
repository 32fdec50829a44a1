"""A TCP proxy between agent and relay that breaks the way networks break.

Runs its event loop in a thread of its own; every method may be called from any other thread. Faults meet the
connections that stand and those that come later, until :meth:`FaultProxy.heal`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
CHUNK = 16 * 1024
QUEUED_CHUNKS = 64  # per direction: at most 1 MiB is inside the proxy
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST


class Way(Enum):
    """A direction, as the dialling side (the agent) sees it."""

    UP = "up"  # from the agent to the relay
    DOWN = "down"
    BOTH = "both"

    def covers(self, other: Way) -> bool:
        return self in (Way.BOTH, other)


@dataclass(eq=False)
class _Connection:
    """One proxied connection: the writer towards each end, by the way that feeds it."""

    writers: dict[Way, asyncio.StreamWriter] = field(default_factory=dict)

    def reset(self) -> None:
        for writer in self.writers.values():
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class FaultProxy:
    """``with FaultProxy() as proxy: proxy.target = ("127.0.0.1", 8443)``; dial ``proxy.address``."""

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self.target = target
        self.address = ("127.0.0.1", 0)
        self.accepted = 0  # connections since the start
        self.carried = {Way.UP: 0, Way.DOWN: 0}  # bytes handed on since the start
        self._delay_s = 0.0
        self._rate: float | None = None  # bytes per second, each direction and connection
        self._refusing = False
        self._flowing: dict[Way, asyncio.Event] = {}
        self._connections: set[_Connection] = set()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._up: Future[None] = Future()
        self._stop = asyncio.Event()

    # -- what a test calls

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
    def connections(self) -> int:
        """How many stand now."""
        with self._changed:
            return len(self._connections)

    def wait(self, condition: Callable[[FaultProxy], bool], timeout_s: float = 10) -> None:
        """Until a condition on this proxy's counters holds. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout_s):
                raise TimeoutError(f"{len(self._connections)} connections stand, {self.accepted} came in all")

    def cut(self, *, refuse: bool = False) -> int:
        """Reset every connection that stands; with ``refuse``, also each new one until :meth:`heal`."""

        def do() -> int:
            self._refusing = refuse
            standing = list(self._connections)
            for connection in standing:
                connection.reset()
            return len(standing)

        return self._call(do)

    def half_close(self, way: Way) -> None:
        """End the stream in one direction (a FIN), and leave the other one open."""

        def do() -> None:
            for connection in self._connections:
                for through, writer in connection.writers.items():
                    if way.covers(through) and writer.can_write_eof() and not writer.is_closing():
                        writer.write_eof()

        self._call(do)

    def stall(self, way: Way = Way.BOTH) -> None:
        """Hand nothing on, without a word to either end: a cable pulled, a router gone."""

        def do() -> None:
            for through, flow in self._flowing.items():
                if way.covers(through):
                    flow.clear()

        self._call(do)

    def shape(self, *, delay_s: float = 0.0, bytes_per_s: float | None = None) -> None:
        """Delay each chunk, and pace each direction of each connection."""

        def do() -> None:
            self._delay_s, self._rate = delay_s, bytes_per_s

        self._call(do)

    def heal(self) -> None:
        """End all faults. What was stalled flows on."""

        def do() -> None:
            self._refusing, self._delay_s, self._rate = False, 0.0, None
            for flow in self._flowing.values():
                flow.set()

        self._call(do)

    def _call(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return self._await(run())

    def _await(self, coroutine: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    # -- the loop's side

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._flowing = {Way.UP: asyncio.Event(), Way.DOWN: asyncio.Event()}
        for flow in self._flowing.values():
            flow.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.address = server.sockets[0].getsockname()
        self._up.set_result(None)
        await self._stop.wait()
        server.close()
        for connection in list(self._connections):
            connection.reset()
        # The runner cancels what still pumps.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection({Way.DOWN: writer})
        self._note(lambda: self._connections.add(connection), accepted=1)
        try:
            if self._refusing or self.target is None:
                return
            up_reader, up_writer = await asyncio.open_connection(*self.target, limit=CHUNK)
            connection.writers[Way.UP] = up_writer
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(Way.UP, reader, up_writer))
                tasks.create_task(self._pump(Way.DOWN, up_reader, writer))
        except* OSError:
            pass  # one end is gone; the other is told by the reset below
        finally:
            connection.reset()
            self._note(lambda: self._connections.discard(connection))

    async def _pump(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_CHUNKS)

        async def take() -> None:
            data = b"-"
            while data:
                data = await reader.read(CHUNK)
                await chunks.put((loop.time() + self._delay_s, data))

        async def give() -> None:
            while True:
                due, data = await chunks.get()
                await asyncio.sleep(due - loop.time())
                await self._flowing[way].wait()
                if self._rate is not None:
                    await asyncio.sleep(len(data) / self._rate)
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
                with self._changed:
                    self.carried[way] += len(data)
                    self._changed.notify_all()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(take())
            tasks.create_task(give())

    def _note(self, change: Callable[[], object], accepted: int = 0) -> None:
        with self._changed:
            change()
            self.accepted += accepted
            self._changed.notify_all()
