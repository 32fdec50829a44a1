"""What a child does wrong, for administrators."""

from __future__ import annotations

from collections import Counter

from penstock.log import get

_log = get(__name__)


class Faults:
    """Of one session or process. ``counts`` is the owner's, and holds other things as well."""

    def __init__(self, server: str, counts: Counter[str]) -> None:
        self._server = server
        self._counts = counts

    def count(self, what: str) -> None:
        """Log the 1st, 2nd, 4th, 8th …, so that a flood cannot fill the log."""
        self._counts[what] += 1
        count = self._counts[what]
        if count & (count - 1) == 0:
            _log.warning(f"child_{what}", server=self._server, times=count)
