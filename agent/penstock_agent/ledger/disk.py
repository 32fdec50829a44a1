"""What the ledger's writer does to the disk: append, begin a segment, make safe, hold space in reserve."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from penstock_agent.ledger import segments

RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 8 << 20
"""Space that is given up when the disk is full: some 20,000 entries, for calls that run to end."""

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class Locked(Exception):
    """Another process writes this ledger."""


class Disk:
    """Of one folder. Everything may raise OSError; whoever catches it finds the ledger as it was before."""

    def __init__(self, folder: Path) -> None:
        """Raises Locked."""
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._folder)
            raise Locked from None
        self._file = -1
        self._size = 0
        self._torn = False
        self._left: list[int] = []
        self._new = False

    @property
    def is_open(self) -> bool:
        """Whether there is a segment to append to."""
        return self._file >= 0

    @property
    def size(self) -> int:
        """Bytes of the segment."""
        return self._size

    def resume(self, path: Path, size: int) -> None:
        """Append to this file, behind its first ``size`` bytes; what stands there is cut off."""
        file = os.open(path, _FLAGS)
        try:
            os.ftruncate(file, size)
        except BaseException:
            os.close(file)
            raise
        self._file, self._size = file, size

    def keep(self, path: Path, start: int, name: str) -> Path:
        """Copy what stands in a file from ``start`` on into another one, and return that."""
        with path.open("rb") as old:
            old.seek(start)
            target = self.folder / name
            file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as new:
                while data := old.read(1 << 20):
                    new.write(data)
                new.flush()
                os.fsync(file)
        return target

    def begin(self, number: int, line: bytes) -> None:
        """A new segment, with its first record. The one before is closed once it is safe."""
        path = self.folder / segments.name(number)
        file = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write(file, line)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                path.unlink()
            raise
        if self._file >= 0:
            self._left.append(self._file)
        self._file, self._size, self._torn, self._new = file, len(line), False, True

    def append(self, line: bytes) -> None:
        """One record, whole or not at all."""
        if self._torn:
            self._mend()
        if self._file < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            _write(self._file, line)
        except OSError:
            self._torn = True
            with suppress(OSError):
                self._mend()
            raise
        self._size += len(line)

    def _mend(self) -> None:
        os.ftruncate(self._file, self._size)
        self._torn = False

    def to_sync(self) -> Callable[[], None]:
        """What makes safe all that has been written until now; for another thread. It may be called once."""
        left, self._left = self._left, []
        file, new, self._new = self._file, self._new, False

        def sync() -> None:
            try:
                for each in left:
                    os.fdatasync(each)
            finally:
                for each in left:
                    os.close(each)
            if new:
                os.fsync(self._folder)
            if file >= 0:
                os.fdatasync(file)

        return sync

    def abandon(self) -> None:
        """Never append to this segment again: what it holds may not be on the disk, and the kernel will not
        say so a second time.
        """
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def hold_reserve(self) -> None:
        """Take the reserve, if it is not held."""
        path = self.folder / RESERVE
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(file).st_blocks * 512 < RESERVE_BYTES:
                os.posix_fallocate(file, 0, RESERVE_BYTES)
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(file)

    def give_reserve(self) -> bool:
        """Give the reserve up. False when there was none."""
        try:
            (self.folder / RESERVE).unlink()
        except OSError:
            return False
        return True

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def close(self) -> None:
        for each in (*self._left, self._file, self._folder):
            if each >= 0:
                with suppress(OSError):
                    os.close(each)
        self._left, self._file, self._folder = [], -1, -1


def _write(file: int, line: bytes) -> None:
    written = os.write(file, line)
    if written != len(line):  # the rest had no room
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
