"""What the tests of children share."""

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from penstock_agent.children.child import ProcessSpec

EVIL = str(Path(__file__).parents[2] / "harness" / "evil_child.py")


class Spec(Protocol):
    """Makes a spec of one mode of the evil child, or of any command."""

    def __call__(self, *mode: str, name: str = "evil", command: tuple[str, ...] = ()) -> ProcessSpec: ...


def descriptors() -> int:
    """Descriptors open in this process."""
    return len(os.listdir("/proc/self/fd"))


def dead_within(pid: int, seconds: float) -> bool:
    """Whether a process, of ours or not, has ended; waits up to ``seconds`` for that, without polling."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)


def groups_of(group: int) -> list[int]:
    """The processes of a group that are alive now (zombies are not)."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            state, _, pgrp = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgrp) == group and state not in "ZX":
            found.append(int(name))
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Turns the loop until a condition holds that no event tells; fails after 20 s."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while not condition():
            turned = asyncio.Event()
            loop.call_later(0.005, turned.set)
            await turned.wait()
