"""What a hostile child tries of what is not its own: out into the network, at files, and at other processes.

It is told where all of it is, as an attacker finds out in the end. Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import prying_child as prying  # type: ignore[import-not-found]  # it lies there

X86 = os.uname().machine == "x86_64"
READ_REMOTE, OPEN_BY_HANDLE, MOUNT, UNSHARE, CHROOT, SETNS, PIVOT = (
    (310, 304, 165, 272, 161, 308, 155) if X86 else (270, 265, 40, 97, 51, 268, 41)
)
PRLIMIT, AFFINITY, SETPRIORITY, PERF, BPF, KEYCTL = (
    (302, 203, 141, 298, 321, 250) if X86 else (261, 122, 140, 241, 280, 219)
)
PIDFD_OPEN, PIDFD_GETFD, PIDFD_SIGNAL, IO_URING, CLONE3, FSOPEN = 434, 438, 424, 425, 435, 430
TIOCSTI = 0x5412

Attempt = tuple[str, Callable[[], object]]


def attempts(where: Any) -> dict[str, str]:
    """Each, and what came of it: the name of an error, or "GOT" and what it got."""
    found = {}
    for name, attempt in (*outwards(where), *at_files(where), *at_processes(where), *at_privileges(where)):
        try:
            found[name] = f"GOT {str(attempt())[:4000]}"
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno or 0, str(error))
        except Exception as error:
            found[name] = repr(error)
    return found


def outwards(where: Any) -> Iterator[Attempt]:
    port = where["port"]
    yield "tcp", lambda: prying.connect("127.0.0.1", port)
    yield "tcp of the relay", lambda: prying.connect("127.0.0.1", where["relay"])
    kinds = {
        "tcp 6": (10, 1, 0),
        "udp": (2, 2, 0),
        "udp 6": (10, 2, 0),
        "raw": (2, 3, 1),
        "packet": (17, 3, 3),
    }
    kinds |= {
        "audit": (16, 3, 9),
        "netfilter": (16, 3, 12),
        "vsock": (40, 1, 0),
        "alg": (38, 5, 0),
        "sctp": (2, 1, 132),
    }
    kinds |= {
        "bluetooth": (31, 3, 1),
        "xdp": (44, 3, 0),
        "tipc": (30, 1, 0),
        "icmp": (2, 2, 1),
        "can": (29, 3, 1),
    }
    for name, kind in kinds.items():
        yield f"socket {name}", partial(prying.make_socket, *kind)
    yield "io_uring", lambda: prying.call(IO_URING, 1, 0)
    yield "abstract socket", lambda: prying.tell("@" + where["abstract"], "x")
    yield "control socket", lambda: prying.tell(where["control"], '{"verb":"status"}')
    yield "descriptors", prying.descriptors
    yield "passed descriptor", lambda: socket.socket(fileno=3).recv(1)


def at_files(where: Any) -> Iterator[Attempt]:
    for path in where["files"]:
        yield f"read {path}", partial(prying.read, path)
        yield f"write {path}", partial(prying.write, path)
    for path in where["folders"]:
        yield f"list {path}", partial(prying.look, path)
        yield f"plant in {path}", partial(prying.write, path + "/planted")
    secret = where["files"][0]
    yield "through a symbolic link", lambda: _led(os.symlink, secret, "link")
    yield (
        "through a linked folder",
        lambda: _led(os.symlink, os.path.dirname(secret), "folder", prying.look),
    )
    yield "through a hard link", lambda: _led(os.link, secret, "hard")
    yield "moved here", lambda: os.rename(secret, "moved")
    yield "own folder moved away", lambda: os.rename(os.getcwd(), os.getcwd() + "-moved")
    yield "upwards", lambda: prying.read("../../" + os.path.basename(secret))
    yield "through /proc/self/root", lambda: prying.read("/proc/self/root" + secret)
    yield "through /proc/self/cwd", lambda: prying.read("/proc/self/cwd/../../" + os.path.basename(secret))
    yield "through O_PATH", lambda: _again(os.open(secret, os.O_PATH))
    yield "from its own folder", lambda: _there(secret)
    handle = ctypes.create_string_buffer(b"\x08\0\0\0\x01\0\0\0" + b"\0" * 8)
    yield "open_by_handle_at", lambda: prying.call(OPEN_BY_HANDLE, -100, ctypes.addressof(handle), 0)
    yield "write to /tmp", lambda: prying.write("/tmp/penstock-planted")


def _led(
    link: Callable[[str, str], None], to: str, name: str, then: Callable[[str], object] = prying.read
) -> object:
    """What is at a place, by a link of its own."""
    link(to, name)
    return then(name)


def _there(path: str) -> str:
    """Landlock lets a process go anywhere, and see nothing there."""
    here = os.getcwd()
    os.chdir(os.path.dirname(path))
    try:
        return str(prying.read(os.path.basename(path)))
    finally:
        os.chdir(here)


def _again(fd: int) -> str:
    with open(f"/proc/self/fd/{fd}") as file:
        return file.read()


def at_processes(where: Any) -> Iterator[Attempt]:
    for who, pid in where["processes"].items():
        for name in ("environ", "mem", "maps", "cmdline", "auxv", "status", "stat"):
            yield f"{who} {name}", partial(prying.read, f"/proc/{pid}/{name}")
        for name in ("fd", "root", "cwd", "task", "ns"):
            yield f"{who} {name}", partial(prying.look, f"/proc/{pid}/{name}")
        yield f"{who} oom_score_adj", partial(prying.write, f"/proc/{pid}/oom_score_adj")
        yield f"{who} ptrace", partial(prying.trace, pid)
        yield f"{who} process_vm_readv", partial(_remote, pid)
        yield (
            f"{who} pidfd_getfd",
            partial(_by_pidfd, pid, PIDFD_GETFD, 0, 0),
        )
        yield (
            f"{who} pidfd signal",
            partial(_by_pidfd, pid, PIDFD_SIGNAL, 19, 0, 0),
        )
        for number in (0, 15, 19, 9):
            yield f"{who} signal {number}", partial(os.kill, pid, number)
            yield f"{who} group {number}", partial(os.killpg, pid, number)
        yield f"{who} prlimit", partial(resource.prlimit, pid, resource.RLIMIT_NOFILE, (8, 8))
        yield f"{who} affinity", partial(os.sched_setaffinity, pid, {0})
        yield f"{who} scheduler", partial(os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0))
        yield f"{who} priority", partial(os.setpriority, os.PRIO_PROCESS, pid, 19)
        yield f"{who} perf", partial(_perf, pid)
    yield "priority of the user", lambda: os.setpriority(os.PRIO_USER, 0, 19)
    yield "all processes", lambda: prying.look("/proc")


def _by_pidfd(pid: int, number: int, *rest: int) -> int:
    return int(prying.call(number, prying.call(PIDFD_OPEN, pid, 0), *rest))


def _remote(pid: int) -> int:
    here = ctypes.create_string_buffer(8)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(here), 8)
    there = (ctypes.c_ulong * 2)(0x400000, 8)
    return int(prying.call(READ_REMOTE, pid, ctypes.addressof(local), 1, ctypes.addressof(there), 1, 0))


def _perf(pid: int) -> int:
    about = ctypes.create_string_buffer(b"\x01\0\0\0\x70\0\0\0", 0x70)
    return int(prying.call(PERF, ctypes.addressof(about), pid, -1, -1, 0))


def at_privileges(where: Any) -> Iterator[Attempt]:
    for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("net", 0x40000000)):
        yield f"unshare {name}", partial(prying.call, UNSHARE, flag)
    yield "clone3", lambda: prying.call(CLONE3, 0, 0)
    yield "setns", lambda: prying.call(SETNS, 0, 0)
    path = ctypes.create_string_buffer(os.fsencode(os.getcwd()))
    kind = ctypes.create_string_buffer(b"tmpfs")
    yield "mount", lambda: prying.call(MOUNT, *map(ctypes.addressof, (kind, path, kind)), 0, 0)
    yield "bind mount", lambda: prying.call(MOUNT, ctypes.addressof(path), ctypes.addressof(path), 0, 4096, 0)
    yield "fsopen", lambda: prying.call(FSOPEN, ctypes.addressof(kind), 0)
    yield "pivot_root", lambda: prying.call(PIVOT, ctypes.addressof(path), ctypes.addressof(path))
    yield "chroot", lambda: os.chroot(os.getcwd())
    yield "setuid", lambda: os.setresuid(*[where["uid"] + 1] * 3)
    yield "setgid", lambda: os.setresgid(*[where["uid"] + 1] * 3)
    yield "setgroups", lambda: os.setgroups([0])
    yield "hostname", lambda: socket.sethostname("x")
    yield "mknod", lambda: os.mknod("device", 0o600 | 0o060000, os.makedev(8, 0))
    yield "tiocsti", lambda: fcntl.ioctl(0, TIOCSTI, b"x")
    yield "terminal", lambda: os.open("/dev/tty", os.O_RDWR)
    yield "kernel memory", lambda: prying.read("/dev/mem")
    yield "bpf", lambda: prying.call(BPF, 0, 0, 0)
    yield "raise a limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))
    yield "sysctl", lambda: prying.write("/proc/sys/kernel/core_pattern")
