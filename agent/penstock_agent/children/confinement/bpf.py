"""The system-call filter of a child, as the program that seccomp(2) runs. Pure.

Without a network a child may make local sockets only (AF_UNIX), and ask the kernel for addresses and routes
(AF_NETLINK with NETLINK_ROUTE), which sends nothing to anybody: node's ``os.networkInterfaces()`` throws
without it. io_uring is not there, since it makes sockets that no filter sees. In every case, system calls of
another architecture than the machine's end the process, for their numbers mean something else, and new
namespaces are refused, in which a child would have all privileges over a part of the kernel. And the limits
and priorities of other processes are out of reach, with which the kernel lets one process of a user end or
starve all others, the agent among them: a process names itself by 0 there.
"""

import struct
from dataclasses import dataclass
from errno import EACCES, ENOSYS, EPERM
from typing import Final

AF_UNIX: Final = 1
AF_NETLINK: Final = 16
NETLINK_ROUTE: Final = 0

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
"""The whole process."""
ERRNO: Final = 0x00050000
"""Or-ed with the number of the error that the system call answers."""

NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
NEW_TIME: Final = 0x80
"""CLONE_NEWTIME, which only unshare knows: to clone, these bits are the number of a signal."""
PRIO_USER: Final = 2
IOPRIO_WHO_USER: Final = 3
X32: Final = 0x40000000
"""Set in the numbers of x86_64's second ABI."""

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_NUMBER: Final = 0
_ARCHITECTURE: Final = 4


def _argument(index: int) -> int:
    """Where the lower half of an argument lies; of an int, the kernel does not look at the upper one."""
    return 16 + 8 * index


@dataclass(frozen=True, slots=True)
class Machine:
    """What the kernel calls an architecture, and the numbers of the system calls concerned."""

    audit: int
    socket: int
    socketpair: int
    clone: int
    unshare: int
    setns: int
    of_process: tuple[int, ...]
    """Take the process first: prlimit64, sched_setaffinity, _setscheduler, _setparam, and _setattr."""
    setpriority: int
    ioprio_set: int
    second_abi: bool = False
    clone3: int = 435
    io_uring: tuple[int, ...] = (425, 426, 427)


MACHINES: Final = {
    "x86_64": Machine(
        0xC000003E,
        socket=41,
        socketpair=53,
        clone=56,
        unshare=272,
        setns=308,
        of_process=(302, 203, 144, 142, 314),
        setpriority=141,
        ioprio_set=251,
        second_abi=True,
    ),
    "aarch64": Machine(
        0xC00000B7,
        socket=198,
        socketpair=199,
        clone=220,
        unshare=97,
        setns=268,
        of_process=(261, 122, 119, 118, 274),
        setpriority=140,
        ioprio_set=30,
    ),
}
"""By the name that uname gives. Both are little-endian."""

_Code = tuple[int, int, int, int]


def program(machine: Machine, *, network: bool) -> bytes:
    """The filter, for a child with a network or without one: ``struct sock_filter``, one after the other."""
    code: list[_Code] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        *_unless_equal(machine.audit, [_ret(KILL)]),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine.second_abi:
        code += [(_ANY_BIT, 0, 1, X32), _ret(ERRNO | EPERM)]
    # clone3 takes its flags from memory, which a filter cannot read; the C library falls back to clone.
    code += _if_equal(machine.clone3, [_ret(ERRNO | ENOSYS)])
    code += _if_equal(machine.setns, [_ret(ERRNO | EPERM)])
    code += _if_equal(machine.clone, _refuse_flags(NAMESPACES))
    code += _if_equal(machine.unshare, _refuse_flags(NAMESPACES | NEW_TIME))
    for number in machine.of_process:
        code += _if_equal(number, [(_LOAD, 0, 0, _argument(0)), *_only_zero()])
    for number, of_user in ((machine.setpriority, PRIO_USER), (machine.ioprio_set, IOPRIO_WHO_USER)):
        # Of a user, 0 means this one, which is the agent's too.
        whose = [(_LOAD, 0, 0, _argument(0)), *_if_equal(of_user, [_ret(ERRNO | EPERM)])]
        code += _if_equal(number, [*whose, (_LOAD, 0, 0, _argument(1)), *_only_zero()])
    if not network:
        for number in machine.io_uring:
            code += _if_equal(number, [_ret(ERRNO | ENOSYS)])
        code += _if_equal(
            machine.socketpair, [(_LOAD, 0, 0, _argument(0)), *_only_unix(), _ret(ERRNO | EACCES)]
        )
        code += _if_equal(
            machine.socket,
            [
                (_LOAD, 0, 0, _argument(0)),
                *_only_unix(),
                *_if_equal(
                    AF_NETLINK,
                    [
                        (_LOAD, 0, 0, _argument(2)),
                        *_if_equal(NETLINK_ROUTE, [_ret(ALLOW)]),
                        _ret(ERRNO | EACCES),
                    ],
                ),
                _ret(ERRNO | EACCES),
            ],
        )
    code.append(_ret(ALLOW))
    return b"".join(struct.pack("<HBBI", *each) for each in code)


def _only_unix() -> list[_Code]:
    return _if_equal(AF_UNIX, [_ret(ALLOW)])


def _only_zero() -> list[_Code]:
    return [*_if_equal(0, [_ret(ALLOW)]), _ret(ERRNO | EPERM)]


def _refuse_flags(flags: int) -> list[_Code]:
    return [(_LOAD, 0, 0, _argument(0)), (_ANY_BIT, 0, 1, flags), _ret(ERRNO | EPERM), _ret(ALLOW)]


def _if_equal(value: int, then: list[_Code]) -> list[_Code]:
    """``then`` must end with a return: whatever comes after it has the number loaded."""
    return [(_EQUAL, 0, len(then), value), *then]


def _unless_equal(value: int, then: list[_Code]) -> list[_Code]:
    return [(_EQUAL, len(then), 0, value), *then]


def _ret(action: int) -> _Code:
    return (_RETURN, 0, 0, action)
