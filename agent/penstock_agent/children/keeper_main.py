"""The keeper's program: run as ``python -I -S keeper_main.py``, never imported by the agent.

Reads ``+GROUP`` and ``-GROUP`` lines from its input, answers each ``+GROUP`` with the same line, and at the
end of its input kills every group still listed. The agent alone holds the other end, so the end of the
input is the end of the agent, however it came.
"""

import contextlib
import os
import signal


def main() -> None:
    # Whoever stops the agent by signalling the whole terminal or unit must not stop the keeper first.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    rest = b""
    _answer(b"ready\n")
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        known = b""
        for line in lines:
            group = int(line[1:])
            if line.startswith(b"+"):
                groups.add(group)
                known += line + b"\n"
            else:
                groups.discard(group)
        if known:
            _answer(known)
    for group in groups - {0, 1, os.getpgrp()}:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def _answer(data: bytes) -> None:
    # The agent may be gone already: the lines that it wrote before still count.
    with contextlib.suppress(OSError):
        os.write(1, data)


if __name__ == "__main__":
    main()
