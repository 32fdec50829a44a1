"""Whether a caller reads its answer fast enough. Pure; time is an argument."""

from __future__ import annotations


class Reader:
    """Follows how much of an answer the other end's kernel has acknowledged.

    A reader is too slow once it took less than `least` bytes in `within` seconds while data waited for it.
    A reader that has taken everything is never too slow, however long nothing new comes.
    """

    __slots__ = ("_least", "_since", "_taken", "_within")

    def __init__(self, now: float, least: int, within: float) -> None:
        self._least = least
        self._within = within
        self._since = now
        self._taken = 0

    def too_slow(self, now: float, sent: int, waiting: int) -> bool:
        """Of `sent` bytes handed over so far, `waiting` are not acknowledged (here or in our kernel)."""
        taken = sent - waiting
        if waiting == 0 or taken - self._taken >= self._least:
            self._taken = taken
            self._since = now
            return False
        return now - self._since >= self._within
