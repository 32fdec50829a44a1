"""Who descends from a process, who of them is still there, and an end for those that we leave behind."""

import contextlib
import subprocess
import sys
from pathlib import Path

_KEEPER = """
import os, signal, sys
watched = set()
for line in sys.stdin:
    (watched.add if line[0] == "+" else watched.discard)(int(line[1:]))
for pid in watched:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
"""


def _stat(pid: int) -> list[str]:
    """State, parent and so on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, also those in sessions of their own."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (stat := _stat(int(path.name))):
            parents[int(path.name)] = int(stat[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def alive(pid: int) -> bool:
    """False also for a process that has ended and that nobody has waited for."""
    stat = _stat(pid)
    return bool(stat) and stat[0] not in "ZX"


class Keeper:
    """Ends the watched processes when this process ends in any way, SIGKILL and a test's timeout included.

    A process of its own that reads from a pipe: the pipe's end is what it cannot miss.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def watch(self, pid: int) -> None:
        if self._process is None:
            argv = [sys.executable, "-I", "-S", "-c", _KEEPER]
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, text=True, start_new_session=True)
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """It has ended, and its number may be somebody else's soon."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line)
                self._process.stdin.flush()
