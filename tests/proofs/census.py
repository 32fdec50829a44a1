"""Reads what strace wrote of a program and its children: which process connected to what, bound, listened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

TRACED = "connect,sendto,sendmsg,sendmmsg,bind,listen,socket,clone,clone3,fork,vfork,execve"
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += +(-?\d+)(?: (\w+)|$)")
_UNFINISHED = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += +(-?\d+)(?: (\w+)|$)")
_INET = re.compile(
    r"sin6?_port=htons\((\d+)\).*?(?:inet_addr\(\"([^\"]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\")"
)
_UNIX = re.compile(r'sun_path=(@?)"([^"]*)"')


@dataclass
class Process:
    """`name`: of the program that it has become, or of what it came from."""

    pid: int
    parent: int | None
    name: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Name of the call, and the address: "127.0.0.1:8443", "unix:/run/x", or what it says otherwise."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """The same, of those that the kernel refused: they have done nothing."""


def read(lines: Iterable[str], main: int) -> dict[int, Process]:
    """By process id; threads count as their process."""
    processes = {main: Process(main, None)}
    thread_of: dict[int, int] = {main: main}
    parents: dict[int, int] = {}
    begun: dict[tuple[int, str], str] = {}

    def of(tid: int) -> Process:
        pid = thread_of.setdefault(tid, tid)
        return processes.setdefault(pid, Process(pid, parents.get(pid)))

    def note(tid: int, name: str, arguments: str, result: int, error: str) -> None:
        process = of(tid)
        # A connection that does not block is made afterwards.
        calls = process.refused if result < 0 and error != "EINPROGRESS" else process.calls
        if name in ("clone", "clone3", "fork", "vfork"):
            if result > 0:
                if "CLONE_THREAD" in arguments:
                    # A new thread may have been seen before its clone has returned.
                    thread_of[result] = process.pid
                    if early := processes.pop(result, None):
                        process.calls += early.calls
                        process.refused += early.refused
                else:
                    parents[result] = process.pid
                    child = processes.setdefault(result, Process(result, process.pid))
                    child.parent = process.pid
                    child.name = child.name or process.name
        elif name == "execve" and result == 0:
            process.name = PurePath(arguments.split('"')[1]).name
        elif name in ("connect", "bind", "sendto", "sendmsg", "sendmmsg"):
            if (address := _address(arguments)) is not None:
                calls.append((name, address))
        elif name == "listen":
            calls.append((name, arguments))
        elif name == "socket":
            calls.append((name, arguments.split(",")[0]))

    for line in lines:
        line = line.rstrip("\n")
        if found := _LINE.match(line):
            note(int(found[1]), found[2], found[3], int(found[4]), found[5] or "")
        elif found := _UNFINISHED.match(line):
            begun[(int(found[1]), found[2])] = found[3]
        elif found := _RESUMED.match(line):
            before = begun.pop((int(found[1]), found[2]), "")
            note(int(found[1]), found[2], before + found[3], int(found[4]), found[5] or "")
    return processes


def _address(arguments: str) -> str | None:
    """None where there is none: what was sent over a connection goes where that goes."""
    if found := _INET.search(arguments):
        return f"{found[2] or found[3]}:{found[1]}"
    if found := _UNIX.search(arguments):
        return f"unix:{found[1]}{found[2]}"
    if "AF_NETLINK" in arguments:
        return "netlink"
    return "another family" if "sa_family=" in arguments and "AF_UNSPEC" not in arguments else None
