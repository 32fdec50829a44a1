"""What systemd does for a server's socket: each connection is given to a process of its own, as its input and
output. Without a user, a sandbox and a journal of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock_agent.children.units import unit_main
from penstock_agent.children.units.spec import UnitSpec

TOKEN = "a1" * 32
SETTINGS = "f" * 32


class UnitHost:
    """A context manager. ``instances``: the processes that it started, in order."""

    def __init__(self, folder: Path, command: list[str], *, settings: str = SETTINGS) -> None:
        self.path = folder / "unit.sock"
        self.credentials = folder / "credentials"
        self.credentials.mkdir()
        (self.credentials / "token").write_text(TOKEN)
        self.token = folder / "x.token"
        self.token.write_text(TOKEN)
        self.said = folder / "journal"
        self.said.touch()
        self.instances: list[subprocess.Popen[bytes]] = []
        self._started = threading.Condition()
        self._folder = folder
        self._command = [sys.executable, "-I", "-S", unit_main.__file__, settings, *command]
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve)

    def spec(self, name: str = "x") -> UnitSpec:
        """How an agent comes here."""
        return UnitSpec(name, self.path, SETTINGS, self.token)

    def instance(self, number: int = 0) -> subprocess.Popen[bytes]:
        """One of them, as soon as it has been started."""
        with self._started:
            assert self._started.wait_for(lambda: len(self.instances) > number, 20)
        return self.instances[number]

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        for process in self.instances:
            process.kill()
            process.wait(20)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            env = {
                "PATH": os.environ["PATH"],
                "HOME": str(self._folder),
                "TMPDIR": str(self._folder / "tmp"),
                "CREDENTIALS_DIRECTORY": str(self.credentials),
                "INVOCATION_ID": "1",
                "LISTEN_FDS": "1",
            }
            fd = connection.fileno()
            with connection, open(self.said, "ab") as journal, self._started:
                started = subprocess.Popen(
                    self._command, stdin=fd, stdout=fd, stderr=journal, env=env, cwd=self._folder
                )
                self.instances.append(started)
                self._started.notify_all()
