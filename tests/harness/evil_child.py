"""A stdio server that misbehaves in one chosen way: ``python evil_child.py MODE [ARG]``.

Standard library only, so that it runs under a clean environment.
"""

import json
import os
import signal
import subprocess
import sys
import time

MIB = 1024 * 1024


def _out(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _lines() -> list[bytes]:
    return list(sys.stdin.buffer)


def _serve_nothing() -> None:
    """Read until the input ends."""
    while os.read(0, 65536):
        pass


def echo() -> None:
    """Each line back, whatever it is."""
    for line in sys.stdin.buffer:
        _out(line)


def rpc() -> None:
    """A decent server: each request is answered with its own params."""
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": message.get("params", {})}
            _out(json.dumps(answer).encode() + b"\n")


def junk() -> None:
    """Lines that are no messages, then an echo."""
    for line in (
        b"Listening on stdio!",
        b"\xff\xfe\x00j",
        b"\x1b[31mred\x1b[0m",
        b"{",
        b"[]",
        b"",
        b"   ",
        b'{"a":"\\ud800"}',
    ):
        _out(line + b"\r\n")
    echo()


def endless() -> None:
    """A line without end, until somebody stops it."""
    chunk = b"x" * 65536
    while True:
        _out(chunk)


def long_line(mib: str) -> None:
    """One line of so many MiB, then an echo."""
    for _ in range(int(mib)):
        _out(b"y" * MIB)
    _out(b"\n")
    echo()


def many_lines(count: str) -> None:
    """So many numbered lines, as fast as the pipe takes them, then an echo."""
    _out(b"".join(b"%d\n" % number for number in range(int(count))))
    echo()


def silent() -> None:
    """Reads and never answers."""
    _serve_nothing()


def deaf() -> None:
    """Never reads."""
    while True:
        time.sleep(3600)


def die(status: str = "3") -> None:
    """Ends at once, with last words."""
    os.write(2, b"evil child: giving up\n")
    os._exit(int(status))


def die_mid_answer() -> None:
    """One whole answer, half of another, and a death by signal."""
    sys.stdin.buffer.readline()
    _out(b'{"whole":1}\n{"half":')
    os.kill(os.getpid(), signal.SIGSEGV)


def close_output() -> None:
    """Closes its output and lives on."""
    os.close(1)
    deaf()


def close_input() -> None:
    """Closes its input, says so, and lives on."""
    os.close(0)
    _out(b"closed\n")
    deaf()


def stubborn() -> None:
    """Ignores the end of its input and every signal that can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _out(b"ready\n")
    deaf()


def polite() -> None:
    """Ends on SIGTERM only, with a status of its own."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    _out(b"ready\n")
    deaf()


def family(leader: str = "stays") -> None:
    """Grandchildren in the same group, one with a child of its own; says all ids. ``leaves``: it ends."""
    sleeper = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"]
    parent = [sys.executable, "-I", "-S", __file__, "nest"]
    first = subprocess.Popen(sleeper)
    second = subprocess.Popen(parent, stdout=subprocess.PIPE)
    assert second.stdout is not None
    third = int(second.stdout.readline())
    _out(json.dumps([os.getpid(), first.pid, second.pid, third]).encode() + b"\n")
    if leader == "leaves":
        os._exit(0)
    deaf()


def nest() -> None:
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"])
    _out(b"%d\n" % child.pid)
    deaf()


def escape() -> None:
    """A child process in a session of its own floods the output; this one ends when it is sent a line."""
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _out(b"%d\n" % os.getpid())
        while True:
            _out(b"still here\n" * 100)
    os.read(0, 100)


def flood_stderr() -> None:
    """Standard error as fast as it goes, in a thread's stead: a child process; the echo works beside it."""
    if os.fork() == 0:
        while True:
            os.write(2, b"\x1b[33mwarning\x1b[0m: the sky is falling\n" * 200)
    echo()


def say(text: str) -> None:
    """``text`` to standard error, then an echo."""
    os.write(2, text.encode().decode("unicode_escape").encode("latin-1"))
    _out(b"said\n")
    echo()


def look() -> None:
    """What it was given: environment, descriptors, groups, signals, folder."""
    with open("/proc/self/environ", "rb") as file:
        environ = file.read().decode()
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor that listed the folder
    seen = {
        "environ": [pair for pair in environ.split("\0") if pair],
        "fds": descriptors,
        "pid": os.getpid(),
        "pgid": os.getpgrp(),
        "sid": os.getsid(0),
        "cwd": os.getcwd(),
        "ignored": status["SigIgn"],
        "blocked": status["SigBlk"],
        "argv": sys.argv,
    }
    _out(json.dumps(seen).encode() + b"\n")
    echo()


MODES = {
    mode.__name__: mode
    for mode in (
        echo,
        rpc,
        junk,
        endless,
        long_line,
        many_lines,
        silent,
        deaf,
        die,
        die_mid_answer,
        close_output,
        close_input,
        stubborn,
        polite,
        family,
        nest,
        escape,
        flood_stderr,
        say,
        look,
    )
}

if __name__ == "__main__":
    MODES[sys.argv[1]](*sys.argv[2:])
