"""A child that tries what it may not do: ``python prying_child.py``, one attempt a line, one answer a line.

An attempt is a JSON list, the name of a function here and its arguments; the answer is what that returns, or
the name of an error such as "EACCES". Standard library only.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
import time
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)


def read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read(64).decode(errors="replace")


def look(path: str) -> list[str]:
    return sorted(os.listdir(path))


def write(path: str) -> str:
    with open(path, "a") as file:
        file.write("x")
    return "written"


def run(*command: str) -> int:
    """In the place of a process of its own: its status."""
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(command[0], command)
        except OSError as error:
            os._exit(100 + (error.errno or 0))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def make_socket(family: int, kind: int = 1, protocol: int = 0) -> str:
    socket.socket(family, kind, protocol).close()
    return "made"


def pair() -> str:
    for each in socket.socketpair():
        each.close()
    return "made"


def connect(host: str, port: int) -> str:
    with socket.create_connection((host, port), 5):
        return "connected"


def tell(path: str, line: str) -> str:
    """What a local socket answers; @ begins an abstract name."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path.replace("@", "\0"))
        client.sendall(line.encode() + b"\n")
        return client.recv(4096).decode()


def call(number: int, *arguments: int) -> int:
    """A system call by its number."""
    result = int(_libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def trace(pid: int) -> str:
    _libc.ptrace.restype = ctypes.c_long
    if _libc.ptrace(16, pid, 0, 0) < 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "")
    return "attached"


def strike(pid: int) -> str:
    os.kill(pid, 0)
    return "reached"


def old_call() -> int:
    """getpid by the 32-bit way into the kernel, on x86_64, in a process of its own: its status."""
    pid = os.fork()
    if pid == 0:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def multiply(most: int) -> int:
    """How many processes of its own it gets, of so many."""
    waiting, hold = os.pipe()
    pids = []
    try:
        for _ in range(most):
            pid = os.fork()
            if pid == 0:
                os.close(hold)
                os.read(waiting, 1)
                os._exit(0)
            pids.append(pid)
    except OSError:
        pass
    os.close(hold)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(waiting)
    return len(pids)


def bomb(seconds: float) -> str:
    """Every process of it makes others, for so long, out of the group. Returns once there is no more."""
    full, tell_full = os.pipe()
    if os.fork() == 0:
        os.setsid()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                os.fork()
            except OSError:
                os.write(tell_full, b"x")
                time.sleep(0.05)
        os._exit(0)
    os.read(full, 1)
    return "lit"


def leave() -> int:
    """A process that leaves the group, the session and the family, and minds no signal: its id."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.write(writing, b"%d" % os.getpid())
        for fd in (0, 1, 2, reading, writing):
            os.close(fd)
        while True:
            time.sleep(3600)
    os.wait()
    return int(os.read(reading, 20))


def eat(mib: int) -> int:
    """How many MiB of memory a process of its own gets, of so many."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        kept = []
        try:
            for _ in range(mib):
                kept.append(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        except (OSError, MemoryError):
            pass
        os.write(writing, b"%d" % len(kept))
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        return int(pipe.read())


def eat_up() -> None:
    """Takes memory until there is none, and ends by that."""
    kept = []
    while True:
        kept.append(bytearray(1 << 24))


def environment() -> dict[str, str]:
    return dict(os.environ)


def descriptors() -> list[int]:
    return [fd for fd in range(64) if _is_open(fd)]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def limit(name: str) -> list[int]:
    return list(resource.getrlimit(getattr(resource, name)))


def status() -> dict[str, str]:
    """Of /proc/self/status."""
    with open("/proc/self/status") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def who() -> list[int]:
    return [os.getuid(), os.getgid(), os.getppid()]


def main() -> None:
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = globals()[name](*arguments)
        except OSError as error:
            answer = errno.errorcode.get(error.errno or 0, str(error))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
