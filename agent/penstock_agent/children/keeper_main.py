"""The keeper's program: run as ``python -I -S keeper_main.py``, never imported by the agent.

Reads lines from its input, and at the end of its input kills every group still listed. The agent alone holds
the other end, so the end of the input is the end of the agent, however it came.

- ``+GROUP``: a group that ends with the agent. Answered with the same line.
- ``=GROUP NAMESPACE``: all that the group starts is in this user namespace (its inode), and nothing else is.
- ``-GROUP``: the group has ended. What has left it, into a session of its own, is found by the namespace and
  killed; then ``~NAMESPACE`` is answered.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable

SWEEP_S = 2.0
"""For so long at most it kills what a child left behind before it hears the agent again, which waits twice
as long. What is left then has its turn with the next line, and at the end.
"""

LOOKS = 100
"""How often those that were started last are looked at before it is believed that none runs away."""

NEWEST = 12


def main() -> None:
    # Whoever stops the agent by signalling the whole terminal or unit must not stop the keeper first.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, int | None] = {}
    left: set[int] = set()
    rest = b""
    _answer(b"ready\n")
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        known = b""
        for line in lines:
            numbers = [int(word) for word in line[1:].split()]
            if line.startswith(b"+"):
                groups[numbers[0]] = None
                known += line + b"\n"
            elif line.startswith(b"="):
                groups[numbers[0]] = numbers[1]
            elif (found := groups.pop(numbers[0], None)) is not None:
                left.add(found)
        if known:
            _answer(known)
        if left and _swept(left):
            _answer(b"".join(b"~%d\n" % namespace for namespace in left))
            left.clear()
    for group, namespace in groups.items():
        # It was told only once the command ran: it may have been left before that, but not by its leader.
        left.add(namespace or _namespace(group))
        if group not in (0, 1, os.getpgrp()):
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
    if not _swept(left):
        _swept(left)


def _swept(namespaces: set[int]) -> bool:
    """Kill all that is in them, until nothing is: whoever is killed may just have started another."""
    wanted = namespaces - {0, _namespace(os.getpid())}
    until = time.monotonic() + SWEEP_S
    while wanted and (
        _any_killed(map(int, filter(str.isdigit, os.listdir("/proc"))), wanted) or _ran(wanted)
    ):
        if time.monotonic() > until:
            return False
    return True


def _ran(namespaces: set[int]) -> bool:
    """Whether one was killed that runs away: it starts another and ends, faster than all are looked at. So
    those with the newest numbers are looked at alone, many times, for each has to live a moment.
    """
    found = False
    for _ in range(LOOKS):
        try:
            with open("/proc/loadavg", "rb") as file:
                newest = int(file.read().split()[-1])
        except OSError:
            return False  # a /proc with nothing but processes
        found = _any_killed(range(newest + 2, max(newest - NEWEST, 1), -1), namespaces) or found
    return found


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _any_killed(pids: Iterable[int], namespaces: set[int]) -> bool:
    return sum([_killed(pid, namespaces) for pid in pids]) > 0


def _killed(pid: int, namespaces: set[int]) -> bool:
    """Whether it was in one of them, and alive."""
    if _namespace(pid) not in namespaces:
        return False
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Looked at again: the number may be somebody else's by now, and the descriptor is not.
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b") ")[2][:1]
        if state in (b"Z", b"X") or _namespace(pid) not in namespaces:
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(process)
    return True


def _namespace(pid: int) -> int:
    """0 where there is none to be seen."""
    try:
        return os.stat(f"/proc/{pid}/ns/user").st_ino
    except OSError:
        return 0


def _answer(data: bytes) -> None:
    # The agent may be gone already: the lines that it wrote before still count.
    with contextlib.suppress(OSError):
        os.write(1, data)


if __name__ == "__main__":
    main()
