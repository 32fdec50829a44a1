"""What a server's unit starts: ``python -I -S unit_main.py SETTINGS [OPTION...] COMMAND [ARGUMENT...]``.

Its input and output are one connection of the agent, and its working directory is the server's state folder.
It reads a line ``penstock-unit/1 TOKEN SETTINGS``, answers ``ok``, or ``no WORD NUMBER``, and starts the
command with the same input and output: what the connection carries from then on is the server's alone.

- TOKEN must be what the credential ``token`` holds: others with the agent's user can connect as well.
- SETTINGS must be the argument: otherwise agent.toml asks for something else than this unit was made of.
- With the option ``--tcp=PORT,PORT`` the command may connect to no other ports of TCP, by Landlock.
- With ``--deny=ADDRESS`` it is not started if something can be sent there, to an address of this machine's
  own: then systemd could not put its filter of addresses in force, of which it only writes to its log.
- Credentials ``env.NAME`` become variables; what systemd says of the unit does not reach the command.

A server that does not end with its input would stay for ever. So this process waits beside it, and when the
agent has closed the connection altogether it tells the server to end; with this process, systemd ends the
rest.
"""

import contextlib
import ctypes
import errno
import hmac
import os
import select
import signal
import socket
import struct
import sys
import time

_HELLO_S = 10.0
"""How long the first line is waited for."""
_HELLO_MAX = 512
_SECRET_MAX = 64 * 1024
_GRACE_S = 2.0
"""How long the server may take to end once nobody hears it, and again after SIGTERM."""
_OF_SYSTEMD = (
    "CREDENTIALS_DIRECTORY", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID",
    "MAINPID", "MANAGERPID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "NOTIFY_SOCKET", "REMOTE_ADDR",
    "REMOTE_PORT", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "SYSTEMD_EXEC_PID", "WATCHDOG_PID",
    "WATCHDOG_USEC",
)  # fmt: skip
_CREATE_RULES, _ADD_RULE, _RESTRICT = 444, 445, 446
_BIND, _CONNECT = 1, 2
_PORT_RULE = 2
_WITH_PORTS = 4
"""The version of Landlock that knows ports."""
_SET_NO_NEW_PRIVILEGES = 38
_libc = ctypes.CDLL(None, use_errno=True)
_FOLDERS = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


class Refused(Exception):
    """The text is what the agent is answered: a word and a number."""


def main(settings: str, command: list[str]) -> int:
    ports: list[int] = []
    deny = ""
    while command[0].startswith(("--tcp=", "--deny=")):
        option, _, value = command.pop(0).partition("=")
        if option == "--tcp":
            ports = [int(each) for each in value.split(",")]
        else:
            deny = value
    env = dict(os.environ)
    credentials = env.get("CREDENTIALS_DIRECTORY", "")
    for name in _OF_SYSTEMD:
        env.pop(name, None)
    try:
        _check(_hello(), _secret(credentials, "token"), settings)
        for name in sorted(os.listdir(credentials)):
            if name.startswith("env."):
                env[name[4:]] = _secret(credentials, name)
        program = _find(command[0], env.get("PATH", ""))
        if deny:
            _check_filter(deny)
        if ports and _landlock(_CREATE_RULES, None, 0, 1) < _WITH_PORTS:
            raise Refused("ports 0")
    except Refused as refused:
        sys.stderr.write(f"penstock: not started: {refused}\n")
        with contextlib.suppress(OSError):
            os.write(1, f"no {refused}\n".encode())
        return 1
    for name in _FOLDERS:
        with contextlib.suppress(OSError, KeyError):
            os.makedirs(env[name], 0o700, exist_ok=True)
    os.write(1, b"ok\n")
    pid = os.fork()
    if pid == 0:
        _become(program, command, env, ports)
    os.close(1)
    return _wait(pid)


def _hello() -> str:
    """Byte by byte: what follows the line belongs to the command."""
    poll, deadline, line = select.poll(), time.monotonic() + _HELLO_S, b""
    poll.register(0, select.POLLIN)
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        byte = os.read(0, 1) if left > 0 and poll.poll(left * 1000) else b""
        if not byte or len(line) >= _HELLO_MAX:
            raise Refused("hello 0")
        line += byte
    return line.decode("ascii", "replace")


def _check(hello: str, token: str, settings: str) -> None:
    words = hello.split()
    if len(words) != 3 or words[0] != "penstock-unit/1":
        raise Refused("hello 0")
    if not hmac.compare_digest(words[1].encode(), token.encode()):
        raise Refused("token 0")
    if words[2] != settings:
        raise Refused("settings 0")


def _secret(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read(_SECRET_MAX + 1)
    except OSError as error:
        raise Refused(f"credential {error.errno} {name}") from None
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > _SECRET_MAX or "\0" in text:
        raise Refused(f"credential 0 {name}")
    return text


def _find(command: str, path: str) -> str:
    if "/" in command:
        if not os.path.exists(command):
            raise Refused("missing 0")
        if not os.access(command, os.X_OK):
            raise Refused("exec 13")
        return command
    found_but = False
    for place in path.split(":"):
        candidate = f"{place}/{command}"
        if place and os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            found_but = True
    raise Refused("denied 0" if found_but else "path 0")


def _check_filter(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as tried:
            tried.sendto(b"", (address, 9))
    except OSError as error:
        # Without IPv6 there is nothing to be filtered.
        if error.errno in (errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return
    raise Refused("addresses 0")


def _landlock(number: int, *arguments: object) -> int:
    call: int = _libc.syscall(
        ctypes.c_long(number), *(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    )
    return call


def _hold_to(ports: list[int]) -> None:
    """From now on this process listens at no port of TCP and connects to none but these. Raises OSError."""
    handled = ctypes.create_string_buffer(struct.pack("=QQ", 0, _BIND | _CONNECT), 16)
    rules = _landlock(_CREATE_RULES, handled, 16, 0)
    done = [rules, _libc.prctl(_SET_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), 0, 0, 0)]
    for port in ports:
        rule = ctypes.create_string_buffer(struct.pack("=QQ", _CONNECT, port), 16)
        done.append(_landlock(_ADD_RULE, rules, _PORT_RULE, rule, 0))
    done.append(_landlock(_RESTRICT, rules, 0))
    if min(done) < 0:
        raise OSError(errno.EPERM, "it cannot be held to its ports")
    os.close(rules)


def _become(program: str, command: list[str], env: dict[str, str], ports: list[int]) -> None:
    # Python ignores these two, and an ignored signal stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        if ports:
            _hold_to(ports)
        os.execve(program, command, env)  # noqa: S606  # no shell: intended
    except OSError as error:
        sys.stderr.write(f"penstock: {program} cannot be executed: {error.strerror}\n")
        sys.stderr.flush()
    os._exit(127)


def _wait(pid: int) -> int:
    """Until the server has ended; its status."""
    child = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(child, select.POLLIN)
    # Nothing is asked for: POLLHUP, which says that the agent has closed both directions, always comes.
    poll.register(0, 0)
    ended = any(fd == child for fd, _ in poll.poll())
    poll.unregister(0)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if ended or poll.poll(_GRACE_S * 1000):
            break
        os.kill(pid, number)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # A server that was told to end and did has not failed.
    return status if ended and status >= 0 else 0 if not ended else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
