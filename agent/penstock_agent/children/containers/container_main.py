"""A child in a container: run as ``python -I -S container_main.py NAME PODMAN run ...`` with its input
and output, it ends as ``podman run`` ends.

A container is no descendant of ``podman run`` and outlives it; and where podman is killed while it starts
one, processes stay that nobody finds again. So nothing of the agent ever kills podman. This process, which
the agent and its keeper know and kill, starts another in a session of its own, and that one runs podman. When
this process has ended, whoever ended it, the other removes the container and then ends too, at the latest
after some attempts. All of them have the environment that podman has.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

_FAILED = 125
"""Podman's own status for what is not the server's fault."""
_BEGINNING_S = 30.0
"""How long podman may take to end once its container is unwanted."""
_ATTEMPTS = 6
_ATTEMPT_S = 20.0
_PAUSE_S = 0.3


def main(name: str, command: list[str]) -> int:
    me = os.getpid()
    reading, writing = os.pipe()
    # Nobody misses that they are to end, before they can pass it on.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    watcher = os.fork()
    if watcher == 0:
        os.close(reading)
        try:
            _watch(me, writing, name, command)
        finally:
            os._exit(0)
    os.close(writing)
    _let_go()

    def terminate(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.kill(watcher, number)

    _listen(terminate)
    status = os.read(reading, 16)
    return int(status) if status else _FAILED


def _watch(parent: int, writing: int, name: str, command: list[str]) -> None:
    os.setsid()
    unwanted = os.pidfd_open(parent)
    if os.getppid() != parent:
        return
    running: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for each in running:
            each.send_signal(number)

    _listen(terminate)
    podman = subprocess.Popen(command)
    running.append(podman)
    if asked:
        podman.send_signal(signal.SIGTERM)
    _let_go()
    ended = os.pidfd_open(podman.pid)
    poll = select.poll()
    for fd in (unwanted, ended):
        poll.register(fd, select.POLLIN)
    poll.poll()
    poll.unregister(unwanted)
    deadline = time.monotonic() + _BEGINNING_S
    while not poll.poll(0) and time.monotonic() < deadline:
        # Perhaps it is not there yet.
        _remove(command[0], name)
        poll.poll(_PAUSE_S * 1000)
    podman.kill()
    status = podman.wait()
    with contextlib.suppress(OSError):
        os.write(writing, b"%d" % (status if status >= 0 else 128 - status))
    os.close(writing)
    for _ in range(_ATTEMPTS):
        if _remove(command[0], name):
            return
        time.sleep(_PAUSE_S)


def _listen(terminate: Callable[[int, FrameType | None], None]) -> None:
    signal.signal(signal.SIGTERM, terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _let_go() -> None:
    """Input and output are podman's alone: others must see when it closes them."""
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(nothing, fd)
    os.close(nothing)


def _remove(podman: str, name: str) -> bool:
    """Whether it is not there any more."""
    return _run(podman, "rm", "--force", "--time=0", "--volumes", "--ignore", name) == 0


def _run(*command: str) -> int:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_ATTEMPT_S,
            check=False,
        ).returncode
    return -1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
