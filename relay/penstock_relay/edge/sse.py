"""When a keep-alive comment may be put into a stream of server-sent events. Pure; time is an argument."""

from __future__ import annotations

from typing import Final

_ENDS: Final = (b"\n\n", b"\n\r\n", b"\r\r")
"""What the bytes so far end with when no event is unfinished. A lone CR after LF is not among them: the LF
that makes it CRLF may be in the next chunk."""


def says_when_to_return(first: bytes) -> bool:
    """Whether the first bytes of a stream tell its client after how long to come back if it breaks off.

    The site says that only to clients who do (2025-11-25), in an event of its own before any message.
    """
    return b"\nretry: " in first.partition(b"\n\n")[0]


class KeepAlive:
    """Follows the bytes forwarded to one caller.

    A comment between two bytes of an event would damage it, so one is due only where an event ended, and
    only when nothing was sent for `every` seconds.
    """

    __slots__ = ("_every", "_last", "_tail")

    def __init__(self, now: float, every: float) -> None:
        self._every = every
        self._last = now
        self._tail = b"\n\n"  # nothing sent yet: no event is unfinished

    def forwarded(self, chunk: bytes, now: float) -> None:
        """`chunk` was handed to the caller's connection."""
        if chunk:
            self._last = now
            self._tail = chunk[-3:] if len(chunk) >= 3 else (self._tail + chunk)[-3:]

    def commented(self, now: float) -> None:
        """A comment was sent. It ends as an event does, so what may follow has not changed."""
        self._last = now

    @property
    def between_events(self) -> bool:
        """Whether the bytes so far end an event."""
        return self._tail.endswith(_ENDS)

    @property
    def at(self) -> float:
        """When to ask again: nothing is due before."""
        return self._last + self._every

    def due(self, now: float) -> bool:
        """Whether to send a comment now."""
        return now >= self.at and self.between_events
