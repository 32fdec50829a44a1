"""Which copies of strangers' documents are kept, how long each is good, and who makes room. Pure.

A copy is fresh for five minutes. When its host cannot be reached after that, it serves for a day at most: an
outage there, or of a name server, must not keep users here from connecting. A host that does answer, and
says that there is no such document, is believed at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

FRESH_S: Final = 300.0
STALE_S: Final = 86_400.0
"""Age above which no copy is used, whatever happens."""
FAILED_S: Final = 30.0
"""A host that failed is not asked for the same document again for so long."""
MAX_COPIES: Final = 256
MAX_USED: Final = 128
"""Copies, of those, that a client needed with which a user is connected. Strangers' never push these out."""
MAX_FAILURES: Final = 1024


@dataclass(slots=True)
class _Copy:
    at: float
    data: bytes
    used: bool = False


class Copies:
    """Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._copies: dict[str, _Copy] = {}  # the one that was fetched first stands first
        self._failures: dict[str, tuple[float, str]] = {}

    def fresh(self, url: str, now: float) -> bytes | None:
        return self._young(url, now, FRESH_S)

    def stale(self, url: str, now: float) -> bytes | None:
        """The last good copy, for when there is no better one."""
        return self._young(url, now, STALE_S)

    def age(self, url: str, now: float) -> float:
        """Seconds since the copy was fetched; there is one."""
        return now - self._copies[url].at

    def failed(self, url: str, now: float) -> str | None:
        """What went wrong with `url` a moment ago."""
        until, problem = self._failures.get(url, (now, ""))
        return problem if now < until else None

    def knows(self, host: str) -> bool:
        """Whether a document of that host is in use."""
        return any(copy.used and urlsplit(url).hostname == host for url, copy in self._copies.items())

    def keep(self, url: str, data: bytes, now: float) -> None:
        before = self._copies.pop(url, None)
        if len(self._copies) >= MAX_COPIES:
            strangers = (kept for kept, copy in self._copies.items() if not copy.used)
            del self._copies[next(strangers, next(iter(self._copies)))]
        self._copies[url] = _Copy(now, data, before is not None and before.used)
        self._failures.pop(url, None)

    def fail(self, url: str, problem: str, now: float, *, withdrawn: bool) -> None:
        """`withdrawn`: the host answered, and has no such document (any more)."""
        if withdrawn:
            self._copies.pop(url, None)
        self._failures.pop(url, None)
        if len(self._failures) >= MAX_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._failures[url] = (now + FAILED_S, problem)

    def use(self, url: str) -> None:
        """A user is connected with the client that `url` describes."""
        copy = self._copies.get(url)
        if copy is None or copy.used:
            return
        used = [each for each in self._copies.values() if each.used]
        if len(used) >= MAX_USED:
            used[0].used = False
        copy.used = True

    def _young(self, url: str, now: float, limit: float) -> bytes | None:
        copy = self._copies.get(url)
        return copy.data if copy is not None and now - copy.at < limit else None
