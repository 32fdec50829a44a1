"""Payload, as it comes in and as it leaves, into sealed files; bounded in days and bytes.

A piece is given to the system before its bytes leave, as a record of the ledger is. Unlike the ledger, this
stops nothing when it cannot be written: what left is still in the ledger by its hash, and that it was not
captured is told and recorded.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from penstock import log
from penstock.http import Headers
from penstock.principal import Principal
from penstock_agent.capture.sealed import Piece, Sealer
from penstock_agent.exchange import DoneReason, Exchange, Purpose

FOLDER: Final = "capture"
SUFFIX: Final = ".sealed"
FILE_BYTES: Final = 32 << 20
"""A file that is larger is followed by another one."""
FILE_S: Final = 3600.0
"""So is one that is older: its key is in memory for as long."""
RETRY_S: Final = 5.0
DAY_S: Final = 86400

_log = log.get(__name__)


class Capture:
    """Of one state folder. Lives in one event loop."""

    def __init__(
        self,
        folder: Path,
        recipient: str,
        keep_days: int,
        max_size: int,
        *,
        clock: Callable[[], float] = time.time,
        alarm: Callable[[str], None] = lambda problem: None,
    ) -> None:
        """``alarm`` is told why it fails, and of nothing (``""``) once it does not any more."""
        self.alarm = alarm
        self.problem = ""
        self._folder = folder
        self._recipient = recipient
        self._keep_s = keep_days * DAY_S
        self._max = max_size
        self._clock = clock
        self._sealer: Sealer | None = None
        self._file = -1
        self._size = 0
        self._until = 0.0
        self._retry = 0.0
        self._others = 0
        """Bytes of the files before this one."""

    def keep(self, exchange: str, way: str, offset: int, data: bytes) -> None:
        """Raises nothing: a disk that takes nothing is told of."""
        now = self._clock()
        if self.problem and now < self._retry:
            return
        try:
            self._keep(Piece(now, exchange, way, offset), data)
        except OSError as error:
            self.close()
            self._retry = now + RETRY_S
            self._tell(error.strerror or type(error).__name__)
        else:
            self._tell("")

    async def tidy(self) -> NoReturn:
        """Remove what is too old, also when nothing is captured; until cancelled."""
        while True:
            if self._clock() >= self._until:
                self.close()
            try:
                self._others = self._removed(0)
            except OSError as error:
                self._tell(error.strerror or type(error).__name__)
            await asyncio.sleep(FILE_S)

    def close(self) -> None:
        """The key of the file is forgotten."""
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
        self._file, self._sealer, self._size = -1, None, 0

    def _keep(self, piece: Piece, data: bytes) -> None:
        sealer = self._sealer
        if sealer is None or self._size >= FILE_BYTES or piece.at >= self._until:
            sealer = self._begin(piece.at)
        sealed = sealer.seal(piece, data)
        if self._others + self._size + len(sealed) > self._max:
            self._others = self._removed(self._size + len(sealed))
        self._size += len(sealed)
        _write(self._file, sealed)

    def _begin(self, now: float) -> Sealer:
        self.close()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._others = self._removed(0)
        sealer = Sealer(self._recipient)
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{os.urandom(4).hex()}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._folder / name, flags, 0o600)
        self._sealer, self._until = sealer, now + FILE_S
        self._size = len(sealer.line)
        _write(self._file, sealer.line)
        return sealer

    def _removed(self, more: int) -> int:
        """Remove what is too old, and the oldest where ``more`` bytes would be too many. Returns how many
        bytes the files before this one have.
        """
        own = os.fstat(self._file).st_ino if self._file >= 0 else -1
        found = [(path, info) for path in files(self._folder) if (info := path.stat()).st_ino != own]
        total = sum(info.st_size for _, info in found)
        for path, info in found:
            if info.st_mtime + self._keep_s > self._clock() and total + more <= self._max:
                break
            path.unlink()
            total -= info.st_size
        return total

    def _tell(self, problem: str) -> None:
        """Once when it begins to fail, whatever fails then, and once when it does not any more."""
        before, self.problem = self.problem, problem
        if bool(problem) is bool(before):
            return
        if problem:
            _log.error("capture_failing", why=problem)
        else:
            _log.info("capture_recovered")
        self.alarm(problem)


class Captured:
    """An exchange of which all is kept. See :class:`~penstock_agent.exchange.Exchange`."""

    __slots__ = (
        "_capture", "_inner", "_offset", "answers", "body", "deadline", "headers", "key", "method",
        "principal", "purpose", "server",
    )  # fmt: skip

    def __init__(self, inner: Exchange, capture: Capture) -> None:
        self._inner = inner
        self._capture = capture
        self._offset = 0
        self.answers = ""
        self.key = inner.key
        self.server = inner.server
        self.method = inner.method
        self.headers: Headers = inner.headers
        self.body = inner.body
        self.principal: Principal = inner.principal
        self.purpose: Purpose = inner.purpose
        self.deadline = inner.deadline
        if self.body:
            capture.keep(self.key, "in", 0, self.body)

    async def head(self, status: int, headers: Headers = ()) -> None:
        await self._inner.head(status, headers)

    async def write(self, data: bytes) -> None:
        self._capture.keep(self.key, "out", self._offset, data)
        self._offset += len(data)
        await self._inner.write(data)

    async def end(self) -> None:
        await self._inner.end()

    def fail(self, reason: str) -> None:
        self._inner.fail(reason)

    async def gone(self) -> DoneReason:
        return await self._inner.gone()


def files(folder: Path) -> list[Path]:
    """Those of a folder, the oldest first. Raises OSError."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
