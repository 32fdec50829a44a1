"""Doing something as the user of the state folder when the administrator calls as root.

A server that is started to be looked at must not run as root, nor leave files in the state folder that the
agent itself cannot write.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from penstock_agent.problem import Exit, Problem

MAX_ANSWER_BYTES = 16 * 1024 * 1024


class _Answer(msgspec.Struct, frozen=True):
    value: bytes = b""
    problem: str = ""
    status: int = 0


def call(function: Callable[[], bytes], folder: Path) -> bytes:
    """``function()``; as root, and if ``folder`` belongs to somebody else, in a process of that user.

    Raises the :exc:`Problem` that it raises. The answer comes from a user with fewer rights than ours:
    judge it as input.
    """
    info = folder.stat()
    if os.geteuid() != 0 or info.st_uid == 0:
        return function()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _in_child(function, info.st_uid, info.st_gid, writing)
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            data = pipe.read(MAX_ANSWER_BYTES + 1)
    finally:
        _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) == Exit.INTERRUPTED:
        raise KeyboardInterrupt
    try:
        answer = msgspec.msgpack.decode(data, type=_Answer)
    except msgspec.DecodeError:
        raise Problem(
            "Asking the server as the user of the agent failed. Try: penstock-agent config check"
        ) from None
    if answer.problem:
        raise Problem(answer.problem, Exit.USAGE if answer.status == Exit.USAGE else Exit.FAILED)
    return answer.value


def _in_child(function: Callable[[], bytes], uid: int, gid: int, writing: int) -> None:
    """Never returns: what stands behind the fork in the caller is the parent's."""
    status = 1
    with suppress(BaseException):
        try:
            os.setgroups([gid])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            answer = _Answer(value=function())
        except Problem as e:
            answer = _Answer(problem=str(e), status=int(e.status))
        except KeyboardInterrupt:
            os._exit(Exit.INTERRUPTED)
        with open(writing, "wb") as pipe:
            pipe.write(msgspec.msgpack.encode(answer))
        status = 0
    os._exit(status)
