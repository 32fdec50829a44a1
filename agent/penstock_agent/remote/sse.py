"""Server-sent events, as the HTML standard defines their parsing. Pure: bytes in, events out.

Each byte is searched once, and what is held is bounded by the limit, whatever the server sends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from penstock_agent.children.lines import LINE_MAX, Oversize

MAX_ID: Final = 1024
"""Characters of an event id that we are ready to send back."""
RETRY_MAX_S: Final = 60.0

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``name`` is ``message`` when the server gave none; ``data`` is never empty."""

    name: str
    data: bytes

    def __repr__(self) -> str:
        return f"<Event {self.name[:40]} data={len(self.data)} bytes>"


class SseParser:
    """One for each response. What it has learned of ids and waiting times is for the next response."""

    def __init__(self, limit: int = LINE_MAX) -> None:
        if limit < 1:
            raise ValueError(f"an event limit of {limit} bytes lets nothing through; give at least 1")
        self._limit = limit
        self._line = bytearray()
        self._data = bytearray()
        self._name = b""
        self._id: str | None = None
        self._has_data = False
        self._discarding = False
        self._line_seen = False
        self._skip_lf = False
        self._start = True
        self.last_id: str | None = None
        """Of the last event that was complete; None when it had none that can be sent back."""
        self.retry_s: float | None = None
        """Seconds that the server wants us to wait before we come back."""

    @property
    def partial(self) -> int:
        """Bytes held of an event whose end has not come yet; never more than the limit and one line end."""
        return len(self._line) + len(self._data)

    def feed(self, chunk: bytes) -> list[Event | Oversize]:
        """Take what was read; return the events that it completes, in order.

        One that passes the limit is reported at once, and what is left of it is dropped.
        """
        out: list[Event | Oversize] = []
        position = 0
        if self._skip_lf and chunk:
            self._skip_lf = False
            position = 1 if chunk[:1] == b"\n" else 0
        while position < len(chunk):
            found = _LINE_END.search(chunk, position)
            if found is None:
                self._hold(chunk[position:], out)
                break
            self._hold(chunk[position : found.start()], out)
            position = found.end()
            # A CR at the very end may be the first half of a CRLF.
            self._skip_lf = position == len(chunk) and found[0] == b"\r"
            self._end_line(out)
        return out

    def _hold(self, part: bytes, out: list[Event | Oversize]) -> None:
        if not part:
            return
        self._line_seen = True
        if self._discarding:
            return
        # "data: " and the line end between two lines of data are not of the data.
        if len(self._line) + len(self._data) + len(part) > self._limit + 8:
            self._discard(out)
            return
        self._line += part

    def _discard(self, out: list[Event | Oversize]) -> None:
        self._line.clear()
        self._data.clear()
        self._discarding = True
        out.append(Oversize(self._limit))

    def _end_line(self, out: list[Event | Oversize]) -> None:
        seen, self._line_seen = self._line_seen, False
        if self._start:
            self._start = False
            if self._line.startswith(_BOM):
                del self._line[: len(_BOM)]
                seen = bool(self._line)
        if not seen:
            self._dispatch(out)
            return
        if self._discarding:
            return
        line = bytes(self._line)
        self._line.clear()
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        self._field(field, value, out)

    def _field(self, field: bytes, value: bytes, out: list[Event | Oversize]) -> None:
        match field:
            case b"data":
                if self._has_data:
                    self._data += b"\n"
                self._has_data = True
                if len(self._data) + len(value) > self._limit:
                    self._discard(out)
                else:
                    self._data += value
            case b"event":
                self._name = value[:64]
            case b"id":
                self._id = _usable(value)
            case b"retry" if value.isdigit() and len(value) <= 9:
                self.retry_s = min(int(value) / 1000, RETRY_MAX_S)

    def _dispatch(self, out: list[Event | Oversize]) -> None:
        if self._id is not None:
            self.last_id = self._id or None
        if self._data and not self._discarding:
            name = self._name.decode("utf-8", "replace") or "message"
            out.append(Event(name, bytes(self._data)))
        self._data.clear()
        self._name, self._has_data, self._discarding = b"", False, False


def _usable(value: bytes) -> str | None:
    """The id, if it can be sent back in a header; empty when it cannot, which ends what could be resumed.

    None, by the standard, for one with a NUL in it: as if it had not been given.
    """
    if b"\0" in value:
        return None
    text = value.decode("utf-8", "replace")
    fits = len(text) <= MAX_ID and text.isascii() and text.isprintable() and text == text.strip()
    return text if fits else ""
