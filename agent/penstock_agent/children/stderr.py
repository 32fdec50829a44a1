"""What a child writes to its standard error, made fit for the local log: lines, plain text, bounded in rate.

Pure: bytes and the time in, lines of text out.
"""

import re
from typing import Final

STDERR_LINE_MAX: Final = 4096
"""Longest line that is logged whole, in bytes; the rest of a longer one counts as suppressed."""

STDERR_RATE: Final = 64 * 1024
"""Bytes a second of one child that reach the log."""

# Terminal sequences (CSI, OSC and the other string kinds, single-character escapes), then whatever control
# characters remain, including the 8-bit ones and the marks that reorder text on a screen.
_ESCAPES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(data: bytes) -> str:
    """Text without terminal sequences and control characters; bytes that are not UTF-8 become U+FFFD."""
    text = data.decode("utf-8", "replace")
    return _CONTROLS.sub("", _ESCAPES.sub("", text)).rstrip()


class StderrFilter:
    """Cuts into lines, cleans, and lets through at most one second's rate in every second."""

    def __init__(self, now: float, rate: int = STDERR_RATE, line_max: int = STDERR_LINE_MAX) -> None:
        self._rate = rate
        self._line_max = line_max
        self._second = now
        self._left = rate
        self._partial = b""
        self._skipping = False
        self._suppressed = 0

    @property
    def suppressed(self) -> int:
        """Bytes dropped and not yet reported."""
        return self._suppressed

    def feed(self, data: bytes, now: float) -> list[str]:
        """Take what was read at ``now`` (seconds of any clock that does not go back); return what to log."""
        out: list[str] = []
        if now - self._second >= 1:
            self._second, self._left = now, self._rate
            self._report(out)
        # Beyond the budget only the place of the next line beginning matters: no copy, no split.
        allowed, over = data[: self._left], len(data) - self._left
        self._left -= len(allowed)
        *lines, rest = allowed.split(b"\n")
        for line in lines:
            self._take(line, out)
            self._emit(out)
            self._skipping = False
        self._take(rest, out)
        if over > 0:
            self._suppressed += over
            if self._partial:
                self._emit(out)
            # The next second begins in the middle of a line unless the last byte dropped ended one.
            self._skipping = not data.endswith(b"\n")
        return out

    def finish(self) -> list[str]:
        """The last lines, at the end of the child."""
        out: list[str] = []
        self._emit(out)
        self._report(out)
        return out

    def _take(self, part: bytes, out: list[str]) -> None:
        if self._skipping:
            self._suppressed += len(part)
            return
        room = self._line_max - len(self._partial)
        self._partial += part[:room]
        if len(part) > room:
            self._suppressed += len(part) - room
            self._emit(out)
            self._skipping = True

    def _emit(self, out: list[str]) -> None:
        line, self._partial = plain(self._partial), b""
        if line:
            out.append(line)

    def _report(self, out: list[str]) -> None:
        if self._suppressed:
            out.append(f"suppressed {self._suppressed} bytes")
            self._suppressed = 0
