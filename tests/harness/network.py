"""MCP servers of a site's network, as real processes that listen on loopback."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.clients.drivers import program
from tests.harness.family import Keeper
from tests.harness.stack import Program, clean_environment, until

START_S = 30.0
TOOLS = str(Path(__file__).with_name("http_tool_server.py"))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class NetworkServer:
    """One server on a port of its own, which it keeps over restarts."""

    def __init__(
        self, name: str, argv: Sequence[str], port: int, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._keeper = Keeper()
        self._program = Program(name, argv, {**clean_environment(), **(env or {})}, folder, self._keeper)

    @classmethod
    def python(cls, transport: str, folder: Path, *tls: Path) -> Self:
        port = free_port()
        argv = [sys.executable, TOOLS, str(port), transport, *map(str, tls)]
        return cls(f"python-{transport}{'-tls' if tls else ''}", argv, port, folder)

    @classmethod
    def typescript(cls, mode: str, folder: Path) -> Self:
        """The everything server: ``streamableHttp`` or ``sse``."""
        port = free_port()
        argv = [*program("mcp-server-everything"), mode]
        return cls(f"typescript-{mode}", argv, port, folder, {"PORT": str(port)})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._keeper.close()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._program.start()
        until(f"{self._program.name} to listen", START_S, lambda: self._program.check() and self._listens())

    def kill(self) -> None:
        """SIGKILL to it and all that it started: some Nodes are a child of what carries their name."""
        with suppress(ProcessLookupError):
            os.killpg(self._program.pid, signal.SIGKILL)
        self._program.kill()
        # Its child is not ours to wait for, and may still answer for a moment.
        until(f"{self._program.name} to be gone", START_S, lambda: not self._listens())

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
