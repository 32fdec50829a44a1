"""The launcher's program: run as ``python -I -S launcher_main.py FD``, becomes the command of a child.

A child's process group must be known to the keeper before anything of the child runs; between fork and that
moment the agent may be killed. So what the agent starts is this program. It waits on its input for its
instructions, which the agent writes only once the keeper has confirmed the group, and ends when the input
ends instead. Then it becomes the command, in the same process, with the same input and output.

Instructions: ``LENGTH SP`` and then LENGTH bytes: folder, number of arguments, arguments, ``NAME=value``
pairs, each ended by a zero byte. A step that fails is reported on descriptor FD as ``STEP ERRNO``; FD is
closed by the exec, so its end without a word says that the command runs.

What confines a child belongs between the instructions and the exec.
"""

import contextlib
import os
import sys
from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal  # type: ignore[import-not-found]  # signal costs 5 ms: enum


class Failed(Exception):
    """A step that did not work; the text is what goes to the agent."""


def main(report: int) -> None:
    os.set_inheritable(report, False)
    instructions = _read_instructions()
    if instructions is None:
        return
    folder, count, *rest = instructions
    arguments, pairs = rest[: int(count)], rest[int(count) :]
    env = dict(pair.split(b"=", 1) for pair in pairs)
    # Python ignores these two, and an ignored signal stays ignored across exec.
    signal(SIGPIPE, SIG_DFL)
    signal(SIGXFSZ, SIG_DFL)
    try:
        _become(folder, arguments, env)
    except Failed as failed:
        with contextlib.suppress(OSError):
            os.write(report, str(failed).encode())
    os._exit(127)


def _read_instructions() -> list[bytes] | None:
    """None: the agent is gone."""
    head = b""
    while not head.endswith(b" "):
        # Byte by byte: what follows the instructions belongs to the command.
        byte = os.read(0, 1)
        if not byte:
            return None
        head += byte
    parts: list[bytes] = []
    missing = int(head)
    while missing:
        part = os.read(0, missing)
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts).split(b"\0")[:-1]


def _become(folder: bytes, arguments: list[bytes], env: dict[bytes, bytes]) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise Failed(f"folder {error.errno}") from None
    try:
        os.execve(_find(arguments[0], env.get(b"PATH", b"")), arguments, env)  # noqa: S606  # no shell: intended
    except OSError as error:
        raise Failed(f"exec {error.errno}") from None


def _find(command: bytes, path: bytes) -> bytes:
    if b"/" in command:
        if not os.path.exists(command):
            raise Failed("missing 0")
        return command
    found_but = False
    for place in path.split(b":"):
        candidate = place + b"/" + command
        if place and os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            found_but = True
    raise Failed("denied 0" if found_but else "path 0")


if __name__ == "__main__":
    main(int(sys.argv[1]))
