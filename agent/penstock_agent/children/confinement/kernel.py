"""What the kernel, and whatever confines the agent itself, allow here."""

import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock_agent.children.confinement import bpf

_PROGRAM: Final = str(Path(__file__).parents[1] / "launcher_main.py")
_LOOK_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """``landlock``: the version of its interface, 0 without it. ``namespaces``: a process may make a user
    namespace; ``networks``: and a network namespace with it. ``counts``: processes are counted per user
    namespace, which never holds for root's.
    """

    landlock: int = 0
    seccomp: bool = False
    namespaces: bool = False
    networks: bool = False
    counts: bool = False
    machine: str = ""

    @property
    def filters(self) -> bool:
        """Whether system calls can be filtered here."""
        return self.seccomp and self.machine in bpf.MACHINES


@functools.cache
def look() -> Kernel:
    """Ask once, in a process that is started as the launcher is. Takes some 30 ms the first time."""
    name = os.uname()
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", _PROGRAM, "look"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LOOK_S,
            cwd="/",
            env={},
            check=True,
        )
        landlock, seccomp, namespaces, networks = map(int, done.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return Kernel(machine=name.machine)
    return Kernel(
        landlock=max(landlock, 0),
        seccomp=bool(seccomp),
        namespaces=bool(namespaces),
        networks=bool(networks),
        counts=_release(name.release) >= (5, 14) and os.geteuid() != 0,
        machine=name.machine,
    )


def _release(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return int(major) if major.isdigit() else 0, int(minor) if minor.isdigit() else 0
