"""Commands of Penstock without their start, which takes most of their time: loading themselves.

    with commands():
        run(["…/bin/penstock-agent", "status"], env)

A process that has loaded them all forks for each that is run. So a command is a process of its own here, too,
with arguments, environment, folder, input and outputs of its own; but what it imports is there already.
Outside of `commands()` it is started as a user starts it. (Tests that say the same of both: test_warm.py.)
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Final, NoReturn

MAINS: Final = {
    "penstock-agent": "penstock_agent.cli",
    "penstock-relay": "penstock_relay.cli",
    "pytest": "pytest",
}
LOADED: Final = (
    *("penstock_agent.cli", "penstock_agent.control"),
    *("penstock_agent.daemon.daemon", "penstock_agent.enrolment"),
    *("penstock_relay.cli.app", "penstock_relay.daemon", "sqlalchemy.dialects.sqlite.aiosqlite"),
)


class Commands:
    """The process that forks: started when the first command is run, ends with this one.

    `loaded`: the modules that it loads.
    """

    def __init__(self, loaded: Sequence[str] = LOADED) -> None:
        self._loaded = loaded
        self._process: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None
        self._opening = Lock()

    def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: str = "",
        timeout: float = 200,
        folder: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """In `folder`, or in that of this process."""
        asked = json.dumps({"argv": list(argv), "env": dict(env), "folder": str(folder or Path.cwd())})
        files = [_file(asked), _file(stdin), _file(""), _file("")]
        ours, theirs = socket.socketpair()
        try:
            with ours, theirs:
                # One message, so that several threads may ask at once.
                socket.send_fds(self._opened(), [b"!"], [*files, theirs.fileno()])
                theirs.close()
                status = _status(ours, argv, timeout)
            out, err = (_text(file) for file in files[2:])
        finally:
            for file in files:
                os.close(file)
        return subprocess.CompletedProcess(list(argv), status, out, err)

    def close(self) -> None:
        if self._door is not None and self._process is not None:
            self._door.close()
            self._process.wait()
        self._door = self._process = None

    def _opened(self) -> socket.socket:
        with self._opening:
            if self._door is None:
                self._door, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
                with theirs:
                    # -P: what lies beside this file is not to be found by its bare name.
                    argv = [sys.executable, "-P", __file__, str(theirs.fileno()), *self._loaded]
                    # Its own session: Ctrl-C in the terminal is the tests' to deal with.
                    self._process = subprocess.Popen(
                        argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
                    )
            return self._door


_warm: Commands | None = None


@contextmanager
def commands() -> Iterator[None]:
    """In here :func:`run` runs them warm."""
    global _warm
    before, _warm = _warm, Commands()
    try:
        yield
    finally:
        _warm.close()
        _warm = before


@contextmanager
def cold() -> Iterator[None]:
    """In here it starts them after all."""
    global _warm
    before, _warm = _warm, None
    try:
        yield
    finally:
        _warm = before


def run(
    argv: Sequence[str], env: Mapping[str, str], stdin: str = "", timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. The first of `argv` is the path of one of our console scripts."""
    if _warm is not None and Path(argv[0]).name in MAINS:
        return _warm.run(argv, env, stdin, timeout)
    return subprocess.run(
        list(argv),
        env=dict(env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _file(text: str) -> int:
    """A file without a name, to be read from its beginning."""
    file = os.memfd_create("command")
    if text:
        os.pwrite(file, text.encode(), 0)
    return file


def _text(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode()


def _status(reply: socket.socket, argv: Sequence[str], timeout: float) -> int:
    """The command's number comes first, then how it ended."""
    reply.settimeout(timeout)
    with reply.makefile("rb") as lines:
        number = lines.readline()
        try:
            return int(lines.readline() or b"1")
        except TimeoutError:
            os.kill(int(number), signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(argv), timeout) from None


# ---------------------------------------------------------------- the process that forks


def serve(door: socket.socket, loaded: Sequence[str]) -> None:
    """Fork for each message, until nobody can send one any more."""
    for name in loaded:
        import_module(name)
    gc.freeze()
    while True:
        message, files, _flags, _address = socket.recv_fds(door, 1, 5)
        if not message:
            return
        if os.fork() == 0:
            door.close()
            _look_after(files)
        for file in files:
            os.close(file)
        _bury()


def _bury() -> None:
    """Those that have looked after a command are done."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _look_after(files: list[int]) -> NoReturn:
    """Run it in one more process, and say which and how it ended."""
    asked, *outer, reply = files
    number = os.fork()
    if number == 0:
        os.close(reply)
        for place, file in enumerate(outer):
            os.dup2(file, place)
        request = json.loads(_text(asked))
        for file in (asked, *outer):
            os.close(file)
        _become(request["argv"], request["env"], request["folder"])
    os.write(reply, b"%d\n" % number)
    status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    os.write(reply, b"%d\n" % status)
    os._exit(0)


def _become(argv: list[str], env: dict[str, str], folder: str) -> NoReturn:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  to its end
    status = 1
    try:
        status = _ended(MAINS[Path(argv[0]).name])
        atexit._run_exitfuncs()
    except BaseException:  # this process must not go on as the one that forks
        traceback.print_exc()
    finally:
        for file in (sys.stdout, sys.stderr):
            file.flush()
        os._exit(status)


def _ended(module: str) -> int:
    """As the console script does: sys.exit(main())."""
    try:
        sys.exit(import_module(module).main())
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given, sys.argv[2:])
