"""The launcher's program: run as ``python -I -S launcher_main.py FD``, becomes the command of a child.

A child's process group must be known to the keeper before anything of the child runs; between fork and that
moment the agent may be killed. So what the agent starts is this program. It waits on its input for its
instructions, which the agent writes only once the keeper has confirmed the group, and ends when the input
ends instead. Then it confines itself and becomes the command, in the same process, with the same input and
output.

Instructions: ``LENGTH SP`` and then LENGTH bytes: folder, number of arguments, arguments, number of
variables, variables as ``NAME=value``, and the steps that confine it, each ended by a zero byte. A step that
fails is reported on descriptor FD as ``STEP ERRNO`` and what it concerns; FD is closed by the exec, so its
end without a word says that the command runs. The steps, with their words; numbers are decimal:

- ``namespace NET``: a user namespace in which it stays who it is, with a network namespace if NET is 1
- ``limit RESOURCE VALUE``: not above what holds already
- ``oom SCORE``
- ``no_new_privileges``, ``no_capabilities``
- ``rules FILES TCP SCOPES``: begins a Landlock rule set; ``place RIGHTS SETTING PATH`` adds to it (a place
  that is not there, or that a link leads to, is an error where SETTING is ``read`` or ``write``);
  ``restrict`` puts it in force
- ``filter HEX``: a program for seccomp

``launcher_main.py look`` says on its output what of this works here: Landlock's version, and 0 or 1 for
filters, for user namespaces, and for network namespaces in them.
"""

import contextlib
import ctypes
import errno
import os
import resource
import struct
import sys
from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal  # type: ignore[import-not-found]  # signal costs 5 ms: enum
from collections.abc import Callable

_NEW_USER = 0x10000000
_NEW_NET = 0x40000000
_SET_SECCOMP = 22
_SET_NO_NEW_PRIVILEGES = 38
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CREATE_RULES, _ADD_RULE, _RESTRICT = 444, 445, 446
_OF_FILES = 0xC007
"""The rights that a rule for something else than a folder may have."""
_ALLOW_ALL = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)

_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A step that did not work; the text is what goes to the agent."""


def main(report: int) -> None:
    os.set_inheritable(report, False)
    instructions = _read_instructions()
    if instructions is None:
        return
    folder, *rest = instructions
    arguments, rest = _counted(rest)
    pairs, steps = _counted(rest)
    env = dict(pair.split(b"=", 1) for pair in pairs)
    # Python ignores these two, and an ignored signal stays ignored across exec.
    signal(SIGPIPE, SIG_DFL)
    signal(SIGXFSZ, SIG_DFL)
    try:
        _become(folder, arguments, env, steps)
    except Failed as failed:
        with contextlib.suppress(OSError):
            os.write(report, str(failed).encode("utf-8", "surrogateescape"))
    os._exit(127)


def _counted(parts: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    end = 1 + int(parts[0])
    return parts[1:end], parts[end:]


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


def _become(folder: bytes, arguments: list[bytes], env: dict[bytes, bytes], steps: list[bytes]) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise Failed(f"folder {error.errno}") from None
    program = _find(arguments[0], env.get(b"PATH", b""))
    _Confining().all(steps)
    try:
        os.execve(program, arguments, env)  # noqa: S606  # no shell: intended
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


class _Confining:
    def __init__(self) -> None:
        self._rules = -1

    def all(self, steps: list[bytes]) -> None:
        for step in steps:
            word, _, rest = step.decode("utf-8", "surrogateescape").partition(" ")
            try:
                getattr(self, f"do_{word}")(rest)
            except OSError as error:
                raise Failed(f"confine {error.errno} {word}") from None

    def do_namespace(self, net: str) -> None:
        make_namespaces(_NEW_NET if net == "1" else 0)

    def do_limit(self, what: str) -> None:
        number, value = map(int, what.split())
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))

    def do_oom(self, score: str) -> None:
        # It may stand higher already, which only privileges would lower, and does as well.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(score)

    def do_no_new_privileges(self, _: str) -> None:
        no_new_privileges()

    def do_no_capabilities(self, _: str) -> None:
        header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
        try:
            call(_CAPSET[os.uname().machine], ctypes.addressof(header), ctypes.create_string_buffer(24))
        except OSError:
            # Where even that is forbidden, another user than root loses them with the exec.
            if os.geteuid() == 0:
                raise

    def do_rules(self, what: str) -> None:
        data = struct.pack("=QQQ", *map(int, what.split()))
        # Older kernels know only the beginning, and insist that the rest is zero.
        self._rules = call(_CREATE_RULES, ctypes.create_string_buffer(data, 24), 24, 0)

    def do_place(self, what: str) -> None:
        rights, setting, path = what.split(" ", 2)
        allowed = int(rights)
        try:
            fd = open_place(path, follow=setting in ("-", "folder"))
        except OSError as error:
            if setting == "-":
                return
            raise Failed(f"place {error.errno} {setting} {path}") from None
        try:
            if os.fstat(fd).st_mode & 0o170000 != 0o040000:
                allowed &= _OF_FILES
            if allowed:
                call(
                    _ADD_RULE, self._rules, 1, ctypes.create_string_buffer(struct.pack("=Qi", allowed, fd)), 0
                )
        finally:
            os.close(fd)

    def do_restrict(self, _: str) -> None:
        call(_RESTRICT, self._rules, 0)
        os.close(self._rules)

    def do_filter(self, code: str) -> None:
        install(bytes.fromhex(code))


def open_place(path: str, *, follow: bool) -> int:
    """A descriptor that only names it. Raises OSError, ELOOP for a link that is not to be followed."""
    if follow:
        return os.open(os.fsencode(path), os.O_PATH | os.O_CLOEXEC)
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    for part in filter(None, os.fsencode(path).split(b"/")):
        above = fd
        try:
            fd = os.open(part, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=above)
        finally:
            os.close(above)
        if os.fstat(fd).st_mode & 0o170000 == 0o120000:
            os.close(fd)
            raise OSError(errno.ELOOP, "")
    return fd


def call(number: int, *arguments: int | ctypes.Array[ctypes.c_char]) -> int:
    """A system call. Raises OSError."""
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def control(option: int, *arguments: int) -> None:
    """prctl(2). Raises OSError."""
    if _libc.prctl(option, *(ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4])) < 0:
        raise OSError(ctypes.get_errno(), "")


def no_new_privileges() -> None:
    control(_SET_NO_NEW_PRIVILEGES, 1)


def install(code: bytes) -> None:
    """A filter for system calls. Raises OSError."""
    program = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(program)))
    control(_SET_SECCOMP, 2, ctypes.addressof(header))


def make_namespaces(more: int) -> None:
    """A user namespace with only the user and the group in it that it has already. Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_NEW_USER | more) < 0:
        raise OSError(ctypes.get_errno(), "")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def look() -> None:
    try:
        landlock = call(_CREATE_RULES, 0, 0, 1)
    except OSError:
        landlock = 0
    found = (landlock, _works(_try_filter), _works(_try_user), _works(_try_network))
    os.write(1, b"%d %d %d %d\n" % found)


def _try_filter() -> None:
    no_new_privileges()
    install(_ALLOW_ALL)


def _try_user() -> None:
    make_namespaces(0)


def _try_network() -> None:
    make_namespaces(_NEW_NET)


def _works(attempt: Callable[[], None]) -> int:
    """Tried in a process of its own, which keeps what it got."""
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except OSError:
            os._exit(1)
        os._exit(0)
    return int(os.waitpid(pid, 0)[1] == 0)


if __name__ == "__main__":
    if sys.argv[1] == "look":
        look()
    else:
        main(int(sys.argv[1]))
