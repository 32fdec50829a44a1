"""Starting the launcher (``launcher_main`` is its program), and telling it what to become.

The agent itself only ever executes its own interpreter here, which takes a fraction of a millisecond of the
event loop; looking up and loading the command, which may lie on a slow disk, is the launcher's.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock_agent.children.pipes import grow

_PROGRAM: Final = str(Path(__file__).with_name("launcher_main.py"))


@dataclass(frozen=True, slots=True)
class Launched:
    """The launcher, waiting for its instructions, and our ends of its pipes.

    The ends do not block, and are the caller's to close.
    """

    process: subprocess.Popen[bytes]
    stdin: int
    stdout: int
    stderr: int
    report: int

    def discard(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the launcher, which has been told nothing yet; close our ends, watched by ``loop`` or not."""
        self.process.kill()
        self.process.wait()
        for fd in (self.stdin, self.stdout, self.stderr, self.report):
            loop.remove_reader(fd)
            os.close(fd)


def launch() -> Launched:
    """Start the launcher in a session of its own. Raises OSError, and nothing is left open then."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:

        def pipe(child_reads: bool) -> tuple[int, int]:
            reading, writing = os.pipe()
            mine, its = (writing, reading) if child_reads else (reading, writing)
            ours.callback(os.close, mine)
            theirs.callback(os.close, its)
            os.set_blocking(mine, False)
            return mine, its

        stdin, its_stdin = pipe(child_reads=True)
        stdout, its_stdout = pipe(child_reads=False)
        stderr, its_stderr = pipe(child_reads=False)
        report, its_report = pipe(child_reads=False)
        grow(stdout)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", _PROGRAM, str(its_report)],
            stdin=its_stdin,
            stdout=its_stdout,
            stderr=its_stderr,
            pass_fds=(its_report,),
            cwd="/",
            env={},
            close_fds=True,
            start_new_session=True,
        )
        ours.pop_all()
        return Launched(process, stdin, stdout, stderr, report)


def instructions(
    command: tuple[str, ...], env: Mapping[str, str], folder: Path, steps: Sequence[str] = ()
) -> bytes:
    """What the launcher reads before it becomes the command. No part may contain a zero byte.

    ``steps`` confine it: see ``confinement.plan``.
    """
    variables = [f"{name}={value}" for name, value in env.items()]
    parts = [str(folder), str(len(command)), *command, str(len(variables)), *variables, *steps]
    body = b"".join(os.fsencode(part) + b"\0" for part in parts)
    return b"%d " % len(body) + body


def explain(failure: bytes, command: tuple[str, ...], env: Mapping[str, str], folder: Path) -> str:
    """Why the launcher could not become the command, and the next step. ``failure`` is its report."""
    step, _, rest = failure.decode("utf-8", "replace").partition(" ")
    number, _, concerned = rest.partition(" ")
    reason = os.strerror(int(number)) if number.isdigit() and number != "0" else "unknown reason"
    program = command[0]
    match step:
        case "folder":
            return f"its folder {folder} cannot be entered: {reason}. Check who owns it."
        case "path":
            return (
                f"command not found: {program} is in no folder of PATH ({env.get('PATH', '')}). Install it, "
                "give its absolute path in command, or set PATH in env."
            )
        case "denied":
            return (
                f"{program} was found in PATH, but may not be executed. Check its mode (chmod +x) and owner."
            )
        case "missing":
            return (
                f"command not found: there is no {program}, or the agent's user cannot see it. "
                "Correct the path in command."
            )
        case "exec":
            return (
                f"{program} cannot be executed: {reason}. If it is a script, its first line must "
                "name an interpreter that exists; otherwise check its mode and the machine it is built for. "
                'With isolation = "landlock" it and its interpreter must also lie where the server may read: '
                "add their folders to read."
            )
        case "place":
            setting, _, path = concerned.partition(" ")
            what = "its state folder" if setting == "folder" else f"{setting} names {path}, which"
            return (
                f"{what} cannot be opened: {reason}. The agent must see it, in a systemd unit within its "
                "sandbox. Correct the path, or remove it."
            )
        case "confine":
            return (
                f"it cannot be confined (step {concerned}): {reason}. penstock-agent config check says what "
                "this machine allows; weaker is isolation, network or limits of the server in agent.toml."
            )
    return f"{program} could not be started ({step}). Run it by hand as the agent's user to see why."


class ReportReader:
    """The launcher's report. Owns ``fd`` (non-blocking)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd = fd
        self._words = b""
        self._ended = asyncio.Event()
        loop.add_reader(fd, self._readable)

    async def get(self) -> bytes:
        """Wait until the launcher has become the command or has failed; the failure, or nothing."""
        await self._ended.wait()
        return self._words

    def close(self) -> None:
        """Take what was reported, then close. Idempotent."""
        while self._fd >= 0:
            if not self._readable():
                self._close()

    def _readable(self) -> bool:
        try:
            data = os.read(self._fd, 4096)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        self._words += data
        if not data:
            self._close()
        return bool(data)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._loop.remove_reader(fd)
            os.close(fd)
        self._ended.set()
