"""Line framing on bytes: what a child writes, cut into lines, whatever it writes.

Pure: bytes in, lines out. Each byte is searched once and copied at most twice, however the line is cut
into reads, and what is held is bounded by the limit, whatever the child does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LINE_MAX: Final = 64 * 1024 * 1024
"""Longest line that a child may write, in bytes, without its line ending."""


@dataclass(frozen=True, slots=True)
class Oversize:
    """Stands in the place of one line that was longer than ``limit`` bytes and has been discarded."""

    limit: int


class LineFramer:
    """Cuts a byte stream into lines at LF; a CR before the LF and blank lines are dropped."""

    def __init__(self, limit: int = LINE_MAX) -> None:
        if limit < 1:
            raise ValueError(f"a line limit of {limit} bytes lets nothing through; give at least 1")
        self._limit = limit
        self._partial = bytearray()
        self._discarding = False

    @property
    def partial(self) -> int:
        """Bytes held of a line whose end has not come yet; never more than the limit and one CR."""
        return len(self._partial)

    def feed(self, data: bytes) -> list[bytes | Oversize]:
        """Take what was read; return the lines that it completes, in order.

        An over-long line is reported the moment that it passes the limit, not at its end: an endless one
        has none.
        """
        out: list[bytes | Oversize] = []
        end = data.find(b"\n")
        if end < 0:
            self._hold(data, out)
            return out
        self._finish(data[:end], out)
        tail = data.rfind(b"\n") + 1
        if tail > end + 1:
            self._whole(data[end + 1 : tail - 1].split(b"\n"), out)
        if tail < len(data):
            self._hold(data[tail:], out)
        return out

    def _hold(self, part: bytes, out: list[bytes | Oversize]) -> None:
        """Keep the beginning of a line, or give up on the line."""
        if self._discarding:
            return
        # One byte more than the limit: it may be the CR of the line ending, which does not count.
        if len(self._partial) + len(part) > self._limit + 1:
            self._partial.clear()
            self._discarding = True
            out.append(Oversize(self._limit))
        else:
            self._partial += part

    def _finish(self, part: bytes, out: list[bytes | Oversize]) -> None:
        """Take the part of a line up to its end."""
        if not self._partial and not self._discarding:
            self._whole((part,), out)
            return
        self._hold(part, out)
        if not self._discarding:
            line = bytes(self._partial)
            self._partial.clear()
            self._whole((line,), out)
        self._discarding = False

    def _whole(self, lines: Iterable[bytes], out: list[bytes | Oversize]) -> None:
        for line in lines:
            text = line[:-1] if line.endswith(b"\r") else line
            if len(text) > self._limit:
                out.append(Oversize(self._limit))
            elif text and not text.isspace():
                out.append(text)
