"""Landlock's numbers, by the version of its interface that a kernel has. Pure.

https://docs.kernel.org/userspace-api/landlock.html
"""

from typing import Final

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
TRUNCATE: Final = 1 << 14
IOCTL_DEV: Final = 1 << 15

READ: Final = EXECUTE | READ_FILE | READ_DIR
DEVICE: Final = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV
OF_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""What may be said of a place that is not a folder."""

_FIRST: Final = (1 << 13) - 1
_SINCE: Final = {2: 1 << 13, 3: TRUNCATE, 5: IOCTL_DEV}
TCP: Final = 3
"""Bind and connect, since 4."""
SCOPES: Final = 3
"""Abstract local sockets and signals stay within what was started, since 6."""


def handled(abi: int) -> int:
    """All that this version can hold a process to: whatever no rule grants is then refused."""
    return _FIRST | sum(right for since, right in _SINCE.items() if abi >= since)


def write(abi: int) -> int:
    """Everything that can be done below a folder, but for making devices."""
    return handled(abi) & ~(1 << 6) & ~(1 << 11) & ~IOCTL_DEV


def tcp(abi: int) -> int:
    return TCP if abi >= 4 else 0


def scopes(abi: int) -> int:
    return SCOPES if abi >= 6 else 0
